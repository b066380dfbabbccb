//! One process at a time prints. The original's children inherit the lock as a global; here it is
//! an argument.

use mp::{Lock, Process};

fn safe_print(lock: Lock, msg: String) -> mp::Result<()> {
    let _guard = lock.lock()?;
    println!("{msg}");
    Ok(())
}

fn main() -> mp::Result<()> {
    let lock = Lock::new()?;
    let mut processes: Vec<_> = (0..5)
        .map(|i| Process::new(safe_print, (lock.clone(), format!("Message {i}"))))
        .collect();
    for p in &mut processes {
        p.start()?;
    }
    for p in &processes {
        p.join()?;
    }
    Ok(())
}
