//! Anything that serde can write.

use std::cell::Cell;

use mp_layout::{Error, ErrorKind, Result, TypeTag};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::sealed::Codec;
use super::whole::Whole;

pub(super) const NUMBER: u32 = 1;

/// The codec of every type that serde can write and read, in postcard's format.
///
/// The format has no names and no types in it, so the writer and the reader must agree on every field of a message:
///
/// - A message of which `skip_serializing_if` leaves a field out is refused by `put`. An `Option` takes one byte when it
///   is `None`.
/// - A type whose reader must be told what comes (`untagged`, `tag` without `content`, `skip_serializing` alone) cannot be
///   a message, nor can one with `flatten`. A debug build reads each message back before it is put, and refuses it; in a
///   release build `get` fails with [`GetError::Decode`](crate::GetError::Decode).
/// - `skip`, `default`, `rename` and `with` are fine, as are enums that name their variants, maps and `NaN`.
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
        let skipped = Cell::new(None);
        buffer.0 = postcard::to_extend(&Whole::new(value, &skipped), bytes)
            .map_err(|error| unwritable(skipped.get(), &error))?;
        if cfg!(debug_assertions) {
            read::<T>(&buffer.0).map_err(|detail| unreadable::<T>(&detail))?;
        }
        Ok(buffer)
    }

    fn take(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::reused();
        buffer.0.extend_from_slice(bytes);
        buffer
    }

    fn decode(taken: Buffer) -> Result<T> {
        read(&taken.0).map_err(|detail| {
            Error::new(ErrorKind::Decode, "get", "from a queue").with_detail(format!(
                "a message of {} bytes is not a {}: {detail}",
                taken.0.len(),
                core::any::type_name::<T>()
            ))
        })
    }
}

/// Reads a value that takes all of the bytes, or says what is wrong with them.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> core::result::Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes are left over", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

#[cold]
fn unwritable(skipped: Option<&str>, error: &postcard::Error) -> Error {
    let detail = match skipped {
        Some(field) => format!(
            "the message cannot be written: its field `{field}` is left out (`skip_serializing_if`), and its reader would \
             take the next one for it; write all fields, as `None` if need be"
        ),
        None => format!("the message cannot be written: {error}"),
    };
    Error::new(ErrorKind::Encode, "put", "to a queue").with_detail(detail)
}

#[cold]
fn unreadable<T>(detail: &str) -> Error {
    Error::new(ErrorKind::Encode, "put", "to a queue").with_detail(format!(
        "the message cannot be read back as a {}: {detail}; a type whose reader must be told what comes (`untagged`, \
         `tag`, `skip_serializing`) cannot be a message",
        core::any::type_name::<T>()
    ))
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
