//! How messages become bytes and back.

use mp_layout::{Result, TypeTag};
use mp_object::message::Objects;
use mp_object::transfer::{Descriptor, Way};

mod bytes;
mod plain;
mod serde;

pub use bytes::Bytes;
pub use plain::Plain;
pub use serde::Serde;

/// How a [`Queue`](crate::Queue) writes its messages: [`Serde`], [`Plain`] or [`Bytes`].
///
/// It is part of the queue's type, and a queue that was made with one codec does not open with
/// another.
pub trait Codec<T>: sealed::Codec<T> {}

impl<T, C: sealed::Codec<T>> Codec<T> for C {}

pub(crate) mod sealed {
    use super::{Descriptor, Objects, Result, TypeTag, Way};
    use crate::raw_queue::Message;

    /// A message as it is put.
    pub trait Encoded: AsRef<[u8]> {
        /// The descriptors of the shared objects in it; `None` if it has no handle, empty if these
        /// travel by name.
        #[inline]
        fn descriptors(&self) -> Option<&[Descriptor]> {
            None
        }
    }

    impl Encoded for &[u8] {}

    /// Encoding and decoding run outside the queue's locks; only `take` runs under one, and copies.
    pub trait Codec<T>: 'static {
        /// What the queue's control words call the codec.
        const NUMBER: u32;

        /// Whether there can be handles of shared objects in a message.
        const CARRIES_OBJECTS: bool = false;

        /// A message's bytes.
        type Encoded<'v>: Encoded
        where
            T: 'v;

        /// What `take` copied out of the queue.
        type Taken;

        fn tag() -> TypeTag;

        fn encode(value: &T, way: Way) -> Result<Self::Encoded<'_>>;

        /// Copies a message. With it come its objects, if it has handles.
        fn take(message: &Message<'_>, objects: Option<Objects>) -> Self::Taken;

        fn decode(taken: Self::Taken) -> Result<T>;
    }
}

/// The name of the codec with this number.
pub(crate) fn name(number: u32) -> &'static str {
    match number {
        serde::NUMBER => "serde messages",
        plain::NUMBER => "plain values",
        bytes::NUMBER => "bytes",
        _ => "messages of an unknown codec",
    }
}
