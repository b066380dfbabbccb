//! The frames between a remote client and its server.
//!
//! ```text
//!  client, first on each connection   Hello
//!  server                             Result<Welcome>
//!  client, then                       ToServer: Ask, answered by an Answer except for Received, or Release,
//!                                      not answered
//! ```
//!
//! They are messages of [`mp_net`], in postcard's format, without handles. In a frame, a value's
//! descriptors and tokens are numbers of the session's table. A frame's types contain no type that
//! contains itself, so no frame is deep: values are bytes in it.

use std::time::Duration;

use mp_layout::{Error, ErrorKind, Result};
use mp_net::Connection;
use mp_object::{message, transfer};
use mp_os::clock::Deadline;
use mp_os::poll;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::numbers::Numbers;
use crate::request::Operation;

/// Bytes of the longest frame.
pub(crate) const LONGEST: usize = 64 << 20;

/// So many values and keys are in a request at most; fewer in the unit tests, which send them.
pub(crate) const MOST_ELEMENTS: usize = if cfg!(test) { 1 << 12 } else { 1 << 20 };

/// So many references are dropped by one frame at most.
pub(crate) const MOST_RELEASES: usize = 1000;

/// How long the rest of a frame may take to come or to be taken when it has begun.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a client of this version says first.
const MAGIC: u64 = u64::from_le_bytes(*b"mp-mngr1");

/// The first frame of a client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    magic: u64,
    /// The session that the connection joins; none if it begins one.
    pub(crate) session: Option<u128>,
}

impl Hello {
    pub(crate) fn new(session: Option<u128>) -> Self {
        let magic = MAGIC;
        Self { magic, session }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.magic == MAGIC {
            return Ok(());
        }
        Err(
            Error::new(ErrorKind::WrongVersion, "connect to", "a manager")
                .with_detail("the client does not speak this version's protocol"),
        )
    }
}

/// The server's answer to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) session: u128,
    /// Another one means another server, whatever its address is.
    pub(crate) server: u128,
    pub(crate) pid: u32,
}

/// What a client says then.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToServer {
    /// A request about an object, 0 if it is about none.
    Ask(u64, Operation),
    /// It has dropped these references.
    Release(Numbers<MOST_RELEASES>),
}

/// Writes a frame.
pub(crate) fn write<T: Serialize>(frame: &T) -> Result<Vec<u8>> {
    let (written, baggage) = transfer::message(transfer::Way::Nowhere, || message::write(frame));
    written.map_err(|why| {
        let refused = baggage.and_then(|baggage| baggage.refused);
        refused.unwrap_or_else(|| {
            Error::new(ErrorKind::Encode, "send", "a frame of a manager")
                .with_detail(why.to_string())
        })
    })
}

/// Reads a frame.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let (read, refused) = transfer::foreign(Vec::new(), || message::read(bytes));
    read.map_err(|why| {
        refused.unwrap_or_else(|| {
            Error::new(ErrorKind::Decode, "receive", "a frame of a manager")
                .with_detail(format!("{} bytes are no such frame: {why}", bytes.len()))
        })
    })
}

/// Receives a frame; waits for its begin for ever, and for its rest up to `patience`.
pub(crate) fn receive(connection: &mut Connection, patience: Duration) -> Result<Vec<u8>> {
    poll::wait_readable(&*connection, Deadline::NEVER)
        .map_err(|source| Error::os("receive from", "a connection", source))?;
    connection.recv_bytes_timeout(patience)
}

/// A request with more values and keys than there may be.
#[cold]
pub(crate) fn too_many(elements: usize) -> Error {
    Error::new(ErrorKind::WrongSize, "ask", "a manager").with_detail(format!(
        "a request of {elements} values and keys or more where {MOST_ELEMENTS} are the most; send them in parts"
    ))
}
