//! Numbers of up to 2.6 million digits are computed in a pool and come back.

use mp::Pool;
use num_bigint::BigUint;

/// `n!`, from the products of both halves of its factors.
fn factorial(n: u32) -> BigUint {
    fn product(first: u32, last: u32) -> BigUint {
        if last - first < 8 {
            return (first..=last).map(BigUint::from).product();
        }
        let middle = first.midpoint(last);
        product(first, middle) * product(middle + 1, last)
    }
    product(1, n.max(1))
}

fn main() -> mp::Result<()> {
    let numbers = [100_000, 200_000, 300_000, 400_000, 500_000];

    // makes the pool
    let pool = Pool::new(5)?;
    let results = pool.map(factorial, numbers)?;

    for (number, result) in numbers.iter().zip(&results) {
        assert!(result.bits() > u64::from(*number), "it is the factorial");
        println!("Factorial of {number} is calculated.");
    }
    Ok(())
}
