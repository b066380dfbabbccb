//! The words that commit.

use mp_layout::{Error, ErrorKind, Result};

use crate::geometry::{BLOCK_UNITS, MAX_BLOCKS};

/// Where a record ended, and the number of records up to there, in the one word that one store
/// publishes.
///
/// | bits | meaning |
/// |---|---|
/// | 0..12 | units from the block's start, 1 to 2048: with 2048, the next record starts in the next block |
/// | 12..32 | the block |
/// | 32..64 | records so far, counted on from `u32::MAX` to 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor(u64);

const UNIT_BITS: u32 = 12;

const _: () = assert!(BLOCK_UNITS < 1 << UNIT_BITS && MAX_BLOCKS <= 1 << (32 - UNIT_BITS));

impl Cursor {
    /// Where a new queue starts: at the first record of block 0.
    pub(crate) const START: Self = Self(1);

    pub(crate) const fn to_word(self) -> u64 {
        self.0
    }

    /// What a word of a queue of so many blocks says.
    #[inline]
    pub(crate) fn from_word(word: u64, blocks: u32) -> Result<Self> {
        let found = Self(word);
        let is_possible = found.block() < blocks && found.unit().wrapping_sub(1) < BLOCK_UNITS;
        if is_possible {
            Ok(found)
        } else {
            Err(bad_cursor(found, blocks))
        }
    }

    #[inline]
    pub(crate) const fn block(self) -> u32 {
        (self.0 as u32) >> UNIT_BITS
    }

    #[inline]
    pub(crate) const fn unit(self) -> u32 {
        self.0 as u32 & ((1 << UNIT_BITS) - 1)
    }

    /// Records between `older` and this.
    #[inline]
    pub(crate) const fn records_since(self, older: Self) -> u32 {
        count_of(self.0).wrapping_sub(count_of(older.0))
    }

    /// The end of the next record, which ends at `unit` of `block`.
    #[inline]
    pub(crate) const fn after_record(self, block: u32, unit: u32) -> Self {
        let count = count_of(self.0).wrapping_add(1);
        Self((count as u64) << 32 | (block << UNIT_BITS | unit) as u64)
    }
}

/// Records up to a word of either side, also one that was not checked.
pub(crate) const fn count_of(word: u64) -> u32 {
    (word >> 32) as u32
}

#[cold]
fn bad_cursor(found: Cursor, blocks: u32) -> Error {
    Error::mismatch(
        ErrorKind::Corrupt,
        "use",
        "a queue",
        format_args!(
            "a cursor at unit {} of block {}",
            found.unit(),
            found.block()
        ),
        format_args!("unit 1 to {BLOCK_UNITS} of a block below {blocks}"),
    )
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_UNITS, Cursor, MAX_BLOCKS};

    #[test]
    fn its_parts_are_apart() {
        let last = Cursor::START.after_record(MAX_BLOCKS - 1, BLOCK_UNITS);
        assert_eq!((last.block(), last.unit()), (MAX_BLOCKS - 1, BLOCK_UNITS));
        assert_eq!(last.records_since(Cursor::START), 1);
        assert_eq!(
            Cursor::from_word(last.to_word(), MAX_BLOCKS).ok(),
            Some(last)
        );
        let wrapped = Cursor(u64::from(u32::MAX) << 32 | 1).after_record(2, 3);
        assert_eq!(
            (wrapped.to_word() >> 32, wrapped.block(), wrapped.unit()),
            (0, 2, 3)
        );
    }

    #[test]
    fn impossible_words_are_refused() {
        for word in [0, 2049, 4 << 12 | 1, u64::MAX] {
            assert!(Cursor::from_word(word, 4).is_err(), "{word:#x}");
        }
    }
}
