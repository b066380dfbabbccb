//! Two producers and three consumers on a bounded queue, until an event stops them.

use std::thread::sleep;
use std::time::Duration;

use mp::{Event, Process, Queue};

/// Puts a number with the producer's own until it is told to stop.
fn producer(queue: Queue<(u32, i32)>, stop_event: Event, producer_id: u32) -> mp::Result<()> {
    while !stop_event.is_set() {
        let item = fastrand::i32(1..=100);
        queue.put((producer_id, item))?;
        println!("Producer {producer_id} produced: {item}");
        sleep(Duration::from_millis(fastrand::u64(100..500)));
    }
    Ok(())
}

/// Gets until it is told to stop and nothing is left.
fn consumer(queue: Queue<(u32, i32)>, stop_event: Event, consumer_id: u32) -> mp::Result<()> {
    while !stop_event.is_set() || !queue.is_empty() {
        let Ok((producer_id, item)) = queue.get_timeout(Duration::from_secs(1)) else {
            continue;
        };
        println!("Consumer {consumer_id} consumed: {item} from Producer {producer_id}");
        sleep(Duration::from_millis(fastrand::u64(200..400)));
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let queue = Queue::bounded(10)?;
    let stop_event = Event::new()?;

    let producers = (0..2).map(|i| Process::new(producer, (queue.clone(), stop_event.clone(), i)));
    let consumers = (0..3).map(|i| Process::new(consumer, (queue.clone(), stop_event.clone(), i)));
    let mut processes: Vec<_> = producers.chain(consumers).collect();

    for p in &mut processes {
        p.start()?;
    }

    // they stop after three seconds
    sleep(Duration::from_secs(3));
    stop_event.set();

    for p in &processes {
        p.join()?;
    }

    println!("All processes finished");
    Ok(())
}
