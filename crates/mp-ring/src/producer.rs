//! The pushing end of a ring.

use mp_layout::atomic::Ordering;
use mp_layout::{Plain, PlainSlice};

use crate::claim::Claim;
use crate::inline_value::{WORDS, fits_inline};
use crate::{Corrupt, Grant, PushError, ReserveError, Ring};

/// Least and most bytes that are fetched ahead of the tail; between them, twice what was pushed
/// last.
///
/// Tuned by the bench `spsc` on a Xeon of two cores, together with the consumer's: with less,
/// values wait for their lines; with more, single values of a line or larger are slower.
const AHEAD: (usize, usize) = (512, 4096);

/// The one that pushes into a [`Ring`]. Dropped, it gives the role back.
///
/// # If a process dies
///
/// Killed in an operation, either all that the operation would have pushed is in the ring or
/// nothing of it.
///
/// ```
/// # use mp_ring::Ring;
/// use mp_ring::PushError;
///
/// # let mut memory = vec![0; Ring::<char>::words_for(1)?];
/// # let (mut producer, _consumer) = Ring::<char>::new(&mut memory, 1)?.split()?;
/// producer.push('a')?;
/// assert_eq!(producer.push('b'), Err(PushError::Full('b')));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
pub struct Producer<'a, T> {
    ring: Ring<'a, T>,
    /// What the tail word says, which only this handle writes (I3).
    tail: u64,
    /// The head word when last looked at; the consumer may be further by now.
    cached_head: u64,
    /// Slots from the tail on whose lines were asked for.
    fetched: usize,
    _claim: Claim<'a>,
}

impl<'a, T: Plain> Producer<'a, T> {
    pub(crate) fn new(ring: Ring<'a, T>, claim: Claim<'a>) -> Result<Self, Corrupt> {
        let tail = ring.words.tail.count.load(Ordering::Acquire);
        let cached_head = ring.words.head.load(Ordering::Acquire);
        ring.checked_len(tail, cached_head)?;
        Ok(Self {
            ring,
            tail,
            cached_head,
            fetched: 0,
            _claim: claim,
        })
    }

