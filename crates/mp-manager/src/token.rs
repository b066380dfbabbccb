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

#[cfg(feature = "net")]
use crate::remote::references::{self, Arrived, Reference};

/// A write end, or what stands for one at a remote client. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) enum Token {
    Here(Arc<OwnedFd>),
    #[cfg(feature = "net")]
    Away(Arc<Reference>),
}

/// The read end: it hangs up when there is no token any more.
#[derive(Debug)]
pub(crate) struct TokenWatch(PipeReader);

impl Token {
    pub(crate) fn new() -> Result<(TokenWatch, Self)> {
        let (watch, token) =
            io::pipe().map_err(|source| Error::os("make", "the token of an object", source))?;
        // Nothing is written. Where this fails it only counts for more.
        drop(descriptor::shrink_pipe(&watch));
        Ok((TokenWatch(watch), Self::Here(Arc::new(token.into()))))
    }

    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Here(file) => Some(file.as_raw_fd()),
            #[cfg(feature = "net")]
            Self::Away(_) => None,
        }
    }

    fn put(&self) -> Result<u64> {
        match self {
            #[cfg(feature = "net")]
            Self::Here(file) if references::is_in_frame() => references::send_here(file),
            #[cfg(feature = "net")]
            Self::Away(reference) => references::put(reference),
            Self::Here(file) => {
                let descriptor = Descriptor::new(Arc::clone(file));
                let place = transfer::put(&descriptor, None)?;
                Ok(place.unwrap_or_default().into())
            }
        }
    }

    fn take(place: u64) -> Result<Self> {
        #[cfg(feature = "net")]
        if references::is_in_frame() {
            return Ok(match references::receive(place)? {
                Arrived::Here(file) => Self::Here(file),
                Arrived::Away(reference) => Self::Away(reference),
            });
        }
        #[cfg(feature = "net")]
        if let Some(reference) = references::take(place)? {
            return Ok(Self::Away(reference));
        }
        let taken = transfer::take(u32::try_from(place).unwrap_or(u32::MAX))?;
        Ok(Self::Here(Arc::new(taken)))
    }
}

impl AsFd for TokenWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = self.put();
        let place = place.map_err(|error| transfer::refuse(error, serde::ser::Error::custom))?;
        place.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let taken = Self::take(u64::deserialize(deserializer)?);
        taken.map_err(|error| transfer::refuse(error, D::Error::custom))
    }
}
