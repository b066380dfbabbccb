//! A handshake on a socket, a step at a time.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mp_layout::{Error, ErrorKind, Result};

use crate::auth_key::AuthKey;
use crate::frame::{FrameReader, Header, Progress};
use crate::handshake::{Handshake, LONGEST, Side, Step};
use crate::socket;

/// A socket whose two sides have not both proved yet that they have the key.
#[derive(Debug)]
pub(crate) struct Greeting {
    socket: OwnedFd,
    handshake: Handshake,
    reader: FrameReader,
}

impl Greeting {
    /// Begins, and sends the first message if this side has it.
    pub(crate) fn begin(socket: OwnedFd, side: Side) -> Result<Self> {
        let (handshake, first) = Handshake::begin(side)?;
        let greeting = Self {
            socket,
            handshake,
            reader: FrameReader::default(),
        };
        first.map_or(Ok(()), |first| greeting.send(&first))?;
        Ok(greeting)
    }

    /// Goes on as far as messages have come; whether both sides have the key.
    ///
    /// # Errors
    ///
    /// Why the connection is none: the other side is refused, refuses this one, or closed.
    pub(crate) fn advance(&mut self, key: &AuthKey) -> Result<bool> {
        loop {
            let socket = self.socket.as_fd();
            let receive = |buffer: &mut [u8]| socket::receive(socket, buffer);
            match self.reader.advance(LONGEST, receive)? {
                Progress::Whole => {}
                Progress::Waiting => return Ok(false),
                Progress::End => return Err(ended()),
            }
            match self.handshake.take(&self.reader.take(), key)? {
                Step::Send(message) => self.send(&message)?,
                Step::Done(message) => {
                    message.map_or(Ok(()), |message| self.send(&message))?;
                    return Ok(true);
                }
                Step::Refuse(message, error) => {
                    // Why it is refused counts, not whether it hears that.
                    drop(message.map(|message| self.send(&message)));
                    return Err(error);
                }
            }
        }
    }

    /// Whether the client has proved that it has the key.
    pub(crate) fn is_proved(&self) -> bool {
        self.handshake.is_proved()
    }

    pub(crate) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends a message for which there is room: a handshake sends less than 200 bytes altogether.
    fn send(&self, message: &[u8]) -> Result<()> {
        let header = Header::of(message.len());
        let size = header.bytes().len() + message.len();
        match socket::send(&self.socket, [header.bytes(), message]) {
            Ok(sent) if sent == size => Ok(()),
            Ok(_) => Err(Error::new(ErrorKind::Full, "authenticate", "a connection")
                .with_detail("the socket has no room for a challenge")),
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(ended()),
            Err(error) if socket::is_lost(error) => Err(ended()),
            Err(error) => Err(Error::os("authenticate", "a connection", error.into())),
        }
    }
}

impl AsFd for Greeting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cold]
fn ended() -> Error {
    Error::new(ErrorKind::Closed, "authenticate", "a connection")
        .with_detail("the other side closed before both had proved that they have the authkey")
}
