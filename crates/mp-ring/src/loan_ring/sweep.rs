//! What the dead leave: loans, values taken, seats.

use core::num::NonZeroU64;

use mp_layout::atomic::Ordering;
use mp_layout::{Error, ErrorKind, PlainSlice};

use super::LoanRing;
use crate::Corrupt;
use crate::claim::Claim;
use crate::loan_word::{CellWord, SWEEPER, SlotWord, State};

impl<T: PlainSlice> LoanRing<'_, T> {
    /// Frees the seats whose owners `is_dead` knows to be dead, and the slots that they had loaned
    /// and not published; publishes again what they had taken. Returns how many seats.
    ///
    /// It looks at each cell and each slot once, under the identity `me`, whose own death the next
    /// sweep must be able to tell.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Claimed`] if another one is sweeping: what it does not know to be dead is for a
    /// sweep after it. [`ErrorKind::Corrupt`] if the words of the ring are impossible; what can be
    /// swept all the same is, and what could not be published again is left to the next sweep.
    ///
    /// # Safety
    ///
    /// `is_dead` says so only of owners that will never run again, and for which the kernel reads
    /// nothing into a slot any more (a read by `io_submit` may end only after the last thread did):
    /// their slots are given to others.
    ///
    /// # If a process dies
    ///
    /// Killed in a sweep, it has done a part of it. The next one takes its turn and goes on.
    pub unsafe fn sweep(
        &self,
        me: NonZeroU64,
        is_dead: impl Fn(NonZeroU64) -> bool,
    ) -> mp_layout::Result<usize> {
        let _turn = self.claim_sweep(me, &is_dead)?;
        let dead: Vec<Option<NonZeroU64>> = self
            .seats
            .iter()
            .map(|seat| seat.owner().filter(|owner| is_dead(*owner)))
            .collect();
        let is_left = |seat: usize| seat == SWEEPER || dead.get(seat).is_some_and(Option::is_some);
        let published = self.published();
        let mut first_corrupt = None;
        for (slot, cell) in published.iter().enumerate() {
            // Acquire: what the dead knew of other cells (I2). After the cells were looked at: a
            // slot of the dead that is still untaken was in its cell then, if in any.
            let word = SlotWord(self.slots[slot].word.load(Ordering::Acquire));
            if is_left(word.seat())
                && let Err(corrupt) = self.recover(slot, word, *cell)
            {
                // What is not published is the sweeper's by now, for the next sweep.
                first_corrupt.get_or_insert(corrupt);
            }
        }
        let seats = self.seats.iter().zip(dead);
        let freed = seats
            .filter(|(seat, owner)| owner.is_some_and(|owner| seat.release(owner)))
            .count();
        first_corrupt.map_or(Ok(freed), |corrupt| Err(corrupt.into()))
    }

    fn claim_sweep(
        &self,
        me: NonZeroU64,
        is_dead: impl Fn(NonZeroU64) -> bool,
    ) -> mp_layout::Result<Claim<'_>> {
        let word = &self.words.shape.sweeper;
        if let Some(dead) = word.owner().filter(|owner| is_dead(*owner)) {
            // False if another one was faster to take the turn.
            let _freed = word.release(dead);
        }
        Claim::of_word(word, me).ok_or_else(|| {
            Error::new(ErrorKind::Claimed, "sweep", "a ring of loans")
                .with_detail("another process or thread sweeps it now")
        })
    }

    /// The cell in which each slot is published.
    fn published(&self) -> Vec<Option<CellWord>> {
        let mut published = vec![None; self.slots.len()];
        for cell in self.cells {
            // Acquire: the slot's word is at least as late.
            let word = CellWord(cell.word.load(Ordering::Acquire));
            if let Some(found) = word.slot().and_then(|slot| published.get_mut(slot)) {
                *found = Some(word);
            }
        }
        published
    }

    /// Recovers a slot that was a dead seat's or a dead sweeper's, published in `cell`.
    fn recover(&self, slot: usize, word: SlotWord, cell: Option<CellWord>) -> Result<(), Corrupt> {
        let next = match (word.state(), cell) {
            (State::Loaned, None) => word.freed(),
            (State::Returned, None) => word.adopted(SWEEPER),
            (State::Taken, cell) => {
                // Before the slot is published again (I3).
                if let Some(cell) = cell {
                    self.empty(self.cell(cell.position()), cell);
                }
                word.returned(SWEEPER)
            }
            // Published: it waits for a consumer.
            (State::Free, _) | (State::Loaned | State::Returned, Some(_)) => return Ok(()),
        };
        // Release: what the dead and the sweep did. It fails where the slot has gone on: it is the
        // living's.
        let swap = self.slots[slot].word.compare_exchange(
            word.0,
            next.0,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        match swap {
            Ok(_) if next.state() == State::Returned => self.publish(slot),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
