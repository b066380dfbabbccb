//! What a dead producer leaves, and who it was.

use core::num::NonZeroU64;

use mp_layout::Plain;
use mp_layout::atomic::Ordering;

use super::MpmcRing;
use crate::cell_word::{Cell, CellWord};

impl<T: Plain> MpmcRing<'_, T> {
    /// Frees the seats whose owners `is_dead` knows to be dead, and the cells that they had claimed
    /// and not written. Returns how many seats. Any number of processes may sweep together.
    ///
    /// # Safety
    ///
    /// `is_dead` says so only of owners that will never run again: their cells are given to others
    /// to write.
    pub unsafe fn sweep(&self, is_dead: impl Fn(NonZeroU64) -> bool) -> usize {
        let seats = self.seats.iter().enumerate();
        seats
            .filter(|(seat, word)| match word.owner() {
                Some(owner) if is_dead(owner) => {
                    self.free_cells(*seat, owner);
                    word.release(owner)
                }
                _ => false,
            })
            .count()
    }

    /// Gives back the cells that `owner`, who is dead, has claimed from `seat`.
    #[cold]
    fn free_cells(&self, seat: usize, owner: NonZeroU64) {
        for cell in self.cells.chunks(Self::CELL) {
            // Acquire: what the dead knew of other cells (I2).
            let word = cell[0].load(Ordering::Acquire);
            let Some(Cell::Claimed { position, seat: of }) = CellWord(word).cell() else {
                continue;
            };
            // Looked at after the word: as long as the seat is the dead one's, so was the claim. A
            // sweep that ended meanwhile may have given the seat to the living.
            if of != seat || self.seats[seat].owner() != Some(owner) {
                continue;
            }
            let next = CellWord::empty(self.laps.lap_after(position));
            // Release: as a consumer's. If it fails, another sweep was first.
            let _swept =
                cell[0].compare_exchange(word, next.0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// The owner of the oldest push that has claimed a position and not finished, if there is one.
    ///
    /// It is the first that consumers pass over, and the one that makes the ring full where values
    /// do not: if its owner is dead, [`sweep`](Self::sweep) makes room. To find it costs a look at
    /// each cell from the oldest value on.
    #[cold]
    pub fn unfinished(&self) -> Option<NonZeroU64> {
        self.find(|cell| self.claimant(cell))
    }

    /// The owner of the seat that has claimed the cell; `None` if none has, or the seat was freed
    /// meanwhile.
    pub(super) fn claimant(&self, cell: Cell) -> Option<NonZeroU64> {
        match cell {
            Cell::Claimed { seat, .. } => self.seats.get(seat)?.owner(),
            Cell::Empty(_) | Cell::Full(_) => None,
        }
    }
}
