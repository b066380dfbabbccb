//! How a consumer finds a value and takes it.

use core::mem::MaybeUninit;

use mp_layout::Plain;
use mp_layout::atomic::Ordering;

use super::{CellWords, MpmcRing, advance, value_words};
use crate::cell_word::{Cell, CellWord, POSITIONS, is_after};
use crate::mpmc_words::VALUE_WORDS;
use crate::{Corrupt, PopError};

impl<T: Plain> MpmcRing<'_, T> {
    /// Pops the oldest value that is there.
    ///
    /// A value that is still being written is passed over: its push has not returned. As long as it
    /// is there, pops are slower by a look at each cell after it.
    ///
    /// What takes the value is a SeqCst operation, so that a look for producers that sleep needs no
    /// fence after it.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] if there was none; [`PopError::Invalid`] if its bytes are not a `T`.
    ///
    /// # If a process dies
    ///
    /// Killed before it returns, it has popped a value, which died with the process, or none.
    #[inline]
    pub fn pop(&self) -> Result<T, PopError> {
        // Acquire: what its writer knew to be done (I3).
        let start = self.words.head.load(Ordering::Acquire) & POSITIONS;
        let (mut at, mut passed) = (start, None);
        loop {
            let cell = self.cell(at)?;
            // Acquire: pairs with the Release of `publish`; the value is there.
            let word = cell[0].load(Ordering::Acquire);
            if word == CellWord::full(at).0 {
                let value = self.read(cell);
                if let Some(late) = self.came_late(passed, at) {
                    (at, passed) = late;
                } else if self.release(cell, at) {
                    // All before is done, but for what was passed over.
                    advance(&self.words.head, passed.unwrap_or(self.laps.next(at)));
                    return crate::payload::checked(value);
                }
                continue;
            }
            match self.after_no_value(start, at, word, passed)? {
                Some(further) => (at, passed) = further,
                None => match self.came_late(passed, at) {
                    Some(late) => (at, passed) = late,
                    None => return Err(self.nothing_up_to(at, passed)),
                },
            }
        }
    }

    /// Where to look after `at`, whose cell says `word` and has no value for it, and which position
    /// was the first to be passed over; `None` if `at` is not claimed.
    #[cold]
    fn after_no_value(
        &self,
        start: u64,
        at: u64,
        word: u64,
        passed: Option<u64>,
    ) -> Result<Option<(u64, Option<u64>)>, Corrupt> {
        let cell = self.checked_word(start, at, word)?;
        let position = cell.position();
        if position == at {
            return Ok(match cell {
                // Its push has not returned; it comes later than what is after it.
                Cell::Claimed { .. } => Some((self.laps.next(at), passed.or(Some(at)))),
                // Nothing here yet. (Full at `at` is what the caller has asked for.)
                Cell::Empty(_) | Cell::Full(_) => None,
            });
        }
        if !is_after(position, at) {
            // One lap after a cell that was passed over. By I3 it is impossible otherwise.
            return match passed {
                Some(_) => Ok(None),
                None => Err(self.corrupt(at, word)),
            };
        }
        // `at` is done. By I2 so is all up to one lap before the last claim that the cell shows.
        let last_claim = match cell {
            Cell::Empty(_) => self.laps.lap_before(position),
            Cell::Claimed { .. } | Cell::Full(_) => position,
        };
        let floor = self.laps.next(self.laps.lap_before(last_claim));
        Ok(Some(if is_after(floor, at) {
            (floor, None)
        } else {
            (self.laps.next(at), passed)
        }))
    }

    /// A value that was passed over while it was written and is there now; asked after the cell at
    /// `at` was seen.
    ///
    /// Without this look a value could be taken whose push began after the push of the one that was
    /// passed over had returned.
    #[inline]
    fn came_late(&self, passed: Option<u64>, at: u64) -> Option<(u64, Option<u64>)> {
        let first = passed?;
        let mut position = first;
        while position != at {
            let cell = self.cell(position).ok()?;
            if cell[0].load(Ordering::Acquire) == CellWord::full(position).0 {
                return Some((position, passed.filter(|first| *first != position)));
            }
            position = self.laps.next(position);
        }
        None
    }

    /// All before `at` is done, but for what was passed over.
    #[cold]
    fn nothing_up_to(&self, at: u64, passed: Option<u64>) -> PopError {
        advance(&self.words.head, passed.unwrap_or(at));
        PopError::Empty
    }

    /// Takes the value that the caller has copied from the cell, unless another consumer was first.
    #[inline]
    fn release(&self, cell: CellWords<'_>, at: u64) -> bool {
        let next = CellWord::empty(self.laps.lap_after(at));
        // Release: pairs with the claim of the next producer, who overwrites what was read.
        // SeqCst: before what the consumer looks at next, see `pop`.
        cell[0]
            .compare_exchange(
                CellWord::full(at).0,
                next.0,
                Ordering::SeqCst,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// What the cell has now, which may be a mixture of two values.
    #[inline]
    fn read(&self, cell: CellWords<'_>) -> MaybeUninit<T> {
        let mut words = [0; VALUE_WORDS];
        for (part, word) in words.iter_mut().zip(value_words::<T>(cell)) {
            *part = word.load(Ordering::Relaxed);
        }
        let mut value = MaybeUninit::<T>::uninit();
        let (source, target) = (words.as_ptr().cast::<u8>(), value.as_mut_ptr());
        // SAFETY: a `T` fits into the words, by the assertion at `CELL`, and they are initialised.
        unsafe { core::ptr::copy_nonoverlapping(source, target.cast(), size_of::<T>()) };
        value
    }

    /// Whether a [`pop`](Self::pop) would find a value now; it takes none.
    pub fn has_value(&self) -> bool {
        let is_full = |cell| matches!(cell, Cell::Full(_)).then_some(());
        self.find(is_full).is_some()
    }

    /// What `look` finds first in the cells that are full or claimed, in their order.
    pub(super) fn find<R>(&self, look: impl Fn(Cell) -> Option<R>) -> Option<R> {
        // As `pop` walks, past values, too: what the hints say does not matter.
        let start = self.words.head.load(Ordering::Acquire) & POSITIONS;
        let mut at = start;
        loop {
            let word = self.cell(at).ok()?[0].load(Ordering::Acquire);
            let (further, is_there) = if word == CellWord::full(at).0 {
                (self.laps.next(at), true)
            } else {
                // An error is the end of a walk around a full ring, or what `pop` reports.
                let (further, passed) = self.after_no_value(start, at, word, None).ok()??;
                (further, passed.is_some())
            };
            if is_there && let Some(found) = CellWord(word).cell().and_then(&look) {
                return Some(found);
            }
            at = further;
        }
    }
}
