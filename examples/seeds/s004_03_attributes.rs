//! What a process knows of itself, and its parent of it.

use std::thread::sleep;
use std::time::Duration;

use mp::{Process, current_process};

fn task() {
    let proc = current_process();
    println!("Name: {}", proc.name());
    println!("PID: {}", proc.pid());
    println!("Is alive: {}", python(proc.is_alive()));
    sleep(Duration::from_secs(1));
}

fn main() -> mp::Result<()> {
    let mut p = Process::new(task, ()).name("MyWorker");
    println!("Before start - alive: {}", python(p.is_alive())); // False

    p.start()?;
    println!("After start - alive: {}", python(p.is_alive())); // True

    p.join()?;
    println!("After join - alive: {}", python(p.is_alive())); // False

    if let Some(code) = p.exitcode() {
        println!("Exit code: {code}"); // 0: it ended as it should
    }
    Ok(())
}

/// A truth as Python prints it.
fn python(truth: bool) -> &'static str {
    if truth { "True" } else { "False" }
}
