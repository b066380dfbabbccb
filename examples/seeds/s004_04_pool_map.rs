//! A pool maps, once with waiting for the results and once without.

use std::thread::sleep;
use std::time::Duration;

use mp::Pool;

fn square(x: i32) -> i32 {
    sleep(Duration::from_millis(500)); // takes its time
    x * x
}

fn main() -> mp::Result<()> {
    // a pool of four workers
    let pool = Pool::new(4)?;
    // waits, and returns the results
    let results = pool.map(square, 0..10)?;
    println!("{results:?}"); // [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]

    // does not wait
    let async_result = pool.map_async(square, 0..5);
    // something else ...
    let results = async_result.get()?;
    println!("{results:?}");
    Ok(())
}
