//! The server under frames of a remote client that may be anything, without sockets and threads.

use std::collections::BTreeSet;
use std::sync::Arc;

use mp_os::descriptor;
use mp_queue::pipe_one_way;

use super::{FREE_DESCRIPTORS, Server};
use crate::remote::numbers::Numbers;
use crate::remote::session::Table;
use crate::remote::wire::{self, ToServer};
use crate::remote::{check, references};
use crate::request::{Kind, Operation, Receipt, Reply, Request, Sender};

/// Carries out the frames in these bytes, of which each begins with two bytes that say how many of
/// them it has, and writes the answers.
pub fn serve_frames(mut bytes: &[u8]) {
    let limit = descriptor::limit();
    let mut server = Server::new(limit);
    let table = Arc::new(Table::new(limit.saturating_sub(FREE_DESCRIPTORS)));
    let (replies, theirs) = pipe_one_way::<Reply>().expect("a pipe");
    let mut number = 0;
    let mut serve = |server: &mut Server, object, operation| {
        number += 1;
        let sender = Sender {
            connection: 1,
            number,
        };
        server.serve(Request {
            sender,
            object,
            operation,
        });
        replies.try_recv().map(|reply| reply.answer)
    };
    // It is not answered.
    serve(&mut server, 0, Operation::Connect(theirs, Receipt::Told)).expect_err("no answer");
    // The numbers that the client was given and has not released.
    let mut given = BTreeSet::new();
    for kind in [Kind::Dict, Kind::List] {
        let answer = serve(&mut server, 0, Operation::Create(kind)).expect("an answer");
        let (written, numbers) = references::in_frame_at(&table, || wire::write(&answer));
        assert!(!written.expect("a frame").is_empty());
        given.extend(numbers);
    }
    while let Some((len, rest)) = bytes.split_first_chunk() {
        let len = u16::from_le_bytes(*len);
        let (frame, rest) = rest.split_at(rest.len().min(len.into()));
        bytes = rest;
        match references::in_frame_at(&table, || wire::read(frame)).0 {
            Ok(ToServer::Ask(object, operation)) if check(&operation).is_ok() => {
                let answer = serve(&mut server, object, operation).expect("it is answered");
                let (written, numbers) = references::in_frame_at(&table, || wire::write(&answer));
                match written {
                    Ok(_) => given.extend(numbers),
                    // The client has as many references as the server gives.
                    Err(_) => table.release(&numbers),
                }
            }
            Ok(ToServer::Release(Numbers(numbers))) => {
                table.release(&numbers);
                for number in &numbers {
                    given.remove(number);
                }
            }
            Ok(ToServer::Ask(..)) | Err(_) => {}
        }
        assert_eq!(
            table.len(),
            given.len(),
            "a client's table has what it was given"
        );
    }
    server.sweep();
}
