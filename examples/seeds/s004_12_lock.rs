//! Three processes wait for one lock.

use mp::{Lock, Process};

fn task_with_lock(lock: Lock, name: String) -> mp::Result<()> {
    println!("{name} waiting for lock");
    {
        let _guard = lock.lock()?;
        println!("{name} acquired lock");
        // the critical section
    }
    println!("{name} released lock");
    Ok(())
}

fn main() -> mp::Result<()> {
    let lock = Lock::new()?;

    let mut processes: Vec<_> = (0..3)
        .map(|i| Process::new(task_with_lock, (lock.clone(), format!("Process-{i}"))))
        .collect();

    for p in &mut processes {
        p.start()?;
    }
    for p in &processes {
        p.join()?;
    }
    Ok(())
}