    /// Pushes one value.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] with the value if there is no room.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), PushError<T>> {
        if !matches!(self.room(1), Ok(1..)) {
            return Err(self.refusal(value));
        }
        self.put(value);
        self.publish(1, Ordering::Release);
        Ok(())
    }

    /// Pushes as many of `values` as there is room for, from the first on, in one step, and returns
    /// how many.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the consumer's word is impossible; nothing was pushed.
    pub fn push_slice(&mut self, values: &[T]) -> Result<usize, Corrupt> {
        let count = self.room(values.len())?.min(values.len());
        if count == 0 {
            return Ok(0);
        }
        let (slot, first, second) = self.ring.parts(self.tail, count);
        let source = values.as_ptr().cast::<u8>();
        let (offset, size) = (slot * size_of::<T>(), first * size_of::<T>());
        // SAFETY: `room` says that `count` slots from the tail are the producer's (I2), of which
        // `first` lie here; `values` has as many.
        unsafe { self.ring.slots.write(offset, source, size) };
        if second > 0 {
            // SAFETY: `first` is at most the number of `values`.
            let source = unsafe { source.add(size) };
            // SAFETY: as above, for the slots that lie at the ring's start.
            unsafe { self.ring.slots.write(0, source, second * size_of::<T>()) };
        }
        self.publish(count, Ordering::Release);
        Ok(count)
    }

    /// Lends the next `len` slots, to be filled in place and then committed.
    ///
    /// # Errors
    ///
    /// [`ReserveError::Full`] if fewer are free now, [`ReserveError::TooLarge`] if there will never
    /// be as many.
    pub fn reserve(&mut self, len: usize) -> Result<Grant<'_, 'a, T>, ReserveError>
    where
        T: PlainSlice,
    {
        let max = self.capacity();
        if len > max {
            return Err(ReserveError::TooLarge { len, max });
        }
        if self.room(len)? < len {
            return Err(ReserveError::Full);
        }
        Ok(Grant::new(self, len))
    }

    /// Values in the ring. The consumer may have popped some meanwhile: there are never more than
    /// this.
    pub fn len(&self) -> usize {
        let head = self.ring.words.head.load(Ordering::Acquire);
        self.tail.wrapping_sub(head).min(self.ring.capacity) as usize
    }

    /// Whether the ring is empty. True stays true until this handle pushes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room. False stays false until this handle pushes.
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// The most values there can be.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// The ring that it pushes into.
    pub fn ring(&self) -> Ring<'a, T> {
        self.ring
    }

    /// [`push`](Self::push) without the ordering that publishes the value: the model checker must
    /// find it out.
    #[cfg(loom)]
    #[doc(hidden)]
    pub fn push_unordered(&mut self, value: T) {
        assert!(matches!(self.room(1), Ok(1..)));
        self.put(value);
        self.publish(1, Ordering::Relaxed);
    }

    /// Why there is no room: apart from `push`, whose usual way it would lengthen.
    #[cold]
    fn refusal(&mut self, value: T) -> PushError<T> {
        match self.room(1) {
            Ok(_) => PushError::Full(value),
            Err(corrupt) => PushError::Corrupt(value, corrupt),
        }
    }

    /// Slots free. Looks at the consumer's word only if fewer than `wanted` were free when it last
    /// did.
    #[inline]
    fn room(&mut self, wanted: usize) -> Result<usize, Corrupt> {
        let free = self.ring.capacity - self.tail.wrapping_sub(self.cached_head);
        if free >= wanted as u64 {
            return Ok(free as usize);
        }
        // pairs with the consumer's commit: it has read what these slots held
        let head = self.ring.words.head.load(Ordering::Acquire);
        let len = self.ring.checked_len(self.tail, head)?;
        self.cached_head = head;
        Ok((self.ring.capacity - len) as usize)
    }

    /// Writes the value that the next commit publishes. There must be room.
    #[inline]
    fn put(&mut self, value: T) {
        let offset = (self.tail & self.ring.mask) as usize * size_of::<T>();
        // SAFETY: the masked slot is in the ring and aligned, and as there is room it is the
        // producer's (I2).
        unsafe { self.ring.slots.put(offset, value) };
    }

    /// Publishes the next `count` slots: the commit.
    #[inline]
    pub(crate) fn publish(&mut self, count: usize, ordering: Ordering) {
        if count == 1 && fits_inline::<T>() {
            let mut words = [0; WORDS];
            let offset = (self.tail & self.ring.mask) as usize * size_of::<T>();
            let target = words.as_mut_ptr().cast();
            // SAFETY: the slot that is about to be published was just filled by this producer (I2),
            // and fits.
            unsafe { self.ring.slots.read(offset, target, size_of::<T>()) };
            self.ring.words.tail.store_inline::<T>(self.tail, words);
        }
        self.tail = self.tail.wrapping_add(count as u64);
        self.ring.words.tail.count.store(self.tail, ordering);
        self.fetch_ahead(count);
    }

    /// Asks for the lines of the slots to be filled next, after `count` were published.
    ///
    /// The consumer's core has them since the last lap. Stores become visible in order, so each
    /// that must wait for its line holds up all after it, the next store to the tail included.
    #[inline]
    fn fetch_ahead(&mut self, count: usize) {
        let size = size_of::<T>();
        let (least, most) = AHEAD;
        let ahead = (2 * size).saturating_mul(count).clamp(least, most) / size.max(1);
        self.fetched = self.fetched.saturating_sub(count);
        if self.fetched <= ahead / 2 {
            self.fetch(ahead);
        }
    }

    /// Asks for the lines of the next `ahead` slots, as far as they are free and were not asked
    /// for.
    #[inline(never)]
    fn fetch(&mut self, ahead: usize) {
        let size = size_of::<T>();
        let free = self.ring.capacity - self.tail.wrapping_sub(self.cached_head);
        let ahead = ahead.min(free as usize);
        if ahead > self.fetched {
            let from = self.tail.wrapping_add(self.fetched as u64);
            let (slot, first, second) = self.ring.parts(from, ahead - self.fetched);
            let slots = &self.ring.slots;
            slots.fetch_to_write(slot * size..(slot + first) * size);
            slots.fetch_to_write(0..second * size);
            self.fetched = ahead;
        }
    }

    #[cfg(not(loom))]
    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }
}
