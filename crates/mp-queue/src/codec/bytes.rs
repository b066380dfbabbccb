//! Bytes as they are.

use mp_layout::{Result, TypeTag};
use mp_object::message::Objects;
use mp_object::transfer::Way;

use super::sealed::Codec;
use crate::raw_queue::Message;

pub(super) const NUMBER: u32 = 3;

/// The codec of messages that are bytes already; nothing is added to them.
///
/// ```
/// use mp_queue::{Bytes, Queue};
///
/// let queue = Queue::bytes()?;
/// queue.put_bytes(b"no copy but the one into the queue")?;
/// let mut message = Vec::new();
/// queue.get_bytes_into(&mut message)?;
/// assert_eq!(message.len(), 34);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Bytes;

impl Codec<Vec<u8>> for Bytes {
    const NUMBER: u32 = NUMBER;
    type Encoded<'v> = &'v [u8];
    type Taken = Vec<u8>;

    fn tag() -> TypeTag {
        TypeTag::of::<u8>()
    }

    fn encode(value: &Vec<u8>, _: Way) -> Result<&[u8]> {
        Ok(value)
    }

    fn take(message: &Message<'_>, _: Option<Objects>) -> Vec<u8> {
        message.to_vec()
    }

    fn decode(taken: Vec<u8>) -> Result<Vec<u8>> {
        Ok(taken)
    }
}
