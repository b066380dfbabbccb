//! Values as the bytes that travel between processes: messages of queues, arguments and results of
//! processes.
//!
//! The format is postcard's. It has no names and no types in it, so the writer and the reader must
//! agree on every field:
//!
//! - [`write()`] refuses a value if `skip_serializing_if` leaves a named field of it out. [`read`]
//!   would take the next field for it.
//! - [`write()`] refuses a value of more than 500 levels: compounds, wrappers and `Some`s in each
//!   other. So a stack of 2 MiB holds what is read, if no level has more than some hundred bytes of
//!   its own. Boxes in boxes are such a value; a `Vec` of any length is one level.
//! - [`read`] takes all of the bytes, and refuses what is left over.
//! - [`read_foreign`] counts levels, too: for bytes of a peer that may have made them up.
//! - [`pack`] reads the value back in debug builds, and refuses what cannot be read. It finds most
//!   tuple structs and tuple variants with a field left out, which serde does not tell a writer of.
//!   A value with handles is not read back: some handles are read only once.
//!
//! [`pack`] and [`unpack`] are for messages that wait for their reader, with handles of shared
//! objects in them; a [`Lane`](crate::Lane) keeps the descriptors of these. A reader that has all
//! of the objects open already needs none of them: [`OpenObjects`].
//!
//! ```
//! use mp_object::message;
//!
//! let bytes = message::write(&(42, "hello"))?;
//! assert_eq!(message::read::<(i32, String)>(&bytes)?, (42, "hello".to_owned()));
//! let error = message::read::<i32>(&bytes).unwrap_err();
//! assert_eq!(error.to_string(), "6 bytes are left over");
//! # Ok::<(), message::Unfit>(())
//! ```

use core::fmt::{self, Display, Formatter};

use std::os::fd::OwnedFd;

use mp_layout::Error;
use mp_os::socket::MAX_FDS;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::open::{Objects, OpenObjects, append_identities};
pub use self::shallow::read_foreign;
pub use self::whole::MAX_DEPTH;
use self::whole::{Notes, Whole};
use crate::transfer::{self, Baggage, Descriptor, Way};

mod open;
mod shallow;
mod whole;

/// Why a value cannot be written, or bytes cannot be read.
#[derive(Debug)]
pub struct Unfit(Flaw);

#[derive(Debug)]
enum Flaw {
    FieldLeftOut(&'static str),
    TooDeep,
    ReadTooDeep,
    Unwritable(postcard::Error),
    Unreadable(postcard::Error),
    LeftOver(usize),
    ReadAsAnother,
    NotReadBack(Box<Unfit>),
    Handle(Error),
    TooManyDescriptors(usize),
}

impl Display for Unfit {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Flaw::FieldLeftOut(field) => write!(
                formatter,
                "its field `{field}` is left out (`skip_serializing_if`), and its reader would take the next one for \
                 it; write all fields, as `None` if need be"
            ),
            Flaw::TooDeep => write!(
                formatter,
                "it has values in each other on more than {MAX_DEPTH} levels (a struct, a `Some` and a newtype are one each), \
                 which its reader's stack may not hold; put boxes that have one another into a `Vec`, and let them have its indices"
            ),
            Flaw::ReadTooDeep => write!(formatter, "it has more than {MAX_DEPTH} levels"),
            Flaw::Unwritable(error) | Flaw::Unreadable(error) => error.fmt(formatter),
            Flaw::LeftOver(bytes) => write!(formatter, "{bytes} bytes are left over"),
            Flaw::ReadAsAnother => formatter.write_str(
                "another value is read; does a tuple struct or a tuple variant leave a field out \
                 (`skip_serializing_if`)?",
            ),
            Flaw::NotReadBack(why) => write!(
                formatter,
                "it cannot be read back: {why}; a type whose reader must be told what comes (`untagged`, `tag`, \
                 `skip_serializing`) cannot travel"
            ),
            Flaw::Handle(error) => error.fmt(formatter),
            Flaw::TooManyDescriptors(count) => write!(
                formatter,
                "its shared objects take {count} descriptors, and a message carries {MAX_FDS} at most; send several"
            ),
        }
    }
}

impl core::error::Error for Unfit {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match &self.0 {
            Flaw::Unwritable(error) | Flaw::Unreadable(error) => Some(error),
            Flaw::NotReadBack(why) => Some(why),
            Flaw::Handle(error) => Some(error),
            Flaw::FieldLeftOut(_)
            | Flaw::TooDeep
            | Flaw::ReadTooDeep
            | Flaw::LeftOver(_)
            | Flaw::ReadAsAnother
            | Flaw::TooManyDescriptors(_) => None,
        }
    }
}

/// Writes a value.
///
/// # Errors
///
/// A named field is left out, there are more than 500 levels, or the value's own `Serialize` fails.
pub fn write<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Unfit> {
    append(value, Vec::new())
}

/// Writes a value after what `bytes` holds, whose memory it uses.
///
/// # Errors
///
/// Those of [`write()`]; the bytes are lost then.
#[inline]
pub fn append<T: Serialize + ?Sized>(value: &T, bytes: Vec<u8>) -> Result<Vec<u8>, Unfit> {
    append_noting(value, bytes, &Notes::default())
}

