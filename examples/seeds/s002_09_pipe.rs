//! Messages of two types go through one pipe. In Rust they are one enum.

use mp::{Connection, Process};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Message {
    Text(String),
    Numbers(Vec<i32>),
}

fn sender(conn: Connection<Message>) -> mp::Result<()> {
    conn.send(Message::Text("Hello from sender".to_owned()))?;
    conn.send(Message::Numbers(vec![1, 2, 3]))?;
    Ok(())
}

fn receiver(conn: Connection<Message>) -> mp::Result<()> {
    for _ in 0..2 {
        match conn.recv()? {
            Message::Text(text) => println!("{text}"), // Hello from sender
            Message::Numbers(numbers) => println!("{numbers:?}"), // [1, 2, 3]
        }
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let (parent_conn, child_conn) = mp::pipe()?;

    let mut p1 = Process::new(sender, (child_conn,));
    let mut p2 = Process::new(receiver, (parent_conn,));

    p1.start()?;
    p2.start()?;

    p1.join()?;
    p2.join()
}
