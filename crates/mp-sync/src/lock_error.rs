//! Why a lock was not acquired, or not as it should be.

use std::fmt;

use mp_layout::{Error, ErrorKind};

use crate::{Holder, RawLockError};

/// Why [`Lock::lock`](crate::Lock::lock) or [`Mutex::lock`](crate::Mutex::lock) gave no plain guard.
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
    /// The time was up; somebody else holds the lock.
    Timeout(Holder),
    /// The lock cannot be used: its bytes in shared memory were overwritten.
    Os(Error),
}

impl<G> LockError<G> {
    /// The guard if the lock was acquired all the same, to go on as if nobody had died.
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

    /// The class of the error it converts into.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OwnerDied(_) => ErrorKind::OwnerDied,
            Self::Recursive => ErrorKind::Recursive,
            Self::TooManyHeld => ErrorKind::TooManyHeld,
            Self::Timeout(_) => ErrorKind::TimedOut,
            Self::Os(error) => error.kind(),
        }
    }
}

impl<G> From<RawLockError> for LockError<G> {
    fn from(error: RawLockError) -> Self {
        match error {
            RawLockError::Recursive => Self::Recursive,
            RawLockError::TooManyHeld => Self::TooManyHeld,
            RawLockError::TimedOut(holder) => Self::Timeout(holder),
            RawLockError::Corrupt => Self::Os(
                Error::new(ErrorKind::Corrupt, "lock", "")
                    .with_detail("the lock was overwritten in shared memory; make a new one"),
            ),
        }
    }
}

impl<G> From<Error> for LockError<G> {
    fn from(error: Error) -> Self {
        Self::Os(error)
    }
}

impl<G> From<LockError<G>> for Error {
    fn from(error: LockError<G>) -> Self {
        if let LockError::Os(error) = error {
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
            Self::Os(error) => error.fmt(formatter),
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
            Self::Os(error) => error.source(),
            _ => None,
        }
    }
}
