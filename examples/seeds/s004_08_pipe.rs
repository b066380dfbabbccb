//! The receiver reads until `Done`, or until the sender's side is closed.

use mp::queue::GetError;
use mp::{Connection, Process};

/// The sending end.
fn sender(conn: Connection<String>) -> mp::Result<()> {
    let messages = ["Hello", "World", "Done"];
    for msg in messages {
        conn.send(msg.to_owned())?;
        println!("Sent: {msg}");
    }
    Ok(())
}

/// The receiving end.
fn receiver(conn: Connection<String>) -> mp::Result<()> {
    loop {
        let msg = match conn.recv() {
            Err(GetError::Closed) => break,
            received => received?,
        };
        println!("Received: {msg}");
        if msg == "Done" {
            break;
        }
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    // the two ends of a pipe
    let (parent_conn, child_conn) = mp::pipe()?;

    let mut p1 = Process::new(sender, (parent_conn,));
    let mut p2 = Process::new(receiver, (child_conn,));

    p1.start()?;
    p2.start()?;

    p1.join()?;
    p2.join()
}
