//! The popping end of a ring.

use mp_layout::atomic::Ordering;
use mp_layout::{Plain, PlainSlice};

use crate::claim::Claim;
use crate::payload::LINE;
use crate::{Chunk, Corrupt, PopError, Ring};

/// Bytes ahead of the head that are fetched before they are read, of values as large as a line and
/// not larger than this (in which the core itself sees what comes next); tuned by the bench `spsc`
/// as the producer's.
const AHEAD: usize = 1024;

/// The one that pops from a [`Ring`]. Dropped, it gives the role back.
///
/// # If a process dies
///
/// Killed in an operation, either all that the operation would have popped is gone from the ring or
/// nothing of it; the next consumer gets what is left.
///
/// ```
/// # use mp_ring::Ring;
/// use mp_ring::PopError;
///
/// # let mut memory = vec![0; Ring::<i16>::words_for(8)?];
/// # let (mut producer, mut consumer) = Ring::<i16>::new(&mut memory, 8)?.split()?;
/// producer.push(-1)?;
/// assert_eq!((consumer.pop(), consumer.pop()), (Ok(-1), Err(PopError::Empty)));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
pub struct Consumer<'a, T> {
    ring: Ring<'a, T>,
    /// What the head word says, which only this handle writes (I3).
    head: u64,
    /// The tail word when last looked at; the producer may be further by now.
    cached_tail: u64,
    _claim: Claim<'a>,
}

impl<'a, T: Plain> Consumer<'a, T> {
    pub(crate) fn new(ring: Ring<'a, T>, claim: Claim<'a>) -> Result<Self, Corrupt> {
        let head = ring.words.head.load(Ordering::Acquire);
        let cached_tail = ring.words.tail.count.load(Ordering::Acquire);
        ring.checked_len(cached_tail, head)?;
        Ok(Self {
            ring,
            head,
            cached_tail,
            _claim: claim,
        })
    }

    /// Pops the oldest value.
    ///
    /// It does not wait. A consumer that finds the ring empty again and again takes the producer's
    /// cache lines from it with every look: where values come in a stream, both sides are
    /// several times faster if it pauses between looks, so that several values come together.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] if there is none; [`PopError::Invalid`] if its bytes are not a `T`.
    #[inline]
    pub fn pop(&mut self) -> Result<T, PopError> {
        if self.cached_tail == self.head {
            if let Some(value) = self.ring.words.tail.load_inline::<T>(self.head) {
                self.cached_tail = self.head.wrapping_add(1);
                self.release_slots(1);
                return value;
            }
            if self.available(1)? == 0 {
                return Err(PopError::Empty);
            }
        }
        self.fetch_ahead();
        let offset = (self.head & self.ring.mask) as usize * size_of::<T>();
        // SAFETY: the masked slot is in the ring and aligned, and as something is available it is
        // the consumer's (I2).
        let value = unsafe { self.ring.slots.take(offset) };
        self.release_slots(1);
        value
    }

    /// Pops the oldest values into `values`, as many as there are and fit, in one step, and returns
    /// how many.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the producer's word is impossible; nothing was popped.
    pub fn pop_slice(&mut self, values: &mut [T]) -> Result<usize, Corrupt>
    where
        T: PlainSlice,
    {
        let count = self.available(values.len())?.min(values.len());
        if count == 0 {
            return Ok(0);
        }
        let (slot, first, second) = self.ring.parts(self.head, count);
        let target = values.as_mut_ptr().cast::<u8>();
        let (offset, size) = (slot * size_of::<T>(), first * size_of::<T>());
        // SAFETY: `available` says that `count` slots from the head are the consumer's (I2), of
        // which `first` lie here; `values` has room for as many, and any bytes are a `T`.
        unsafe { self.ring.slots.read(offset, target, size) };
        if second > 0 {
            // SAFETY: `first` is at most the number of `values`.
            let target = unsafe { target.add(size) };
            // SAFETY: as above, for the slots that lie at the ring's start.
            unsafe { self.ring.slots.read(0, target, second * size_of::<T>()) };
        }
        self.release_slots(count);
        Ok(count)
    }

    /// Lends the oldest values in place, at least 1 and at most `max` (which counts as 1 if it is
    /// 0); they stay in the ring until released.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] if there are none.
    pub fn read_chunk(&mut self, max: usize) -> Result<Chunk<'_, 'a, T>, PopError>
    where
        T: PlainSlice,
    {
        match self.available(max.max(1))? {
            0 => Err(PopError::Empty),
            len => Ok(Chunk::new(self, len.min(max.max(1)))),
        }
    }

    /// Values in the ring. The producer may have pushed more meanwhile: there are never fewer than
    /// this.
    pub fn len(&self) -> usize {
        let tail = self.ring.words.tail.count.load(Ordering::Acquire);
        tail.wrapping_sub(self.head).min(self.ring.capacity) as usize
    }

    /// Whether there is nothing to pop. False stays false until this handle pops.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the ring is full. True stays true until this handle pops.
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// The most values there can be.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// The ring that it pops from.
    pub fn ring(&self) -> Ring<'a, T> {
        self.ring
    }

    /// Asks for the lines of a value that is known to be there and will be popped soon.
    ///
    /// The producer's core has them. What is popped one by one takes so many instructions that few
    /// of them wait for their lines at once.
    #[inline]
    fn fetch_ahead(&self) {
        let size = size_of::<T>();
        if !(LINE..=AHEAD).contains(&size) {
            return;
        }
        let ahead = (AHEAD / size) as u64;
        if self.cached_tail.wrapping_sub(self.head) > ahead {
            let (slot, ..) = self.ring.parts(self.head.wrapping_add(ahead), 1);
            self.ring
                .slots
                .fetch_to_read(slot * size..(slot + 1) * size);
        }
    }

    /// Values to pop. Looks at the producer's word only if fewer than `wanted` were there when it
    /// last did.
    #[inline]
    fn available(&mut self, wanted: usize) -> Result<usize, Corrupt> {
        let len = self.cached_tail.wrapping_sub(self.head);
        if len >= wanted as u64 {
            return Ok(len as usize);
        }
        // pairs with the producer's commit: it has written what these slots hold
        let tail = self.ring.words.tail.count.load(Ordering::Acquire);
        let len = self.ring.checked_len(tail, self.head)?;
        self.cached_tail = tail;
        Ok(len as usize)
    }

    /// Gives the next `count` slots back: the commit.
    #[inline]
    pub(crate) fn release_slots(&mut self, count: usize) {
        self.head = self.head.wrapping_add(count as u64);
        self.ring.words.head.store(self.head, Ordering::Release);
    }

    #[cfg(not(loom))]
    pub(crate) fn head(&self) -> u64 {
        self.head
    }
}
