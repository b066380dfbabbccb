//! Ten processes count to a million: `m` without a lock around `+= 1`, and `n` under one.
//!
//! `m` comes out too small, as in Python: each load and each store is whole, and what another
//! process adds in between is lost. The original's children inherit the lock as a global; here it
//! is an argument.

use mp::{Lock, Process, Value};

fn process_function(lock: Lock, m: Value<i32>, n: Value<i32>) -> mp::Result<()> {
    for _ in 0..100_000 {
        m.set(m.get() + 1)?;
    }
    let _guard = lock.lock()?;
    for _ in 0..100_000 {
        n.set(n.get() + 1)?;
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let lock = Lock::new()?;

    let m = Value::new(0)?;
    let n = Value::new(0)?;

    let mut processes = Vec::new();
    for _ in 0..10 {
        let mut process = Process::new(process_function, (lock.clone(), m.clone(), n.clone()));
        process.start()?;
        processes.push(process);
    }

    for process in processes {
        process.join()?;
    }

    println!("Final m.value:{} n.value:{}", m.get(), n.get());
    Ok(())
}
