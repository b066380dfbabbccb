//! Four processes tell their numbers.

use mp::{Process, current_process};

fn worker(name: String) {
    println!("Worker {name}, PID: {}", current_process().pid());
}

fn main() -> mp::Result<()> {
    let mut processes = Vec::new();
    for i in 0..4 {
        let mut p = Process::new(worker, (format!("P{i}"),));
        p.start()?;
        processes.push(p);
    }

    for p in processes {
        p.join()?;
    }
    Ok(())
}
