//! The parent tells the receiver by `None` that the sender has ended: it has kept the sender's
//! connection.

use mp::{Connection, Process};

fn sender(pipe: Connection<Option<i32>>) -> mp::Result<()> {
    for i in 0..5 {
        pipe.send(Some(i))?;
        println!("Sent {i}");
    }
    Ok(())
}

fn receiver(pipe: Connection<Option<i32>>) -> mp::Result<()> {
    while let Some(item) = pipe.recv()? {
        println!("Received {item}");
    }
    Ok(())
}

fn main() -> mp::Result<()> {
    let (parent_conn, child_conn) = mp::pipe()?;

    let mut sender_process = Process::new(sender, (parent_conn.clone(),));
    let mut receiver_process = Process::new(receiver, (child_conn,));

    sender_process.start()?;
    receiver_process.start()?;

    sender_process.join()?;

    // the end, for the receiver
    parent_conn.send(None)?;

    receiver_process.join()
}
