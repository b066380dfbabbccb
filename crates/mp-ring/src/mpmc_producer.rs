//! The right to push to an MPMC ring.

use mp_layout::Plain;

use crate::claim::Claim;
use crate::{MpmcGrant, MpmcRing, NoRoom, PushError};

/// A seat of a [`MpmcRing`], to push from; dropped, the seat is free again.
///
/// The threads of a process may push through one handle. In a forked child it is still the
/// parent's, as its [grants](MpmcGrant) are, which the child must neither use nor drop, or a sweep
/// takes a cell from a process that is writing it: values get lost, and the ring may become
/// [`Corrupt`](crate::Corrupt). The
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
            Err(NoRoom::Full | NoRoom::Unfinished(_)) => return Err(PushError::Full(value)),
            Err(NoRoom::Corrupt(corrupt)) => return Err(PushError::Corrupt(value, corrupt)),
        };
        self.ring.write(cell, &value);
        self.ring.publish(cell, at);
        Ok(())
    }

    /// Claims the next place, to push to it or to give it back.
    ///
    /// The claim is a SeqCst operation: of a SeqCst store to another word and this claim, either
    /// the producer sees the store in a SeqCst load that follows here, or one that sees the store
    /// and looks at the ring after a SeqCst fence sees the claim, in
    /// [`unfinished`](MpmcRing::unfinished), or what became of it. So a flag closes what is built
    /// on the ring, and no push comes after it.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] says what is in the way.
    ///
    /// # If a process dies
    ///
    /// Consumers pass the place over, and [`MpmcRing::sweep`] frees it.
    ///
    /// ```
    /// # use mp_ring::{ANONYMOUS, MpmcRing};
    /// # let mut memory = vec![0; MpmcRing::<u8>::words_for(2, 1)?];
    /// # let ring = MpmcRing::<u8>::new(&mut memory, 2, 1)?;
    /// let producer = ring.claim_producer(ANONYMOUS)?;
    /// drop(producer.reserve().expect("room"));
    /// producer.reserve().expect("room").commit(7);
    /// assert_eq!(ring.pop(), Ok(7));
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    #[inline]
    pub fn reserve(&self) -> Result<MpmcGrant<'_, T>, NoRoom> {
        let (cell, at) = self.ring.claim_cell(self.seat)?;
        Ok(MpmcGrant::new(self.ring, cell, at))
    }

    /// The ring that it pushes to.
    pub fn ring(&self) -> MpmcRing<'a, T> {
        self.ring
    }
}
