//! A lock that owns no data.

use std::fmt;

use mp_layout::atomic::AtomicU32;
use mp_layout::{Described, Kind, TypeTag, shared_struct};
use mp_os::clock::Deadline;

use crate::raw_mutex::{Guard, Outcome, RawLockError, RawMutex};
use crate::{Holder, LockError, LockWatch};

shared_struct! {
    /// A lock in shared memory for things that lie elsewhere: a file, a device, an array.
    ///
    /// # If a process dies
    ///
    /// The next owner, and only that one, gets its guard as [`LockError::OwnerDied`]. If that owner
    /// dies too, the one after it gets it.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_sync::{Lock, LockError};
    /// use std::time::Duration;
    ///
    /// # #[repr(align(64))]
    /// # struct Memory([u64; 8]);
    /// # let memory = Box::leak(Box::new(Memory([0; 8])));
    /// # let lock: &Lock = unsafe { mp_layout::Region::from_exclusive(&mut memory.0).place_guarded(0)? };
    /// let guard = lock.lock()?;
    /// assert!(matches!(lock.try_lock(), Err(LockError::Recursive)));
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| match lock.lock_timeout(Duration::from_millis(1)) {
    ///         Err(LockError::Timeout(holder)) => assert_eq!(holder.pid(), Some(std::process::id())),
    ///         other => panic!("{other:?}"),
    ///     });
    /// });
    /// drop(guard);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    #[repr(align(64))]
    pub struct Lock: 64 bytes {
        raw: RawMutex = "the mutex",
        reserved: [AtomicU32; 4] = "0",
    }
}

// SAFETY: only `Lock` is of kind lock.
unsafe impl Described for Lock {
    const KIND: Kind = Kind::Lock;

    type Initial = ();

    fn tag() -> TypeTag {
        TypeTag::NONE
    }

    fn initialise(&self, (): ()) -> mp_layout::Result<()> {
        Ok(())
    }
}

impl Lock {
    /// Acquires the lock; blocks until its owner releases it or dies.
    ///
    /// # Errors
    ///
    /// - [`LockError::OwnerDied`] has the guard: the last owner died while it held the lock.
    /// - [`LockError::Recursive`] if this thread holds the lock already.
    /// - [`LockError::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`LockError::Failed`] with [`ErrorKind::Corrupt`](mp_layout::ErrorKind::Corrupt) if the
    ///   lock's bytes were overwritten.
    #[inline]
    pub fn lock(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        LockGuard::of(self.raw.lock())
    }

    /// Acquires the lock if that is possible without waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder, if another thread holds it; the others as
    /// for [`Lock::lock`].
    #[inline]
    pub fn try_lock(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        LockGuard::of(self.raw.try_lock())
    }

    /// [`lock`](Lock::lock) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`]. Zero means one attempt, [`Duration::MAX`](std::time::Duration::MAX) waits
    /// forever.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder; the others as for [`Lock::lock`].
    pub fn lock_timeout(
        &self,
        timeout: impl Into<Deadline>,
    ) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        LockGuard::of(self.raw.lock_timeout(timeout))
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

impl fmt::Debug for Lock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Lock")
            .field("holder", &self.holder())
            .finish_non_exhaustive()
    }
}

/// A held [`Lock`]; dropping it releases the lock.
///
/// It stays with the thread that acquired it; see [`Guard`].
#[must_use = "the lock is released when the guard is dropped"]
#[derive(Debug)]
pub struct LockGuard<'a> {
    /// Held for its drop.
    _raw: Guard<'a>,
}

impl<'a> LockGuard<'a> {
    #[inline]
    fn of(locked: Result<Guard<'a>, RawLockError>) -> Result<Self, LockError<Self>> {
        let mut raw = locked?;
        if raw.outcome() == Outcome::Acquired {
            return Ok(Self { _raw: raw });
        }
        raw.recover();
        Err(LockError::OwnerDied(Self { _raw: raw }))
    }
}
