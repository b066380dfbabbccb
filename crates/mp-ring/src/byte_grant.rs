//! Bytes lent to be filled in place.

use mp_layout::atomic::Ordering;

use crate::ByteProducer;
use crate::byte_producer::Slot;

/// Reserved bytes of a [`ByteRing`](crate::ByteRing). A dropped grant publishes nothing.
///
/// ```
/// # use mp_ring::ByteRing;
/// # let mut memory = vec![0; ByteRing::words_for(64)?];
/// # let (mut producer, mut consumer) = ByteRing::new(&mut memory, 64, None)?.split()?;
/// let mut grant = producer.reserve(24)?;
/// grant.bytes()[..5].copy_from_slice(b"hello");
/// grant.commit(5);
/// assert_eq!(consumer.peek()?.bytes(), b"hello");
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a dropped grant publishes nothing"]
pub struct ByteGrant<'p, 'a> {
    producer: &'p mut ByteProducer<'a>,
    slot: Slot,
    tag: u32,
}

impl<'p, 'a> ByteGrant<'p, 'a> {
    /// `slot` must be one that `producer` found for its tail.
    #[inline]
    pub(crate) fn new(producer: &'p mut ByteProducer<'a>, slot: Slot) -> Self {
        Self {
            producer,
            slot,
            tag: 0,
        }
    }

    /// The bytes, which hold something from earlier laps.
    #[cfg(not(loom))]
    #[inline]
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the slot lies in the data.
        let start = unsafe { self.producer.ring().data.pointer(self.slot.payload()) };
        // SAFETY: the slot is free, so its bytes are the producer's until it commits (I2 of the
        // ring), and the borrow of the producer lasts as long.
        unsafe { core::slice::from_raw_parts_mut(start, self.slot.len) }
    }

    /// Sets the record's tag, which is 0 otherwise.
    pub fn set_tag(&mut self, tag: u32) {
        self.tag = tag;
    }

    /// Bytes reserved.
    pub fn len(&self) -> usize {
        self.slot.len
    }

    /// Whether none were asked for.
    pub fn is_empty(&self) -> bool {
        self.slot.len == 0
    }

    /// Publishes the first `len` bytes as a record.
    ///
    /// # Panics
    ///
    /// If fewer were reserved.
    #[track_caller]
    #[inline]
    pub fn commit(self, len: usize) {
        let reserved = self.slot.len;
        assert!(len <= reserved, "{len} committed of {reserved} reserved");
        self.producer
            .commit(self.slot, len, self.tag, Ordering::Release);
    }

    /// Publishes all of the bytes as a record.
    #[inline]
    pub fn commit_all(self) {
        self.producer
            .commit(self.slot, self.slot.len, self.tag, Ordering::Release);
    }
}
