//! What a producer writes after the tail, until one store commits it.

use mp_layout::Error;
use mp_layout::atomic::Ordering;

use super::RawQueue;
use crate::PutError;
use crate::cursor::{Cursor, count_of};
use crate::geometry::{BLOCK_UNITS, RECORD_UNITS, UNIT, record_units};
use crate::record_header::RecordHeader;

/// Records after the tail. What is dropped without [`commit`](Self::commit) was never put.
///
/// Made, used and dropped under the producers' lock.
#[derive(Debug)]
pub(super) struct Draft<'q> {
    queue: &'q RawQueue,
    tail: Cursor,
    /// The end of the newest record of the draft.
    at: Cursor,
    /// The last of the blocks that follow `at` in the queue's order, and how many of them do.
    last: u32,
    ahead: u32,
    /// Blocks that are not in the stack, those of the draft included; `None` while it needed no
    /// more.
    taken: Option<u32>,
    /// The head's count when a producer last looked: as long as there seems to be room, none
    /// touches the consumers' line.
    got: u32,
}

/// Room and memory for a record that comes next. Nothing is written.
#[derive(Debug)]
#[must_use = "nothing is written yet"]
pub(super) struct Slot {
    len: usize,
}

impl<'q> Draft<'q> {
    /// An empty one.
    #[inline]
    pub(super) fn new(queue: &'q RawQueue) -> Result<Self, Error> {
        let tail = queue.tail(Ordering::Relaxed)?;
        Ok(Self {
            queue,
            tail,
            at: tail,
            last: tail.block(),
            ahead: 0,
            taken: None,
            got: count_of(queue.control().tail.seen.load(Ordering::Relaxed)),
        })
    }

