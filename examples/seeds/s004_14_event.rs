//! Three processes wait until a fourth sets the event.

use std::thread::sleep;
use std::time::Duration;

use mp::{Event, Process};

fn waiter(event: Event, name: String) {
    println!("{name} waiting for event");
    event.wait();
    println!("{name} event received!");
}

fn setter(event: Event) {
    println!("Setting event in 2 seconds...");
    sleep(Duration::from_secs(2));
    event.set();
}

fn main() -> mp::Result<()> {
    let event = Event::new()?;

    let mut waiters: Vec<_> = (0..3)
        .map(|i| Process::new(waiter, (event.clone(), format!("Waiter-{i}"))))
        .collect();
    let mut setter_proc = Process::new(setter, (event.clone(),));

    for w in &mut waiters {
        w.start()?;
    }
    setter_proc.start()?;

    for w in &waiters {
        w.join()?;
    }
    setter_proc.join()
}
