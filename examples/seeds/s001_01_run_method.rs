//! A type that is a process, as a subclass of `Process` is in Python.

use mp::Process;
use mp::process::Run;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct MyProcess;

impl Run for MyProcess {
    type Output = ();

    fn run(self) {
        println!("Hello from a process!");
    }
}

fn main() -> mp::Result<()> {
    let mut process = Process::from_run(MyProcess);
    process.start()?;
    process.join()
}
