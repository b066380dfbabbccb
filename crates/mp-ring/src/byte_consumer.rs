//! The popping end of a byte ring.

use mp_layout::atomic::Ordering;

use crate::claim::Claim;
use crate::cursor::{Cursor, UNIT, checked_distance};
use crate::record_header::{HEADER, RecordHeader};
use crate::{ByteRing, Corrupt, PopError, Record, Records};

/// The one that pops from a [`ByteRing`]. Dropped, it gives its claim back.
///
/// # If a process dies
///
/// Killed in an operation, either all that the operation would have popped is gone from the ring or
/// nothing of it; the next consumer gets what is left.
///
/// ```
/// # use mp_ring::ByteRing;
/// use mp_ring::PopError;
///
/// # let mut memory = vec![0; ByteRing::words_for(64)?];
/// # let (mut producer, mut consumer) = ByteRing::new(&mut memory, 64, None)?.split()?;
/// producer.push_tagged(7, b"one")?;
/// let mut bytes = Vec::new();
/// assert_eq!(consumer.pop_into(&mut bytes), Ok(7));
/// assert_eq!(bytes, b"one");
/// assert_eq!(consumer.pop_into(&mut bytes), Err(PopError::Empty));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
pub struct ByteConsumer<'a> {
    ring: ByteRing<'a>,
    /// What the head word says, which only this handle writes (I3).
    head: Cursor,
    /// The tail word when last looked at (I4).
    cached_tail: Cursor,
    _claim: Option<Claim<'a>>,
}

/// A record found and checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Offset of its header in the data.
    offset: usize,
    pub(crate) len: usize,
    pub(crate) tag: u32,
    /// The head behind it.
    pub(crate) after: Cursor,
}

impl Found {
    pub(crate) const fn payload(self) -> usize {
        self.offset + HEADER
    }
}

impl<'a> ByteConsumer<'a> {
    #[inline]
    pub(crate) fn new(ring: ByteRing<'a>, claim: Option<Claim<'a>>) -> Result<Self, Corrupt> {
        let head = ring.words.head.cursor();
        let cached_tail = ring.words.head.cached();
        checked_distance(cached_tail, head, ring.units)?;
        Ok(Self {
            ring,
            head,
            cached_tail,
            _claim: claim,
        })
    }

    /// Pops the oldest record into `bytes`, in place of what is there, and returns its tag.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] if there is none; `bytes` is unchanged.
    #[inline]
    pub fn pop_into(&mut self, bytes: &mut Vec<u8>) -> Result<u32, PopError> {
        let found = self.find(self.head)?;
        self.copy(found, bytes);
        self.release_to(found.after);
        Ok(found.tag)
    }

    /// Lends the oldest record in place; it stays in the ring until released.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] if there is none.
    #[inline]
    pub fn peek(&mut self) -> Result<Record<'_, 'a>, PopError> {
        let found = self.find(self.head)?;
        Ok(Record::new(self, found))
    }

    /// Reads records one after another, all of which are released in one step.
    #[inline]
    pub fn records(&mut self) -> Records<'_, 'a> {
        Records::new(self)
    }

    /// Records in the ring. The producer may have pushed more meanwhile: there are never fewer than
    /// this.
    pub fn len(&self) -> usize {
        let tail = self.ring.words.tail.cursor();
        tail.since(self.head).records.min(self.ring.units) as usize
    }

    /// Whether there is nothing to pop. False stays false until this handle pops.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ring that it pops from.
    pub fn ring(&self) -> ByteRing<'a> {
        self.ring
    }

    pub(crate) fn head(&self) -> Cursor {
        self.head
    }

    /// Finds and checks the record at `head`, which is this handle's head or, in a batch, ahead of
    /// it.
    #[inline]
    pub(crate) fn find(&mut self, head: Cursor) -> Result<Found, PopError> {
        if head == self.cached_tail && !self.look_at_tail()? {
            return Err(PopError::Empty);
        }
        let readable = checked_distance(self.cached_tail, head, self.ring.units)?.units;
        if readable == 0 {
            return Err(PopError::Empty);
        }
        let start = self.ring.unit_at(head.position());
        // SAFETY: something is published from `head` on, so its first unit is the consumer's (I2).
        let header = unsafe { RecordHeader::read(self.ring.data, start as usize * UNIT) };
        if !header.is_skip() {
            return self.check(head, (start, 0), readable, header);
        }
        let skip = self.ring.units - start;
        if skip >= readable {
            return Err(self.bad_record(start, header.len, readable).into());
        }
        // SAFETY: more is published than was skipped, so the ring's first unit is the consumer's
        // (I2).
        let header = unsafe { RecordHeader::read(self.ring.data, 0) };
        self.check(head, (start, skip), readable, header)
    }

    /// Checks that the record behind `skip` units at `start` lies in what is `readable` and before
    /// the data's end.
    #[inline]
    fn check(
        &self,
        head: Cursor,
        (start, skip): (u32, u32),
        readable: u32,
        header: RecordHeader,
    ) -> Result<Found, PopError> {
        let at = if skip == 0 { start } else { 0 };
        let most = (readable - skip).min(self.ring.units - at);
        let units = 1 + u64::from(header.len).div_ceil(UNIT as u64);
        if units > u64::from(most) || header.is_skip() {
            return Err(self.bad_record(at, header.len, most).into());
        }
        Ok(Found {
            offset: at as usize * UNIT,
            len: header.len as usize,
            tag: header.tag,
            after: head.after_record(skip + units as u32),
        })
    }

    /// Whether the tail has moved since last seen.
    fn look_at_tail(&mut self) -> Result<bool, Corrupt> {
        // pairs with the producer's commit: it has written the records up to there
        let tail = self.ring.words.tail.cursor();
        if tail == self.cached_tail {
            return Ok(false);
        }
        checked_distance(tail, self.head, self.ring.units)?;
        self.cached_tail = tail;
        self.ring.words.head.store_cached(tail);
        Ok(true)
    }

    /// Copies the bytes of a record that `find` gave.
    #[inline]
    pub(crate) fn copy(&self, found: Found, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.reserve(found.len);
        // SAFETY: `find` checked that the record's bytes lie in the data and are published: the
        // consumer's until it releases them (I2). As many were just reserved.
        unsafe {
            self.ring
                .data
                .read(found.payload(), bytes.as_mut_ptr(), found.len);
        };
        // SAFETY: as many bytes were just written.
        unsafe { bytes.set_len(found.len) };
    }

    /// The bytes of a record that `find` gave and that is not released.
    #[cfg(not(loom))]
    pub(crate) fn lend(&self, found: Found) -> &[u8] {
        // SAFETY: `find` checked that the record lies in the data.
        let start = unsafe { self.ring.data.pointer(found.payload()) };
        // SAFETY: it is published and not released, so its bytes are the consumer's (I2), and
        // releasing it needs the consumer that is borrowed for as long.
        unsafe { core::slice::from_raw_parts(start, found.len) }
    }

    /// Gives everything before `head` back: the commit.
    #[inline]
    pub(crate) fn release_to(&mut self, head: Cursor) {
        self.head = head;
        self.ring.words.head.publish(head, Ordering::Release);
    }

    #[cold]
    fn bad_record(&self, unit: u32, len: u32, readable: u32) -> Corrupt {
        Corrupt::Record {
            offset: u64::from(unit) * UNIT as u64,
            len,
            readable: u64::from(readable) * UNIT as u64,
        }
    }
}
