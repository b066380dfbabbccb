//! A type that is a process and has a name.

use mp::Process;
use mp::process::Run;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct MyProcess {
    name: String,
}

impl Run for MyProcess {
    type Output = ();

    fn name(&self) -> Option<String> {
        Some(self.name.clone())
    }

    fn run(self) {
        println!("Process {} running", self.name);
    }
}

fn main() -> mp::Result<()> {
    let name = "Worker".to_owned();
    let mut p = Process::from_run(MyProcess { name });
    p.start()?;
    p.join()
}
