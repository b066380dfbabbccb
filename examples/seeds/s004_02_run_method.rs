//! Three processes of one type, each with a name.

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
        println!("Process {} is running", self.name);
    }
}

fn main() -> mp::Result<()> {
    let mut processes: Vec<_> = (0..3)
        .map(|i| format!("Worker-{i}"))
        .map(|name| Process::from_run(MyProcess { name }))
        .collect();

    for p in &mut processes {
        p.start()?;
    }

    for p in &processes {
        p.join()?;
    }
    Ok(())
}
