//! Where the blocks of a queue lie.

use mp_layout::{Error, ErrorKind, Result};

/// The unit in which the kernel gives memory.
pub(crate) const PAGE: usize = 4096;

/// Bytes before the first block, of which the control words take the first part.
pub(crate) const CONTROL_SIZE: usize = PAGE;

/// Bytes of a unit: records start at multiples of it.
pub(crate) const UNIT: usize = 8;

/// Bytes of a block. Two or three hold a short queue, and stay in a core's own caches.
pub(crate) const BLOCK: usize = 16 << 10;

/// Units of a block. The first is its link.
pub(crate) const BLOCK_UNITS: u32 = (BLOCK / UNIT) as u32;

/// Units of a block that hold records.
pub(crate) const RECORD_UNITS: u32 = BLOCK_UNITS - 1;

/// As many as a cursor can name: 16 GiB.
pub(crate) const MAX_BLOCKS: u32 = 1 << 20;

/// In fewer, the one that is being read would be more than a sixteenth of the room.
const MIN_BLOCKS: u32 = 16;

/// Blocks that have memory from the start. Where no more is to be had, a queue goes on in these.
pub(crate) const FIRST_BACKED: u32 = 4;

/// Where the control page has the first places of the stack of free blocks.
pub(crate) const STACK: usize = 1024;

/// Blocks that keep their memory at least, of a queue of little room: 1.75 MiB.
const MIN_KEPT: u32 = 112;

/// Of a queue with more room this part keeps its memory: 16 MiB of the 4 GiB that is the default.
const KEPT_PART: u32 = 256;

/// As many as that page has room for. The others are only needed where blocks of more than 12 MiB
/// are in use.
pub(crate) const FIRST_PLACES: u32 = ((CONTROL_SIZE - STACK) / 4) as u32;

/// Bytes of messages a queue has addresses for unless its builder says otherwise.
pub(crate) const DEFAULT_ROOM: usize = 4 << 30;

/// How many blocks a queue has, and so where everything lies.
///
/// ```text
/// | control 4 KiB | block 0: 16 KiB | block 1 | ... | block n-1 | rest of the stack |      sparse
/// ```
///
/// The stack of free blocks has a place of 4 bytes for each, of which the first 768 lie in the
/// control page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    blocks: u32,
}

impl Geometry {
    /// As many blocks as fit into `room` bytes, but 16 at least.
    pub(crate) fn for_room(room: usize) -> Self {
        let fitting = u32::try_from(room / BLOCK).unwrap_or(u32::MAX);
        Self {
            blocks: fitting.clamp(MIN_BLOCKS, MAX_BLOCKS),
        }
    }

    /// What a queue's control words say, checked against the bytes that there are for it.
    pub(crate) fn found(blocks: u32, size: usize) -> Result<Self> {
        let found = Self { blocks };
        if (MIN_BLOCKS..=MAX_BLOCKS).contains(&blocks) && found.size() <= size {
            return Ok(found);
        }
        Err(Error::mismatch(
            ErrorKind::Corrupt,
            "attach",
            "a queue",
            format_args!("{blocks} blocks in {size} bytes"),
            format_args!("{MIN_BLOCKS} to {MAX_BLOCKS} that fit"),
        ))
    }

    pub(crate) const fn blocks(self) -> u32 {
        self.blocks
    }

    /// Bytes of the whole queue.
    pub(crate) const fn size(self) -> usize {
        let rest = self.blocks.saturating_sub(FIRST_PLACES) as usize;
        block_offset(self.blocks) + (4 * rest).next_multiple_of(PAGE)
    }

    /// Where a place of the stack lies that is not in the control page.
    pub(crate) const fn place_offset(self, place: u32) -> usize {
        block_offset(self.blocks) + 4 * (place - FIRST_PLACES) as usize
    }

    /// Bytes for messages, with their record headers and the blocks' links.
    pub(crate) const fn room(self) -> usize {
        self.blocks as usize * BLOCK
    }

    /// Blocks whose memory a queue keeps beyond those that it is in, once it had needed them.
    pub(crate) const fn kept(self) -> u32 {
        let part = self.blocks / KEPT_PART;
        if part > MIN_KEPT { part } else { MIN_KEPT }
    }

    /// The most records: each takes a unit at least.
    pub(crate) const fn max_records(self) -> usize {
        self.blocks as usize * RECORD_UNITS as usize
    }

    /// Bytes of the longest message: what an empty queue has room for wherever it is, that is in
    /// all blocks but one.
    pub(crate) const fn max_message(self) -> usize {
        let units = (self.blocks - 1) as usize * RECORD_UNITS as usize - 1;
        if units * UNIT < u32::MAX as usize {
            units * UNIT
        } else {
            u32::MAX as usize - 1
        }
    }
}

/// Where block `block` starts.
pub(crate) const fn block_offset(block: u32) -> usize {
    CONTROL_SIZE + block as usize * BLOCK
}

/// Units of a record of `len` bytes, with its header.
pub(crate) const fn record_units(len: usize) -> u64 {
    1 + len.div_ceil(UNIT) as u64
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, DEFAULT_ROOM, Geometry, MAX_BLOCKS, block_offset, record_units};

    #[test]
    fn the_default_is_four_gibibytes() {
        let geometry = Geometry::for_room(DEFAULT_ROOM);
        assert_eq!((geometry.blocks(), geometry.room()), (1 << 18, 4 << 30));
        assert!(geometry.max_message() >= DEFAULT_ROOM / 2);
    }

    #[test]
    fn tiny_and_huge_rooms_have_a_geometry() {
        assert_eq!(Geometry::for_room(0).room(), 256 << 10);
        assert_eq!(Geometry::for_room((1 << 20) + 1).room(), 1 << 20);
        let most = Geometry::for_room(usize::MAX);
        assert_eq!((most.blocks(), most.room()), (MAX_BLOCKS, 16 << 30));
        assert!(most.max_message() < u32::MAX as usize);
        let size = Geometry::for_room(0).size();
        assert!(Geometry::found(15, usize::MAX).is_err());
        assert!(Geometry::found(MAX_BLOCKS + 1, usize::MAX).is_err());
        assert!(Geometry::found(16, size - 1).is_err());
        assert!(Geometry::found(16, size).is_ok());
    }

    #[test]
    fn the_longest_message_fits_into_all_blocks_but_one() {
        let geometry = Geometry::for_room(1 << 20);
        let others = (geometry.blocks() as usize - 1) * (BLOCK - 8);
        assert_eq!(record_units(geometry.max_message()) as usize * 8, others);
        assert!(record_units(geometry.max_message() + 1) as usize * 8 > others);
        assert_eq!(block_offset(1) - block_offset(0), BLOCK);
    }
}
