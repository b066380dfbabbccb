//! Values as the bytes that travel between processes: messages of queues, arguments and results of processes.
//!
//! The format is postcard's. It has no names and no types in it, so the writer and the reader must agree on every field:
//!
//! - [`write()`] refuses a value if `skip_serializing_if` leaves a named field of it out. [`read`] would take the next
//!   field for it.
//! - [`read`] takes all of the bytes, and refuses what is left over.
//! - [`append_checked`] reads the value back in debug builds, and refuses what cannot be read. It finds most tuple
//!   structs and tuple variants with a field left out, which serde does not tell a writer of.
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

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::whole::{Notes, Whole};

mod whole;

/// Why a value cannot be written, or bytes cannot be read.
#[derive(Debug)]
pub struct Unfit(Flaw);

#[derive(Debug)]
enum Flaw {
    FieldLeftOut(&'static str),
    Unwritable(postcard::Error),
    Unreadable(postcard::Error),
    LeftOver(usize),
    ReadAsAnother,
    NotReadBack(Box<Unfit>),
}

impl Display for Unfit {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Flaw::FieldLeftOut(field) => write!(
                formatter,
                "its field `{field}` is left out (`skip_serializing_if`), and its reader would take the next one for \
                 it; write all fields, as `None` if need be"
            ),
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
        }
    }
}

impl core::error::Error for Unfit {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match &self.0 {
            Flaw::Unwritable(error) | Flaw::Unreadable(error) => Some(error),
            Flaw::NotReadBack(why) => Some(why),
            Flaw::FieldLeftOut(_) | Flaw::LeftOver(_) | Flaw::ReadAsAnother => None,
        }
    }
}

/// Writes a value.
///
/// # Errors
///
/// A named field is left out, or the value's own `Serialize` fails.
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

/// Does what [`append`] does and, in debug builds, reads the value back.
///
/// Not for values with handles of shared objects, which may be read only once.
///
/// # Errors
///
/// Those of [`write()`] and, in debug builds, what was written cannot be read as a `T`, or is read as another value.
#[inline]
pub fn append_checked<T: Serialize + DeserializeOwned>(
    value: &T,
    bytes: Vec<u8>,
) -> Result<Vec<u8>, Unfit> {
    let begin = bytes.len();
    let notes = Notes::default();
    let bytes = append_noting(value, bytes, &notes)?;
    if cfg!(debug_assertions) {
        read_back::<T>(&bytes[begin..], &notes)
            .map_err(|why| Unfit(Flaw::NotReadBack(Box::new(why))))?;
    }
    Ok(bytes)
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
            None => Flaw::Unwritable(error),
        })
    })
}

/// Reads what was written and, if it has fields that may be left out unsaid, writes that again.
///
/// The bytes may be the same though a field was left out: the next fields were read in its place. But then the value
/// that was read writes more fields, or leaves one out itself and is shorter. The bytes themselves are not compared:
/// a `HashMap` that was read has another order.
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
