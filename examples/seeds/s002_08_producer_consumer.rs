//! The producer tells the consumer by `None` that there is no more.

use mp::{Process, Queue};

fn producer(q: Queue<Option<i32>>) -> mp::Result<()> {
    for i in 0..5 {
        q.put(Some(i))?;
        println!("Produced: {i}");
    }
    q.put(None)?; // the end
    Ok(())
}

fn consumer(q: Queue<Option<i32>>) -> mp::Result<()> {
    while let Some(item) = q.get()? {
        println!("Consumed: {item}");
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let q = Queue::new()?;
    let mut p1 = Process::new(producer, (q.clone(),));
    let mut p2 = Process::new(consumer, (q.clone(),));

    p1.start()?;
    p2.start()?;

    p1.join()?;
    p2.join()
}
