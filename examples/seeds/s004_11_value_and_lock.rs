//! Four processes count to 4000 under a lock of the program's own.

use mp::{Lock, Process, Value};

/// Counts so that no step is lost.
fn safe_increment(counter: Value<i32>, lock: Lock) -> mp::Result<()> {
    for _ in 0..1000 {
        let _guard = lock.lock()?;
        counter.set(counter.get() + 1)?;
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let counter = Value::new(0)?;
    let lock = Lock::new()?;

    let mut processes: Vec<_> = (0..4)
        .map(|_| Process::new(safe_increment, (counter.clone(), lock.clone())))
        .collect();

    for p in &mut processes {
        p.start()?;
    }
    for p in &processes {
        p.join()?;
    }

    println!("Counter: {}", counter.get()); // 4000
    Ok(())
}
