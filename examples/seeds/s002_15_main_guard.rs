//! There is no main guard to forget: a child never runs `main`.
//!
//! The original starts its worker twice, without and with the guard, and joins neither. Both are
//! waited for at the exit.

use mp::Process;

fn worker() {
    println!("Working");
}

fn main() -> mp::Result<()> {
    let mut p = Process::new(worker, ());
    p.start()?;

    let mut p = Process::new(worker, ());
    p.start()
}
