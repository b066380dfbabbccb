//! What a consumer reads after the head, until one store commits that it was got.

use mp_layout::atomic::Ordering;
use mp_layout::{Error, ErrorKind, Result};
use mp_object::message::Objects;

use super::RawQueue;
use super::message::Message;
use crate::cursor::Cursor;
use crate::geometry::{BLOCK_UNITS, record_units};
use crate::record_header::RecordHeader;

/// Records after the head. What is dropped without [`commit`](Self::commit) stays in the queue.
///
/// Made, used and dropped under the consumers' lock.
#[derive(Debug)]
pub(super) struct Reader<'q> {
    queue: &'q RawQueue,
    head: Cursor,
    /// The end of the newest record that was passed.
    at: Cursor,
    /// A cursor that the tail had.
    seen: Cursor,
    /// Whether it has looked at the tail itself.
    has_looked: bool,
    /// The tag of the newest message that was passed, if it has descriptors in the lane.
    in_lane: Option<u32>,
}

impl<'q> Reader<'q> {
    /// One that has passed nothing.
    #[inline]
    pub(super) fn new(queue: &'q RawQueue) -> Result<Self> {
        let words = &queue.control().head;
        let blocks = queue.blocks.count();
        let head = Cursor::from_word(words.cursor.load(Ordering::Relaxed), blocks)?;
        let seen = Cursor::from_word(words.seen.load(Ordering::Acquire), blocks)?;
        Ok(Self {
            queue,
            head,
            at: head,
            seen,
            has_looked: false,
            in_lane: None,
        })
    }

    /// Messages passed.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.at.records_since(self.head) as usize
    }

    /// Whether it has come to another block, so that others are free once this commits.
    #[inline]
    pub(super) fn has_left_a_block(&self) -> bool {
        self.at.block() != self.head.block()
    }

    /// The oldest message that was not passed.
    #[inline]
    fn peek(&mut self) -> Result<Option<Message<'_>>> {
        if self.at == self.seen && !self.look_at_tail()? {
            return Ok(None);
        }
        // I1
        let left = self.seen.records_since(self.at);
        if left.wrapping_sub(1) as usize >= self.queue.geometry.max_records() {
            return Err(self.bad_record(self.at.block(), self.at.unit(), 0));
        }
        let (mut block, mut unit) = (self.at.block(), self.at.unit());
        if unit == BLOCK_UNITS {
            (block, unit) = (self.block_after(block)?, 1);
        }
        let limit = self.limit(block);
        if unit >= limit {
            return Err(self.bad_record(block, unit, 0));
        }
        // SAFETY: the unit lies in a block of the queue.
        let start = unsafe { self.queue.blocks.pointer(block, unit) };
        // SAFETY: it was put, so its bytes are the consumer's (I2), and any bytes are a header.
        let header = unsafe { start.cast::<RecordHeader>().read() };
        let end = u64::from(unit) + record_units(header.len as usize);
        let end = if end <= u64::from(limit) {
            self.at.after_record(block, end as u32)
        } else {
            self.end_across(block, unit, header.len)?
        };
        Ok(Some(Message {
            blocks: &self.queue.blocks,
            tag: header.tag,
            len: header.len as usize,
            block,
            unit: unit + 1,
            end,
        }))
    }

    /// Where a record ends that starts at `unit` of `block` and goes on in others, all of which
    /// must have been put.
    #[cold]
    fn end_across(&self, mut block: u32, unit: u32, len: u32) -> Result<Cursor> {
        let mut end = u64::from(unit) + record_units(len as usize);
        loop {
            let limit = self.limit(block);
            if end <= u64::from(limit) {
                return Ok(self.at.after_record(block, end as u32));
            }
            if block == self.seen.block() {
                return Err(self.bad_record(block, unit, len));
            }
            end = end - u64::from(BLOCK_UNITS) + 1;
            block = self.queue.blocks.next(block)?;
        }
    }

    /// Up to where records were put in a block that is not before this one's position.
    #[inline]
    fn limit(&self, block: u32) -> u32 {
        if block == self.seen.block() {
            self.seen.unit()
        } else {
            BLOCK_UNITS
        }
    }

    #[cold]
    fn block_after(&self, block: u32) -> Result<u32> {
        self.queue.blocks.next(block)
    }

    /// Whether the tail has moved since last seen. It is looked at once: a get of many would not
    /// end while producers keep up.
    fn look_at_tail(&mut self) -> Result<bool> {
        if core::mem::replace(&mut self.has_looked, true) {
            return Ok(false);
        }
        // Pairs with the producers' commit: the records up to there are written.
        let tail = self.queue.tail(Ordering::Acquire)?;
        if tail == self.seen {
            return Ok(false);
        }
        let words = &self.queue.control().head;
        words.seen.store(tail.to_word(), Ordering::Release);
        self.seen = tail;
        Ok(true)
    }

    /// Whether the newest message that was passed has descriptors in the lane. No other can be
    /// passed then.
    #[inline]
    pub(super) fn is_in_lane(&self) -> bool {
        self.in_lane.is_some()
    }

    /// Passes the oldest message that was not passed, if there is one and it can be, and returns
    /// what `take` makes of it, and of its objects if it has handles. If that fails, it is not
    /// passed.
    #[inline]
    pub(super) fn take_next<R>(
        &mut self,
        take: &mut impl FnMut(&Message<'_>, Option<Objects>) -> Result<R>,
    ) -> Result<Option<R>> {
        if self.is_in_lane() {
            return Ok(None);
        }
        let queue = self.queue;
        let Some(message) = self.peek()? else {
            return Ok(None);
        };
        let (mut objects, mut in_lane) = (None, None);
        if message.tag() != RecordHeader::BYTES {
            let found = queue.find_objects(&message)?;
            (objects, in_lane) = (Some(found.0), found.1);
        }
        let (taken, end) = (take(&message, objects)?, message.end());
        self.at = end;
        self.in_lane = in_lane;
        Ok(Some(taken))
    }

    /// Takes all messages that were passed out of the queue, by one store.
    #[inline]
    pub(super) fn commit(self) {
        let word = &self.queue.control().head.cursor;
        word.store(self.at.to_word(), Ordering::Release);
        if let Some(tag) = self.in_lane {
            self.queue.discard_objects(tag);
        }
    }

    #[cold]
    fn bad_record(&self, block: u32, unit: u32, len: u32) -> Error {
        Error::new(ErrorKind::Corrupt, "use", "a queue").with_detail(format!(
            "the record at unit {unit} of block {block} claims {len} bytes, beyond the tail at unit {} of block {}",
            self.seen.unit(),
            self.seen.block()
        ))
    }
}
