//! A named mutex and a named event between two programs that are started separately.
//!
//! `cargo run --release -p mp-object --example named_mutex`

use std::env;
use std::error::Error;
use std::process::{self, Command};

use mp_object::{Event, Mutex};

const TURNS: u64 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1) {
        None => first(),
        Some(name) => second(&name),
    }
}

fn first() -> Result<(), Box<dyn Error>> {
    let name = format!("two-programs-{}", process::id());
    let counter = Mutex::create_named(&name, 0_u64)?;
    let start = Event::create_named(&format!("{name}-start"))?;
    let mut second = Command::new(env::current_exe()?).arg(&name).spawn()?;

    start.set();
    count(&counter)?;
    assert!(second.wait()?.success());

    let total = read(&counter)?;
    println!("two programs counted to {total}");
    assert_eq!(total, 2 * TURNS);
    Mutex::<u64>::unlink(&name)?;
    Event::unlink(&format!("{name}-start"))?;
    Ok(())
}

fn second(name: &str) -> Result<(), Box<dyn Error>> {
    let counter = Mutex::<u64>::open(name)?;
    Event::open(&format!("{name}-start"))?.wait();
    Ok(count(&counter)?)
}

fn read(counter: &Mutex<u64>) -> mp_layout::Result<u64> {
    Ok(*counter.lock()?)
}

fn count(counter: &Mutex<u64>) -> mp_layout::Result<()> {
    for _ in 0..TURNS {
        // Had the other program been killed while it held the mutex, this would be `OwnerDied`,
        // with the lock held.
        *counter.lock()? += 1;
    }
    Ok(())
}
