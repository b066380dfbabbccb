//! A pool of five processes squares ten numbers.

use mp::Pool;

fn worker(x: i32) -> i32 {
    x * x
}

fn main() -> mp::Result<()> {
    let pool = Pool::new(5)?;
    let results = pool.map(worker, 0..10)?;
    println!("{results:?}");
    Ok(())
}
