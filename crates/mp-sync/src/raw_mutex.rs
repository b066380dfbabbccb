//! A mutex that knows its owner and outlives it: a robust futex mutex on libc's list.
//!
//! # Source
//! The robust futex protocol of the Linux kernel (`Documentation/locking/robust-futex-ABI.rst`)
//! and glibc's robust `pthread_mutex_t`, in whose geometry it lies. Changed: one atomic operation
//! to lock and one to unlock, every wait is bounded, a recoverer's death changes nothing, and
//! there is a second way to prove a death where the kernel does not mark it.
//!
//! # Layout
//! ```text
//!  0 word                  who owns it, see the table below
//!  4 musl_word             0; where musl would have the word
//!  8 count                 0; for a lock that its owner may take again
//! 12 flags                 bit 0 INCONSISTENT, bit 1 UNRECOVERABLE
//! 16 image                 for a `Mutex`: the program of the process to which it lent its data
//! 20 owner_start           start time of an owner that is not on its list, else 0
//! 24 links                 its place on the owner's list
//! 40 death_epoch           how many owners died
//! 44 unlisted_acquisitions acquisitions by owners that are not on their lists
//! ```
//! The word:
//!
//! | WAITERS | OWNER_DIED | owner | the lock is | set by | ended by |
//! |:---:|:---:|---|---|---|---|
//! | 0 | 0 | 0 | free | unlock | an acquirer |
//! | 0 | 0 | T | held by thread T | the acquirer T | T's unlock or T's death |
//! | 1 | 0 | T | held by T, others may sleep | a waiter, or T if it slept | T's unlock or T's death |
//! | 0 | 1 | 0 | free, its last owner died | the kernel, or who proved the death | an acquirer |
//! | 1 | 1 | 0 | the same, others may sleep | the same | an acquirer, who keeps WAITERS |
//!
//! # Invariants
//! - I1 A thread that changed the word from owner 0 to itself holds the lock until it stores 0, or
//!   until it is dead and the word is marked. All other fields but the word are the holder's.
//! - I2 While an owner with a list changes the word or the links, the lock is its pending
//!   operation; between the two it is linked. So its death is marked at whatever instruction.
//! - I3 INCONSISTENT is set by the acquirer of a marked word, before the lock leaves the pending
//!   slot for the list; only [`Guard::recover`] clears it. So a recoverer's death leaves it set.
//! - I4 `owner_start` is 0 or belongs to the thread that the word names: an owner without a list
//!   sets it after it acquired and clears it before it releases, and who proves an owner dead
//!   clears it before the word is marked.
//! - I5 A thread that slept acquires with WAITERS set, and every acquirer keeps it.
//! - I6 `links` are occupied from the linking to the unlinking only; an owner without a list sets
//!   and clears the same mark. What [`RawMutex::lock_noting_owner`] notes is noted before. So a
//!   thread that finds the links of a marked lock free knows that its last owner had lent nothing,
//!   and else that the note is that owner's, or still the one before it, which it had to respect.
//!
//! # Orderings
//! The acquiring compare-and-swap (Acquire) pairs with the releasing swap (Release). Kernel and
//! prover mark a word on behalf of a thread that has stopped. `unlisted_acquisitions`,
//! `owner_start`: see `contended.rs`.
//!
//! # Progress
//! Blocking, unfair: a running thread may take the lock before a woken one. `try_lock` and
//! unlocking are wait-free but for one system call when a thread sleeps.
//!
//! # If a process dies
//! Holding: the kernel marks the word and wakes a waiter, which acquires it with
//! [`Outcome::OwnerDied`]. Between the releasing swap and the wake: the kernel wakes (I2). Woken,
//! before it acquired: the kernel wakes the next, unless a third thread took the free lock in
//! between without seeing that others sleep; then the next finds out by its own recheck, at most
//! 500 ms later. An owner without a list (`MP_FORCE_FALLBACK=1`, a sandbox, another libc) is
//! found dead by a waiter's recheck, at most 100 ms later.

use std::fmt;
use std::marker::PhantomData;

use mp_layout::Place;
use mp_layout::atomic::{AtomicU32, Ordering, fence};
use mp_os::clock::Deadline;
use mp_os::robust::{Links, PendingOp, ThreadList, UnlinkError};

use crate::word::{has_waiters, owner};
use crate::{Holder, futex, owner};

mod contended;
mod handover;

