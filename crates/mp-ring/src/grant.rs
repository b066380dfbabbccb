//! Slots lent to be filled in place.

use mp_layout::PlainSlice;
use mp_layout::atomic::Ordering;

use crate::Producer;

/// Reserved slots of a [`Ring`](crate::Ring). What is not committed was never there: a dropped
/// grant publishes nothing.
///
/// The slots hold values of earlier laps. They lie in two slices, of which the second is empty
/// unless the ring's end is between them.
///
/// ```
/// # use mp_ring::Ring;
/// # let mut memory = vec![0; Ring::<u8>::words_for(4)?];
/// # let (mut producer, mut consumer) = Ring::<u8>::new(&mut memory, 4)?.split()?;
/// let mut grant = producer.reserve(3)?;
/// grant.slices().0.copy_from_slice(b"abc");
/// grant.commit(2);
/// assert_eq!((consumer.pop(), consumer.len()), (Ok(b'a'), 1));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a dropped grant publishes nothing"]
pub struct Grant<'p, 'a, T> {
    producer: &'p mut Producer<'a, T>,
    len: usize,
}

impl<'p, 'a, T: PlainSlice> Grant<'p, 'a, T> {
    /// `len` slots from the tail on must be free.
    pub(crate) fn new(producer: &'p mut Producer<'a, T>, len: usize) -> Self {
        Self { producer, len }
    }

    /// The slots, in the order in which they will be popped.
    #[cfg(not(loom))]
    pub fn slices(&mut self) -> (&mut [T], &mut [T]) {
        let ring = self.producer.ring();
        let (slot, first, second) = ring.parts(self.producer.tail(), self.len);
        // SAFETY: `slot` is a slot of the ring.
        let one = unsafe { ring.slots.pointer(slot * size_of::<T>()) }.cast::<T>();
        // SAFETY: the ring's first byte of payload.
        let two = unsafe { ring.slots.pointer(0) }.cast::<T>();
        // SAFETY: `len` slots from the tail are free, so they are this producer's until it commits
        // (I2), and the borrow of the producer lasts as long. Aligned as checked when the
        // ring was placed; any bytes are a `T`.
        let one = unsafe { core::slice::from_raw_parts_mut(one, first) };
        // SAFETY: as above. `len` is at most the number of slots, so the parts do not overlap.
        let two = unsafe { core::slice::from_raw_parts_mut(two, second) };
        (one, two)
    }

    /// Slots reserved.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none were asked for.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Publishes the first `len` slots in one step.
    ///
    /// # Panics
    ///
    /// If fewer were reserved.
    #[track_caller]
    pub fn commit(self, len: usize) {
        assert!(len <= self.len, "{len} committed of {} reserved", self.len);
        self.producer.publish(len, Ordering::Release);
    }

    /// Publishes all slots in one step.
    pub fn commit_all(self) {
        self.producer.publish(self.len, Ordering::Release);
    }
}
