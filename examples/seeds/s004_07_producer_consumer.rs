//! A consumer that is slower than the producer gets all items.

use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

use mp::{Process, Queue};

/// The producer process.
fn producer(queue: Queue<Option<i32>>, items: Range<i32>) -> mp::Result<()> {
    for item in items {
        println!("Producing: {item}");
        queue.put(Some(item))?;
        sleep(Duration::from_millis(100));
    }
    queue.put(None)?; // the end
    Ok(())
}

/// The consumer process.
fn consumer(queue: Queue<Option<i32>>) -> mp::Result<()> {
    while let Some(item) = queue.get()? {
        println!("Consuming: {item}");
        sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let queue = Queue::new()?;

    let mut prod = Process::new(producer, (queue.clone(), 0..5));
    let mut cons = Process::new(consumer, (queue.clone(),));

    prod.start()?;
    cons.start()?;

    prod.join()?;
    cons.join()
}
