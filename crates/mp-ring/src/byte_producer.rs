//! The pushing end of a byte ring.

use mp_layout::atomic::Ordering;

use crate::claim::Claim;
use crate::cursor::{Cursor, UNIT, checked_distance};
use crate::record_header::{HEADER, RecordHeader};
use crate::{ByteGrant, ByteRing, Corrupt, ReserveError};

/// The one that pushes into a [`ByteRing`]. Dropped, it gives its claim back.
///
/// # If a process dies
///
/// Killed in an operation, either all that the operation would have pushed is in the ring or
/// nothing of it.
///
/// ```
/// # use mp_ring::ByteRing;
/// use mp_ring::ReserveError;
///
/// # let mut memory = vec![0; ByteRing::words_for(64)?];
/// # let (mut producer, _consumer) = ByteRing::new(&mut memory, 64, None)?.split()?;
/// assert_eq!(producer.push(&[1; 30]), Err(ReserveError::TooLarge { len: 30, max: 24 }));
/// assert_eq!(producer.push_many(&["one", "two", "three", "four", "five"])?, 4);
/// assert_eq!(producer.push(b"more"), Err(ReserveError::Full));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
pub struct ByteProducer<'a> {
    ring: ByteRing<'a>,
    /// What the tail word says, which only this handle writes (I3).
    tail: Cursor,
    /// The head word when last looked at (I4).
    cached_head: Cursor,
    _claim: Option<Claim<'a>>,
}

/// Where the next record goes: checked room, nothing written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Offset in the data of the mark that skips its end, and the bytes skipped: 0 if there is no
    /// mark.
    skip: (usize, usize),
    /// Offset of the record's header in the data.
    offset: usize,
    /// Bytes the record may have.
    pub(crate) len: usize,
}

impl Slot {
    pub(crate) const fn payload(self) -> usize {
        self.offset + HEADER
    }

    /// The tail behind the record if it has `len` bytes.
    fn after(self, tail: Cursor, len: usize) -> Cursor {
        tail.after_record((self.skip.1 / UNIT + 1 + len.div_ceil(UNIT)) as u32)
    }
}

impl<'a> ByteProducer<'a> {
    #[inline]
    pub(crate) fn new(ring: ByteRing<'a>, claim: Option<Claim<'a>>) -> Result<Self, Corrupt> {
        let tail = ring.words.tail.cursor();
        let cached_head = ring.words.tail.cached();
        checked_distance(tail, cached_head, ring.units)?;
        Ok(Self {
            ring,
            tail,
            cached_head,
            _claim: claim,
        })
    }

