//! The server under frames of a remote client that may be anything, without sockets and threads.

use std::sync::Arc;

use mp_os::descriptor;
use mp_queue::pipe_one_way;

use super::{FREE_DESCRIPTORS, Server};
use crate::remote::numbers::Numbers;
use crate::remote::session::Table;
use crate::remote::wire::{self, ToServer};
use crate::remote::{check, references};
use crate::request::{Kind, Operation, Receipt, Reply, Request, Sender};

/// Carries out the frames in these bytes, of which each begins with a byte that says how many of
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
    let created = [Kind::Dict, Kind::List].map(|kind| {
        let answer = serve(&mut server, 0, Operation::Create(kind)).expect("an answer");
        let (written, _) = references::in_frame_at(&table, || wire::write(&answer));
        written.expect("a frame")
    });
    assert!(created.iter().all(|frame| !frame.is_empty()));
    while let Some((len, rest)) = bytes.split_first() {
        let (frame, rest) = rest.split_at(rest.len().min((*len).into()));
        bytes = rest;
        match references::in_frame_at(&table, || wire::read(frame)).0 {
            Ok(ToServer::Ask(object, operation)) if check(&operation).is_ok() => {
                let answer = serve(&mut server, object, operation).expect("it is answered");
                // It fails where the client has as many references as the server gives.
                drop(references::in_frame_at(&table, || wire::write(&answer)));
            }
            Ok(ToServer::Release(Numbers(numbers))) => table.release(&numbers),
            Ok(ToServer::Ask(..)) | Err(_) => {}
        }
    }
    server.sweep();
}
