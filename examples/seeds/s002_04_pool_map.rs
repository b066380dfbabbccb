//! A pool of four processes squares ten numbers.

use mp::Pool;

fn square(x: i32) -> i32 {
    x.pow(2)
}

fn main() -> mp::Result<()> {
    let pool = Pool::new(4)?;
    let results = pool.map(square, 0..10)?;
    println!("{results:?}"); // [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
    Ok(())
}
