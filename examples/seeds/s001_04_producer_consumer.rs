//! The parent tells the consumer by `None` that the producer has ended.

use mp::{Process, Queue};

fn producer(queue: Queue<Option<i32>>) -> mp::Result<()> {
    for i in 0..5 {
        queue.put(Some(i))?;
        println!("Produced {i}");
    }
    Ok(())
}

fn consumer(queue: Queue<Option<i32>>) -> mp::Result<()> {
    while let Some(item) = queue.get()? {
        println!("Consumed {item}");
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let queue = Queue::new()?;

    let mut producer_process = Process::new(producer, (queue.clone(),));
    let mut consumer_process = Process::new(consumer, (queue.clone(),));

    producer_process.start()?;
    consumer_process.start()?;

    producer_process.join()?;

    // the end, for the consumer
    queue.put(None)?;

    consumer_process.join()
}
