//! Which tasks of a queue are not finished: those that wait in it, and those that processes have
//! taken.
//!
//! # Layout
//!
//! ```text
//! 0        128        256                       4096
//! | counts | all_done | consumers: 240 x 16 bytes | the queue |
//! ```
//!
//! # Invariants
//!
//! - I1: `begun` is raised before a task is put.
//! - I2: a consumer raises its `unfinished` under the consumers' lock, before the store that takes
//!   the task out of the queue, and lowers it when the task is done. So each task that was put is
//!   in the queue, or counted by a consumer, or finished.
//! - I3: a consumer's words belong to the process that `process` names. If it is dead, its count is
//!   closed by setting [`ABANDONED`] in it, and the place is free again when the count has been
//!   reported.
//!
//! # Orderings
//!
//! All tasks are finished if the queue was empty, then no living consumer had one, and `begun` is
//! the same before and after both. The queue is looked at first: who sees it empty acquires the
//! counts of those that took the tasks (I2). A task that is put by another task is begun before
//! that one is done (Release), so it changes `begun` for who sees that one done (Acquire).
//!
//! # Progress
//!
//! Counting is lock-free but for one system call if a process waits in `join`. Taking a place is
//! lock-free.
//!
//! # If a process dies
//!
//! - With tasks that it had taken: they will not be finished. A process that waits in `join` finds
//!   that out within 250 ms, closes the count by one store, and wakes the others. The count is
//!   reported by `join` until it is acknowledged.
//! - After it raised its count and before it took the task: the task is in the queue and gets done
//!   by another process, and one task too many is reported.
//! - While it frees a dead process's place for its own: the number of that one's tasks may be lost,
//!   not more.
//! - After it lowered its count and before it woke who waits: the bell does.

use core::num::NonZeroU64;

use mp_layout::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use mp_layout::{Error, ErrorKind, OwnerWord, Padded, Result, shared_struct};
use mp_object::owner;
use mp_os::clock::Deadline;
use mp_sync::{EventCount, Wait};

/// Bytes of the words, after which the queue starts.
pub(crate) const SIZE: usize = 4096;

/// Processes that can get tasks at one time.
const CONSUMERS: usize = 240;

/// In a consumer's count: its process is dead.
const ABANDONED: u32 = 1 << 31;

shared_struct! {
    /// What one process has taken.
    pub(crate) struct Consumer as "JoinableQueue: consumer": 16 bytes {
        process: OwnerWord = "the process that gets tasks; 0 if the place is free",
        unfinished: AtomicU32 = "tasks that it has taken and not finished; bit 31 once they are counted as abandoned",
        reserved: AtomicU32 = "0",
    }
}

shared_struct! {
    /// What is counted for all processes.
    pub(crate) struct Counts as "JoinableQueue: counts": 16 bytes {
        begun: AtomicU64 = "tasks that were put, or were begun to be",
        abandoned: AtomicU64 = "abandoned tasks of places that were freed since, not acknowledged",
    }
}

shared_struct! {
    /// The words before the queue.
    pub(crate) struct Unfinished as "JoinableQueue": 4096 bytes {
        counts: Padded<Counts> = "what is counted for all processes",
        all_done: Padded<EventCount> = "what `join` sleeps on",
        consumers: [Consumer; CONSUMERS] = "what each process has taken. The queue follows",
    }
}

const _: () = assert!(size_of::<Unfinished>() == SIZE);

/// How a look at the tasks ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// All are finished or abandoned.
    Finished,
    Unfinished,
}

