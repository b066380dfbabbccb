//! The first of two programs, on one machine or on two: a board of jobs, which `job_worker` does.
//!
//! ```text
//! export JOB_KEY=$(head -c 32 /dev/urandom | base64)
//! cargo run --features net --example job_board 127.0.0.1:5000
//! cargo run --features net --example job_worker 127.0.0.1:5000 # twice, with the same JOB_KEY
//! ```

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use mp::Manager;

#[path = "job_board/place.rs"]
mod place;

const JOBS: u64 = 200;

/// So many workers are waited for before the work begins.
const WORKERS: usize = 2;

const PAUSE: Duration = Duration::from_millis(20);

/// So many looks after the last job was taken, those without a result are given out again.
const PATIENCE: u32 = 100;

fn main() -> mp::Result<()> {
    let (address, key) = place::of_arguments()?;
    let manager = Manager::bind(address, key)?;
    let (workers, jobs) = (manager.set::<String>()?, manager.list::<u64>()?);
    let results = manager.dict::<u64, u64>()?;
    manager.publish("jobs", jobs.clone())?;
    manager.publish("results", results.clone())?;
    manager.publish("number of jobs", JOBS)?;
    manager.publish("workers", workers.clone())?;
    println!("the board is open");

    while workers.len()? < WORKERS {
        thread::sleep(PAUSE);
    }
    println!("{WORKERS} workers have come");
    jobs.extend(1..=JOBS)?;
    let mut looks_without_jobs = 0;
    while results.len()? < JOBS as usize {
        thread::sleep(PAUSE);
        looks_without_jobs = if jobs.is_empty()? {
            looks_without_jobs + 1
        } else {
            0
        };
        if looks_without_jobs == PATIENCE {
            // A worker was killed with its job, or is slow: then two do it, with the same result.
            let done = results.keys()?;
            let lost: Vec<u64> = (1..=JOBS).filter(|job| !done.contains(job)).collect();
            println!("again: the jobs {lost:?}");
            jobs.extend(lost)?;
            looks_without_jobs = 0;
        }
    }
    let sum: u64 = results.values()?.iter().sum();
    assert_eq!(sum, (1..=JOBS).map(|n| n * n).sum());
    println!(
        "{JOBS} jobs are done by {}; their squares make {sum}",
        workers.to_vec()?.join(" and ")
    );
    Ok(())
}
