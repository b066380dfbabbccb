//! A result is fetched after its task was submitted, and once more.

use std::time::Duration;

use mp::Pool;

fn task(x: i32) -> i32 {
    x * 2
}

fn main() -> mp::Result<()> {
    let pool = Pool::new(4)?;
    let result = pool.apply_async(task, (10,));

    // something else ...

    println!("{}", result.get()?); // 20

    // up to five seconds
    println!("{}", result.get_timeout(Duration::from_secs(5))?);
    Ok(())
}
