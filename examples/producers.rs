//! Several producers and consumers on one queue; one producer is killed, and everybody else
//! finishes.
//!
//! ```text
//! cargo run --example producers
//! ```

#![forbid(unsafe_code)]

use mp::Queue;
use mp::queue::GetError;

const ITEMS: u64 = 20_000;

fn produce(queue: Queue<(u32, u64)>, me: u32) -> mp::Result<()> {
    for number in 0..ITEMS {
        queue.put((me, number))?;
    }
    Ok(())
}

/// Puts until it is killed.
fn produce_for_ever(queue: Queue<(u32, u64)>, me: u32) -> mp::Result<()> {
    for number in 0.. {
        queue.put((me, number))?;
    }
    Ok(())
}

/// Adds up what the well-behaved producers sent, until the queue is closed and empty.
fn consume(queue: Queue<(u32, u64)>) -> mp::Result<u64> {
    let mut sum = 0;
    loop {
        match queue.get() {
            Ok((0, number)) => sum += number,
            Ok(_) => {}
            Err(GetError::Closed) => return Ok(sum),
            Err(error) => return Err(error.into()),
        }
    }
}

fn main() -> mp::Result<()> {
    let queue = Queue::bounded(100)?;
    let consumers = [
        mp::spawn(consume, (queue.clone(),))?,
        mp::spawn(consume, (queue.clone(),))?,
    ];
    let victim = mp::spawn(produce_for_ever, (queue.clone(), 1))?;
    let producers = [
        mp::spawn(produce, (queue.clone(), 0))?,
        mp::spawn(produce, (queue.clone(), 0))?,
    ];

    victim.kill()?;
    victim.join()?;
    for producer in producers {
        producer.result()??;
    }
    queue.close()?;
    let mut sum = 0;
    for consumer in consumers {
        sum += consumer.result()??;
    }
    println!(
        "the killed producer: {}; the others' sum: {sum}",
        victim.status()
    );
    assert_eq!(sum, 2 * (ITEMS - 1) * ITEMS / 2);
    Ok(())
}
