//! What rings answer when they cannot.

use core::fmt;
use core::num::NonZeroU64;

use mp_layout::{Error, ErrorKind};

use crate::Role;

/// Shared bytes contradict themselves: a peer wrote where it must not.
///
/// Nothing was read or written on account of them, and nothing will be: every later operation says
/// the same. Of a [`Cell`](Self::Cell) only those say so that come to it: the other cells of the
/// ring go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corrupt {
    /// Head and tail are further apart than the ring is large.
    Positions {
        /// The consumer's word as found.
        head: u64,
        /// The producer's word as found.
        tail: u64,
        /// What the ring holds: elements of a [`Ring`](crate::Ring), bytes of a
        /// [`ByteRing`](crate::ByteRing).
        capacity: u64,
    },
    /// A record says it is longer than what was published.
    Record {
        /// Its offset in the ring's data, in bytes.
        offset: u64,
        /// The length it states, in bytes; `u32::MAX` marks the unused end of the ring.
        len: u32,
        /// The bytes published from its offset on.
        readable: u64,
    },
    /// The word of a cell of an [`MpmcRing`](crate::MpmcRing) or [`LoanRing`](crate::LoanRing)
    /// cannot be that of the position where it was found.
    Cell {
        /// The position.
        position: u64,
        /// The word as found, 0 if there is no such cell.
        word: u64,
    },
}

impl fmt::Display for Corrupt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Positions {
                head,
                tail,
                capacity,
            } => write!(
                formatter,
                "head {head:#x} and tail {tail:#x} cannot belong to one ring of {capacity}"
            ),
            Self::Record {
                offset,
                len,
                readable,
            } => write!(
                formatter,
                "the record at byte {offset} claims {len} bytes where {readable} are published"
            ),
            Self::Cell { position, word } => write!(
                formatter,
                "the cell of position {position:#x} says {word:#x}, which no ring writes there"
            ),
        }
    }
}

impl core::error::Error for Corrupt {}

impl From<Corrupt> for Error {
    fn from(corrupt: Corrupt) -> Self {
        Self::new(ErrorKind::Corrupt, "use", "a ring").with_detail(corrupt.to_string())
    }
}

/// Why a producer of a [`MpmcRing`](crate::MpmcRing) has no place to push to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoRoom {
    /// There are as many values as there can be.
    Full,
    /// This owner has claimed the next place one lap before, and neither pushed nor given it back.
    /// If it is dead, a [`sweep`](crate::MpmcRing::sweep) makes room.
    Unfinished(NonZeroU64),
    /// The word of a cell is impossible.
    Corrupt(Corrupt),
}

impl From<Corrupt> for NoRoom {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

/// Why a value was not pushed; it comes back.
// the value at one offset in both variants, or the compiler copies a large one several times even
// when all goes well
#[repr(u64)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PushError<T> {
    /// The ring has no room.
    Full(T),
    /// The consumer's word is impossible, or a cell's.
    Corrupt(T, Corrupt),
}

impl<T> PushError<T> {
    /// The value that was not pushed.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Corrupt(value, _) => value,
        }
    }
}

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => formatter.write_str("Full(..)"),
            Self::Corrupt(_, corrupt) => write!(formatter, "Corrupt(.., {corrupt:?})"),
        }
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => formatter.write_str("the ring is full"),
            Self::Corrupt(_, corrupt) => corrupt.fmt(formatter),
        }
    }
}

impl<T> core::error::Error for PushError<T> {}

impl<T> From<PushError<T>> for Error {
    fn from(error: PushError<T>) -> Self {
        match error {
            PushError::Full(_) => Self::new(ErrorKind::Full, "push to", "a ring"),
            PushError::Corrupt(_, corrupt) => corrupt.into(),
        }
    }
}

/// Why there is no room to write in place, or none for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// Less is free now than was asked for.
    Full,
    /// More was asked for than the ring can ever give at once: elements of a ring, bytes of a byte
    /// ring's record.
    TooLarge {
        /// What was asked for.
        len: usize,
        /// The most there can be.
        max: usize,
    },
    /// The consumer's word is impossible.
    Corrupt(Corrupt),
}

impl fmt::Display for ReserveError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => formatter.write_str("the ring is full"),
            Self::TooLarge { len, max } => write!(
                formatter,
                "{len} were asked for where {max} are the most; make a larger ring"
            ),
            Self::Corrupt(corrupt) => corrupt.fmt(formatter),
        }
    }
}

impl core::error::Error for ReserveError {}

impl From<Corrupt> for ReserveError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

impl From<ReserveError> for Error {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::Full => Self::new(ErrorKind::Full, "reserve in", "a ring"),
            ReserveError::TooLarge { .. } => {
                Self::new(ErrorKind::InvalidInput, "reserve in", "a ring")
                    .with_detail(error.to_string())
            }
            ReserveError::Corrupt(corrupt) => corrupt.into(),
        }
    }
}

/// Why nothing was popped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopError {
    /// Nothing is published.
    Empty,
    /// The next value's bytes are not a value of its type (a `bool` of 2). It was taken; the next
    /// pop gives the one after.
    Invalid,
    /// The producer's word, a record's length or a cell's word is impossible.
    Corrupt(Corrupt),
}

impl fmt::Display for PopError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("the ring is empty"),
            Self::Invalid => formatter.write_str("the bytes are not a value of the ring's type"),
            Self::Corrupt(corrupt) => corrupt.fmt(formatter),
        }
    }
}

impl core::error::Error for PopError {}

impl From<Corrupt> for PopError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

impl From<PopError> for Error {
    fn from(error: PopError) -> Self {
        match error {
            PopError::Empty => Self::new(ErrorKind::Empty, "pop from", "a ring"),
            PopError::Invalid => {
                Self::new(ErrorKind::Decode, "pop from", "a ring").with_detail(error.to_string())
            }
            PopError::Corrupt(corrupt) => corrupt.into(),
        }
    }
}

/// Why a role was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// It has an owner. If that is dead, sweeping frees the role.
    Claimed {
        /// Which role.
        role: Role,
        /// The identity its owner claimed it with.
        owner: NonZeroU64,
    },
    /// The ring's words are impossible.
    Corrupt(Corrupt),
}

impl fmt::Display for ClaimError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claimed { role, owner } => write!(
                formatter,
                "{owner:#x} is the {role}; sweep the ring if that process is dead"
            ),
            Self::Corrupt(corrupt) => corrupt.fmt(formatter),
        }
    }
}

impl core::error::Error for ClaimError {}

impl From<Corrupt> for ClaimError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

impl From<ClaimError> for Error {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Claimed { .. } => {
                Self::new(ErrorKind::Claimed, "claim", "a ring").with_detail(error.to_string())
            }
            ClaimError::Corrupt(corrupt) => corrupt.into(),
        }
    }
}
