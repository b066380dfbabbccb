//! How a consumer takes a slot, and gives its value back.

use mp_layout::PlainSlice;
use mp_layout::atomic::Ordering;

use super::{LoanRing, advance, corrupt};
use crate::loan_word::{CellWord, STEP, SlotWord, is_after, position_of};
use crate::{Corrupt, PopError};

impl<T: PlainSlice> LoanRing<'_, T> {
    /// Takes the slot that was published first, for `seat`.
    #[inline]
    pub(crate) fn take_slot(&self, seat: usize) -> Result<(usize, SlotWord), PopError> {
        // Acquire: what its writer knew to be taken (I2).
        let start = position_of(self.words.head.load(Ordering::Acquire));
        let mut at = start;
        loop {
            let cell = self.cell(at);
            // Acquire: pairs with the Release of `publish`; the value is there.
            let word = self.checked(start, at, cell.load(Ordering::Acquire))?;
            let Some(slot) = word.slot().filter(|_| word.position() == at) else {
                at = self.after_no_value(at, word)?;
                continue;
            };
            let state = &self.slots[slot].word;
            // Acquire, both: the slot's word is one of the time when it was published here.
            let found = SlotWord(state.load(Ordering::Acquire));
            if cell.load(Ordering::Acquire) != word.0 {
                continue;
            }
            if !found.is_untaken() {
                // Taken, by one that is slow or dead.
                self.empty(cell, word);
                at = at.wrapping_add(STEP);
                continue;
            }
            let taken = found.taken(seat);
            // Release: what this one knows of the positions before (I2). Acquire: as the load.
            if state
                .compare_exchange(found.0, taken.0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                self.empty(cell, word);
                advance(&self.words.head, at.wrapping_add(STEP));
                return Ok((slot, taken));
            }
        }
    }

    /// Where to look after `at`, whose cell has no slot for it.
    #[cold]
    fn after_no_value(&self, at: u64, cell: CellWord) -> Result<u64, PopError> {
        let position = cell.position();
        let is_lap_before = position.wrapping_add(self.lap()) == at;
        if is_after(position, at) {
            // The cell was emptied one lap before, so its position of then was taken.
            return Ok(position.wrapping_sub(self.lap()).wrapping_add(STEP));
        }
        // Nothing here yet; or still what was taken one lap before, so nothing since.
        if position == at || (is_lap_before && cell.slot().is_some()) {
            advance(&self.words.head, at);
            return Err(PopError::Empty);
        }
        Err(corrupt(at, cell.0).into())
    }

    /// Publishes a slot again that `seat` has taken.
    #[cold]
    pub(crate) fn give_back(
        &self,
        slot: usize,
        word: SlotWord,
        seat: usize,
    ) -> Result<(), Corrupt> {
        // Release: as every word of a slot that others may free.
        self.slots[slot]
            .word
            .store(word.returned(seat).0, Ordering::Release);
        self.publish(slot)
    }
}
