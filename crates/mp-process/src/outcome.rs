//! The outcome of a task, on its way from the child to its parent.

use std::any::type_name;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mp_layout::{Error, ErrorKind, Result};
use mp_object::{message, transfer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::{self, Frame, OUTCOME};
use crate::panic::Panic;
use crate::returned_err::err_text;

/// What the child sends before it exits.
#[derive(Debug)]
pub enum Outcome {
    /// The task returned; its value is kept as it came, so that it can be read more than once.
    Returned {
        /// What its `Err` holds, as text, if it is one; the text stays in the child.
        err: Option<String>,
        value: Bytes,
        descriptors: Vec<OwnedFd>,
    },
    Panicked(Panic),
    /// The task was not run, or its value did not encode: an [`Error`] in bytes.
    Refused(Vec<u8>),
}

/// The bytes of a value: a few without memory of their own.
#[derive(Debug)]
pub enum Bytes {
    Few(u8, [u8; Self::FEW]),
    Many(Vec<u8>),
}

impl Bytes {
    /// As many as make it no larger.
    const FEW: usize = 22;

    fn of(bytes: &[u8]) -> Self {
        let mut few = [0; Self::FEW];
        match few.get_mut(..bytes.len()) {
            None => Self::Many(bytes.to_vec()),
            Some(place) => {
                place.copy_from_slice(bytes);
                Self::Few(bytes.len() as u8, few)
            }
        }
    }

    fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Few(..) => self.to_vec(),
            Self::Many(bytes) => bytes,
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Few(len, bytes) => &bytes[..usize::from(*len)],
            Self::Many(bytes) => bytes,
        }
    }
}

/// The last byte on the wire, where adding it moves nothing.
const RETURNED_OK: u8 = 0;
const RETURNED_ERR: u8 = 1;
const PANICKED: u8 = 2;
const REFUSED: u8 = 3;

impl Outcome {
    /// Of a value, whose bytes take `memory`, which is empty.
    pub(crate) fn returned<R: Serialize>(value: &R, memory: Vec<u8>) -> Self {
        let (bytes, descriptors) = transfer::outgoing(|| message::append(value, memory));
        match bytes {
            Ok(bytes) => Self::Returned {
                err: err_text(value),
                value: Bytes::Many(bytes),
                descriptors,
            },
            Err(error) => {
                let detail = format!("{error} while writing {}", type_name::<R>());
                let error = Error::new(ErrorKind::Encode, "send", "the result");
                Self::refused(&error.with_detail(detail))
            }
        }
    }

    pub(crate) fn refused(error: &Error) -> Self {
        Self::Refused(postcard::to_stdvec(error).unwrap_or_default())
    }

    /// The text of an error for standard error; none for a panic, which the hook has printed.
    pub(crate) fn complaint(&self) -> Option<String> {
        match self {
            Self::Returned { err, .. } => err.clone(),
            Self::Panicked(_) => None,
            Self::Refused(error) => Some(format!("{:?}", decode_refusal(error))),
        }
    }

    /// Why the task was not run, or its value not sent, if so.
    pub(crate) fn refusal(&self) -> Option<Error> {
        match self {
            Self::Refused(error) => Some(decode_refusal(error)),
            _ => None,
        }
    }

    /// The exit code that goes with it.
    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::Returned { err: None, .. } => 0,
            _ => 1,
        }
    }

    /// Sends it. What cannot be sent is replaced by the error that says why.
    pub(crate) fn send(self, socket: BorrowedFd<'_>) -> Result<()> {
        let failed = |source| Error::os("send", "the result", source);
        self.send_once(socket)
            .or_else(|error| Self::refused(&failed(error)).send_once(socket))
            .map_err(failed)
    }

    fn send_once(self, socket: BorrowedFd<'_>) -> std::io::Result<()> {
        let (bytes, descriptors) = self.into_message();
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        frame::send(socket, OUTCOME, &bytes, &descriptors)
    }

    /// What is sent of it.
    pub(crate) fn into_message(self) -> (Vec<u8>, Vec<OwnedFd>) {
        let (mut bytes, descriptors, tag) = match self {
            Self::Returned {
                err: None,
                value,
                descriptors,
            } => (value.into_vec(), descriptors, RETURNED_OK),
            Self::Returned {
                value, descriptors, ..
            } => (value.into_vec(), descriptors, RETURNED_ERR),
            Self::Panicked(panic) => (panic.to_bytes(), Vec::new(), PANICKED),
            Self::Refused(error) => (error, Vec::new(), REFUSED),
        };
        bytes.push(tag);
        (bytes, descriptors)
    }

    /// What a child that has ended left in its socket; `None` if it left nothing.
    pub(crate) fn receive(socket: BorrowedFd<'_>) -> Option<Self> {
        match frame::receive(socket, OUTCOME) {
            Ok(frame) => {
                frame.map(|Frame { bytes, descriptors }| Self::from_message(bytes, descriptors))
            }
            Err(source) => Some(Self::refused(&Error::os("receive", "the result", source))),
        }
    }

    /// The outcome of which this was sent.
    pub(crate) fn from_message(mut value: Vec<u8>, descriptors: Vec<OwnedFd>) -> Self {
        match value.pop() {
            Some(tag @ (RETURNED_OK | RETURNED_ERR)) => Self::Returned {
                err: (tag == RETURNED_ERR).then(String::new),
                value: Bytes::Many(value),
                descriptors,
            },
            Some(PANICKED) => {
                Panic::from_bytes(&value).map_or(Self::Refused(value), Self::Panicked)
            }
            _ => Self::Refused(value),
        }
    }

    /// As [`from_message`](Self::from_message), of bytes that stay where they are.
    pub(crate) fn from_bytes(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Self {
        match bytes.split_last() {
            Some((&tag @ (RETURNED_OK | RETURNED_ERR), value)) => Self::Returned {
                err: (tag == RETURNED_ERR).then(String::new),
                value: Bytes::of(value),
                descriptors,
            },
            _ => Self::from_message(bytes.to_vec(), descriptors),
        }
    }

    /// The task's value, or why there is none; `process` names it in errors.
    pub(crate) fn decode<R: DeserializeOwned>(&self, process: &str) -> Result<R> {
        match self {
            Self::Returned {
                value, descriptors, ..
            } => decode_value(value, descriptors),
            Self::Panicked(panic) => {
                Err(Error::new(ErrorKind::Panicked, "run", process).with_detail(panic.to_string()))
            }
            Self::Refused(error) => Err(decode_refusal(error)),
        }
    }
}

fn decode_refusal(error: &[u8]) -> Error {
    postcard::from_bytes(error).unwrap_or_else(|_| {
        Error::new(ErrorKind::Decode, "receive", "the result")
            .with_detail("what the child sent is not understood")
    })
}

fn decode_value<R: DeserializeOwned>(value: &[u8], descriptors: &[OwnedFd]) -> Result<R> {
    let copies: std::io::Result<Vec<_>> = descriptors.iter().map(OwnedFd::try_clone).collect();
    let copies = copies.map_err(|source| Error::os("receive", "the result", source))?;
    transfer::incoming(copies, || message::read(value)).map_err(|error| {
        let detail = format!("{error} while reading {}", type_name::<R>());
        Error::new(ErrorKind::Decode, "receive", "the result").with_detail(detail)
    })
}
