//! One program of which two builds differ in a structure's field: `make` makes an object of each
//! kind, `open` opens them.
//!
//! Usage: `two_builds make|open NAME...`, with as many names as there are kinds.
#![allow(
    unexpected_cfgs,
    reason = "the test sets `floats` for one of two builds"
)]

use std::io::Read;

use mp::codec::Plain;
use mp::{Array, Mutex, Queue, RawArray, RawValue, Result, Value};

#[derive(Clone, Copy, mp::Plain)]
#[repr(C)]
struct Job {
    #[cfg(not(floats))]
    a: u32,
    #[cfg(floats)]
    a: f32,
    b: u32,
}

const JOB: Job = Job {
    #[cfg(not(floats))]
    a: 0x4048_f5c3,
    #[cfg(floats)]
    a: 3.14,
    b: 7,
};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let action = arguments.next();
    let names: Vec<String> = arguments.collect();
    let [value, raw_value, array, raw_array, mutex, queue] = &names[..] else {
        panic!("six names are needed");
    };
    match action.as_deref() {
        Some("make") => {
            let job = RawArray::create_named(raw_array, 1)?;
            job.set(0, JOB);
            let _kept = (
                Value::create_named(value, JOB)?,
                RawValue::create_named(raw_value, JOB)?,
                Array::create_named_from(array, &[JOB])?,
                job,
                Mutex::create_named(mutex, JOB)?,
                Queue::<Job, Plain>::builder().create_named(queue)?,
            );
            println!("made");
            std::io::stdin().read_to_end(&mut Vec::new())?;
        }
        _ => {
            report("value", Value::open(value).map(|job: Value<Job>| job.get()));
            report(
                "raw value",
                RawValue::open(raw_value).map(|job: RawValue<Job>| job.get()),
            );
            report(
                "array",
                Array::<Job>::open(array).and_then(|jobs| jobs.get(0)),
            );
            report(
                "raw array",
                RawArray::<Job>::open(raw_array).map(|jobs| jobs.get(0)),
            );
            report(
                "mutex",
                Mutex::<Job>::open(mutex).and_then(|job| Ok(*job.lock()?)),
            );
            report("queue", Queue::<Job, Plain>::open(queue).map(|_| JOB));
        }
    }
    Ok(())
}

fn report(what: &str, job: Result<Job>) {
    match job {
        Ok(job) => println!("{what}: {} {}", job.a, job.b),
        Err(error) => println!("{what}: {:?}: {error}", error.kind()),
    }
}
