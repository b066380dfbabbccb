//! A message of several types. In Rust it is a tuple.

use mp::{Connection, Process};

type Message = (i32, Option<i32>, String);

fn f(conn: Connection<Message>) -> mp::Result<()> {
    conn.send((42, None, "hello".to_owned()))?;
    Ok(())
}

fn main() -> mp::Result<()> {
    let (parent_conn, child_conn) = mp::pipe()?;
    let mut p = Process::new(f, (child_conn,));
    p.start()?;
    let (number, nothing, text) = parent_conn.recv()?;
    println!("[{number}, {nothing:?}, '{text}']");
    p.join()
}
