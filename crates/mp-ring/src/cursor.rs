//! The head and tail words of a byte ring.

use crate::Corrupt;

/// Bytes of a position's unit.
pub(crate) const UNIT: usize = 8;

/// Units of the largest ring: half of what a position can count, so that a distance tells which
/// word is ahead.
pub(crate) const MAX_UNITS: u64 = 1 << 31;

/// A place in a byte ring and the number of records up to it, in the one word that one store
/// publishes.
///
/// | bits | meaning |
/// |---|---|
/// | 0..32 | position in units of 8 bytes, counted on past the ring's end and from `u32::MAX` to 0 |
/// | 32..64 | records so far, counted on from `u32::MAX` to 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor(u64);

/// What lies between two cursors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Distance {
    pub(crate) units: u32,
    pub(crate) records: u32,
}

impl Cursor {
    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(crate) const fn to_word(self) -> u64 {
        self.0
    }

    pub(crate) const fn position(self) -> u32 {
        self.0 as u32
    }

    const fn count(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The cursor one record of `units` further.
    pub(crate) const fn after_record(self, units: u32) -> Self {
        let position = self.position().wrapping_add(units);
        let count = self.count().wrapping_add(1);
        Self(((count as u64) << 32) | position as u64)
    }

    /// How far `self` is ahead of `older`.
    pub(crate) const fn since(self, older: Self) -> Distance {
        Distance {
            units: self.position().wrapping_sub(older.position()),
            records: self.count().wrapping_sub(older.count()),
        }
    }
}

/// What lies between `head` and `tail` of a ring of `units`, if that is possible.
///
/// A record is at least its 8 bytes of header, and no position moves without a record.
#[inline]
pub(crate) fn checked_distance(
    tail: Cursor,
    head: Cursor,
    units: u32,
) -> Result<Distance, Corrupt> {
    let distance = tail.since(head);
    let possible = distance.units <= units
        && distance.records <= distance.units
        && (distance.records == 0) == (distance.units == 0);
    if possible {
        Ok(distance)
    } else {
        Err(corrupt_cursors(tail, head, units))
    }
}

#[cold]
fn corrupt_cursors(tail: Cursor, head: Cursor, units: u32) -> Corrupt {
    Corrupt::Positions {
        head: head.to_word(),
        tail: tail.to_word(),
        capacity: u64::from(units) * UNIT as u64,
    }
}
