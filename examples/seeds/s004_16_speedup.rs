//! The same work by one process and by a pool.

use std::hint::black_box;
use std::time::Instant;

use mp::Pool;

/// Computes for a while.
fn compute_heavy(n: u64) -> u64 {
    let mut result = 0;
    for i in 0..n {
        result += black_box(i).pow(2);
    }
    result
}

fn main() -> mp::Result<()> {
    let numbers = [1_000_000; 8];

    // one after another
    let start = Instant::now();
    let serial_results = numbers.map(compute_heavy);
    let serial_time = start.elapsed().as_secs_f64();

    // in parallel
    let start = Instant::now();
    let pool = Pool::new(mp::cpu_count())?;
    let parallel_results = pool.map(compute_heavy, numbers)?;
    drop(pool);
    let parallel_time = start.elapsed().as_secs_f64();
    assert_eq!(serial_results[..], parallel_results);

    println!("Serial: {serial_time:.2}s");
    println!("Parallel: {parallel_time:.2}s");
    println!("Speedup: {:.2}x", serial_time / parallel_time);
    Ok(())
}
