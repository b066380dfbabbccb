//! The half of a connection that sends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::message;
use mp_object::transfer::Way;
use mp_os::clock::Deadline;
use mp_os::poll;
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::Header;
use crate::socket;

/// The half of a [`Connection`](crate::Connection) that sends, for a thread of its own.
///
/// The other side sees the end when both halves are dropped.
#[derive(Debug)]
pub struct Sender {
    socket: Arc<OwnedFd>,
    pub(crate) longest: usize,
    /// A message was sent in part, so that nothing can follow it.
    is_cut: bool,
}

impl Sender {
    pub(crate) fn new(socket: Arc<OwnedFd>, longest: usize) -> Self {
        Self {
            socket,
            longest,
            is_cut: false,
        }
    }

    /// Sends a message; blocks while the other side does not receive and the socket is full.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Closed`] if the other side is gone: its connection is dropped or its process
    ///   has ended, or the connection to its machine was lost.
    /// - [`ErrorKind::Encode`] if serde cannot write it, if it has more than 500 levels, or if
    ///   there is a shared object in it. Nothing was sent then.
    /// - [`ErrorKind::InvalidInput`] if it is longer than the limit.
    /// - [`ErrorKind::Os`] for what else the network reports.
    pub fn send<T: Serialize + DeserializeOwned>(&mut self, message: &T) -> Result<()> {
        self.send_timeout(message, Deadline::NEVER)
    }

    /// Sends a message; waits up to `timeout` for room.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), and [`ErrorKind::TimedOut`]. If part of the message was sent
    /// then, the connection is closed, and the error says so. The timeout is one of waiting: while
    /// the socket takes bytes, the message goes on. A wait that a hook ends counts as one that
    /// timed out.
    pub fn send_timeout<T: Serialize + DeserializeOwned>(
        &mut self,
        message: &T,
        timeout: impl Into<Deadline>,
    ) -> Result<()> {
        let packed = message::pack(message, Vec::new(), Way::Nowhere).map_err(|why| {
            Error::new(ErrorKind::Encode, "send by", "a connection")
                .with_detail(format!("the message cannot be written: {why}"))
        })?;
        self.send_bytes_timeout(&packed.into_parts().0, timeout)
    }

    /// Sends bytes as they are: what Python's `recv_bytes` receives.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), without `Encode`.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.send_bytes_timeout(bytes, Deadline::NEVER)
    }

    /// Sends bytes; waits up to `timeout` for room.
    ///
    /// # Errors
    ///
    /// Those of [`send_timeout`](Self::send_timeout), without `Encode`.
    pub fn send_bytes_timeout(&mut self, bytes: &[u8], timeout: impl Into<Deadline>) -> Result<()> {
        if bytes.len() > self.longest {
            return Err(too_long(bytes.len(), self.longest));
        }
        if self.is_cut {
            return Err(closed(
                "a message was sent in part before, and nothing can follow it",
            ));
        }
        let deadline = timeout.into();
        let header = Header::of(bytes.len());
        let (mut header, mut rest) = (header.bytes(), bytes);
        self.is_cut = true;
        loop {
            let sent = match socket::send(&self.socket, [header, rest]) {
                Ok(sent) => sent,
                Err(error) => return Err(self.failed(error)),
            };
            let of_header = sent.min(header.len());
            header = &header[of_header..];
            rest = &rest[sent - of_header..];
            if header.is_empty() && rest.is_empty() {
                self.is_cut = false;
                return Ok(());
            }
            if sent == 0 && !self.wait(deadline)? {
                let has_begun = header.len() < Header::of(bytes.len()).bytes().len();
                return Err(self.late(bytes.len() - rest.len(), bytes.len(), has_begun));
            }
        }
    }

    fn wait(&self, deadline: Deadline) -> Result<bool> {
        poll::wait_writable(&self.socket, deadline)
            .map_err(|source| Error::os("send by", "a connection", source))
    }

    #[cold]
    fn failed(&self, error: Errno) -> Error {
        match error {
            Errno::PIPE | Errno::CONNRESET => closed("the other side is gone"),
            error if socket::is_lost(error) => closed(socket::LOST),
            error => Error::os("send by", "a connection", error.into()),
        }
    }

    #[cold]
    fn late(&mut self, sent: usize, len: usize, has_begun: bool) -> Error {
        let why = if has_begun {
            socket::hang_up(&self.socket);
            format!(
                "the socket took {sent} of {len} bytes in time; the connection is closed, because nothing can follow a part \
                 of a message"
            )
        } else {
            self.is_cut = false;
            "the other side receives nothing, and the socket is full".to_owned()
        };
        Error::new(ErrorKind::TimedOut, "send by", "a connection").with_detail(why)
    }
}

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cold]
fn closed(why: &str) -> Error {
    Error::new(ErrorKind::Closed, "send by", "a connection").with_detail(why)
}

#[cold]
fn too_long(len: usize, longest: usize) -> Error {
    Error::new(ErrorKind::InvalidInput, "send by", "a connection").with_detail(format!(
        "a message of {len} bytes where {longest} are the most; raise the limit at both ends by `with_longest`, or send it \
         in parts"
    ))
}

#[cfg(test)]
mod tests;
