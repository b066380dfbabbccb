//! Two processes count to the same number: once with the race of the tutorials, once with a lock, once atomically.
//!
//! ```text
//! cargo run --example counter
//! ```

#![forbid(unsafe_code)]

use mp::{Process, RawValue, Value};

const TIMES: i64 = 1_000_000;
const PROCESSES: i64 = 2;

/// `value += 1` as two steps: what another process adds in between is lost.
fn racy(count: RawValue<i64>) {
    for _ in 0..TIMES {
        count.set(count.get() + 1);
    }
}

fn locked(count: Value<i64>) -> mp::Result<()> {
    for _ in 0..TIMES {
        *count.lock()? += 1;
    }
    Ok(())
}

fn atomic(count: RawValue<i64>) {
    for _ in 0..TIMES {
        count.fetch_add(1);
    }
}

fn main() -> mp::Result<()> {
    let (race, lock, step) = (RawValue::new(0)?, Value::new(0)?, RawValue::new(0)?);

    join_all((0..PROCESSES).map(|_| mp::spawn(racy, (race.clone(),))))?;
    let locked_ones = (0..PROCESSES).map(|_| mp::spawn(locked, (lock.clone(),)));
    for process in locked_ones.collect::<mp::Result<Vec<_>>>()? {
        process.result()??;
    }
    join_all((0..PROCESSES).map(|_| mp::spawn(atomic, (step.clone(),))))?;

    println!(
        "without a lock {}, with a lock {}, atomically {}",
        race.get(),
        lock.get(),
        step.get()
    );
    assert!(race.get() <= PROCESSES * TIMES);
    assert_eq!(
        (lock.get(), step.get()),
        (PROCESSES * TIMES, PROCESSES * TIMES)
    );
    Ok(())
}

fn join_all(processes: impl Iterator<Item = mp::Result<Process<()>>>) -> mp::Result<()> {
    for process in processes.collect::<mp::Result<Vec<_>>>()? {
        process.result()?;
    }
    Ok(())
}