/// A mutex in shared memory that guards no particular data and reports when an owner died.
///
/// It is what [`Lock`](crate::Lock) and [`Mutex`](crate::Mutex) are made of, and what structures
/// embed that keep their own data consistent at every instruction and so recover silently.
///
/// Its memory must stay mapped, and be used for nothing else, while a guard of this process has
/// neither been dropped nor has its thread ended; see [`mp_os::robust::holds_within`].
///
/// # Examples
///
/// ```
/// use mp_sync::{Outcome, RawMutex};
///
/// # let memory = Box::leak(vec![0_u64; 8].into_boxed_slice());
/// # let mutex: &RawMutex = unsafe { mp_layout::Region::from_exclusive(memory).place_guarded(0)? };
/// let guard = mutex.lock().expect("this thread does not hold it");
/// assert_eq!(guard.outcome(), Outcome::Acquired);
/// # drop(guard);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[repr(C)]
pub struct RawMutex {
    word: AtomicU32,
    musl_word: AtomicU32,
    count: AtomicU32,
    flags: AtomicU32,
    image: AtomicU32,
    owner_start: AtomicU32,
    links: Links,
    death_epoch: AtomicU32,
    unlisted_acquisitions: AtomicU32,
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<RawMutex>() == 48 && align_of::<RawMutex>() == 8);
    assert!(offset_of!(RawMutex, word) == 0 && offset_of!(RawMutex, flags) == 12);
    assert!(offset_of!(RawMutex, links) == 24 && offset_of!(RawMutex, death_epoch) == 40);
};

#[cfg(not(loom))]
pub(crate) const TABLE: mp_layout::Table = mp_layout::layout!(RawMutex {
    word: "owner's thread id; bit 30 owner died; bit 31 waiters",
    musl_word: "0; where musl has its futex word",
    count: "0; for recursive locks",
    flags: "bit 0 inconsistent; bit 1 unrecoverable",
    image: "the program that a Mutex last lent its data to",
    owner_start: "start time of an owner without a robust list, else 0",
    links: "its place on the owner's robust list",
    death_epoch: "how many owners died",
    unlisted_acquisitions: "acquisitions by owners without a robust list",
});

/// An owner died, and no owner has called [`Guard::recover`] since.
const INCONSISTENT: u32 = 1;

/// The links were overwritten while the lock was held: it is never linked again.
const UNRECOVERABLE: u32 = 2;

/// How a lock was acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All earlier owners released it, or its death was recovered from.
    Acquired,
    /// An earlier owner died while it held the lock, and no owner has recovered it since.
    OwnerDied,
}

/// Why a [`RawMutex`] was not acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawLockError {
    /// The calling thread holds it already.
    Recursive,
    /// The calling thread holds [`MAX_HELD`](mp_os::robust::MAX_HELD) locks.
    TooManyHeld,
    /// The deadline passed.
    TimedOut(Holder),
    /// The lock's links were overwritten while it was held; it cannot be used again.
    Corrupt,
}

// SAFETY: repr(C); all fields are atomics, or links made of atomics; every bit pattern is valid
// and checked where it is used; zero is free and consistent; no destructor.
unsafe impl Place for RawMutex {
    /// The model checker's start.
    ///
    /// # Panics
    ///
    /// Outside of it: a mutex that is a value could be freed while a leaked guard has it linked
    /// in the thread's robust list.
    fn zeroed() -> Self {
        if !cfg!(loom) {
            unreachable!("a RawMutex is placed in memory, not made as a value");
        }
        Self {
            word: AtomicU32::new(0),
            musl_word: AtomicU32::new(0),
            count: AtomicU32::new(0),
            flags: AtomicU32::new(0),
            image: AtomicU32::new(0),
            owner_start: AtomicU32::new(0),
            links: Links::new(),
            death_epoch: AtomicU32::new(0),
            unlisted_acquisitions: AtomicU32::new(0),
        }
    }
}

