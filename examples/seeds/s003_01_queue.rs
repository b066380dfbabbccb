//! A message of several types. In Rust it is a tuple.

use mp::{Process, Queue};

type Message = (i32, Option<i32>, String);

fn f(q: Queue<Message>) -> mp::Result<()> {
    q.put((42, None, "hello".to_owned()))?;
    Ok(())
}

fn main() -> mp::Result<()> {
    let q = Queue::new()?;
    let mut p = Process::new(f, (q.clone(),));
    p.start()?;
    let (number, nothing, text) = q.get()?;
    println!("[{number}, {nothing:?}, '{text}']");
    p.join()
}
