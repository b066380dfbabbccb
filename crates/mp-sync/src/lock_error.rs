//! Why a lock was not acquired, or not as it should be.

use std::convert::Infallible;
use std::fmt;

use mp_layout::{Error, ErrorKind};

use crate::{Holder, RawLockError};

/// Why [`Lock::lock`](crate::Lock::lock) or [`Mutex::lock`](crate::Mutex::lock) gave no plain
/// guard.
///
/// One of them is good news: [`LockError::OwnerDied`] holds the guard. Converted with `?` into an
/// [`Error`], the guard is dropped and so the lock released.
#[non_exhaustive]
pub enum LockError<G> {
    /// The lock is acquired, but an earlier owner died while it held it: what the lock guards may
    /// be half done.
    OwnerDied(G),
    /// This thread holds the lock already.
    Recursive,
    /// This thread holds as many locks as are cleaned up after it
    /// ([`MAX_HELD`](mp_os::robust::MAX_HELD)).
    TooManyHeld,
    /// The wait timed out: another thread holds the lock, or another process has claimed what it
    /// guards.
    Timeout(Holder),
    /// Anything else: the lock's bytes in shared memory were overwritten, or what it guards is lent
    /// by a guard that was leaked, or may not be written.
    Failed(Error),
}

impl<G> LockError<G> {
    /// The guard if the lock was acquired all the same, to go on as if no owner had died.
    ///
    /// # Errors
    ///
    /// Everything but [`LockError::OwnerDied`], unchanged.
    ///
    /// # Examples
    ///
    /// ```
    /// # let memory = Box::leak(vec![0_u64; 8].into_boxed_slice());
    /// # let mutex: &mp_sync::Mutex<u64> = unsafe { mp_layout::Region::from_exclusive(memory).place_guarded(0)? };
    /// use mp_sync::LockError;
    ///
    /// let guard = mutex.lock().or_else(LockError::into_guard)?;
    /// # drop(guard);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn into_guard(self) -> Result<G, Self> {
        match self {
            Self::OwnerDied(guard) => Ok(guard),
            other => Err(other),
        }
    }

    /// The same with the guard, if there is one, replaced by what `change` makes of it.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_sync::LockError;
    ///
    /// /// A guard and when it was acquired.
    /// struct Timed<G>(G, std::time::Instant);
    ///
    /// fn timed<G>(locked: Result<G, LockError<G>>) -> Result<Timed<G>, LockError<Timed<G>>> {
    ///     let timed = |guard| Timed(guard, std::time::Instant::now());
    ///     locked.map(timed).map_err(|error| error.map_guard(timed))
    /// }
    /// assert!(timed::<u8>(Err(LockError::OwnerDied(5))).is_err_and(|e| e.into_guard().is_ok()));
    /// ```
    pub fn map_guard<H>(self, change: impl FnOnce(G) -> H) -> LockError<H> {
        match self {
            Self::OwnerDied(guard) => LockError::OwnerDied(change(guard)),
            Self::Recursive => LockError::Recursive,
            Self::TooManyHeld => LockError::TooManyHeld,
            Self::Timeout(holder) => LockError::Timeout(holder),
            Self::Failed(error) => LockError::Failed(error),
        }
    }

    /// The class of the error it converts into.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OwnerDied(_) => ErrorKind::OwnerDied,
            Self::Recursive => ErrorKind::Recursive,
            Self::TooManyHeld => ErrorKind::TooManyHeld,
            Self::Timeout(_) => ErrorKind::TimedOut,
            Self::Failed(error) => error.kind(),
        }
    }
}

impl<G> From<RawLockError> for LockError<G> {
    fn from(error: RawLockError) -> Self {
        match error {
            RawLockError::Recursive => Self::Recursive,
            RawLockError::TooManyHeld => Self::TooManyHeld,
            RawLockError::TimedOut(holder) => Self::Timeout(holder),
            RawLockError::Corrupt => Self::Failed(
                Error::new(ErrorKind::Corrupt, "lock", "")
                    .with_detail("the lock was overwritten in shared memory; make a new one"),
            ),
        }
    }
}

impl From<RawLockError> for Error {
    fn from(error: RawLockError) -> Self {
        LockError::<Infallible>::from(error).into()
    }
}

impl<G> From<Error> for LockError<G> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<G> From<LockError<G>> for Error {
    fn from(error: LockError<G>) -> Self {
        if let LockError::Failed(error) = error {
            return error;
        }
        Self::new(error.kind(), "lock", "").with_detail(error.to_string())
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied(_) => formatter.write_str("an owner died while it held the lock"),
            Self::Recursive => formatter.write_str("this thread holds the lock already"),
            Self::TooManyHeld => write!(
                formatter,
                "this thread holds {} locks, the most that are cleaned up after it; release some",
                mp_os::robust::MAX_HELD
            ),
            Self::Timeout(holder) => write!(formatter, "timed out; held by {holder}"),
            Self::Failed(error) => error.fmt(formatter),
        }
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}({self})", self.kind())
    }
}

impl<G> std::error::Error for LockError<G> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            _ => None,
        }
    }
}
