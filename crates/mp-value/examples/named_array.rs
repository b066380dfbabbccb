//! A named array and a named value between two programs that are started separately.
//!
//! `cargo run --release -p mp-value --example named_array`

use std::env;
use std::error::Error;
use std::process::{self, Command};

use mp_value::{Array, Value};

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1) {
        None => first(),
        Some(name) => Ok(second(&name)?),
    }
}

fn first() -> Result<(), Box<dyn Error>> {
    let name = format!("two-programs-{}", process::id());
    let numbers = Array::<f64>::create_named(&name, 1000)?;
    numbers.set(1, 1.5)?;
    let total = Value::create_named(&format!("{name}-total"), 0.0)?;

    let status = Command::new(env::current_exe()?).arg(&name).status()?;
    assert!(status.success());

    println!(
        "another program doubled the array in place and found the sum {}",
        total.get()
    );
    assert_eq!(total.get(), 3.0);
    assert_eq!(numbers.get(1)?, 3.0);
    Array::<f64>::unlink(&name)?;
    Value::<f64>::unlink(&format!("{name}-total"))?;
    Ok(())
}

fn second(name: &str) -> mp_layout::Result<()> {
    let numbers = Array::<f64>::open(name)?; // an array of another type would be an error here
    let total = Value::<f64>::open(&format!("{name}-total"))?;
    let mut locked = numbers.lock()?;
    let mut sum = 0.0;
    for number in locked.iter_mut() {
        *number *= 2.0;
        sum += *number;
    }
    *total.lock()? = sum; // commits when the guard drops; a kill before leaves the old value
    Ok(())
}
