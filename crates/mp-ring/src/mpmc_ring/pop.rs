//! How a consumer finds a value and takes it.

use core::mem::MaybeUninit;

use mp_layout::Plain;
use mp_layout::atomic::Ordering;

use super::{CellWords, MpmcRing, advance, value_words};
use crate::cell_word::{Cell, CellWord, POSITIONS, is_after};
use crate::mpmc_words::VALUE_WORDS;
use crate::{Corrupt, PopError};

/// What a consumer passed over on its way.
#[derive(Clone, Copy)]
struct Passed {
    first: u64,
    /// Between the first and the second all is done.
    second: Option<u64>,
}

impl Passed {
    /// With `at` passed over, too.
    fn and(passed: Option<Self>, at: u64) -> Self {
        match passed {
            None => Self {
                first: at,
                second: None,
            },
            Some(Self { first, second }) => Self {
                first,
                second: second.or(Some(at)),
            },
        }
    }
}

impl<T: Plain> MpmcRing<'_, T> {
    /// Pops the oldest value that is there.
    ///
    /// A value that is still being written is passed over: its push has not returned. As long as
    /// two are there, pops are slower by a look at each cell after the second.
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
        let at = self.words.head.load(Ordering::Acquire) & POSITIONS;
        // First as it mostly is, without what to pass over takes.
        if let Some(cell) = self.cell_at(at)
            // Acquire: pairs with the Release of `publish`; the value is there.
            && cell[0].load(Ordering::Acquire) == CellWord::full(at).0
        {
            let value = self.read(cell);
            if self.release(cell, at) {
                advance(&self.words.head, self.laps.next(at));
                return crate::payload::checked(value);
            }
        }
        self.pop_further()
    }

    /// Pops the oldest value that is there, which may not be where the hint says.
    #[inline(never)]
    fn pop_further(&self) -> Result<T, PopError> {
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
                    self.done_up_to(self.laps.next(at), passed);
                    return crate::payload::checked(value);
                }
                continue;
            }
            match self.after_no_value(start, at, word, passed)? {
                Some(further) => (at, passed) = further,
                None => match self.came_late(passed, at) {
                    Some(late) => (at, passed) = late,
                    None => {
                        self.done_up_to(at, passed);
                        return Err(PopError::Empty);
                    }
                },
            }
        }
    }

    /// Where to look after `at`, whose cell says `word` and has no value for it, and what was
    /// passed over; `None` if `at` is not claimed.
    #[cold]
    fn after_no_value(
        &self,
        start: u64,
        at: u64,
        word: u64,
        passed: Option<Passed>,
    ) -> Result<Option<(u64, Option<Passed>)>, Corrupt> {
        let cell = self.checked_word(start, at, word)?;
        let position = cell.position();
        if position == at {
            return Ok(match cell {
                // Its push has not returned; it comes later than what is after it.
                Cell::Claimed { .. } => Some(self.after_claimed(at, word, passed)?),
                // Nothing here yet. (Full at `at` is what the caller has asked for.)
                Cell::Empty(_) | Cell::Full(_) => None,
            });
        }
        if !is_after(position, at) {
            // One lap after a cell that was passed over. By I3 it is impossible otherwise.
            return match passed {
                Some(_) if !is_after(start, position) => Ok(None),
                _ => Err(self.corrupt(at, word)),
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

    /// Where to look after `at`, whose cell says by `word` that it is claimed.
    fn after_claimed(
        &self,
        at: u64,
        word: u64,
        passed: Option<Passed>,
    ) -> Result<(u64, Option<Passed>), Corrupt> {
        // Acquire: what its writer knew to be done (I6).
        let skip = self.words.skip.load(Ordering::Acquire) & POSITIONS;
        // Again, after `skip` (I6).
        if self.cell(at)?[0].load(Ordering::Acquire) != word {
            return Ok((at, passed));
        }
        let next = self.laps.next(at);
        let is_within_lap = is_after(skip, next) && !is_after(skip, self.laps.lap_after(at));
        let further = if is_within_lap { skip } else { next };
        Ok((further, Some(Passed::and(passed, at))))
    }

    /// A value that was passed over while it was written and is there now; asked after the cell at
    /// `at` was seen.
    ///
    /// Without this look a value could be taken whose push began after the push of the one that was
    /// passed over had returned.
    #[inline]
    fn came_late(&self, passed: Option<Passed>, at: u64) -> Option<(u64, Option<Passed>)> {
        let Passed { first, second } = passed?;
        if self.is_full_at(first)? {
            return Some((first, None));
        }
        let mut position = second?;
        while position != at {
            if self.is_full_at(position)? {
                let second = second.filter(|second| *second != position);
                return Some((position, Some(Passed { first, second })));
            }
            position = self.laps.next(position);
        }
        None
    }

    fn is_full_at(&self, position: u64) -> Option<bool> {
        let cell = self.cell(position).ok()?;
        Some(cell[0].load(Ordering::Acquire) == CellWord::full(position).0)
    }

    /// Moves the hints: all before `at` is done, but for what was passed over.
    #[inline]
    fn done_up_to(&self, at: u64, passed: Option<Passed>) {
        match passed {
            None => advance(&self.words.head, at),
            Some(Passed { first, second }) => {
                advance(&self.words.head, first);
                advance(&self.words.skip, second.unwrap_or(at));
            }
        }
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

    /// Whether a [`pop`](Self::pop) would say something else than `Empty` now; it takes nothing.
    pub fn has_value(&self) -> bool {
        // Acquire: what its writer knew to be done (I3).
        let start = self.words.head.load(Ordering::Acquire) & POSITIONS;
        let (mut at, mut passed) = (start, None);
        loop {
            let Ok(cell) = self.cell(at) else {
                return true;
            };
            // Acquire: what its writer knew of other cells (I2).
            let word = cell[0].load(Ordering::Acquire);
            if word == CellWord::full(at).0 {
                return true;
            }
            match self.after_no_value(start, at, word, passed) {
                Ok(Some(further)) => (at, passed) = further,
                Ok(None) => return self.came_late(passed, at).is_some(),
                // What a pop reports.
                Err(_) => return true,
            }
        }
    }

    /// What `look` finds first in the cells that are claimed, in their order.
    pub(super) fn find_claimed<R>(
        &self,
        look: impl Fn(Cell) -> Option<R>,
    ) -> Result<Option<R>, Corrupt> {
        // As `pop` walks, past values, too: what the hints say does not matter.
        let start = self.words.head.load(Ordering::Acquire) & POSITIONS;
        let (mut at, mut passed) = (start, None);
        loop {
            // Acquire: what its writer knew of other cells (I2).
            let word = self.cell(at)?[0].load(Ordering::Acquire);
            if word == CellWord::full(at).0 {
                passed = Some(Passed::and(passed, at));
                at = self.laps.next(at);
                continue;
            }
            let Some(further) = self.after_no_value(start, at, word, passed)? else {
                return Ok(None);
            };
            // Not where the push ended between the two looks.
            if further.0 != at
                && let Some(claimed) = CellWord(word).cell().filter(|cell| cell.position() == at)
                && let Some(found) = look(claimed)
            {
                return Ok(Some(found));
            }
            (at, passed) = further;
        }
    }
}