impl RawMutex {
    /// Acquires the mutex; blocks until its owner releases it or dies.
    ///
    /// # Errors
    ///
    /// [`RawLockError::Recursive`], [`RawLockError::TooManyHeld`] and [`RawLockError::Corrupt`].
    #[inline]
    pub fn lock(&self) -> Result<Guard<'_>, RawLockError> {
        self.lock_timeout(Deadline::NEVER)
    }

    /// Acquires the mutex if that is possible without waiting.
    ///
    /// # Errors
    ///
    /// [`RawLockError::TimedOut`] if another thread holds it, and those of [`RawMutex::lock`].
    #[inline]
    pub fn try_lock(&self) -> Result<Guard<'_>, RawLockError> {
        self.lock_timeout(Deadline::PASSED)
    }

    /// [`lock`](RawMutex::lock) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`RawLockError::TimedOut`], which names the holder, and those of [`RawMutex::lock`].
    #[inline]
    pub fn lock_timeout(&self, timeout: impl Into<Deadline>) -> Result<Guard<'_>, RawLockError> {
        self.lock_noting_owner(timeout.into(), |_| true, |_| Ok(()))
    }

    /// Acquires the mutex for a caller that lends the guarded data until the guard is dropped.
    ///
    /// `note_owner` notes to whom, between the acquisition and the linking (I6), or refuses. It is
    /// left out where no owner died and `already_noted` finds the process of this word noted
    /// already.
    #[inline]
    pub(crate) fn lock_noting_owner<E: From<RawLockError>>(
        &self,
        deadline: Deadline,
        already_noted: impl FnOnce(u64) -> bool,
        note_owner: impl FnOnce(Outcome) -> Result<(), E>,
    ) -> Result<Guard<'_>, E> {
        let Some(list) = owner::known_list().filter(|list| list.has_room()) else {
            return self.lock_slow(deadline, note_owner);
        };
        let tid = list.tid();
        // SAFETY: the mutex is borrowed until after `op`, which is dropped in this function,
        // before any operation that was begun earlier.
        let op = unsafe { list.begin(&self.links) };
        // Acquire pairs with the Release in `release_word`.
        if self
            .word
            .compare_exchange(0, tid, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            drop(op);
            return self.lock_slow(deadline, note_owner);
        }
        if self.flags.load(Ordering::Relaxed) != 0 || !already_noted(list.process()) {
            return self.enter_slow(list, op, note_owner);
        }
        // SAFETY: the word names this thread (I1), so the links were free: they are used by the
        // holder only. There is room, `op` is open, and the memory stays mapped while a lock
        // in it is held.
        unsafe { list.link(&self.links) };
        drop(op);
        Ok(self.guard(tid, Outcome::Acquired))
    }

    #[cold]
    #[inline(never)]
    fn lock_slow<E: From<RawLockError>>(
        &self,
        deadline: Deadline,
        note_owner: impl FnOnce(Outcome) -> Result<(), E>,
    ) -> Result<Guard<'_>, E> {
        let Some(list) = owner::list() else {
            return self.lock_unlinked(deadline, note_owner);
        };
        if !list.has_room() {
            return Err(RawLockError::TooManyHeld.into());
        }
        // SAFETY: as in `lock_noting_owner`; `enter_slow` drops it.
        let op = unsafe { list.begin(&self.links) };
        self.acquire(list.tid(), deadline)?;
        self.enter_slow(list, op, note_owner)
    }

    /// Links what was just acquired, after a look at what is unusual about it.
    #[cold]
    #[inline(never)]
    fn enter_slow<E: From<RawLockError>>(
        &self,
        list: ThreadList,
        op: PendingOp,
        note_owner: impl FnOnce(Outcome) -> Result<(), E>,
    ) -> Result<Guard<'_>, E> {
        let outcome = self.enter(note_owner)?;
        // SAFETY: as in `lock_noting_owner`.
        unsafe { list.link(&self.links) };
        drop(op);
        Ok(self.guard(list.tid(), outcome))
    }

    fn lock_unlinked<E: From<RawLockError>>(
        &self,
        deadline: Deadline,
        note_owner: impl FnOnce(Outcome) -> Result<(), E>,
    ) -> Result<Guard<'_>, E> {
        let tid = owner::tid();
        self.acquire(tid, deadline)?;
        let outcome = self.enter(note_owner)?;
        self.record_start();
        self.links.occupy();
        Ok(self.guard(tid, outcome))
    }

    fn acquire(&self, tid: u32, deadline: Deadline) -> Result<(), RawLockError> {
        // Acquire pairs with the Release in `release_word`.
        match self
            .word
            .compare_exchange(0, tid, Ordering::Acquire, Ordering::Relaxed)
        {
            Ok(_) => Ok(()),
            Err(_) => self.acquire_contended(tid, deadline),
        }
    }

    #[inline]
    fn guard(&self, tid: u32, outcome: Outcome) -> Guard<'_> {
        Guard {
            mutex: self,
            tid,
            outcome,
            not_send: PhantomData,
        }
    }

    /// What a new holder reads and notes before the lock is linked; releases the word if it must
    /// not be.
    fn enter<E: From<RawLockError>>(
        &self,
        note_owner: impl FnOnce(Outcome) -> Result<(), E>,
    ) -> Result<Outcome, E> {
        let flags = self.flags.load(Ordering::Relaxed);
        let entered = if flags & UNRECOVERABLE != 0 {
            Err(RawLockError::Corrupt.into())
        } else {
            let outcome = match flags & INCONSISTENT {
                0 => Outcome::Acquired,
                _ => Outcome::OwnerDied,
            };
            note_owner(outcome).map(|()| outcome)
        };
        // Release: what was noted is there before the links say that they are occupied (I6).
        fence(Ordering::Release);
        if entered.is_err() {
            self.release_word();
        }
        entered
    }

    /// Releases what the calling thread acquired as `tid`. Nothing happens in a forked child, whose
    /// thread has another number: the lock is its parent's.
    #[inline]
    fn release(&self, tid: u32) {
        self.release_by(tid, Self::release_word);
    }

    #[inline]
    fn release_by(&self, tid: u32, release_word: fn(&Self)) {
        match owner::known_list() {
            Some(list) if list.tid() == tid => self.release_linked(list, release_word),
            _ => self.release_slow(tid, release_word),
        }
    }

    #[inline]
    fn release_linked(&self, list: ThreadList, release_word: fn(&Self)) {
        // SAFETY: as in `lock_noting_owner`.
        let op = unsafe { list.begin(&self.links) };
        // SAFETY: `op` is open, and the memory of locks stays mapped while this thread
        // holds one of them.
        if unsafe { list.unlink(&self.links) } == Err(UnlinkError::Corrupt) {
            self.mark_unrecoverable();
        }
        release_word(self);
        drop(op);
    }

    #[cold]
    #[inline(never)]
    fn release_slow(&self, tid: u32, release_word: fn(&Self)) {
        if owner::tid() != tid {
            return;
        }
        match owner::list() {
            Some(list) => self.release_linked(list, release_word),
            None => {
                self.links.vacate();
                self.owner_start.store(0, Ordering::Relaxed);
                release_word(self);
            }
        }
    }

    #[inline]
    fn release_word(&self) {
        if has_waiters(self.free_word()) {
            self.wake_one();
        }
    }

    /// Returns what the word was.
    #[inline]
    fn free_word(&self) -> u32 {
        // Release pairs with the Acquire of the next acquirer.
        self.word.swap(0, Ordering::Release)
    }

    #[cold]
    fn wake_one(&self) {
        futex::wake(&self.word, 1);
    }

    /// Tells later acquirers not to link the lock: this thread's list still leads here.
    #[cold]
    fn mark_unrecoverable(&self) {
        let flags = self.flags.load(Ordering::Relaxed);
        self.flags.store(flags | UNRECOVERABLE, Ordering::Relaxed);
    }

    /// The thread that holds the mutex; it may have released it already when this returns.
    #[must_use]
    pub fn holder(&self) -> Option<Holder> {
        let tid = owner(self.word.load(Ordering::Relaxed));
        (tid != 0).then_some(Holder::thread(tid, std::time::Duration::ZERO))
    }

    /// Whether a thread sleeps for it, or did until its last release; how many is not known. One
    /// that only looks for a moment does not count.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        has_waiters(self.word.load(Ordering::Relaxed))
    }

    /// Whether no thread holds it; one may by the time this returns.
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        owner(self.word.load(Ordering::Relaxed)) == 0
    }

    /// For the holder before it notes its own: which program of the noted process the data was
    /// last lent to.
    pub(crate) fn image(&self) -> &AtomicU32 {
        &self.image
    }

    /// For the holder before the lock is linked: whether the last owner died between linking and
    /// unlinking it (I6).
    pub(crate) fn was_linked(&self) -> bool {
        self.links.are_occupied()
    }

    /// How many owners died while they held it; wraps around.
    #[must_use]
    pub fn death_epoch(&self) -> u32 {
        self.death_epoch.load(Ordering::Relaxed)
    }

    /// Whether the calling thread holds it.
    #[must_use]
    pub fn is_held_here(&self) -> bool {
        // A dead owner that the kernel did not mark may have had this thread's number.
        owner(self.word.load(Ordering::Relaxed)) == owner::tid() && self.is_of_this_thread()
    }

    /// Releases the mutex whose guard this thread forgot.
    pub(crate) fn release_forgotten(&self) {
        self.release(owner::tid());
    }
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RawMutex")
            .field("holder", &self.holder())
            .field("death_epoch", &self.death_epoch())
            .finish_non_exhaustive()
    }
}

/// A held [`RawMutex`]; dropping it releases the mutex.
///
/// It stays with the thread that acquired it, whose death releases the lock too. A leaked guard
/// holds the mutex until the thread ends; then the next owner gets [`Outcome::OwnerDied`]. In a
/// forked child the parent's guard does nothing.
#[must_use = "the mutex is released when the guard is dropped"]
pub struct Guard<'a> {
    mutex: &'a RawMutex,
    tid: u32,
    outcome: Outcome,
    not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard only says how it was acquired and reaches a mutex that is Sync.
unsafe impl Sync for Guard<'_> {}

impl Guard<'_> {
    /// How the mutex was acquired.
    #[must_use]
    #[inline]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Says that what the mutex guards is whole: later owners no longer get the death reported.
    #[inline]
    pub fn recover(&mut self) {
        if self.outcome == Outcome::OwnerDied {
            let flags = self.mutex.flags.load(Ordering::Relaxed);
            self.mutex
                .flags
                .store(flags & !INCONSISTENT, Ordering::Relaxed);
            self.outcome = Outcome::Acquired;
        }
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.release(self.tid);
    }
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Guard")
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}
