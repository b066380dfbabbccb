//! A callback gets the result.

use mp::Pool;
use mp::pool::TaskError;

fn task(x: i32) -> i32 {
    x * 2
}

fn callback(result: i32) {
    println!("Got result: {result}");
}

fn error_callback(error: TaskError) {
    println!("Got error: {error}");
}

fn main() -> mp::Result<()> {
    let pool = Pool::new(4)?;
    pool.apply_async(task, (10,))
        .callback(callback)
        .error_callback(error_callback);
    pool.close();
    pool.join()
}
