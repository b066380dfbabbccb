//! A slot of a ring of loans that is being written.

use core::mem::ManuallyDrop;
#[cfg(not(loom))]
use core::ops::{Deref, DerefMut};

use mp_layout::PlainSlice;

use crate::loan_word::SlotWord;
use crate::{Corrupt, LoanRing};

/// A slot of a [`LoanRing`] to be written in place, made by
/// [`LoanSeat::loan`](crate::LoanSeat::loan). Dropped, it is given back, and nothing is published.
///
/// It holds a value of before. Leaked, the slot stays in use until a sweep after the death of the
/// process, or for as long as there is the ring if its seat was given back meanwhile.
#[derive(Debug)]
#[must_use = "a dropped loan publishes nothing"]
pub struct Loan<'s, T: PlainSlice> {
    ring: LoanRing<'s, T>,
    slot: usize,
    word: SlotWord,
}

impl<'s, T: PlainSlice> Loan<'s, T> {
    /// The caller's seat has the slot, by `word`.
    #[inline]
    pub(crate) fn new(ring: LoanRing<'s, T>, slot: usize, word: SlotWord) -> Self {
        Self { ring, slot, word }
    }

    /// Replaces the value as a whole.
    #[inline]
    pub fn write(&mut self, value: T) {
        let offset = LoanRing::<T>::offset(self.slot);
        // SAFETY: a slot of the ring, aligned to it by the assertion at `STRIDE`; its value is this
        // loan's alone (I4).
        unsafe { self.ring.values().put(offset, value) };
    }

    /// Publishes the value, in one step.
    ///
    /// # Errors
    ///
    /// The words of the ring are impossible: a peer wrote where it must not. Nothing is published.
    #[inline]
    pub fn commit(self) -> Result<(), Corrupt> {
        self.ring.publish(self.slot)?;
        let _published = ManuallyDrop::new(self);
        Ok(())
    }
}

#[cfg(not(loom))]
impl<T: PlainSlice> Deref for Loan<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a slot of the ring.
        let value = unsafe { self.ring.values().pointer(LoanRing::<T>::offset(self.slot)) };
        // SAFETY: aligned as checked when the ring was placed, by the assertion at `STRIDE`; any
        // bytes are a `T`. It is this loan's alone until it is committed (I4).
        unsafe { &*value.cast() }
    }
}

#[cfg(not(loom))]
impl<T: PlainSlice> DerefMut for Loan<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: a slot of the ring.
        let value = unsafe { self.ring.values().pointer(LoanRing::<T>::offset(self.slot)) };
        // SAFETY: as in `deref`, and the loan is borrowed exclusively.
        unsafe { &mut *value.cast() }
    }
}

impl<T: PlainSlice> Drop for Loan<'_, T> {
    fn drop(&mut self) {
        self.ring.free(self.slot, self.word);
    }
}
