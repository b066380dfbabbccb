//! A process handles its own error.

use mp::Process;

fn process_function() {
    let done: Result<(), &str> = Err("An error occurred!");
    if let Err(e) = done {
        println!("Exception in process: {e}");
    }
}

fn main() -> mp::Result<()> {
    let mut process = Process::new(process_function, ());
    process.start()?;
    process.join()
}
