//! One message in a stream of bytes.
//!
//! # Source
//!
//! `multiprocessing/connection.py` of CPython, `Connection._send_bytes` and `_recv_bytes`.
//!
//! # Layout
//!
//! ```text
//!  0        4
//!  | length | message |              length: 4 bytes, big-endian, signed, up to 2^31 - 1
//!
//!  0        4        12
//!  |   -1   | length | message |     longer ones: 8 bytes, big-endian
//! ```
//!
//! # Invariants
//!
//! - I1: no byte after the message is read, so that another reader may go on after it.
//! - I2: memory for a message grows with the bytes that have come, not with the length that was
//!   announced; and no message longer than the limit is begun.

use mp_layout::{Error, ErrorKind, Result};
use rustix::io::Errno;

use crate::socket::{self, Got};

/// What announces a length of 8 bytes.
const LONG: i32 = -1;

/// Bytes of the longest header.
const HEADER_SIZE: usize = 12;

/// Memory for a message grows by so many bytes at least, or to twice what has come.
const STEP: usize = 64 << 10;

/// A message's header, with how many of its bytes count.
pub(crate) struct Header([u8; HEADER_SIZE], usize);

impl Header {
    pub(crate) fn of(len: usize) -> Self {
        let mut bytes = [0; HEADER_SIZE];
        match i32::try_from(len) {
            Ok(short) => {
                bytes[..4].copy_from_slice(&short.to_be_bytes());
                Self(bytes, 4)
            }
            Err(_) => {
                bytes[..4].copy_from_slice(&LONG.to_be_bytes());
                bytes[4..].copy_from_slice(&(len as u64).to_be_bytes());
                Self(bytes, HEADER_SIZE)
            }
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Whole,
    /// Nothing more is there now.
    Waiting,
    /// The other end closed between two messages.
    End,
}

/// Reads messages as their bytes come.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    header: [u8; HEADER_SIZE],
    /// Bytes of the header that have come.
    begun: usize,
    /// The length of the message, when its header is whole.
    len: Option<usize>,
    /// How many of its bytes have come.
    come: usize,
    /// They, and room for those that follow.
    body: Vec<u8>,
}

impl FrameReader {
    /// Reads on until the message is whole or nothing more is there. `receive` gives bytes, into a
    /// buffer that is not empty.
    pub(crate) fn advance(
        &mut self,
        longest: usize,
        mut receive: impl FnMut(&mut [u8]) -> rustix::io::Result<Got>,
    ) -> Result<Progress> {
        loop {
            let got = match self.len {
                Some(len) if self.come == len => return Ok(Progress::Whole),
                Some(len) => self.receive_body(len, &mut receive)?,
                None => self.receive_header(longest, &mut receive)?,
            };
            match got {
                Got::Bytes(_) => {}
                Got::Nothing => return Ok(Progress::Waiting),
                Got::End if self.begun == 0 => return Ok(Progress::End),
                Got::End => return Err(self.cut("the other end closed")),
            }
        }
    }

    fn receive_header(
        &mut self,
        longest: usize,
        receive: &mut impl FnMut(&mut [u8]) -> rustix::io::Result<Got>,
    ) -> Result<Got> {
        let size = if self.begun >= 4 { HEADER_SIZE } else { 4 };
        let got =
            receive(&mut self.header[self.begun..size]).map_err(|error| self.failed(error))?;
        if let Got::Bytes(len) = got {
            self.begun += len;
            self.len = self.announced(longest)?;
        }
        Ok(got)
    }

    /// The length that the header announces, when enough of it is there.
    fn announced(&self, longest: usize) -> Result<Option<usize>> {
        let [a, b, c, d, long @ ..] = self.header;
        let len = match (self.begun, i32::from_be_bytes([a, b, c, d])) {
            (HEADER_SIZE, _) => u64::from_be_bytes(long),
            (4, short @ 0..) => u64::from(short.unsigned_abs()),
            (4, short) if short != LONG => return Err(negative(short)),
            _ => return Ok(None),
        };
        match usize::try_from(len) {
            Ok(len) if len <= longest => Ok(Some(len)),
            _ => Err(too_long(len, longest)),
        }
    }

    fn receive_body(
        &mut self,
        len: usize,
        receive: &mut impl FnMut(&mut [u8]) -> rustix::io::Result<Got>,
    ) -> Result<Got> {
        if self.come == self.body.len() {
            self.grow(len)?;
        }
        let got = receive(&mut self.body[self.come..]).map_err(|error| self.failed(error))?;
        if let Got::Bytes(come) = got {
            self.come += come;
        }
        Ok(got)
    }

    /// Makes room. What is zeroed here stays until bytes have come into it, so that each byte of
    /// memory is zeroed once, however small the pieces are in which a message comes.
    fn grow(&mut self, len: usize) -> Result<()> {
        let step = (len - self.come).min(STEP.max(self.come));
        self.body
            .try_reserve_exact(step)
            .map_err(|_| no_memory(len))?;
        self.body.resize(self.come + step, 0);
        Ok(())
    }

    /// The message, if it is whole.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        (self.len == Some(self.come)).then_some(&self.body)
    }

    /// Takes the message, which is whole; the next one is read from then on.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        core::mem::take(self).body
    }

    /// Whether some of a message has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun > 0
    }

    #[cold]
    fn cut(&self, why: &str) -> Error {
        let what = match self.len {
            Some(len) => format!("{} of its {len} bytes", self.come),
            None => format!("{} bytes of its length", self.begun),
        };
        Error::new(ErrorKind::Truncated, "receive from", "a connection")
            .with_detail(format!("{why} in the middle of a message, after {what}"))
    }

    #[cold]
    fn failed(&self, error: Errno) -> Error {
        if !socket::is_lost(error) {
            return Error::os("receive from", "a connection", error.into());
        }
        if self.has_begun() {
            return self.cut(socket::LOST);
        }
        Error::new(ErrorKind::Closed, "receive from", "a connection").with_detail(socket::LOST)
    }
}

#[cold]
fn negative(len: i32) -> Error {
    Error::new(ErrorKind::Corrupt, "receive from", "a connection").with_detail(format!(
        "a message of {len} bytes was announced; is the other end a peer of this protocol?"
    ))
}

#[cold]
fn too_long(len: u64, longest: usize) -> Error {
    Error::new(ErrorKind::WrongSize, "receive from", "a connection").with_detail(format!(
        "a message of {len} bytes was announced where {longest} are the most; raise the limit by `with_longest`, or \
         send it in parts"
    ))
}

#[cold]
fn no_memory(len: usize) -> Error {
    Error::new(ErrorKind::NotEnoughMemory, "receive from", "a connection")
        .with_detail(format!("there is no memory for a message of {len} bytes"))
}

#[cfg(test)]
mod tests;
