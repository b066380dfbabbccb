//! A mutex that says who owes wake-ups: held by one that releases another lock before it wakes.
//!
//! A thread has one pending slot. While it releases a robust lock the slot names that lock, and no
//! bell rings if it dies. So one that wakes after the release holds this mutex meanwhile, marked as
//! slept upon, and the sleepers sleep on its word as well: the kernel wakes one of them.
//! `docs/decisions/0023-a-condition-wakes-after-the-release.md` weighs it.

use mp_layout::atomic::{AtomicU32, Ordering};

use super::RawMutex;
use crate::owner;
#[cfg(loom)]
use crate::word::OWNER_DIED;
use crate::word::WAITERS;

impl RawMutex {
    /// Begins to owe wake-ups, before the change that they tell of; `lock` is what will be released
    /// first. False if they must be made under `lock`, under the bell: another thread owes still,
    /// or this one holds as many locks as it can.
    pub(crate) fn begin_handover(&self, lock: &Self) -> bool {
        // In a forked child the guard of `lock` is a copy, which releases nothing.
        if !lock.is_held_here() {
            return false;
        }
        let Ok(mut guard) = self.try_lock() else {
            return false;
        };
        guard.recover();
        // Released by `end_handover`.
        std::mem::forget(guard);
        // From now on this thread's death wakes one that sleeps on the word.
        self.word.fetch_or(WAITERS, Ordering::Relaxed);
        true
    }

    /// Ends it, under the bell: after the changes that keep a waiter from falling asleep, since the
    /// bell wakes only those that sleep, and before the wakes, since the first that runs may be the
    /// next to owe. If this thread dies in here, the kernel wakes one.
    pub(crate) fn end_handover(&self) {
        self.release_by(owner::tid(), |mutex| {
            // Without a wake: the sleepers sleep on it only to hear of a death.
            mutex.free_word();
        });
    }

    /// In a model, whether this thread is to die while it owes wake-ups. If so, the kernel has done
    /// its part: the mark, and one wake.
    #[cfg(loom)]
    pub(crate) fn dies_owing(&self) -> bool {
        let dies = owner::dead_process().is_some();
        if dies {
            // Release pairs with `word_and_value`: all that a thread did comes before its death.
            self.word.store(OWNER_DIED | WAITERS, Ordering::Release);
            crate::futex::wake(&self.word, 1);
        }
        dies
    }

    /// The word, and what it is to be for a sleep on it.
    pub(crate) fn word_and_value(&self) -> (&AtomicU32, u32) {
        // Acquire pairs with the mark of a dead owner: what it did is seen.
        (&self.word, self.word.load(Ordering::Acquire))
    }
}
