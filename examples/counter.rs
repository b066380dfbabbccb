//! Two processes count to the same number: once with the race of the tutorials, once with a lock,
//! once atomically.
//!
//! ```text
//! cargo run --release --example counter
//! ```

#![forbid(unsafe_code)]

use mp::{Event, Process, RawValue, Value};

const TIMES: i64 = 5_000_000;
const PROCESSES: i64 = 2;

/// `value += 1` as two steps: what another process adds in between is lost.
fn racy(go: Event, count: RawValue<i64>) -> mp::Result<()> {
    go.wait();
    for _ in 0..TIMES {
        count.set(count.get() + 1);
    }
    Ok(())
}

fn locked(go: Event, count: Value<i64>) -> mp::Result<()> {
    go.wait();
    for _ in 0..TIMES {
        *count.lock()? += 1;
    }
    Ok(())
}

fn atomic(go: Event, count: RawValue<i64>) -> mp::Result<()> {
    go.wait();
    for _ in 0..TIMES {
        count.fetch_add(1);
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let (race, lock, step) = (RawValue::new(0)?, Value::new(0)?, RawValue::new(0)?);
    run(|go| mp::spawn(racy, (go, race.clone())))?;
    run(|go| mp::spawn(locked, (go, lock.clone())))?;
    run(|go| mp::spawn(atomic, (go, step.clone())))?;

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

/// Starts the processes, lets them go together, and waits for them.
fn run(start: impl Fn(Event) -> mp::Result<Process<mp::Result<()>>>) -> mp::Result<()> {
    let go = Event::new()?;
    let counters: mp::Result<Vec<_>> = (0..PROCESSES).map(|_| start(go.clone())).collect();
    go.set();
    counters?.iter().try_for_each(|counter| counter.result()?)
}
