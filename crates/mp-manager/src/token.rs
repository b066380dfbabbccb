//! What keeps an object at the server: the write ends of a pipe, which the kernel counts.
//!
//! The server has the read end. Each process that has a proxy has a write end, and so has each
//! message in which a proxy travels, and each value at the server with a proxy in it. When the last
//! is closed, by a drop or by a death, the read end hangs up, for good.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use mp_layout::{Error, Result};
use mp_object::transfer::{self, Descriptor};
use mp_os::descriptor;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A write end. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Token(Arc<OwnedFd>);

/// The read end: it hangs up when there is no token any more.
#[derive(Debug)]
pub(crate) struct TokenWatch(PipeReader);

impl Token {
    pub(crate) fn new() -> Result<(TokenWatch, Self)> {
        let (watch, token) =
            io::pipe().map_err(|source| Error::os("make", "the token of an object", source))?;
        // Nothing is written. Where this fails it only counts for more.
        drop(descriptor::shrink_pipe(&watch));
        Ok((TokenWatch(watch), Self(Arc::new(token.into()))))
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for TokenWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let descriptor = Descriptor::new(Arc::clone(&self.0));
        let place = transfer::put(&descriptor, None);
        let place = place.map_err(|error| transfer::refuse(error, serde::ser::Error::custom))?;
        place.unwrap_or_default().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let taken = transfer::take(u32::deserialize(deserializer)?);
        taken
            .map(|token| Self(Arc::new(token)))
            .map_err(|error| transfer::refuse(error, D::Error::custom))
    }
}
