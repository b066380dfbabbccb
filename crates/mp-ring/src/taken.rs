//! A value of a ring of loans that is being read.

use core::mem::ManuallyDrop;
#[cfg(not(loom))]
use core::ops::Deref;

use mp_layout::PlainSlice;

use crate::LoanRing;
use crate::loan_word::SlotWord;

/// A value of a [`LoanRing`], read where it lies, made by
/// [`LoanSeat::take`](crate::LoanSeat::take).
///
/// Released, its slot is free. Dropped without, by a panic for one, or by the death of the process,
/// it is delivered again, at the tail.
#[derive(Debug)]
#[must_use = "a dropped value is delivered again"]
pub struct Taken<'s, T: PlainSlice> {
    ring: LoanRing<'s, T>,
    slot: usize,
    word: SlotWord,
    seat: usize,
}

impl<'s, T: PlainSlice> Taken<'s, T> {
    /// `seat` has taken the slot, by `word`.
    #[inline]
    pub(crate) fn new(ring: LoanRing<'s, T>, slot: usize, word: SlotWord, seat: usize) -> Self {
        Self {
            ring,
            slot,
            word,
            seat,
        }
    }

    /// Times that it was taken before and not released. After 4095 it counts no further.
    ///
    /// A value that no consumer survives would come for ever: who finds the count too large
    /// releases it.
    pub fn redeliveries(&self) -> u32 {
        self.word.redeliveries()
    }

    /// Ends its use: the slot is free.
    #[inline]
    pub fn release(self) {
        let taken = ManuallyDrop::new(self);
        taken.ring.free(taken.slot, taken.word);
    }

    #[inline]
    pub(crate) fn copied(&self) -> T {
        let offset = LoanRing::<T>::offset(self.slot);
        let mut value = core::mem::MaybeUninit::<T>::uninit();
        let target = value.as_mut_ptr().cast();
        // SAFETY: a slot of the ring, whose value is this one's to read (I4); the target has the
        // size of a `T`.
        unsafe { self.ring.values().read(offset, target, size_of::<T>()) };
        // SAFETY: all bytes were copied, and any are a `T`.
        unsafe { value.assume_init() }
    }
}

#[cfg(not(loom))]
impl<T: PlainSlice> Deref for Taken<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a slot of the ring.
        let value = unsafe { self.ring.values().pointer(LoanRing::<T>::offset(self.slot)) };
        // SAFETY: aligned as checked when the ring was placed, by the assertion at `STRIDE`; any
        // bytes are a `T`. No other process writes it until it is released (I4).
        unsafe { &*value.cast() }
    }
}

impl<T: PlainSlice> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        // Where the ring is corrupt the slot stays returned, for a sweep.
        let _published = self.ring.give_back(self.slot, self.word, self.seat);
    }
}
