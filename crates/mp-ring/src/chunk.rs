//! Values lent to be read in place.

use mp_layout::PlainSlice;

use crate::Consumer;

/// The oldest values of a [`Ring`](crate::Ring), read where they lie. What is not released stays: a
/// dropped chunk pops nothing.
///
/// They lie in two slices, of which the second is empty unless the ring's end is between them.
///
/// ```
/// # use mp_ring::Ring;
/// # let mut memory = vec![0; Ring::<u32>::words_for(4)?];
/// # let (mut producer, mut consumer) = Ring::<u32>::new(&mut memory, 4)?.split()?;
/// producer.push_slice(&[5, 6, 7])?;
/// let chunk = consumer.read_chunk(2)?;
/// assert_eq!(chunk.slices().0, [5, 6]);
/// chunk.release(1);
/// assert_eq!(consumer.pop(), Ok(6));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a dropped chunk pops nothing"]
pub struct Chunk<'c, 'a, T> {
    consumer: &'c mut Consumer<'a, T>,
    len: usize,
}

impl<'c, 'a, T: PlainSlice> Chunk<'c, 'a, T> {
    /// `len` values from the head on must be published.
    pub(crate) fn new(consumer: &'c mut Consumer<'a, T>, len: usize) -> Self {
        Self { consumer, len }
    }

    /// The values, oldest first.
    #[cfg(not(loom))]
    pub fn slices(&self) -> (&[T], &[T]) {
        let ring = self.consumer.ring();
        let (slot, first, second) = ring.parts(self.consumer.head(), self.len);
        // SAFETY: `slot` is a slot of the ring.
        let one = unsafe { ring.slots.pointer(slot * size_of::<T>()) }.cast::<T>();
        // SAFETY: the ring's first byte of payload.
        let two = unsafe { ring.slots.pointer(0) }.cast::<T>();
        // SAFETY: `len` slots from the head are published, so they are this consumer's until it
        // releases them (I2), and the borrow of the consumer lasts as long. Aligned as
        // checked when the ring was placed; any bytes are a `T`.
        let one = unsafe { core::slice::from_raw_parts(one, first) };
        // SAFETY: as above.
        let two = unsafe { core::slice::from_raw_parts(two, second) };
        (one, two)
    }

    /// Values lent.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a chunk has at least one value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Pops the first `len` values in one step.
    ///
    /// # Panics
    ///
    /// If fewer were lent.
    #[track_caller]
    pub fn release(self, len: usize) {
        assert!(len <= self.len, "{len} released of {} lent", self.len);
        self.consumer.release_slots(len);
    }

    /// Pops all of the values in one step.
    pub fn release_all(self) {
        self.consumer.release_slots(self.len);
    }
}
