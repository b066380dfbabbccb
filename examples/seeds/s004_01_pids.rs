//! Two processes tell their own number and their parent's.

use mp::{Process, current_process};

/// The function that the processes run.
fn worker(name: String) {
    let me = current_process();
    println!(
        "Worker {name}, PID: {}, Parent PID: {}",
        me.pid(),
        me.parent_pid()
    );
}

fn main() -> mp::Result<()> {
    println!("Main process PID: {}", current_process().pid());

    let mut p1 = Process::new(worker, ("A".to_owned(),));
    let mut p2 = Process::new(worker, ("B".to_owned(),));

    p1.start()?;
    p2.start()?;

    p1.join()?;
    p2.join()?;

    println!("All workers finished");
    Ok(())
}
