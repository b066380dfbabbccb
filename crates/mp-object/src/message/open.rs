//! Handles of objects that the reader of a message has open, for which it needs no descriptor.
//!
//! # Layout
//!
//! ```text
//! | the value, in postcard's format | identity of the object of descriptor 0, 32 bytes | 1 | ... | their number u8 |
//! ```
//!
//! The number is 0 if one of the descriptors is not of an object whose handle names it.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{Flaw, Unfit, read, unpack};
use crate::object::Parts;
use crate::open_objects;
use crate::transfer::{self, Descriptor, Identity, OpenObject};

/// What came with a message that has handles.
#[derive(Debug)]
pub enum Objects {
    /// Nothing: the handles open their objects by name.
    ByName,
    /// The descriptors of its objects.
    Descriptors(Vec<OwnedFd>),
    /// Nothing was needed: this process has all of its objects open.
    Open(OpenObjects),
}

/// The objects of a message, which this process has open and keeps open; found by
/// [`find`](Self::find).
pub struct OpenObjects(Vec<Arc<Parts>>);

/// Appends to a message which objects its descriptors are of. [`Objects::unpack`] takes that off
/// again.
pub fn append_identities(bytes: &mut Vec<u8>, descriptors: &[Descriptor]) {
    let identities: Option<Vec<&Identity>> = descriptors.iter().map(Descriptor::object).collect();
    let identities = identities.unwrap_or_default();
    for identity in &identities {
        bytes.extend_from_slice(*identity);
    }
    // A message has 253 at most.
    bytes.push(identities.len() as u8);
}

/// The value's bytes, and the objects that were appended; `None` if the bytes are too short.
fn split(bytes: &[u8]) -> Option<(&[u8], &[Identity])> {
    let (count, rest) = bytes.split_last()?;
    let identities = usize::from(*count) * size_of::<Identity>();
    let (value, identities) = rest.split_at_checked(rest.len().checked_sub(identities)?)?;
    Some((value, identities.as_chunks().0))
}

impl OpenObjects {
    /// The objects of a message to which [`append_identities`] has appended them, if this process
    /// has all of them open: the same objects in the same files.
    pub fn find(message: &[u8]) -> Option<Self> {
        let (_, identities) = split(message)?;
        if identities.is_empty() {
            return None;
        }
        open_objects::find_all(identities.iter()).map(Self)
    }
}

impl Objects {
    /// Reads a value that [`pack`](super::pack) wrote and, if there are descriptors,
    /// [`append_identities`] has made longer. Descriptors that it does not ask for are closed.
    ///
    /// # Errors
    ///
    /// Those of [`unpack`].
    pub fn unpack<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, Unfit> {
        let value = split(bytes).map_or(bytes, |(value, _)| value);
        match self {
            Self::ByName => unpack(bytes, Some(Vec::new())),
            Self::Descriptors(descriptors) => unpack(value, Some(descriptors)),
            Self::Open(OpenObjects(open)) => {
                let open = open.into_iter().map(|parts| parts as OpenObject);
                match transfer::incoming_open(open, || read(value)) {
                    (Err(_), Some(refused)) => Err(Unfit(Flaw::Handle(refused))),
                    (value, _) => value,
                }
            }
        }
    }
}

impl fmt::Debug for OpenObjects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("OpenObjects")
            .field(&self.0.len())
            .finish()
    }
}
