//! An executor runs one task, then five at the same time.

use mp::ProcessPoolExecutor;

fn task(n: i32) -> i32 {
    n * n
}

fn main() -> mp::Result<()> {
    let executor = ProcessPoolExecutor::new()?;
    // one task, and its future
    let future = executor.submit(task, (10,));
    // waits for the task
    let result = future.result()?;
    println!("任务结果：{result}");

    // several tasks at the same time
    for result in executor.map(task, [1, 2, 3, 4, 5]) {
        println!("任务结果：{}", result?);
    }
    Ok(())
}