impl Unfinished {
    /// Counts a task that is about to be put (I1).
    #[inline]
    pub(crate) fn begin(&self) {
        self.counts.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// The place of this process, which is `index` if it has asked before, and its index.
    #[inline]
    pub(crate) fn place(&self, index: u32) -> Result<(u32, &Consumer)> {
        let me = owner::this_process()?.into();
        match self.consumers.get(index as usize) {
            Some(place) if place.process.owner() == Some(me) => Ok((index, place)),
            _ => self.claim(me),
        }
    }

    /// Claims a place, or finds the one that another handle of this process has claimed.
    #[cold]
    fn claim(&self, me: NonZeroU64) -> Result<(u32, &Consumer)> {
        if let Some(mine) = self.first_of(me) {
            return Ok(mine);
        }
        let claimed = |place: &&Consumer| place.process.claim(me).is_ok();
        if self.consumers.iter().find(claimed).is_none() {
            self.free_places();
            if self.consumers.iter().find(claimed).is_none() {
                return Err(too_many());
            }
        }
        // Of two threads that claimed together, both use the first place; the other one stays
        // empty.
        self.first_of(me).ok_or_else(too_many)
    }

    fn first_of(&self, me: NonZeroU64) -> Option<(u32, &Consumer)> {
        let mut places = (0..).zip(&self.consumers);
        places.find(|(_, place)| place.process.owner() == Some(me))
    }

    /// Frees the places of dead processes.
    fn free_places(&self) {
        for place in &self.consumers {
            // The death comes first: the count is final then.
            let owner = place.process.owner();
            let Some(dead) = owner.filter(|&owner| owner::is_proven_dead(owner)) else {
                continue;
            };
            self.abandon(place, dead);
            let count = place.take_abandoned();
            self.counts
                .abandoned
                .fetch_add(u64::from(count), Ordering::Relaxed);
            if place.unfinished.load(Ordering::Acquire) == 0 {
                // Of several callers, one frees it.
                place.process.release(dead);
            }
        }
    }

    /// Counts a task as done, of those that the process of `place` has taken.
    pub(crate) fn finish_one(&self, place: &Consumer) -> Result<()> {
        let me = place.process.owner();
        // Two threads that claimed together may have counted in two places.
        let others = self.consumers.iter();
        let others = others.filter(|other| other.process.owner() == me);
        let mut mine = core::iter::once(place).chain(others);
        self.all_done.under_bell(|| {
            match mine.find_map(Consumer::finish_one) {
                Some(0) => self.all_done.notify_all(),
                Some(_) => {}
                None => return Err(too_often()),
            }
            Ok(())
        })
    }

    /// Tasks that living processes have taken and not finished.
    pub(crate) fn taken(&self) -> usize {
        let counts = self.consumers.iter().map(Consumer::living);
        counts.map(|count| count as usize).sum()
    }

    /// Tasks that dead processes had taken and not finished, as far as it was found out.
    pub(crate) fn abandoned(&self) -> u64 {
        let here = self.consumers.iter().map(Consumer::abandoned);
        let here: u64 = here.map(u64::from).sum();
        here.saturating_add(self.counts.abandoned.load(Ordering::Relaxed))
    }

    /// Forgets the abandoned tasks, and returns how many they were.
    pub(crate) fn take_abandoned(&self) -> u64 {
        let here = self.consumers.iter().map(Consumer::take_abandoned);
        let here: u64 = here.map(u64::from).sum();
        here.saturating_add(self.counts.abandoned.swap(0, Ordering::Relaxed))
    }

    /// Closes the counts of dead processes (I3).
    #[cold]
    fn abandon_of_dead(&self) {
        for place in &self.consumers {
            let has_tasks = place.living() != 0;
            let owner = place.process.owner();
            if let Some(dead) = owner.filter(|&owner| has_tasks && owner::is_proven_dead(owner)) {
                self.abandon(place, dead);
            }
        }
    }

    /// Closes the count of a process that is dead (I3), unless another has freed the place.
    fn abandon(&self, place: &Consumer, dead: NonZeroU64) {
        let count = place.living();
        if count == 0 || place.process.owner() != Some(dead) {
            return;
        }
        self.all_done.under_bell(|| {
            let (old, new) = (count, count | ABANDONED);
            let closed =
                place
                    .unfinished
                    .compare_exchange(old, new, Ordering::Release, Ordering::Relaxed);
            if closed.is_ok() {
                self.all_done.notify_all();
            }
        });
    }

    /// Looks once, where `is_empty` says whether the queue is.
    fn look(&self, is_empty: impl Fn() -> bool) -> Look {
        loop {
            let begun = self.counts.begun.load(Ordering::Acquire);
            if !is_empty() {
                return Look::Unfinished;
            }
            // Who took the last task has counted it before.
            fence(Ordering::Acquire);
            if self.taken() != 0 {
                return Look::Unfinished;
            }
            // A task was put meanwhile: it may have moved past both looks.
            if self.counts.begun.load(Ordering::Acquire) == begun {
                return Look::Finished;
            }
        }
    }

    /// Waits until all tasks are finished or abandoned; false if it timed out.
    pub(crate) fn join(&self, wait: Wait, deadline: Deadline, is_empty: impl Fn() -> bool) -> bool {
        if self.look(&is_empty) == Look::Finished {
            return true;
        }
        self.abandon_of_dead();
        let test = || match self.look(&is_empty) {
            Look::Finished => {
                // Rule (c)
                self.all_done.pass_on_to_all();
                Some(())
            }
            Look::Unfinished => None,
        };
        let suspect = || self.abandon_of_dead();
        let joined = self
            .all_done
            .wait_until_or_suspect(wait, deadline, test, suspect);
        joined.is_some()
    }
}

impl Consumer {
    /// Counts a task that is about to be taken (I2), up to the most that can be counted.
    #[inline]
    pub(crate) fn take_one(&self) {
        let raise = |count: u32| (count < ABANDONED - 1).then_some(count + 1);
        let unfinished = &self.unfinished;
        // At the most, or closed by a process that believed this one dead, it stays as it is.
        let _is_counted = unfinished
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise)
            .is_ok();
    }

