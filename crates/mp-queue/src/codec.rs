//! How messages become bytes and back.

use mp_layout::{Result, TypeTag};

mod bytes;
mod plain;
mod serde;

pub use bytes::Bytes;
pub use plain::Plain;
pub use serde::Serde;

/// How a [`Queue`](crate::Queue) writes its messages: [`Serde`], [`Plain`] or [`Bytes`].
///
/// It is part of the queue's type, and a queue that was made with one codec does not open with another.
pub trait Codec<T>: sealed::Codec<T> {}

impl<T, C: sealed::Codec<T>> Codec<T> for C {}

pub(crate) mod sealed {
    use super::{Result, TypeTag};
    use crate::raw_queue::Message;

    /// Encoding and decoding run outside the queue's locks; only `take` runs under one, and copies.
    pub trait Codec<T>: 'static {
        /// What the queue's control words call the codec.
        const NUMBER: u32;

        /// A message's bytes.
        type Encoded<'v>: AsRef<[u8]>
        where
            T: 'v;

        /// What `take` copied out of the queue.
        type Taken;

        fn tag() -> TypeTag;

        fn encode(value: &T) -> Result<Self::Encoded<'_>>;

        fn take(message: &Message<'_>) -> Self::Taken;

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
