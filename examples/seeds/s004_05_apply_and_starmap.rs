//! The ways to give a pool its arguments.

use mp::Pool;
use serde::{Deserialize, Serialize};

fn add(a: i32, b: i32) -> i32 {
    a + b
}

#[derive(Serialize, Deserialize)]
struct Item {
    value: i32,
}

fn process_item(item: Item) -> i32 {
    item.value * 2
}

fn main() -> mp::Result<()> {
    let pool = Pool::new(4)?;
    // apply: one task, waits
    let result = pool.apply(add, (1, 2))?;
    println!("{result}"); // 3

    // apply_async: one task, does not wait
    let async_result = pool.apply_async(add, (3, 4));
    println!("{}", async_result.get()?); // 7

    // starmap: a map of several arguments
    let pairs = [(1, 2), (3, 4), (5, 6)];
    let results = pool.starmap(add, pairs)?;
    println!("{results:?}"); // [3, 7, 11]

    // imap: an iterator
    for result in pool.imap(process_item, (0..5).map(|value| Item { value })) {
        println!("{}", result?); // 0, 2, 4, 6, 8
    }
    Ok(())
}
