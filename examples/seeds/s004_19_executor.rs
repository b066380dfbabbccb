//! An executor: one task, a map, and futures as they are done.

use std::thread::sleep;
use std::time::Duration;

use mp::ProcessPoolExecutor;
use mp::pool::as_completed;

fn task(n: i32) -> i32 {
    sleep(Duration::from_millis(500));
    n.pow(2)
}

fn main() -> mp::Result<()> {
    let executor = ProcessPoolExecutor::with_workers(4)?;
    // submit one task
    let future = executor.submit(task, (5,));
    println!("Result: {}", future.result()?);

    // map many
    let results: Vec<i32> = executor.map(task, 0..10).collect::<Result<_, _>>()?;
    println!("Results: {results:?}");

    // as they are done
    let futures: Vec<_> = (0..5).map(|i| executor.submit(task, (i,))).collect();
    for future in as_completed(futures) {
        println!("Completed: {}", future.result()?);
    }
    Ok(())
}
