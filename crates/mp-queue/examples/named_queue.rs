//! A named queue between two programs that are started separately.
//!
//! `cargo run --release -p mp-queue --example named_queue`
//!
//! The second program is this one started again with the queue's name. In your own:
//! `Queue::open_or_create` in both, and it does not matter which one comes first.

use std::env;
use std::error::Error;
use std::process::{self, Command};

use mp_queue::Queue;

type Measurement = (String, f64);

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1) {
        None => collect(),
        Some(name) => measure(&name),
    }
}

fn collect() -> Result<(), Box<dyn Error>> {
    let name = format!("two-programs-{}", process::id());
    let queue = Queue::<Measurement>::create_named(&name)?;
    let mut second = Command::new(env::current_exe()?).arg(&name).spawn()?;

    // A message is whole or not there, even if the other program is killed while it puts one.
    let mut sum = 0.0;
    for _ in 0..100 {
        let (sensor, value) = queue.get()?;
        assert_eq!(sensor, "temperature");
        sum += value;
    }
    println!(
        "100 measurements came from another program; their mean is {}",
        sum / 100.0
    );
    assert_eq!(sum, 4950.0);

    assert!(second.wait()?.success());
    Queue::<Measurement>::unlink(&name)?;
    Ok(())
}

fn measure(name: &str) -> Result<(), Box<dyn Error>> {
    let queue = Queue::<Measurement>::open(name)?; // another type of message would be an error here
    for value in 0..100 {
        queue.put(("temperature".to_owned(), f64::from(value)))?;
    }
    Ok(())
}
