//! Ten tasks print in the processes of a pool, which is closed and joined.

use mp::Pool;

/// Runs in a process of the pool.
fn worker(num: i32) {
    println!("Worker {num}");
}

fn main() -> mp::Result<()> {
    let pool = Pool::new(4)?;
    pool.map(worker, 0..10)?;
    // no more tasks
    pool.close();
    // waits for the end of its processes
    pool.join()
}
