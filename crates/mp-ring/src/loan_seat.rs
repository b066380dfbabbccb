//! The right to loan from a ring of loans, and to take.

use core::sync::atomic::{AtomicUsize, Ordering};

use mp_layout::PlainSlice;

use crate::claim::Claim;
use crate::{Loan, LoanRing, PopError, PushError, ReserveError, Taken};

/// A seat of a [`LoanRing`], to loan and to take from; dropped, the seat is free again.
///
/// The threads of a process may use one handle together. In a forked child it is still the
/// parent's, and so is what was loaned and taken from it: the child must neither use nor drop them,
/// or a sweep gives away what a process is using. The child claims its own seat, and keeps the copy
/// in a [`ManuallyDrop`](core::mem::ManuallyDrop) or ends by `_exit`.
///
/// ```
/// # use mp_ring::{ANONYMOUS, LoanRing};
/// # let mut memory = vec![0; LoanRing::<[f64; 100]>::words_for(2, 1)?];
/// # let ring = LoanRing::<[f64; 100]>::new(&mut memory, 2, 1)?;
/// let seat = ring.claim_seat(ANONYMOUS)?;
/// seat.push([0.5; 100])?;
/// let sum: f64 = seat.take()?.iter().sum(); // dropped, not released: it comes again
/// let again = seat.take()?;
/// assert_eq!((sum, again.redeliveries()), (50.0, 1));
/// again.release();
/// assert!(seat.take().is_err());
/// # Ok::<(), mp_layout::Error>(())
/// ```
// In lines of its own: where seats of several threads lie next to each other, a loan of one must
// not take a line from another.
#[derive(Debug)]
#[repr(align(128))]
pub struct LoanSeat<'a, T> {
    ring: LoanRing<'a, T>,
    seat: usize,
    /// Where to look for a free slot: after the last one, which others are longest done with.
    from: AtomicUsize,
    _claim: Claim<'a>,
}

impl<'a, T: PlainSlice> LoanSeat<'a, T> {
    pub(crate) fn new(ring: LoanRing<'a, T>, seat: usize, claim: Claim<'a>) -> Self {
        // Seats start apart, so that they do not meet.
        let from = ring.capacity() * seat / ring.max_seats();
        Self {
            ring,
            seat,
            from: AtomicUsize::new(from),
            _claim: claim,
        }
    }

    /// Loans a slot, to be written in place and committed. It holds a value of before. It does not
    /// wait.
    ///
    /// # Errors
    ///
    /// [`ReserveError::Full`] if each slot was in use when it was looked at: it holds a value, is
    /// being written, or is taken and not released, perhaps by the dead, after whom
    /// [`LoanRing::sweep`] makes room. The ring does not say by whose: a sweep asks for the owner
    /// of each seat, which takes up to some ten microseconds for each, so a loop that loans sweeps
    /// once in a while, not after each refusal.
    ///
    /// # If a process dies
    ///
    /// A sweep gives the slot back.
    #[inline]
    pub fn loan(&self) -> Result<Loan<'_, T>, ReserveError> {
        let from = self.from.load(Ordering::Relaxed);
        let (slot, word) = self
            .ring
            .loan_slot(self.seat, from)
            .ok_or(ReserveError::Full)?;
        let next = slot + 1;
        let next = if next < self.ring.capacity() { next } else { 0 };
        self.from.store(next, Ordering::Relaxed);
        Ok(Loan::new(self.ring, slot, word))
    }

    /// Pushes a copy of `value`. It does not wait.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] as [`loan`](Self::loan); [`PushError::Corrupt`] as
    /// [`Loan::commit`].
    ///
    /// # If a process dies
    ///
    /// Killed before it returns, it has pushed the whole value or nothing.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), PushError<T>> {
        let Ok(mut loan) = self.loan() else {
            return Err(PushError::Full(value));
        };
        loan.write(value);
        loan.commit()
            .map_err(|corrupt| PushError::Corrupt(value, corrupt))
    }

    /// Takes the value that was published first, to be read in place and released.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] if there is none; [`PopError::Corrupt`] if the words of the ring are
    /// impossible.
    ///
    /// # If a process dies
    ///
    /// Until it is released, a sweep publishes the value again, for others, with one redelivery
    /// more.
    #[inline]
    pub fn take(&self) -> Result<Taken<'_, T>, PopError> {
        let (slot, word) = self.ring.take_slot(self.seat)?;
        Ok(Taken::new(self.ring, slot, word, self.seat))
    }

    /// Takes a value, copies it, and releases it.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    ///
    /// # If a process dies
    ///
    /// Killed before it returns, it may have released the value, which died with it; or a sweep
    /// publishes it again.
    #[inline]
    pub fn pop(&self) -> Result<T, PopError> {
        let taken = self.take()?;
        let value = taken.copied();
        taken.release();
        Ok(value)
    }

    /// The ring.
    pub fn ring(&self) -> LoanRing<'a, T> {
        self.ring
    }
}
