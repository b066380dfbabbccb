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
    /// Cells that were claimed by a grant that was leaked, from a seat that is free now, are given
    /// back as well. It costs one look at each cell, however many are dead.
    ///
    /// # Safety
    ///
    /// `is_dead` says so only of owners that will never run again: their cells are given to others
    /// to write.
    pub unsafe fn sweep(&self, is_dead: impl Fn(NonZeroU64) -> bool) -> usize {
        let dead: Vec<Option<NonZeroU64>> = self
            .seats
            .iter()
            .map(|seat| seat.owner().filter(|owner| is_dead(*owner)))
            .collect();
        self.free_cells(&dead);
        let seats = self.seats.iter().zip(dead);
        seats
            .filter(|(seat, dead)| dead.is_some_and(|dead| seat.release(dead)))
            .count()
    }

    /// Gives back the cells that are claimed from a seat whose owner is in `dead`, or that has no
    /// owner.
    #[cold]
    fn free_cells(&self, dead: &[Option<NonZeroU64>]) {
        for cell in self.cells.chunks(Self::CELL) {
            // Acquire: what the dead knew of other cells (I2).
            let word = cell[0].load(Ordering::Acquire);
            let Some(Cell::Claimed { position, seat }) = CellWord(word).cell() else {
                continue;
            };
            let Some(claimant) = self.seats.get(seat) else {
                continue;
            };
            // Looked at after the word: as long as the seat is the dead one's, so was the claim. A
            // sweep that ended meanwhile may have given the seat to the living. Of a free seat the
            // claim is nobody's, or no longer there (I5).
            if claimant
                .owner()
                .is_some_and(|owner| Some(owner) != dead[seat])
            {
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
    /// each cell from the oldest value on. None is found in a ring that is corrupt.
    #[cold]
    pub fn unfinished(&self) -> Option<NonZeroU64> {
        self.find_claimed(|cell| self.claimant(cell)).ok().flatten()
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
