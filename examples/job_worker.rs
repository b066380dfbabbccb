//! The second of two programs: takes jobs from a `job_board` until all are done.
//!
//! The board goes on when a worker is killed, and gives the job that the worker had to another.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use mp::manager::{Dict, List, Set};
use mp::{ErrorKind, Manager};

#[path = "job_board/place.rs"]
mod place;

const PAUSE: Duration = Duration::from_millis(5);

/// A job is to last a while, so that several workers get some.
const WORK: Duration = Duration::from_millis(5);

fn main() -> mp::Result<()> {
    let (address, key) = place::of_arguments()?;
    let done = match work(&Manager::connect(address, key)?) {
        Ok(done) => done,
        // The others did the last job, or the board was killed.
        Err(error) if error.kind() == ErrorKind::Closed => {
            println!("the board has ended");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    println!("process {} did {done} jobs", std::process::id());
    Ok(())
}

fn work(board: &mp::manager::RemoteManager) -> mp::Result<u64> {
    let workers: Set<String> = board.published("workers")?;
    let jobs: List<u64> = board.published("jobs")?;
    let results: Dict<u64, u64> = board.published("results")?;
    let all: u64 = board.published("number of jobs")?;
    workers.add(&format!("process {}", std::process::id()))?;
    let mut done = 0;
    while (results.len()? as u64) < all {
        match jobs.pop_at(0) {
            Ok(job) => {
                thread::sleep(WORK);
                results.set(&job, job * job)?;
                done += 1;
            }
            // Others have the last jobs, or there are none yet.
            Err(none) if none.kind() == ErrorKind::InvalidInput => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
