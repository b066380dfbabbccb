//! Ten tasks, and the worker of one of them is killed: nine results, and which task died and how.
//!
//! ```text
//! cargo run --example killed_worker
//! ```

#![forbid(unsafe_code)]

use mp::pool::Cause;
use mp::process::Status;
use mp::{Pool, Queue};

/// The task that is killed says who runs it, and runs on.
fn square(n: u64, victim: Queue<u32>) -> mp::Result<u64> {
    if n == 7 {
        victim.put(std::process::id())?;
        loop {
            std::thread::park();
        }
    }
    Ok(n * n)
}

fn main() -> mp::Result<()> {
    let pool = Pool::new(3)?;
    let victim = Queue::new()?;
    let tasks: Vec<_> = (0..10)
        .map(|n| pool.apply_async(square, (n, victim.clone())))
        .collect();

    let pid = victim.get()?;
    let kill = format!("kill -9 {pid}");
    std::process::Command::new("sh")
        .args(["-c", &kill])
        .status()?;

    let mut results = 0;
    for (n, task) in tasks.iter().enumerate() {
        match task.get() {
            Ok(square) => {
                results += 1;
                println!("{n}: {}", square?);
            }
            Err(error) => {
                println!("{n}: {error}");
                let Cause::Died(death) = error.cause() else {
                    unreachable!("it was killed")
                };
                assert_eq!((n, death.pid()), (7, pid));
                assert!(matches!(death.status(), Status::Signaled { signal: 9, .. }));
            }
        }
    }
    assert_eq!(results, 9);
    assert!(!pool.worker_pids().contains(&pid), "another took its place");
    Ok(())
}
