//! A lock around plain data.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{Described, Error, ErrorKind, Kind, Place, PlainSlice, TypeTag};
use mp_os::clock::Deadline;
use mp_os::process_id::{Image, ProcessIdentity};

use crate::raw_mutex::{Guard, Outcome, RawMutex};
use crate::{Holder, LockError, LockWatch, owner};

/// Plain data in shared memory with the lock that guards it. It starts as zero bytes.
///
/// # If a process dies
///
/// The data may be half changed. Every later owner gets its guard as [`LockError::OwnerDied`],
/// until one has made the data whole and says so with [`MutexGuard::recover`]. A panic through a
/// guard marks nothing: the process lives and may repair what it did.
///
/// If only the owning *thread* ends, its guard leaked, the data stays lent until its process ends
/// or runs another program, and locking gives [`ErrorKind::Claimed`], a second later: a reference
/// from the leaked guard may still be in use there.
///
/// # Examples
///
/// ```
/// use mp_sync::{LockError, Mutex};
///
/// # let memory = Box::leak(vec![0_u64; 16].into_boxed_slice());
/// # let balance: &Mutex<[i64; 2]> = unsafe { mp_layout::Region::from_exclusive(memory).place_guarded(0)? };
/// let mut accounts = match balance.lock() {
///     Ok(accounts) => accounts,
///     Err(LockError::OwnerDied(mut accounts)) => {
///         *accounts = [0, 0]; // a process was killed half-way: start over
///         accounts.recover();
///         accounts
///     }
///     Err(error) => return Err(error.into()),
/// };
/// accounts[0] -= 5;
/// accounts[1] += 5;
/// # drop(accounts);
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// Safe code cannot place one, since it could place two that overlap:
///
/// ```compile_fail
/// # let memory = Box::leak(vec![0_u64; 16].into_boxed_slice());
/// let mutex: &mp_sync::Mutex<u64> = mp_layout::Region::from_exclusive(memory).place(8)?;
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[repr(C)]
pub struct Mutex<T> {
    raw: RawMutex,
    /// The process to which the data was last lent.
    process: AtomicU64,
    data: UnsafeCell<T>,
}

#[cfg(not(loom))]
const _: () = assert!(std::mem::offset_of!(Mutex<u64>, data) == 56);

#[cfg(not(loom))]
pub(crate) const TABLE: mp_layout::Table = mp_layout::layout!("Mutex<T>, here of u64", Mutex<u64> {
    raw: "the mutex",
    process: "0, or the process to which the value was last lent: PID in the low 22 bits, start time in the others",
    data: "the value; only the owner touches it",
});

// SAFETY: the data is reached by the owner of the mutex only, and `PlainSlice` is Send.
unsafe impl<T: PlainSlice> Sync for Mutex<T> {}

// SAFETY: repr(C); a `Place`, and plain data in an `UnsafeCell` that the mutex guards, of which
// every bit pattern is valid; zero is a free mutex around zero bytes; no destructor.
unsafe impl<T: PlainSlice> Place for Mutex<T> {
    fn zeroed() -> Self {
        Self {
            raw: RawMutex::zeroed(),
            process: AtomicU64::new(0),
            data: UnsafeCell::new(mp_layout::zeroed()),
        }
    }
}

// SAFETY: only `Mutex` is of kind mutex, and the tag is that of its data.
unsafe impl<T: PlainSlice> Described for Mutex<T> {
    const KIND: Kind = Kind::Mutex;

    type Initial = T;

    fn tag() -> TypeTag {
        TypeTag::of::<T>()
    }

    fn initialise(&self, initial: T) -> mp_layout::Result<()> {
        *self.lock()? = initial;
        Ok(())
    }
}

