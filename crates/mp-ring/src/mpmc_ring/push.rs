//! How a producer claims a cell and fills it.

use mp_layout::Plain;
use mp_layout::atomic::Ordering;

use super::{CellWords, MpmcRing, advance, value_words};
use crate::NoRoom;
use crate::cell_word::{Cell, CellWord, POSITIONS, is_after};
use crate::mpmc_words::VALUE_WORDS;

impl<'a, T: Plain> MpmcRing<'a, T> {
    /// Claims the next cell for the producer in `seat`.
    #[inline]
    pub(crate) fn claim_cell(&self, seat: usize) -> Result<(CellWords<'a>, u64), NoRoom> {
        // Acquire: what its writer knew to be claimed (I3).
        let at = self.words.tail.load(Ordering::Acquire) & POSITIONS;
        // First as it mostly is: the cell is empty, and this one alone in claiming it.
        match self.cell_at(at) {
            // Acquire: what its writer knew of other cells (I2).
            Some(cell)
                if cell[0].load(Ordering::Acquire) == CellWord::empty(at).0
                    && self.claim(cell, at, seat) =>
            {
                Ok((cell, at))
            }
            _ => self.claim_further(seat),
        }
    }

    /// Claims the next cell, which may not be where the hint says.
    #[inline(never)]
    fn claim_further(&self, seat: usize) -> Result<(CellWords<'a>, u64), NoRoom> {
        loop {
            let (cell, at) = self.next_cell()?;
            if self.claim(cell, at, seat) {
                return Ok((cell, at));
            }
        }
    }

    /// Claims the cell, if it is empty at `at`. The caller knows all before it to be claimed (I2).
    #[inline]
    fn claim(&self, cell: CellWords<'_>, at: u64, seat: usize) -> bool {
        // Acquire: pairs with the Release of `release`. Release: what this one knows (I2).
        // SeqCst: before what the producer looks at next, see `MpmcProducer::reserve`.
        let claim = cell[0].compare_exchange(
            CellWord::empty(at).0,
            CellWord::claimed(at, seat).0,
            Ordering::SeqCst,
            Ordering::Relaxed,
        );
        if claim.is_ok() {
            advance(&self.words.tail, self.laps.next(at));
        }
        claim.is_ok()
    }

    /// The first cell that is not claimed.
    #[inline]
    fn next_cell(&self) -> Result<(CellWords<'a>, u64), NoRoom> {
        // Acquire: what its writer knew to be claimed (I3).
        let start = self.words.tail.load(Ordering::Acquire) & POSITIONS;
        let mut at = start;
        loop {
            let cell = self.cell(at)?;
            // Acquire: what its writer knew of other cells (I2).
            let word = cell[0].load(Ordering::Acquire);
            if word == CellWord::empty(at).0 {
                return Ok((cell, at));
            }
            at = self.after_no_room(start, at, word)?;
        }
    }

    /// The next position that may not be claimed yet, after one whose cell says `word`.
    #[cold]
    fn after_no_room(&self, start: u64, at: u64, word: u64) -> Result<u64, NoRoom> {
        let cell = self.checked_word(start, at, word)?;
        let position = cell.position();
        match cell {
            // The position is taken, and by I2 so are all before it.
            Cell::Claimed { .. } | Cell::Full(_) if !is_after(at, position) => {
                Ok(self.laps.next(position))
            }
            // Not given back since one lap before.
            Cell::Claimed { .. } | Cell::Full(_) if self.laps.lap_after(position) == at => {
                advance(&self.words.tail, at);
                Err(match self.claimant(cell) {
                    Some(owner) => NoRoom::Unfinished(owner),
                    None => NoRoom::Full,
                })
            }
            // Given back: it was taken one lap before that.
            Cell::Empty(_) if is_after(position, at) => {
                Ok(self.laps.next(self.laps.lap_before(position)))
            }
            // Behind the tail: impossible by I3.
            Cell::Claimed { .. } | Cell::Full(_) | Cell::Empty(_) => {
                Err(self.corrupt(at, word).into())
            }
        }
    }

    /// Pushes the value: the commit.
    #[inline]
    pub(crate) fn publish(&self, cell: CellWords<'_>, at: u64) {
        // Release: pairs with the load in `pop`; the value is there.
        cell[0].store(CellWord::full(at).0, Ordering::Release);
    }

    /// Pushes the value by an exchange, after which sleepers may be looked for.
    #[inline]
    pub(crate) fn publish_for_sleepers(&self, cell: CellWords<'_>, at: u64) {
        // Release: as in `publish`. SeqCst: before what the producer looks at next.
        let _claimed = cell[0].swap(CellWord::full(at).0, Ordering::SeqCst);
    }

    /// Gives a claimed cell back unused.
    #[cold]
    pub(crate) fn give_back(&self, cell: CellWords<'_>, at: u64) {
        let next = CellWord::empty(self.laps.lap_after(at));
        // Release: what this one knows (I2).
        cell[0].store(next.0, Ordering::Release);
    }

    /// Writes `value` into a claimed cell (I4).
    #[inline]
    pub(crate) fn write(&self, cell: CellWords<'_>, value: &T) {
        let mut words = [0; VALUE_WORDS];
        let (source, target) = (core::ptr::from_ref(value).cast::<u8>(), words.as_mut_ptr());
        // SAFETY: a `T` fits into the words, by the assertion at `CELL`; all its bytes are
        // initialised, by the promise of `Plain`.
        unsafe { core::ptr::copy_nonoverlapping(source, target.cast(), size_of::<T>()) };
        for (word, part) in value_words::<T>(cell).zip(words) {
            word.store(part, Ordering::Relaxed);
        }
    }

    /// Whether a push would find room now; it claims none.
    pub fn has_room(&self) -> bool {
        self.next_cell().is_ok()
    }
}
