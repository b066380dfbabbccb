//! Anything that serde can write.

use std::cell::Cell;

use mp_layout::{Error, ErrorKind, Result, TypeTag};
use mp_object::message::{self, Objects, Unfit};
use mp_object::transfer::{Descriptor, Way};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::sealed::{Codec, Encoded};
use crate::raw_queue;

pub(super) const NUMBER: u32 = 1;

/// The codec of every type that serde can write and read, in postcard's format.
///
/// The format has no names and no types in it, so the writer and the reader must agree on every
/// field of a message:
///
/// - A message of which `skip_serializing_if` leaves a named field out is refused by `put`. An
///   `Option` takes one byte when it is `None`.
/// - Serde does not say so of a field of a tuple struct or a tuple variant. A debug build reads
///   each message back before it is put, and refuses it if it is another one then; in a release
///   build `get` fails, or gives another message.
/// - A type whose reader must be told what comes (`untagged`, `tag` without `content`,
///   `skip_serializing` alone) cannot be a message, nor can one with `flatten`. A debug build
///   refuses it; in a release build `get` fails with [`GetError::Decode`](crate::GetError::Decode).
/// - `skip`, `default`, `rename` and `with` are fine, as are enums that name their variants, maps
///   and `NaN`.
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
    const CARRIES_OBJECTS: bool = true;
    type Encoded<'v> = Message;
    type Taken = Taken;

    fn tag() -> TypeTag {
        TypeTag::of_message::<T>()
    }

    fn encode(value: &T, way: Way) -> Result<Message> {
        let mut bytes = Buffer::reused();
        let packed = message::pack(value, core::mem::take(&mut bytes.0), way);
        let descriptors;
        (bytes.0, descriptors) = packed.map_err(|why| unwritable(&why))?.into_parts();
        if let (Some(descriptors), Way::Descriptors) = (&descriptors, way) {
            message::append_identities(&mut bytes.0, descriptors);
        }
        Ok(Message { bytes, descriptors })
    }

    fn take(message: &raw_queue::Message<'_>, objects: Option<Objects>) -> Taken {
        let mut bytes = Buffer::reused();
        message.append_to(&mut bytes.0);
        Taken { bytes, objects }
    }

    fn decode(taken: Taken) -> Result<T> {
        let Taken { bytes, objects } = taken;
        let value = match objects {
            None => message::read(&bytes.0),
            Some(objects) => objects.unpack(&bytes.0),
        };
        value.map_err(|why| {
            Error::new(ErrorKind::Decode, "get from", "a queue").with_detail(format!(
                "a message of {} bytes is not a {}: {why}",
                bytes.0.len(),
                core::any::type_name::<T>()
            ))
        })
    }
}

#[cold]
fn unwritable(why: &Unfit) -> Error {
    Error::new(ErrorKind::Encode, "put to", "a queue")
        .with_detail(format!("the message cannot be written: {why}"))
}

/// A message that is put.
#[derive(Debug)]
pub struct Message {
    bytes: Buffer,
    /// Those of the shared objects in it; `None` if it has no handle.
    descriptors: Option<Vec<Descriptor>>,
}

/// A message that was got.
#[derive(Debug)]
pub struct Taken {
    bytes: Buffer,
    /// `None` if it has no handle.
    objects: Option<Objects>,
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.bytes.0
    }
}

impl Encoded for Message {
    #[inline]
    fn descriptors(&self) -> Option<&[Descriptor]> {
        self.descriptors.as_deref()
    }
}

/// Bytes of a message outside the queue. Its memory is used again by the thread's next message.
#[derive(Debug)]
struct Buffer(Vec<u8>);

/// The largest buffer that a thread keeps.
const KEPT: usize = 64 << 10;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Buffer {
    /// An empty one. While it is in use, a second one (a message that is put while another is
    /// written) has new memory.
    fn reused() -> Self {
        Self(SPARE.try_with(Cell::take).unwrap_or_default())
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