impl<T: PlainSlice> Mutex<T> {
    /// Acquires the mutex; blocks until its owner releases it or dies.
    ///
    /// # Errors
    ///
    /// - [`LockError::OwnerDied`] has the guard: an owner died while it held the mutex, and no
    ///   owner called [`MutexGuard::recover`] since.
    /// - [`LockError::Recursive`] if this thread holds the mutex already.
    /// - [`LockError::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`LockError::Failed`] with [`ErrorKind::Claimed`] if a guard was leaked in a process that
    ///   lives, with [`ErrorKind::Corrupt`] if the mutex's bytes were overwritten, or if `/proc`
    ///   does not tell this process's start time.
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        self.lock_until(Deadline::NEVER)
    }

    /// Acquires the mutex if that is possible without waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder, if another thread holds it; the others as
    /// for [`Mutex::lock`].
    #[inline]
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        self.lock_until(Deadline::PASSED)
    }

    /// [`lock`](Mutex::lock) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`]. Zero means one attempt, [`Duration::MAX`] waits forever.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder; the others as for [`Mutex::lock`].
    pub fn lock_timeout(
        &self,
        timeout: impl Into<Deadline>,
    ) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        self.lock_until(timeout.into())
    }

    /// The thread that holds the mutex; it may have released it already when this returns.
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

    #[inline]
    fn lock_until(
        &self,
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        let raw = self.raw.lock_noting_owner(
            deadline,
            |me| self.process.load(Ordering::Relaxed) == me,
            |outcome| self.note_owner(outcome).map_err(LockError::Failed),
        )?;
        let guard = MutexGuard { raw, mutex: self };
        match guard.raw.outcome() {
            Outcome::Acquired => Ok(guard),
            Outcome::OwnerDied => Err(LockError::OwnerDied(guard)),
        }
    }

    /// Notes that the data is this process's until the next note.
    #[cold]
    fn note_owner(&self, outcome: Outcome) -> Result<(), Error> {
        if outcome == Outcome::OwnerDied && self.raw.was_linked() {
            self.expect_not_lent()?;
        }
        let (me, image) = ProcessIdentity::current_image()
            .map_err(|source| Error::os("read the start time of", "this process", source))?;
        self.raw.image().store(image.word(), Ordering::Relaxed);
        self.process.store(me.word(), Ordering::Relaxed);
        owner::learn_process(me);
        Ok(())
    }

    /// Refuses the data of a thread that ended without its guard while its process goes on: the
    /// guard was leaked, and a thread in there may have a reference into the data for as long as
    /// the process lives.
    fn expect_not_lent(&self) -> Result<(), Error> {
        let image = Image::from_word(self.raw.image().load(Ordering::Relaxed));
        match ProcessIdentity::from_word(self.process.load(Ordering::Relaxed)) {
            // The kernel marks a dying process's locks while some of its threads may still run.
            Some(process) if !process.wait_end_or_exec(image, PATIENCE).unwrap_or(false) => {
                Err(Error::new(ErrorKind::Claimed, "lock", "mutex").with_detail(format!(
                    "a thread of process {} ended with its guard leaked; the data is lent until the process ends",
                    process.pid()
                )))
            }
            _ => Ok(()),
        }
    }
}

/// How long a process may take to end after one of its threads ended with a guard.
const PATIENCE: Duration = Duration::from_secs(1);

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mutex")
            .field("holder", &self.raw.holder())
            .finish_non_exhaustive()
    }
}

/// A held [`Mutex`] and the way to its data; dropping it releases the mutex.
///
/// It stays with the thread that acquired it; see [`Guard`]. In a forked child the parent's guard
/// releases nothing, and must not be used to reach the data.
#[must_use = "the mutex is released when the guard is dropped"]
pub struct MutexGuard<'a, T> {
    raw: Guard<'a>,
    mutex: &'a Mutex<T>,
}

// SAFETY: a shared guard gives `&T` only, and `PlainSlice` is Sync.
unsafe impl<T: PlainSlice> Sync for MutexGuard<'_, T> {}

impl<T> MutexGuard<'_, T> {
    /// Says that the data is whole: later owners no longer get the death reported.
    pub fn recover(&mut self) {
        self.raw.recover();
    }

    /// Whether an earlier owner died and the data was not recovered since.
    #[must_use]
    pub fn owner_died(&self) -> bool {
        self.raw.outcome() == Outcome::OwnerDied
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread holds the mutex (I1), or leaked this guard and `process` keeps others
        // away; `&mut T` is only given by `&mut self`.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this thread holds the mutex (I1), and `&mut self` is the only way to it.
        unsafe { &mut *self.mutex.data.get() }
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}
