//! The ways in which a process ends, and how the parent sees them.
//!
//! `cargo run -p mp-process --example ends`

use mp_process::{Process, Returned, Status, spawn};

fn divide(a: i32, b: i32) -> Result<i32, String> {
    if b == 0 {
        return Err(format!("{a} cannot be divided by zero"));
    }
    Ok(a / b)
}

fn third(numbers: Vec<u8>) -> u8 {
    numbers[3]
}

fn leave() {
    std::process::exit(3)
}

fn ended<R: Returned>(what: &str, process: Process<R>) -> mp_layout::Result<Status> {
    process.join()?;
    let code = process.exitcode();
    let error = process.result().err();
    println!("{what}: exit code {code:?}, {}", process.status());
    if let Some(error) = error {
        println!("  {error}");
    }
    Ok(process.status())
}

fn main() -> mp_layout::Result<()> {
    let status = ended("a value", spawn(divide, (6, 2))?)?;
    assert_eq!(status, Status::Exited(0));
    let status = ended("an Err", spawn(divide, (6, 0))?)?;
    assert_eq!(status, Status::Exited(1));
    let status = ended("a panic", spawn(third, (vec![1, 2],))?)?;
    assert!(matches!(status, Status::Panicked(panic) if panic.location().is_some()));
    let status = ended("an exit", spawn(leave, ())?)?;
    assert_eq!(status, Status::Exited(3));
    let sleeper = spawn(std::thread::park, ())?;
    sleeper.kill()?;
    let status = ended("a kill", sleeper)?;
    assert!(matches!(status, Status::Signaled { signal: 9, .. }));
    Ok(())
}
