//! What a process sent is there after its end.

use mp::{Connection, Process};

fn worker(conn: Connection<String>) -> mp::Result<()> {
    conn.send("Hello from worker".to_owned())?;
    Ok(())
}

fn main() -> mp::Result<()> {
    let (parent_conn, child_conn) = mp::pipe()?;
    let mut p = Process::new(worker, (child_conn,));
    p.start()?;
    p.join()?;

    println!("Received: {}", parent_conn.recv()?);
    Ok(())
}
