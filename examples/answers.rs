//! A worker that answers on a queue which comes in the message, about an array which comes in the
//! message too.
//!
//! `cargo run --release --example answers`

use mp::{Array, Process, Queue, Result, Value};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Job {
    Sum {
        numbers: Array<f64>,
        answer: Queue<(u32, f64)>,
    },
    Double {
        numbers: Array<f64>,
        done: Value<u32>,
    },
}

/// Knows no object before a message brings it.
fn work(jobs: Queue<Job>) -> Result<()> {
    for job in &jobs {
        match job? {
            Job::Sum { numbers, answer } => {
                let sum = numbers.lock()?.iter().sum();
                answer.put((std::process::id(), sum))?;
            }
            Job::Double { numbers, done } => {
                numbers.lock()?.iter_mut().for_each(|number| *number *= 2.0);
                *done.lock()? += 1;
            }
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let jobs = Queue::new()?;
    let mut worker = Process::new(work, (jobs.clone(),)).name("worker");
    worker.start()?;

    // Eight megabytes, made after the worker was started: the message carries the array, not its
    // numbers.
    let numbers = Array::from_slice(&vec![0.5; 1_000_000])?;
    let (answer, done) = (Queue::new()?, Value::new(0_u32)?);
    jobs.put(Job::Double {
        numbers: numbers.clone(),
        done: done.clone(),
    })?;
    jobs.put(Job::Sum {
        numbers: numbers.clone(),
        answer: answer.clone(),
    })?;
    jobs.close()?;

    let (pid, sum) = answer.get()?;
    println!("process {pid} says {sum}");
    worker.join()?;
    assert_eq!((sum, done.get(), numbers.get(0)?), (1_000_000.0, 1, 1.0));
    Ok(())
}
