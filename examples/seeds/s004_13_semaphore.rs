//! Five processes use a resource of which there are two.

use std::thread::sleep;
use std::time::Duration;

use mp::{Process, Semaphore};

/// Uses the resource for a second.
fn limited_resource(sem: Semaphore, name: String) {
    let _guard = sem.acquire_guard();
    println!("{name} acquired semaphore");
    sleep(Duration::from_secs(1)); // use the resource
    println!("{name} released semaphore");
}

fn main() -> mp::Result<()> {
    // at most two processes at a time
    let sem = Semaphore::new(2)?;

    let mut processes: Vec<_> = (0..5)
        .map(|i| Process::new(limited_resource, (sem.clone(), format!("Process-{i}"))))
        .collect();

    for p in &mut processes {
        p.start()?;
    }
    for p in &processes {
        p.join()?;
    }
    Ok(())
}
