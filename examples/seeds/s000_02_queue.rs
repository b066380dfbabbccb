//! What a process put into a queue is there after its end.

use mp::{Process, Queue};

fn worker(q: Queue<i32>) -> mp::Result<()> {
    for i in 0..5 {
        q.put(i)?;
        println!("Put {i} into queue");
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let q = Queue::new()?;
    let mut p = Process::new(worker, (q.clone(),));
    p.start()?;
    p.join()?;

    while !q.is_empty() {
        println!("Get {} from queue", q.get()?);
    }
    Ok(())
}
