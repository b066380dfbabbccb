//! The half of a connection that receives.

use std::any::type_name;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::{Waitable, Watch, message, transfer};
use mp_os::clock::Deadline;
use mp_os::poll;
use serde::de::DeserializeOwned;

use crate::frame::{FrameReader, Progress};
use crate::socket;

/// The half of a [`Connection`](crate::Connection) that receives, for a thread of its own.
#[derive(Debug)]
pub struct Receiver {
    socket: Arc<OwnedFd>,
    pub(crate) longest: usize,
    reader: FrameReader,
    /// Why nothing more comes, or nothing that can be read.
    over: Option<&'static str>,
}

impl Receiver {
    pub(crate) fn new(socket: Arc<OwnedFd>, longest: usize) -> Self {
        Self {
            socket,
            longest,
            reader: FrameReader::default(),
            over: None,
        }
    }

    /// Receives the next message; blocks until there is one.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Closed`] if the other side is gone and everything was received, or if the
    ///   connection to its machine was lost; the error says which.
    /// - [`ErrorKind::Truncated`] if that was in the middle of a message.
    /// - [`ErrorKind::Decode`] if the message's bytes are not a `T`, or one of more than 500
    ///   levels, or a shared object is in it. It was taken; the next call returns the one after it.
    /// - [`ErrorKind::WrongSize`] for a message that is longer than the limit, and
    ///   [`ErrorKind::Corrupt`] for a length that is none. The connection is closed then.
    /// - [`ErrorKind::NotEnoughMemory`], and [`ErrorKind::Os`] for what else the network reports.
    pub fn recv<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.recv_timeout(Deadline::NEVER)
    }

    /// Receives the next message; waits up to `timeout` for it. What has come of a message until
    /// then stays for the next call. While its bytes come without a pause, the message is received.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), and [`ErrorKind::TimedOut`].
    pub fn recv_timeout<T: DeserializeOwned>(&mut self, timeout: impl Into<Deadline>) -> Result<T> {
        let bytes = self.recv_bytes_timeout(timeout)?;
        let (value, refused) = transfer::foreign(Vec::new(), || message::read_foreign(&bytes));
        value.map_err(|why| {
            let why = refused.map_or_else(|| why.to_string(), |refused| refused.to_string());
            Error::new(ErrorKind::Decode, "receive from", "a connection").with_detail(format!(
                "a message of {} bytes is not a {}: {why}",
                bytes.len(),
                type_name::<T>()
            ))
        })
    }

    /// Receives the next message as bytes: what Python's `send_bytes` sent; blocks until there is
    /// one.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), without `Decode`.
    pub fn recv_bytes(&mut self) -> Result<Vec<u8>> {
        self.recv_bytes_timeout(Deadline::NEVER)
    }

    /// Receives the next message as bytes; waits up to `timeout` for it.
    ///
    /// # Errors
    ///
    /// Those of [`recv_timeout`](Self::recv_timeout), without `Decode`.
    pub fn recv_bytes_timeout(&mut self, timeout: impl Into<Deadline>) -> Result<Vec<u8>> {
        self.await_message(timeout.into())?;
        Ok(self.reader.take())
    }

    /// Receives the next message as bytes into the start of `buffer` and returns how many they are;
    /// waits up to `timeout` for it.
    ///
    /// # Errors
    ///
    /// Those of [`recv_bytes_timeout`](Self::recv_bytes_timeout), and [`ErrorKind::WrongSize`] if
    /// the buffer is too short for the message. The message stays then, for a longer one.
    pub fn recv_bytes_into_timeout(
        &mut self,
        buffer: &mut [u8],
        timeout: impl Into<Deadline>,
    ) -> Result<usize> {
        self.await_message(timeout.into())?;
        let message = self.reader.whole().unwrap_or_default();
        let len = message.len();
        match buffer.get_mut(..len) {
            Some(start) => start.copy_from_slice(message),
            None => return Err(too_short(len, buffer.len())),
        }
        self.reader.take();
        Ok(len)
    }

    /// Waits up to `timeout` until there is a whole message to receive or the other side is gone;
    /// false if it timed out.
    ///
    /// # Errors
    ///
    /// Those of [`recv_bytes`](Self::recv_bytes), without `Closed`.
    pub fn poll(&mut self, timeout: impl Into<Deadline>) -> Result<bool> {
        match self.await_message(timeout.into()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Closed => Ok(true),
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until the reader has a whole message.
    fn await_message(&mut self, deadline: Deadline) -> Result<()> {
        loop {
            if let Some(why) = self.over {
                return Err(closed(why));
            }
            let socket = &self.socket;
            let receive = |buffer: &mut [u8]| socket::receive(socket, buffer);
            match self.reader.advance(self.longest, receive) {
                Ok(Progress::Whole) => return Ok(()),
                Ok(Progress::Waiting) => self.wait(deadline)?,
                Ok(Progress::End) => {
                    self.over = Some("the other side is gone, and everything was received");
                }
                Err(error) => {
                    // What memory is short for may fit later; after any other error nothing says
                    // where the next message begins.
                    if error.kind() != ErrorKind::NotEnoughMemory {
                        self.over = Some(match error.kind() {
                            ErrorKind::Closed => socket::LOST,
                            _ => "it ended with an error before, and nothing can follow",
                        });
                        socket::hang_up(&self.socket);
                    }
                    return Err(error);
                }
            }
        }
    }

    fn wait(&self, deadline: Deadline) -> Result<()> {
        let is_readable = poll::wait_readable(&self.socket, deadline)
            .map_err(|source| Error::os("receive from", "a connection", source))?;
        if is_readable {
            return Ok(());
        }
        let late = Error::new(ErrorKind::TimedOut, "receive from", "a connection");
        Err(late.with_detail(if self.reader.has_begun() {
            "a part of a message came in time; the next call receives on"
        } else {
            "no message came in time"
        }))
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Waitable for Receiver {
    fn watch(&self) -> Result<Watch<'_>> {
        if self.over.is_some() || self.reader.whole().is_some() {
            return Ok(Watch::Ready);
        }
        Ok(Watch::Descriptor(self.as_fd()))
    }
}

#[cold]
fn closed(why: &str) -> Error {
    Error::new(ErrorKind::Closed, "receive from", "a connection").with_detail(why)
}

#[cold]
fn too_short(len: usize, most: usize) -> Error {
    Error::new(ErrorKind::WrongSize, "receive from", "a connection").with_detail(format!(
        "the next message has {len} bytes, the buffer only {most}; the message stays for a longer buffer"
    ))
}
