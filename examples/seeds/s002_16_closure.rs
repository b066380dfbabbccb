//! A closure is a task as well as a function is.
//!
//! The original says that a lambda cannot be passed, and stops at a missing import. A closure
//! without captures can; one that captures does not compile.

use mp::Process;

fn worker() {
    println!("hello");
}

fn main() -> mp::Result<()> {
    let mut p = Process::new(|| println!("hello"), ());
    p.start()?;
    p.join()?;

    let mut p = Process::new(worker, ());
    p.start()?;
    p.join()
}
