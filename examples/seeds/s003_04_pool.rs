//! What a pool can do; at its end one worker still sleeps.

use std::process;
use std::thread::sleep;
use std::time::Duration;

use mp::Pool;
use mp::pool::Cause;

const SECOND: Duration = Duration::from_secs(1);

fn f(x: i32) -> i32 {
    x * x
}

fn main() -> mp::Result<()> {
    // start four worker processes
    let pool = Pool::new(4)?;

    // print "[0, 1, 4,..., 81]"
    println!("{:?}", pool.map(f, 0..10)?);

    // print the same numbers in any order
    for i in pool.imap_unordered(f, 0..10) {
        println!("{}", i?);
    }

    // evaluate "f(20)", in only one process
    let res = pool.apply_async(f, (20,));
    println!("{}", res.get_timeout(SECOND)?); // prints "400"

    // evaluate "process::id()", in only one process
    let res = pool.apply_async(process::id, ());
    println!("{}", res.get_timeout(SECOND)?); // prints the PID of that process

    // several evaluations may use more processes
    let multiple_results = [(); 4].map(|()| pool.apply_async(process::id, ()));
    let pids: Result<Vec<u32>, _> = multiple_results
        .iter()
        .map(|res| res.get_timeout(SECOND))
        .collect();
    println!("{:?}", pids?);

    // make a single worker sleep for ten seconds
    let res = pool.apply_async(sleep, (10 * SECOND,));
    match res.get_timeout(SECOND) {
        Err(error) if matches!(error.cause(), Cause::TimedOut) => {
            println!("We lacked patience and got a multiprocessing.TimeoutError");
        }
        ended => println!("{:?}", ended?),
    }

    println!("For the moment, the pool remains available for more work");

    // a drop stops the pool
    drop(pool);
    println!("Now the pool is closed and no longer available");
    Ok(())
}
