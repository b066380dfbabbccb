//! The right to push to an MPMC ring.

use mp_layout::Plain;

use crate::claim::Claim;
use crate::mpmc_ring::NoCell;
use crate::{MpmcRing, PushError};

/// A seat of a [`MpmcRing`], to push from; dropped, the seat is free again.
///
/// The threads of a process may push through one handle. In a forked child it is still the
/// parent's, which the child must neither use nor drop, or a sweep takes a cell from a process
/// that is writing it: values get lost, and the ring may become [`Corrupt`](crate::Corrupt). The
/// child claims its own seat, and keeps the copy in a
/// [`ManuallyDrop`](core::mem::ManuallyDrop) or ends by `_exit`.
///
/// ```
/// # use mp_ring::{ANONYMOUS, MpmcRing};
/// use mp_ring::PushError;
///
/// # let mut memory = vec![0; MpmcRing::<u8>::words_for(1, 1)?];
/// # let ring = MpmcRing::<u8>::new(&mut memory, 1, 1)?;
/// let producer = ring.claim_producer(ANONYMOUS)?;
/// assert_eq!(producer.push(1), Ok(()));
/// assert_eq!(producer.push(2), Err(PushError::Full(2)));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
pub struct MpmcProducer<'a, T> {
    ring: MpmcRing<'a, T>,
    seat: usize,
    _claim: Claim<'a>,
}

impl<'a, T: Plain> MpmcProducer<'a, T> {
    pub(crate) fn new(ring: MpmcRing<'a, T>, seat: usize, claim: Claim<'a>) -> Self {
        Self {
            ring,
            seat,
            _claim: claim,
        }
    }

    /// Pushes `value`. It does not wait.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] if there is no room, also if the next cell is still being written from
    /// one lap before: [`MpmcRing::unfinished`] names the owner of that push.
    ///
    /// # If a process dies
    ///
    /// Killed before it returns, it has pushed the whole value or nothing.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), PushError<T>> {
        let (cell, at) = match self.ring.claim_cell(self.seat) {
            Ok(claimed) => claimed,
            Err(NoCell::Full) => return Err(PushError::Full(value)),
            Err(NoCell::Corrupt(corrupt)) => return Err(PushError::Corrupt(value, corrupt)),
        };
        self.ring.write(cell, &value);
        self.ring.publish(cell, at);
        Ok(())
    }

    /// The ring that it pushes to.
    pub fn ring(&self) -> MpmcRing<'a, T> {
        self.ring
    }
}
