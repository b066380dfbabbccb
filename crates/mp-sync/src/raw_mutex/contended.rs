//! When the word is not simply free: waiting, and owners that died.

use std::time::{Duration, Instant};

use mp_layout::atomic::{Ordering, fence};
use mp_os::clock::Deadline;

use super::{INCONSISTENT, RawLockError, RawMutex};
use crate::event_count::Registration;
use crate::futex::{self, Wake};
use crate::word::{OWNER_DIED, WAITERS, has_waiters, owner, owner_died};
use crate::{Holder, owner};

/// Pauses of the processor before a sleep, some microseconds in all.
const SPINS: u32 = if cfg!(any(loom, miri)) { 0 } else { 240 };

/// Pauses between the first two looks, and the most between any two: they double. Each look takes
/// the word's cache line from the owner, who needs it twice per turn. Two processes on two cores,
/// turns that follow each other immediately: 130 to 160 ns per turn with a look after each of 100
/// pauses, 47 with these three numbers (2026-11-20; bench `lock` has 45). Starting with 16 made
/// that 40, but sections of 300 steps 15 % slower.
const FIRST_PAUSE: u32 = 8;
const LONGEST_PAUSE: u32 = 64;

/// The longest sleep of a lock's waiter before it looks whether the owner lives. The kernel's wake
/// comes sooner; this covers what it cannot see.
const RECHECK: Duration = Duration::from_millis(500);

/// The same where this thread or the owner has no robust list, so that no wake comes.
const RECHECK_UNLINKED: Duration = Duration::from_millis(100);

impl RawMutex {
    /// Acquires the word by waiting; inside the operation, if there is a list.
    #[cold]
    pub(super) fn acquire_contended(
        &self,
        tid: u32,
        deadline: Deadline,
    ) -> Result<(), RawLockError> {
        let mut word = self.spin(deadline);
        let mut seen = HolderSighting::default();
        let mut slept = 0;
        loop {
            // Free, or its owner is dead and marked: take it.
            if owner(word) == 0 {
                let mine = tid | (word & WAITERS) | slept;
                // Acquire pairs with the Release of the last owner's unlock.
                match self
                    .word
                    .compare_exchange(word, mine, Ordering::Acquire, Ordering::Relaxed)
                {
                    Ok(_) => {
                        self.note_death(word);
                        return Ok(());
                    }
                    Err(now) => word = now,
                }
                continue;
            }
            // Held by this thread.
            if owner(word) == tid && self.is_of_this_thread() {
                return Err(RawLockError::Recursive);
            }
            let expired = deadline.is_expired();
            if owner(word) == tid || (expired && self.may_be_unmarked(slept)) {
                // A thread that had our number and died, or an owner that the kernel did not mark.
                if self.mark_if_owner_is_gone(word, &seen) {
                    word = self.word.load(Ordering::Relaxed);
                    continue;
                }
            }
            if owner(word) == tid {
                return Err(RawLockError::Recursive);
            }
            // Held by another thread, and no time is left.
            if expired {
                return Err(RawLockError::TimedOut(seen.holder(owner(word))));
            }
            // Held by another thread: sleep until it changes, unless it changes before.
            match self.announce_waiter(word) {
                Ok(waited) => word = waited,
                Err(now) => {
                    word = now;
                    continue;
                }
            }
            seen.look_at(owner(word));
            slept = WAITERS;
            let until = deadline.earlier(Deadline::after(self.recheck()));
            if futex::wait(&self.word, word, until) == Wake::TimedOut {
                self.mark_if_owner_is_gone(word, &seen);
            }
            // A running thread may have taken the lock before the woken one, and be done soon.
            word = self.spin(deadline);
        }
    }

    /// Whether this thread's number in the word stands for this thread, and not for a dead one that
    /// had the same.
    ///
    /// An owner with a list has no start there, and the kernel marks its death before the number is
    /// used again. One without a list has its own start (I4).
    pub(super) fn is_of_this_thread(&self) -> bool {
        let start = self.owner_start.load(Ordering::Relaxed);
        start == 0 || start == owner::start()
    }

