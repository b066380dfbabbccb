//! Five processes work for two seconds each, at the same time.

use std::thread::sleep;
use std::time::Duration;

use mp::Process;

fn worker(process_name: String) {
    println!("{process_name} 开始工作");
    sleep(Duration::from_secs(2)); // the work
    println!("{process_name} 完成工作");
}

fn main() -> mp::Result<()> {
    let mut processes = Vec::new();
    for i in 1..=5 {
        let mut process = Process::new(worker, (format!("进程-{i}"),));
        process.start()?;
        processes.push(process);
    }

    for process in processes {
        process.join()?;
    }

    println!("所有进程完成");
    Ok(())
}