    /// Records in it.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.at.records_since(self.tail) as usize
    }

    /// Makes sure of the room and the memory for a record of `len` bytes (I5).
    #[inline]
    pub(super) fn reserve(&mut self, len: usize) -> Result<Slot, PutError<()>> {
        if self.len() >= self.queue.bound {
            self.look_at_head()?;
            if self.len() >= self.queue.bound {
                return Err(PutError::Full(()));
            }
        }
        let left = BLOCK_UNITS - self.at.unit();
        if record_units(len) > u64::from(left) {
            self.extend(len)?;
        }
        Ok(Slot { len })
    }

    /// Messages in the queue when a producer last looked at the head, with those of the draft.
    #[inline]
    fn len(&self) -> u64 {
        u64::from(count_of(self.at.to_word()).wrapping_sub(self.got))
    }

    fn look_at_head(&mut self) -> Result<(), Error> {
        let head = self.queue.head(Ordering::Relaxed)?.to_word();
        self.queue
            .control()
            .tail
            .seen
            .store(head, Ordering::Relaxed);
        self.got = count_of(head);
        Ok(())
    }

    /// Takes as many blocks as a record of `len` bytes needs beyond those that follow already.
    #[cold]
    fn extend(&mut self, len: usize) -> Result<(), PutError<()>> {
        let max = self.queue.geometry.max_message();
        if len > max {
            return Err(PutError::TooLarge {
                value: (),
                len,
                max,
            });
        }
        let beyond = record_units(len) - u64::from(BLOCK_UNITS - self.at.unit());
        // A message is shorter than all blocks together, of which there are 2^20 at most.
        let blocks = beyond.div_ceil(u64::from(RECORD_UNITS)) as u32;
        let needed = blocks.saturating_sub(self.ahead);
        if needed == 0 {
            return Ok(());
        }
        // Free blocks go back to the stack before the draft takes the first, not later (I3).
        let taken = match self.taken {
            Some(taken) => taken,
            None => self.queue.reclaim(self.tail)?,
        };
        self.taken = Some(taken);
        if needed > self.queue.blocks.count() - taken {
            return Err(self.queue.no_room(len, taken));
        }
        self.queue.ensure_memory(taken + needed)?;
        for place in taken..taken + needed {
            self.link(self.queue.blocks.free(place)?)?;
        }
        self.taken = Some(taken + needed);
        Ok(())
    }

    /// Appends a free block to those that follow.
    fn link(&mut self, block: u32) -> Result<(), Error> {
        let blocks = &self.queue.blocks;
        let (last, new) = (blocks.link(self.last)?, blocks.link(block)?);
        let number = last.number.load(Ordering::Relaxed).wrapping_add(1);
        new.number.store(number, Ordering::Relaxed);
        last.next.store(block, Ordering::Relaxed);
        self.last = block;
        self.ahead += 1;
        Ok(())
    }

    /// Writes a record of as many bytes as its slot was reserved for.
    #[inline]
    pub(super) fn write(&mut self, slot: Slot, tag: u32, message: &[u8]) -> Result<(), Error> {
        debug_assert_eq!(slot.len, message.len());
        let header = RecordHeader {
            len: message.len() as u32,
            tag,
        };
        let unit = self.at.unit();
        let end = u64::from(unit) + record_units(message.len());
        if end > u64::from(BLOCK_UNITS) {
            return self.write_across(header, message);
        }
        // SAFETY: the tail's block is the draft's from there on, and the record ends in it.
        unsafe { self.write_header(self.at.block(), unit, header) };
        // SAFETY: as above.
        unsafe { self.write_bytes(self.at.block(), unit + 1, message) };
        self.at = self.at.after_record(self.at.block(), end as u32);
        Ok(())
    }

    /// Writes a record that ends in another block than the one before it.
    #[cold]
    fn write_across(&mut self, header: RecordHeader, message: &[u8]) -> Result<(), Error> {
        let (mut block, mut unit) = (self.at.block(), self.at.unit());
        if unit == BLOCK_UNITS {
            (block, unit) = (self.next(block)?, 1);
        }
        // SAFETY: the unit is free: it follows the tail, or is in a block that `reserve` took.
        unsafe { self.write_header(block, unit, header) };
        unit += 1;
        let mut rest = message;
        loop {
            let here = rest.len().min((BLOCK_UNITS - unit) as usize * UNIT);
            let (bytes, after) = rest.split_at(here);
            // SAFETY: as above, and they end where the block does at most.
            unsafe { self.write_bytes(block, unit, bytes) };
            rest = after;
            if rest.is_empty() {
                unit += here.div_ceil(UNIT) as u32;
                self.at = self.at.after_record(block, unit);
                return Ok(());
            }
            (block, unit) = (self.next(block)?, 1);
        }
    }

    /// The block after `block`, one of those that follow.
    fn next(&mut self, block: u32) -> Result<u32, Error> {
        self.ahead = self.ahead.saturating_sub(1);
        self.queue.blocks.next(block)
    }

    /// # Safety
    ///
    /// The unit is one of a block of the queue, and the draft's.
    #[inline]
    unsafe fn write_header(&mut self, block: u32, unit: u32, header: RecordHeader) {
        // SAFETY: by the contract.
        let target = unsafe { self.queue.blocks.pointer(block, unit) };
        // SAFETY: as many bytes as a unit, aligned like one.
        unsafe { target.cast::<RecordHeader>().write(header) };
    }

    /// # Safety
    ///
    /// The bytes from `unit` on lie in a block of the queue, and are the draft's.
    #[inline]
    unsafe fn write_bytes(&mut self, block: u32, unit: u32, bytes: &[u8]) {
        // SAFETY: by the contract.
        let target = unsafe { self.queue.blocks.pointer(block, unit) };
        // SAFETY: as above. The message is a slice of this process, which does not lie in the
        // queue.
        unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Puts all records of the draft, by one store.
    #[inline]
    pub(super) fn commit(self) {
        let word = &self.queue.control().tail.cursor;
        word.store(self.at.to_word(), Ordering::Release);
    }
}
