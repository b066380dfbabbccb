//! A function runs in a process of its own.

use mp::Process;

fn process_function() {
    println!("Hello from a process!");
}

fn main() -> mp::Result<()> {
    let mut process = Process::new(process_function, ());
    process.start()?;
    process.join()
}
