//! Anything that serde can write.

use std::cell::Cell;

use mp_layout::{Error, ErrorKind, Result, TypeTag};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::sealed::Codec;

pub(super) const NUMBER: u32 = 1;

/// The codec of every type that serde can write and read, in postcard's format.
///
/// ```
/// use mp_queue::Queue;
///
/// let queue = Queue::new()?;
/// queue.put((42, Option::<bool>::None, String::from("hello")))?;
/// assert_eq!(queue.get()?.2, "hello");
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Serde;

impl<T: Serialize + DeserializeOwned + 'static> Codec<T> for Serde {
    const NUMBER: u32 = NUMBER;
    type Encoded<'v> = Buffer;
    type Taken = Buffer;

    fn tag() -> TypeTag {
        TypeTag::of_message::<T>()
    }

    fn encode(value: &T) -> Result<Buffer> {
        let mut buffer = Buffer::reused();
        let bytes = core::mem::take(&mut buffer.0);
        match postcard::to_extend(value, bytes) {
            Ok(bytes) => {
                buffer.0 = bytes;
                Ok(buffer)
            }
            Err(error) => Err(Error::new(ErrorKind::Encode, "put", "to a queue")
                .with_detail(format!("the message cannot be written: {error}"))),
        }
    }

    fn take(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::reused();
        buffer.0.extend_from_slice(bytes);
        buffer
    }

    fn decode(taken: Buffer) -> Result<T> {
        let undecodable = |detail: String| {
            Error::new(ErrorKind::Decode, "get", "from a queue").with_detail(format!(
                "a message of {} bytes is not a {}: {detail}",
                taken.0.len(),
                core::any::type_name::<T>()
            ))
        };
        match postcard::take_from_bytes(&taken.0) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(undecodable(format!("{} bytes are left over", rest.len()))),
            Err(error) => Err(undecodable(error.to_string())),
        }
    }
}

/// Bytes of a message outside the queue. Its memory is used again by the thread's next message.
#[derive(Debug)]
pub struct Buffer(Vec<u8>);

/// The largest buffer that a thread keeps.
const KEPT: usize = 64 << 10;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Buffer {
    /// An empty one. While it is in use, a second one (a message that is put while another is written) has new memory.
    fn reused() -> Self {
        Self(SPARE.try_with(Cell::take).unwrap_or_default())
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = core::mem::take(&mut self.0);
        if (1..=KEPT).contains(&bytes.capacity()) {
            bytes.clear();
            // Fails while the thread ends: then the memory is freed.
            let _ended = SPARE.try_with(|spare| spare.set(bytes));
        }
    }
}
