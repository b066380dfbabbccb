//! Plain values by their bytes.

use mp_layout::{Error, ErrorKind, Result, TypeTag, bytes_of, value_of};
use mp_object::message::Objects;
use mp_object::transfer::Way;

use super::sealed::Codec;
use crate::raw_queue::Message;

pub(super) const NUMBER: u32 = 2;

/// The codec of [plain](mp_layout::Plain) values: their bytes are the message, and nothing is
/// allocated.
///
/// ```
/// use mp_queue::{Plain, Queue};
///
/// let queue: Queue<[f32; 3], Plain> = Queue::plain()?;
/// queue.put([0.5, 1.0, 1.5])?;
/// assert_eq!(queue.get()?, [0.5, 1.0, 1.5]);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl<T: mp_layout::Plain> Codec<T> for Plain {
    const NUMBER: u32 = NUMBER;
    type Encoded<'v> = &'v [u8];
    type Taken = Result<T>;

    fn tag() -> TypeTag {
        TypeTag::of::<T>()
    }

    #[inline]
    fn encode(value: &T, _: Way) -> Result<&[u8]> {
        Ok(bytes_of(value))
    }

    #[inline]
    fn take(message: &Message<'_>, _: Option<Objects>) -> Result<T> {
        match message.bytes() {
            Some(bytes) => value_in(bytes),
            None => value_in(&message.to_vec()),
        }
    }

    #[inline]
    fn decode(taken: Result<T>) -> Result<T> {
        taken
    }
}

fn value_in<T: mp_layout::Plain>(bytes: &[u8]) -> Result<T> {
    value_of(bytes).ok_or_else(|| not_a_value::<T>(bytes.len()))
}

#[cold]
fn not_a_value<T>(len: usize) -> Error {
    Error::mismatch(
        ErrorKind::Decode,
        "get from",
        "a queue",
        format_args!("a message of {len} bytes that are none"),
        format_args!(
            "a {} of {} bytes",
            core::any::type_name::<T>(),
            size_of::<T>()
        ),
    )
}
