//! The blocks of a queue and the stack of those that are free.

use mp_layout::atomic::{AtomicU32, Ordering};
use mp_layout::{Error, ErrorKind, Region, Result};

use crate::control::Link;
use crate::geometry::{BLOCK, BLOCK_UNITS, FIRST_PLACES, Geometry, STACK, UNIT, block_offset};

/// A queue's blocks, as they are mapped here. Copies do not leave the structure that keeps the
/// mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    /// All of the queue's bytes.
    part: Region<'static>,
    count: u32,
    /// The places of the stack: the first ones, and the others.
    first: &'static [AtomicU32],
    rest: &'static [AtomicU32],
}

impl Blocks {
    /// Finds them in the part of a payload that is a queue.
    ///
    /// # Safety
    ///
    /// The part is a queue's, whose users all reach its bytes by the queue's protocol only, and it
    /// stays mapped as long as this or a copy is used.
    pub(crate) unsafe fn new(part: Region<'_>, geometry: Geometry) -> Result<Self> {
        let start = part.pointer_to::<u8>(0, geometry.size())?;
        // SAFETY: mapped for as long as it is used, by the contract.
        let part = unsafe { Region::<'static>::new(start, geometry.size()) };
        let count = geometry.blocks();
        let first = count.min(FIRST_PLACES);
        let rest = geometry.place_offset(FIRST_PLACES);
        Ok(Self {
            part,
            count,
            first: part.place_slice(STACK, first as usize)?,
            rest: part.place_slice(rest, (count - first) as usize)?,
        })
    }

    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The link of a block.
    #[inline]
    pub(crate) fn link(&self, block: u32) -> Result<&'static Link> {
        self.checked(block)?;
        self.part.place(block_offset(block))
    }

    /// The block that follows in the queue's order.
    pub(crate) fn next(&self, block: u32) -> Result<u32> {
        let next = self.link(block)?.next.load(Ordering::Relaxed);
        self.checked(next)
    }

    /// How many blocks came before this one in the queue's order, modulo 2^32.
    pub(crate) fn number(&self, block: u32) -> Result<u32> {
        Ok(self.link(block)?.number.load(Ordering::Relaxed))
    }

    /// The free block at `place` of the stack.
    pub(crate) fn free(&self, place: u32) -> Result<u32> {
        match self.place(place)?.load(Ordering::Relaxed) {
            // Where none was put back yet, each place has the block of its own number.
            0 => Ok(place),
            noted => self.checked(noted - 1),
        }
    }

    /// Notes the free block at `place` of the stack.
    pub(crate) fn set_free(&self, place: u32, block: u32) -> Result<()> {
        self.place(place)?.store(block + 1, Ordering::Relaxed);
        Ok(())
    }

    fn place(&self, place: u32) -> Result<&'static AtomicU32> {
        let index = place as usize;
        let found = match index.checked_sub(self.first.len()) {
            None => self.first.get(index),
            Some(index) => self.rest.get(index),
        };
        found.ok_or_else(|| self.bad_block(place))
    }

    /// Address of a unit of a block.
    ///
    /// # Safety
    ///
    /// The block is one of the queue's, and `unit` at most the number of its units.
    #[inline]
    pub(crate) unsafe fn pointer(&self, block: u32, unit: u32) -> *mut u8 {
        debug_assert!(block < self.count() && unit <= BLOCK_UNITS);
        let offset = block_offset(block) + unit as usize * UNIT;
        // SAFETY: within the queue's part or, at the end of a block, where the next one or the
        // stack starts, by the contract.
        unsafe { self.part.as_ptr().add(offset) }
    }

    #[inline]
    fn checked(&self, block: u32) -> Result<u32> {
        if block < self.count() {
            Ok(block)
        } else {
            Err(self.bad_block(block))
        }
    }

    #[cold]
    fn bad_block(&self, block: u32) -> Error {
        Error::mismatch(
            ErrorKind::Corrupt,
            "use",
            "a queue",
            format_args!("a word that says block {block}"),
            format_args!("one below {} (of {BLOCK} bytes each)", self.count()),
        )
    }
}
