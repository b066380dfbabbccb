//! Where in a ring's region something lies.

use core::ops::Range;

use crate::byte_ring_words::DATA;
use crate::cursor::UNIT;
use crate::record_header::HEADER;

/// The bytes of a ring's region that one record takes, skipped bytes at the ring's end included.
///
/// An owner of sparse memory reserves these before a record is written and may give them back
/// before it is released.
///
/// ```
/// # use mp_ring::ByteRing;
/// let mut memory = vec![0; ByteRing::words_for(64)?];
/// let (mut producer, _) = ByteRing::new(&mut memory, 64, None)?.split()?;
/// let span = producer.reserve(20)?.span();
/// assert_eq!((span.record.len(), span.skipped.len()), (8 + 24, 0));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Unused bytes before the ring's end, of which only the first 8 are written; empty if nothing
    /// is skipped.
    pub skipped: Range<usize>,
    /// The record's header, its bytes, and the padding to the next multiple of 8.
    pub record: Range<usize>,
}

impl Span {
    /// The span of a record of `len` bytes whose header lies at `offset` of the data.
    pub(crate) fn in_data(skipped: Range<usize>, offset: usize, len: usize) -> Self {
        let start = DATA + offset;
        Self {
            skipped: DATA + skipped.start..DATA + skipped.end,
            record: start..start + HEADER + len.next_multiple_of(UNIT),
        }
    }
}