    /// Pushes one record with tag 0.
    ///
    /// # Errors
    ///
    /// [`ReserveError::Full`] if there is no room now; [`ReserveError::TooLarge`] if there will
    /// never be.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ReserveError> {
        self.push_tagged(0, bytes)
    }

    /// Pushes one record with a number of the caller's.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    #[inline]
    pub fn push_tagged(&mut self, tag: u32, bytes: &[u8]) -> Result<(), ReserveError> {
        let slot = self.fit(self.tail, bytes.len())?;
        self.fill(slot, bytes);
        self.commit(slot, bytes.len(), tag, Ordering::Release);
        Ok(())
    }

    /// Pushes records with tag 0, from the first on, as many as there is room for, in one step, and
    /// returns how many.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), if it is so for the first: nothing was pushed. A later one ends the
    /// batch before it.
    pub fn push_many<B: AsRef<[u8]>>(&mut self, records: &[B]) -> Result<usize, ReserveError> {
        let mut tail = self.tail;
        for (count, record) in records.iter().enumerate() {
            let bytes = record.as_ref();
            match self.fit(tail, bytes.len()) {
                Ok(slot) => {
                    self.fill(slot, bytes);
                    self.seal(slot, bytes.len(), 0);
                    tail = slot.after(tail, bytes.len());
                }
                Err(error) if count == 0 => return Err(error),
                Err(_) => {
                    self.publish(tail, Ordering::Release);
                    return Ok(count);
                }
            }
        }
        if tail != self.tail {
            self.publish(tail, Ordering::Release);
        }
        Ok(records.len())
    }

    /// Lends `len` contiguous bytes, to be filled in place and then committed as a record.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<ByteGrant<'_, 'a>, ReserveError> {
        let slot = self.fit(self.tail, len)?;
        Ok(ByteGrant::new(self, slot))
    }

    /// Records in the ring. The consumer may have popped some meanwhile: there are never more than
    /// this.
    pub fn len(&self) -> usize {
        let head = self.ring.words.head.cursor();
        self.tail.since(head).records.min(self.ring.units) as usize
    }

    /// Whether the ring is empty. True stays true until this handle pushes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is room for a record of `len` bytes. True stays true until this handle pushes.
    ///
    /// # Errors
    ///
    /// [`ReserveError::TooLarge`] if there will never be.
    pub fn has_room_for(&mut self, len: usize) -> Result<bool, ReserveError> {
        match self.fit(self.tail, len) {
            Ok(_) => Ok(true),
            Err(ReserveError::Full) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The ring that it pushes into.
    pub fn ring(&self) -> ByteRing<'a> {
        self.ring
    }

    /// [`push`](Self::push) without the ordering that publishes the bytes: the model checker must
    /// find it out.
    #[cfg(loom)]
    #[doc(hidden)]
    pub fn push_unordered(&mut self, bytes: &[u8]) -> Result<(), ReserveError> {
        let slot = self.fit(self.tail, bytes.len())?;
        self.fill(slot, bytes);
        self.commit(slot, bytes.len(), 0, Ordering::Relaxed);
        Ok(())
    }

    /// Finds room for `len` bytes from `tail` on, which is this handle's tail or, in a batch, ahead
    /// of it.
    #[inline]
    fn fit(&mut self, tail: Cursor, len: usize) -> Result<Slot, ReserveError> {
        let max = self.ring.max_record();
        if len > max {
            return Err(ReserveError::TooLarge { len, max });
        }
        let (skip, units) = self.ring.units_for(tail, len);
        if !self
            .ring
            .has_room(tail.since(self.cached_head), skip + units)
        {
            self.look_at_head()?;
            if !self
                .ring
                .has_room(tail.since(self.cached_head), skip + units)
            {
                return Err(ReserveError::Full);
            }
        }
        let start = self.ring.unit_at(tail.position()) as usize * UNIT;
        Ok(Slot {
            skip: (start, skip as usize * UNIT),
            offset: if skip == 0 { start } else { 0 },
            len,
        })
    }

    fn look_at_head(&mut self) -> Result<(), Corrupt> {
        // pairs with the consumer's commit: it has read what is to be overwritten
        let head = self.ring.words.head.cursor();
        checked_distance(self.tail, head, self.ring.units)?;
        if head != self.cached_head {
            self.cached_head = head;
            self.ring.words.tail.store_cached(head);
        }
        Ok(())
    }

    /// Writes the bytes of a record into a slot that `fit` gave for as many.
    #[inline]
    fn fill(&mut self, slot: Slot, bytes: &[u8]) {
        // SAFETY: `fit` found the slot's bytes in the data and free, so they are the producer's
        // (I2); it is as long.
        unsafe {
            self.ring
                .data
                .write(slot.payload(), bytes.as_ptr(), bytes.len());
        };
    }

    /// Writes the header of a slot that `fit` gave, and the mark before it.
    #[inline]
    fn seal(&mut self, slot: Slot, len: usize, tag: u32) {
        if slot.skip.1 > 0 {
            // SAFETY: the tail's own unit, which `fit` found free (I2).
            unsafe { RecordHeader::SKIPPED.write(self.ring.data, slot.skip.0) };
        }
        let header = RecordHeader {
            len: len as u32,
            tag,
        };
        // SAFETY: the slot's first unit, as above.
        unsafe { header.write(self.ring.data, slot.offset) };
    }

    /// Makes the slot the ring's newest record.
    #[inline]
    pub(crate) fn commit(&mut self, slot: Slot, len: usize, tag: u32, ordering: Ordering) {
        self.seal(slot, len, tag);
        self.publish(slot.after(self.tail, len), ordering);
    }

    /// The commit.
    #[inline]
    fn publish(&mut self, tail: Cursor, ordering: Ordering) {
        self.tail = tail;
        self.ring.words.tail.publish(tail, ordering);
    }
}
