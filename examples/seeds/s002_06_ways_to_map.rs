//! The ways to map a function over items. At the last one the original ends with an error: Python
//! cannot pass a lambda to a process. Here a closure without captures can be passed.

use mp::Pool;

fn process_item(item: i32) -> i32 {
    item.pow(2)
}

fn main() -> mp::Result<()> {
    let items = 0..100;
    let pool = Pool::new(4)?;

    // 1: map blocks and gives a vector
    let results = pool.map(process_item, items.clone())?;
    assert_eq!(results.len(), 100);

    // 2: imap is lazy and gives an iterator
    for result in pool.imap(process_item, items.clone()) {
        println!("{}", result?);
    }

    // 3: imap_unordered gives what is done first
    for result in pool.imap_unordered(process_item, items) {
        println!("{}", result?);
    }

    // 4: starmap, for several arguments
    let pairs = [(1, 2), (3, 4), (5, 6)];
    let results = pool.starmap(|a: i32, b: i32| a + b, pairs)?;
    println!("{results:?}"); // a PicklingError in Python
    Ok(())
}