    /// Looks at the word for a moment, whether others sleep or not: an owner that runs is often
    /// done in less than a sleep takes.
    fn spin(&self, deadline: Deadline) -> u32 {
        let mut left = if deadline == Deadline::PASSED {
            0
        } else {
            SPINS
        };
        let mut pause = FIRST_PAUSE;
        loop {
            let word = self.word.load(Ordering::Relaxed);
            if owner(word) == 0 || left == 0 {
                return word;
            }
            let pauses = pause.min(left);
            (0..pauses).for_each(|_| std::hint::spin_loop());
            left -= pauses;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Sets WAITERS, so that the owner's unlock wakes a waiter; returns the word to sleep on.
    fn announce_waiter(&self, word: u32) -> Result<u32, u32> {
        if has_waiters(word) {
            return Ok(word);
        }
        self.word
            .compare_exchange(word, word | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
            .map(|_| word | WAITERS)
    }

    /// Announces a thread that waits for the mutex and for something else; `None` if it is free.
    pub(crate) fn register(&self) -> Option<Registration<'_>> {
        let mut word = self.word.load(Ordering::Relaxed);
        while owner(word) != 0 {
            match self.announce_waiter(word) {
                Ok(seen) => {
                    return Some(Registration {
                        word: &self.word,
                        seen,
                        bell: None,
                    });
                }
                Err(now) => word = now,
            }
        }
        None
    }

    /// For one that may have been woken in place of a thread which would take the mutex. If it is
    /// held, its release wakes that thread: the bit is set again.
    pub(crate) fn pass_on(&self) {
        if self.register().is_none() {
            self.wake_one();
        }
    }

    /// Frees the mutex if its owner is proved dead and the kernel has not marked it.
    pub(crate) fn free_if_owner_is_gone(&self) {
        let word = self.word.load(Ordering::Relaxed);
        if owner(word) != 0 {
            self.mark_if_owner_is_gone(word, &HolderSighting::default());
        }
    }

    /// After acquiring `word`: if it was marked, remembers that an owner died (I3).
    fn note_death(&self, word: u32) {
        if owner_died(word) {
            let flags = self.flags.load(Ordering::Relaxed);
            self.flags.store(flags | INCONSISTENT, Ordering::Relaxed);
            let epoch = self.death_epoch.load(Ordering::Relaxed);
            self.death_epoch
                .store(epoch.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Whether this thread or the owner is one whose death the kernel does not mark.
    fn unlinked_around(&self) -> bool {
        owner::list().is_none() || self.owner_start.load(Ordering::Relaxed) != 0
    }

    /// Whether a dead owner is worth looking for although the wait timed out: it was waited for, or
    /// the kernel would not have marked it.
    fn may_be_unmarked(&self, slept: u32) -> bool {
        slept != 0 || self.unlinked_around()
    }

    fn recheck(&self) -> Duration {
        if self.unlinked_around() {
            RECHECK_UNLINKED
        } else {
            RECHECK
        }
    }

    /// Records in the lock, just acquired, what its owner can be proved dead by (I4).
    pub(super) fn record_start(&self) {
        let unlisted_acquisitions = self.unlisted_acquisitions.load(Ordering::Relaxed);
        // Relaxed: the Release below orders it.
        self.unlisted_acquisitions
            .store(unlisted_acquisitions.wrapping_add(1), Ordering::Relaxed);
        // Release pairs with the Acquire in `mark_if_owner_is_gone`.
        self.owner_start.store(owner::start(), Ordering::Release);
    }

    /// Marks the word, as the kernel would, if the owner it names is proved dead, or proved not to
    /// be one: a process that does not map the lock's memory holds no lock in it, so the word
    /// was overwritten.
    ///
    /// False proof would break the lock, so the start time must be that of the owner:
    /// `unlisted_acquisitions` is the same before and after, so no owner recorded its start in
    /// between, and the owner before had cleared its start when it released the word (I4). What
    /// is left is the owner's id being given to a new thread, that acquires this lock, between
    /// the proof and the mark.
    fn mark_if_owner_is_gone(&self, word: u32, seen: &HolderSighting) -> bool {
        let tid = owner(word);
        let unlisted_acquisitions = self.unlisted_acquisitions.load(Ordering::Acquire);
        // Acquire: the word's release sequence starts with the last unlock, which came after
        // that owner had cleared its start.
        if owner(self.word.load(Ordering::Acquire)) != tid {
            return false;
        }
        // Acquire pairs with the Release in `record_start`.
        let start = self.owner_start.load(Ordering::Acquire);
        // Keeps the loads above before the one below.
        fence(Ordering::Acquire);
        let same = self.unlisted_acquisitions.load(Ordering::Relaxed) == unlisted_acquisitions;
        // A start of 0 is not known, or that of an owner with a list; then the id must suffice.
        let is_gone = || owner::is_dead(tid, start) || self.is_stranger(tid, seen);
        if !same || !is_gone() {
            return false;
        }
        if start != 0 {
            let cleared =
                self.owner_start
                    .compare_exchange(start, 0, Ordering::Relaxed, Ordering::Relaxed);
            if cleared.is_err() {
                return false;
            }
        }
        self.mark(tid)
    }

    /// Whether `tid` names a thread that cannot hold this lock. It is asked of owners that were
    /// waited for as long as between two rechecks: reading two processes' maps takes longer
    /// than most locks are held.
    fn is_stranger(&self, tid: u32, seen: &HolderSighting) -> bool {
        let holder = seen.holder(tid);
        let address = std::ptr::from_ref(self).addr();
        holder.held_for >= self.recheck() && owner::cannot_reach(tid, address)
    }

    /// Replaces the dead owner by the mark; false if another thread already did.
    fn mark(&self, tid: u32) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while owner(word) == tid {
            let marked = OWNER_DIED | (word & WAITERS);
            // Release: `owner_start` is clear for the acquirer of the marked word.
            match self
                .word
                .compare_exchange(word, marked, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }
}

/// Since when a waiter has seen the same owner.
#[derive(Default)]
struct HolderSighting {
    tid: u32,
    since: Option<Instant>,
}

impl HolderSighting {
    fn look_at(&mut self, tid: u32) {
        if self.tid != tid {
            *self = Self {
                tid,
                since: Some(Instant::now()),
            };
        }
    }

    fn holder(&self, tid: u32) -> Holder {
        let since = self.since.filter(|_| self.tid == tid);
        Holder::thread(tid, since.map_or(Duration::ZERO, |since| since.elapsed()))
    }
}