    /// Lowers the count if it can be, and returns how many tasks are left.
    fn finish_one(&self) -> Option<u32> {
        let lower = |count: u32| (count & ABANDONED == 0).then(|| count.checked_sub(1))?;
        let unfinished = &self.unfinished;
        let old = unfinished.fetch_update(Ordering::Release, Ordering::Relaxed, lower);
        old.ok().map(|old| old - 1)
    }

    /// Tasks that a living process has not finished.
    fn living(&self) -> u32 {
        let count = self.unfinished.load(Ordering::Acquire);
        if count & ABANDONED == 0 { count } else { 0 }
    }

    /// Tasks that a dead process had not finished.
    fn abandoned(&self) -> u32 {
        let count = self.unfinished.load(Ordering::Acquire);
        if count & ABANDONED == 0 {
            0
        } else {
            count & !ABANDONED
        }
    }

    /// Forgets the tasks that a dead process had not finished. Of several callers, one gets their
    /// number.
    fn take_abandoned(&self) -> u32 {
        let count = self.abandoned();
        let (old, new) = (count | ABANDONED, 0);
        let forgotten = count != 0
            && self
                .unfinished
                .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        if forgotten { count } else { 0 }
    }
}

#[cold]
fn too_often() -> Error {
    Error::new(ErrorKind::InvalidState, "finish", "a task of a queue").with_detail(
        "this process has no task that it got and has not finished: `task_done` belongs to the process that got the \
         task, once for each",
    )
}

#[cold]
fn too_many() -> Error {
    Error::new(ErrorKind::Full, "get from", "a joinable queue").with_detail(format!(
        "{CONSUMERS} processes get from it, which are the most that it can tell apart; let some of them end first"
    ))
}

#[cfg(all(test, not(miri)))]
mod tests {
    use mp_testkit::Forked;

    use super::*;

    fn words() -> Box<Unfinished> {
        // SAFETY: the words start as zero.
        Box::new(unsafe { core::mem::zeroed() })
    }

    fn me() -> NonZeroU64 {
        owner::this_process().expect("its start time").into()
    }

    #[test]
    fn a_task_counted_in_another_place_of_this_process_is_finished() {
        let words = words();
        let [first, second, ..] = &words.consumers;
        first.process.claim(me()).expect("free");
        second.process.claim(me()).expect("free");
        second.take_one();
        words.finish_one(first).expect("it was taken");
        assert_eq!(words.taken(), 0);
        assert!(words.finish_one(first).is_err());
    }

    #[test]
    fn the_most_tasks_of_a_process_are_not_taken_for_abandoned_ones() {
        let words = words();
        let [place, ..] = &words.consumers;
        place.unfinished.store(ABANDONED - 1, Ordering::Relaxed);
        place.take_one();
        assert_eq!((place.living(), place.abandoned()), (ABANDONED - 1, 0));
    }

    #[test]
    fn a_freed_place_leaves_no_count_to_its_next_owner() {
        let words = words();
        let [dead, alive, ..] = &words.consumers;
        let child = Forked::holding(|| ());
        let identity = owner::ProcessIdentity::of(child.pid()).expect("a child");
        let identity = identity.expect("it lives");
        dead.process.claim(identity.into()).expect("free");
        alive.process.claim(me()).expect("free");
        dead.take_one();
        dead.take_one();
        alive.take_one();
        child.kill_and_reap();
        words.free_places();
        assert_eq!((dead.process.owner(), dead.living()), (None, 0));
        assert_eq!((alive.process.owner(), alive.living()), (Some(me()), 1));
        assert_eq!(words.abandoned(), 2);
    }

    #[test]
    fn more_abandoned_tasks_than_there_can_be_are_no_panic() {
        let words = words();
        let [place, ..] = &words.consumers;
        words.counts.abandoned.store(u64::MAX, Ordering::Relaxed);
        place.unfinished.store(ABANDONED | 1, Ordering::Relaxed);
        assert_eq!(words.abandoned(), u64::MAX);
        assert_eq!(words.take_abandoned(), u64::MAX);
    }
}
