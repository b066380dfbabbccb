//! A lock that its owner may acquire again.
//!
//! # Source
//! CPython's `multiprocessing.RLock`, on a [`RawMutex`].
//!
//! # Layout
//! ```text
//!  0 raw      the mutex, 48 bytes
//! 48 depth    how many guards its owner has; of no meaning while no thread holds it
//! 52 reserved 0
//! ```
//!
//! # Invariants
//! - I1 Only the thread that holds `raw` reads and writes `depth`, and it starts with 1: what a
//!   dead owner left there does not matter.
//! - I2 The thread that holds `raw` with a depth above 0 has forgotten the guard of `raw`; the last
//!   of its own guards releases it.
//!
//! # Orderings
//! `depth` belongs to one thread at a time; acquiring and releasing `raw` orders it.
//!
//! # Progress
//! Acquiring again and releasing do not wait; acquiring blocks.
//!
//! # If a process dies
//! All its acquisitions end in one step: the next owner gets [`LockError::OwnerDied`] and a depth
//! of 1.

use std::fmt;
use std::marker::PhantomData;

use mp_layout::atomic::{AtomicU32, Ordering};
use mp_layout::{Described, Kind, TypeTag, shared_struct};
use mp_os::clock::Deadline;

use crate::raw_mutex::{Guard, Outcome, RawLockError, RawMutex};
use crate::{Holder, LockError, LockWatch, owner};

shared_struct! {
    /// A lock in shared memory that the thread which holds it may acquire again.
    ///
    /// It is released when its owner has dropped all guards, in any order.
    ///
    /// # If a process dies
    ///
    /// The next owner, and only that one, gets its guard as [`LockError::OwnerDied`], however often
    /// the dead one had acquired the lock.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_sync::{LockError, RLock};
    ///
    /// # #[repr(align(64))]
    /// # struct Memory([u64; 8]);
    /// # let memory = Box::leak(Box::new(Memory([0; 8])));
    /// # let lock: &RLock = unsafe { mp_layout::Region::from_exclusive(&mut memory.0).place_guarded(0)? };
    /// let outer = lock.lock()?;
    /// let inner = lock.lock()?;
    /// assert_eq!(inner.depth(), 2);
    /// drop(outer);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| assert!(matches!(lock.try_lock(), Err(LockError::Timeout(_)))));
    /// });
    /// drop(inner);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    #[repr(align(64))]
    pub struct RLock: 64 bytes {
        raw: RawMutex = "the mutex",
        depth: AtomicU32 = "how many guards the owner has",
        reserved: [AtomicU32; 3] = "0",
    }
}

// SAFETY: only `RLock` is of kind recursive lock.
unsafe impl Described for RLock {
    const KIND: Kind = Kind::RLock;

    type Initial = ();

    fn tag() -> TypeTag {
        TypeTag::NONE
    }

    fn initialise(&self, (): ()) -> mp_layout::Result<()> {
        Ok(())
    }
}

impl RLock {
    /// Acquires the lock, and blocks until that is possible.
    ///
    /// # Errors
    ///
    /// - [`LockError::OwnerDied`] if the last owner died; it holds the guard.
    /// - [`LockError::TooManyHeld`] if this thread holds [`MAX_HELD`](mp_os::robust::MAX_HELD)
    ///   locks, or this one 4,294,967,295 times.
    /// - [`LockError::Failed`] if the lock's bytes were overwritten.
    ///
    /// Never [`LockError::Recursive`].
    #[inline]
    pub fn lock(&self) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        self.lock_timeout(Deadline::NEVER)
    }

    /// Acquires the lock if that is possible without waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`] if another thread holds it; those of [`RLock::lock`].
    #[inline]
    pub fn try_lock(&self) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        self.lock_timeout(Deadline::PASSED)
    }

    /// Acquires the lock, and waits for it up to `timeout`; zero means one attempt.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder; those of [`RLock::lock`].
    pub fn lock_timeout(
        &self,
        timeout: impl Into<Deadline>,
    ) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        match self.raw.lock_timeout(timeout) {
            Ok(guard) => self.acquired(guard),
            Err(RawLockError::Recursive) => self.acquired_again(),
            Err(error) => Err(error.into()),
        }
    }

    fn acquired<'a>(
        &'a self,
        mut guard: Guard<'a>,
    ) -> Result<RLockGuard<'a>, LockError<RLockGuard<'a>>> {
        let outcome = guard.outcome();
        guard.recover();
        // I1: whatever a dead owner left.
        self.depth.store(1, Ordering::Relaxed);
        // I2: the last of this thread's guards releases it.
        std::mem::forget(guard);
        match outcome {
            Outcome::Acquired => Ok(self.guard()),
            Outcome::OwnerDied => Err(LockError::OwnerDied(self.guard())),
        }
    }

    fn acquired_again(&self) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        let depth = self.depth.load(Ordering::Relaxed);
        let Some(deeper) = depth.checked_add(1) else {
            return Err(LockError::TooManyHeld);
        };
        self.depth.store(deeper, Ordering::Relaxed);
        Ok(self.guard())
    }

    fn guard(&self) -> RLockGuard<'_> {
        RLockGuard {
            lock: self,
            tid: owner::tid(),
            not_send: PhantomData,
        }
    }

    /// The thread that holds the lock; it may have released it already when this returns.
    #[must_use]
    pub fn holder(&self) -> Option<Holder> {
        self.raw.holder()
    }

    /// How it is waited for by a thread that does not take it.
    #[must_use]
    pub fn watch(&self) -> LockWatch<'_> {
        LockWatch::new(&self.raw)
    }

    /// Whether a thread sleeps for it; see [`RawMutex::is_waited_for`].
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.raw.is_waited_for()
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RLock")
            .field("holder", &self.holder())
            .finish_non_exhaustive()
    }
}

/// One acquisition of an [`RLock`]; dropping the last one of a thread releases the lock.
///
/// It stays with the thread that acquired it. A leaked guard holds the lock until the thread ends;
/// then the next owner gets [`LockError::OwnerDied`]. In a forked child the parent's guard does
/// nothing.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    tid: u32,
    not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard only reads the depth, an atomic of a lock that is Sync.
unsafe impl Sync for RLockGuard<'_> {}

impl RLockGuard<'_> {
    /// How many guards the thread that holds the lock has.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.lock.depth.load(Ordering::Relaxed)
    }
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        // A forked child has a copy of its parent's guard, and no part in the lock.
        if owner::tid() != self.tid {
            return;
        }
        let depth = self.lock.depth.load(Ordering::Relaxed);
        self.lock
            .depth
            .store(depth.saturating_sub(1), Ordering::Relaxed);
        if depth <= 1 {
            self.lock.raw.release_forgotten();
        }
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RLockGuard")
            .field("depth", &self.depth())
            .finish_non_exhaustive()
    }
}
