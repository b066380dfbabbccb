//! Four processes count without a lock around `+= 1`: what another process adds in between is lost.
//!
//! Each load and each store takes the lock, as in Python; the two together are not one step.

use mp::{Array, Process, Value};

/// Changes the shared values.
fn increment(counter: Value<i32>, array: Array<f64>) -> mp::Result<()> {
    for _ in 0..1000 {
        counter.set(counter.get() + 1)?;
    }

    for i in 0..array.len() {
        array.set(i, array.get(i)? + 1.0)?;
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    // a shared integer
    let counter = Value::new(0)?;

    // a shared array of doubles
    let array = Array::from_slice(&[0.0, 1.0, 2.0])?;

    let mut processes: Vec<_> = (0..4)
        .map(|_| Process::new(increment, (counter.clone(), array.clone())))
        .collect();

    for p in &mut processes {
        p.start()?;
    }
    for p in &processes {
        p.join()?;
    }

    println!("Counter: {}", counter.get()); // perhaps not 4000
    println!("Array: {:?}", array.to_vec()?);
    Ok(())
}
