//! Ten processes print one at a time. They are not joined: the exit waits for them.

use mp::{Lock, Process};

fn f(l: Lock, i: i32) -> mp::Result<()> {
    let _guard = l.lock()?;
    println!("hello world {i}");
    Ok(())
}

fn main() -> mp::Result<()> {
    let lock = Lock::new()?;

    for num in 0..10 {
        Process::new(f, (lock.clone(), num)).start()?;
    }
    Ok(())
}
