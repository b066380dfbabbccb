//! Plain values by their bytes.

use mp_layout::{Error, ErrorKind, Result, TypeTag, bytes_of, value_of};

use super::sealed::Codec;

pub(super) const NUMBER: u32 = 2;

/// The codec of [plain](mp_layout::Plain) values: their bytes are the message, and nothing is allocated.
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
    fn encode(value: &T) -> Result<&[u8]> {
        Ok(bytes_of(value))
    }

    #[inline]
    fn take(bytes: &[u8]) -> Result<T> {
        value_of(bytes).ok_or_else(|| not_a_value::<T>(bytes.len()))
    }

    #[inline]
    fn decode(taken: Result<T>) -> Result<T> {
        taken
    }
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
