//! Four processes count to 40000 under the value's own lock.

use mp::{Process, Value};

fn increment(counter: Value<i32>) -> mp::Result<()> {
    for _ in 0..10_000 {
        *counter.lock()? += 1; // needs the lock!
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let counter = Value::new(0)?;

    let mut processes: Vec<_> = (0..4)
        .map(|_| Process::new(increment, (counter.clone(),)))
        .collect();
    for p in &mut processes {
        p.start()?;
    }
    for p in &processes {
        p.join()?;
    }

    println!("Result: {}", counter.get()); // 40000
    Ok(())
}
