//! How a slot is loaned and published.

use mp_layout::PlainSlice;
use mp_layout::atomic::{AtomicU64, Ordering};

use super::{LoanRing, advance, corrupt};
use crate::Corrupt;
use crate::loan_word::{CellWord, STEP, SlotWord, State, is_after, position_of};

impl<T: PlainSlice> LoanRing<'_, T> {
    /// Loans a free slot, the first from `from` on, for `seat`; `None` if each was in use when it
    /// was looked at.
    #[inline]
    pub(crate) fn loan_slot(&self, seat: usize, from: usize) -> Option<(usize, SlotWord)> {
        let mut numbers = (from..self.slots.len()).chain(0..from);
        numbers.find_map(|slot| {
            let word = &self.slots.get(slot)?.word;
            let found = SlotWord(word.load(Ordering::Relaxed));
            if found.state() != State::Free {
                return None;
            }
            let loaned = found.loaned(seat);
            // Acquire: pairs with the Release in `free`; the last user is done.
            word.compare_exchange(found.0, loaned.0, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
                .then_some((slot, loaned))
        })
    }

    /// Publishes a slot that the caller has loaned or returned.
    #[inline]
    pub(crate) fn publish(&self, slot: usize) -> Result<(), Corrupt> {
        // Acquire: what its writer knew to be published (I2).
        let start = position_of(self.words.tail.load(Ordering::Acquire));
        let mut at = start;
        loop {
            let cell = self.cell(at);
            // Acquire: what its writer knew of other cells (I2).
            let word = cell.load(Ordering::Acquire);
            if word != CellWord::empty(at).0 {
                at = self.after_no_place(start, at, word)?;
                continue;
            }
            let full = CellWord::full(at, slot);
            // Release: pairs with the load in `take_slot`; the value is there. Acquire: a cell that
            // was emptied says what its writer knew.
            if cell
                .compare_exchange(word, full.0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                advance(&self.words.tail, at.wrapping_add(STEP));
                return Ok(());
            }
        }
    }

    /// The next position that may not be published yet, after one whose cell says `word`.
    #[cold]
    fn after_no_place(&self, start: u64, at: u64, word: u64) -> Result<u64, Corrupt> {
        let cell = self.checked(start, at, word)?;
        let position = cell.position();
        match cell.slot() {
            // This position is published, and by I2 so are all before it.
            Some(_) if !is_after(at, position) => Ok(position.wrapping_add(STEP)),
            // Emptied: it was published one lap before.
            None if is_after(position, at) => {
                Ok(position.wrapping_sub(self.lap()).wrapping_add(STEP))
            }
            // Of one lap before. By I5 it is taken: its taker is slow or dead.
            Some(slot)
                if position.wrapping_add(self.lap()) == at
                    && self.empty_if_taken(self.cell(at), cell, slot) =>
            {
                Ok(at)
            }
            // Behind the tail, or more values than there are slots.
            _ => Err(corrupt(at, word)),
        }
    }

    /// Empties a cell whose slot is taken; false if the slot's value is still there.
    pub(super) fn empty_if_taken(&self, cell: &AtomicU64, word: CellWord, slot: usize) -> bool {
        // Acquire, both: the slot's word is one of the time when it was published here.
        let found = SlotWord(self.slots[slot].word.load(Ordering::Acquire));
        if cell.load(Ordering::Acquire) != word.0 {
            return true;
        }
        if found.is_untaken() {
            return false;
        }
        self.empty(cell, word);
        true
    }

    /// Empties a cell whose slot is taken, unless another was faster.
    #[inline]
    pub(super) fn empty(&self, cell: &AtomicU64, word: CellWord) {
        let empty = CellWord::empty(word.position().wrapping_add(self.lap()));
        // Release: what this one knows (I2).
        let _emptied = cell.compare_exchange(word.0, empty.0, Ordering::AcqRel, Ordering::Relaxed);
    }
}