/// A value as bytes, with the descriptors of the shared objects in it; made by [`pack`].
#[derive(Debug)]
pub struct Packed {
    bytes: Vec<u8>,
    /// `None` if it has no handle.
    descriptors: Option<Vec<Descriptor>>,
}

impl Packed {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The descriptors that travel next to the bytes, if there are handles in them; empty if these
    /// travel by name.
    pub fn descriptors(&self) -> Option<&[Descriptor]> {
        self.descriptors.as_deref()
    }

    /// Both.
    pub fn into_parts(self) -> (Vec<u8>, Option<Vec<Descriptor>>) {
        (self.bytes, self.descriptors)
    }
}

/// Writes a value with the handles in it after what `bytes` holds, whose memory it uses. In debug
/// builds, a value without handles is read back.
///
/// ```
/// use mp_object::transfer::Way;
/// use mp_object::{Lock, message};
///
/// let lock = Lock::new()?;
/// let both = (1, lock.clone(), lock.clone());
/// let packed = message::pack(&both, Vec::new(), Way::Descriptors);
/// assert_eq!(packed.expect("a message").descriptors().map(<[_]>::len), Some(2));
/// let refused = message::pack(&lock, Vec::new(), Way::Names).unwrap_err();
/// assert!(refused.to_string().contains("this one has none"));
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`write()`]; a handle cannot travel this way; there are more than 253 descriptors; and,
/// in debug builds, what was written without handles cannot be read as a `T`, or is read as another
/// value. The bytes are lost then.
#[inline]
pub fn pack<T: Serialize + DeserializeOwned>(
    value: &T,
    bytes: Vec<u8>,
    way: Way,
) -> Result<Packed, Unfit> {
    let begin = bytes.len();
    let notes = Notes::default();
    let (written, baggage) = transfer::message(way, || append_noting(value, bytes, &notes));
    if let Some(baggage) = baggage {
        return pack_handles(written, baggage);
    }
    let bytes = written?;
    if cfg!(debug_assertions) {
        read_back::<T>(&bytes[begin..], &notes)
            .map_err(|why| Unfit(Flaw::NotReadBack(Box::new(why))))?;
    }
    Ok(Packed {
        bytes,
        descriptors: None,
    })
}

#[cold]
fn pack_handles(written: Result<Vec<u8>, Unfit>, baggage: Baggage) -> Result<Packed, Unfit> {
    let bytes = match (written, baggage.refused) {
        (Err(_), Some(refused)) => return Err(Unfit(Flaw::Handle(refused))),
        (written, _) => written?,
    };
    let count = baggage.descriptors.len();
    if count > MAX_FDS {
        return Err(Unfit(Flaw::TooManyDescriptors(count)));
    }
    Ok(Packed {
        bytes,
        descriptors: Some(baggage.descriptors),
    })
}

/// Reads a value that [`pack`] wrote, with the descriptors that came with it, if any did. Those
/// that it does not ask for are closed.
///
/// # Errors
///
/// Those of [`read`], and why a handle does not open.
#[inline]
pub fn unpack<T: DeserializeOwned>(
    bytes: &[u8],
    descriptors: Option<Vec<OwnedFd>>,
) -> Result<T, Unfit> {
    match descriptors {
        None => read(bytes),
        Some(descriptors) => unpack_handles(bytes, descriptors),
    }
}

#[cold]
fn unpack_handles<T: DeserializeOwned>(
    bytes: &[u8],
    descriptors: Vec<OwnedFd>,
) -> Result<T, Unfit> {
    match transfer::incoming_or_why(descriptors, || read(bytes)) {
        (Err(_), Some(refused)) => Err(Unfit(Flaw::Handle(refused))),
        (value, _) => value,
    }
}

/// Reads a value that takes all of the bytes.
///
/// # Errors
///
/// The bytes are not a `T`, or more than one.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unfit> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(Unfit(Flaw::LeftOver(rest.len()))),
        Err(error) => Err(Unfit(Flaw::Unreadable(error))),
    }
}

#[inline]
fn append_noting<T: Serialize + ?Sized>(
    value: &T,
    bytes: Vec<u8>,
    notes: &Notes,
) -> Result<Vec<u8>, Unfit> {
    postcard::to_extend(&Whole::new(value, notes), bytes).map_err(|error| {
        Unfit(match notes.skipped.get() {
            Some(field) => Flaw::FieldLeftOut(field),
            None if notes.is_too_deep.get() => Flaw::TooDeep,
            None => Flaw::Unwritable(error),
        })
    })
}

/// Reads what was written and, if it has fields that may be left out unsaid, writes that again.
///
/// The bytes may be the same though a field was left out: the next fields were read in its place.
/// But then the value that was read writes more fields, or leaves one out itself and is shorter.
/// The bytes themselves are not compared: a `HashMap` that was read has another order.
fn read_back<T: Serialize + DeserializeOwned>(bytes: &[u8], written: &Notes) -> Result<(), Unfit> {
    let value: T = read(bytes)?;
    if written.tuple_fields.get() == 0 {
        return Ok(());
    }
    let again = Notes::default();
    let len = append_noting(&value, Vec::new(), &again)?.len();
    if (len, &again.tuple_fields) == (bytes.len(), &written.tuple_fields) {
        Ok(())
    } else {
        Err(Unfit(Flaw::ReadAsAnother))
    }
}
