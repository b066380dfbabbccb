//! The whole array, lent to one thread.

use core::fmt;
use core::ops::{Deref, DerefMut};

use mp_layout::PlainSlice;
use mp_object::ProcessIdentity;
use mp_object::owner::this_process;
use mp_os::clock::Deadline;
use mp_sync::{Guard, LockError, Outcome};

use crate::array_control::ArrayControl;
use crate::array_memory::ArrayMemory;
use crate::partition::Partition;

/// All elements of a locked [`Array`](crate::Array) as one slice; dropping it releases the lock.
///
/// It stays with the thread that acquired it. In a forked child the parent's guard releases nothing, and must not be used
/// to reach the elements. If it is leaked, nobody reaches the elements until this process ends.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ArrayGuard<'a, T: PlainSlice> {
    memory: &'a ArrayMemory<T>,
    me: ProcessIdentity,
    /// Who died while it wrote, and nobody has recovered the elements since.
    damage: Option<ProcessIdentity>,
    owner_died: bool,
    raw: Guard<'a>,
}

impl<'a, T: PlainSlice> ArrayGuard<'a, T> {
    pub(crate) fn acquire(
        memory: &'a ArrayMemory<T>,
        deadline: Deadline,
    ) -> Result<Self, LockError<Self>> {
        let control = memory.control();
        let me = this_process().map_err(LockError::Os)?;
        let (raw, damage) = control.acquire(deadline).map_err(widen)?;
        control.expect_writable().map_err(LockError::Os)?;
        let dead = memory.partition().expect_whole().map_err(LockError::Os)?;
        let damage = damage.or(dead);
        let owner_died = raw.outcome() == Outcome::OwnerDied || damage.is_some();
        control.lend(me);
        let guard = Self {
            memory,
            me,
            damage,
            owner_died,
            raw,
        };
        if owner_died {
            Err(LockError::OwnerDied(guard))
        } else {
            Ok(guard)
        }
    }

    /// Says that the elements are whole: later owners are no longer told of the death.
    pub fn recover(&mut self) {
        self.memory.partition().clear();
        self.damage = None;
        self.owner_died = false;
        self.raw.recover();
    }

    /// Whether somebody died while it wrote elements or held the lock, and the array was not recovered since.
    #[must_use]
    pub fn owner_died(&self) -> bool {
        self.owner_died
    }
}

impl<T: PlainSlice> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: this thread has the mutex, and `lend` keeps everybody else away even if the guard is leaked and the
        // thread ends (I1, I2 of array_control); `&mut [T]` is only given by `&mut self`.
        unsafe { self.memory.slice(0..self.memory.len()) }
    }
}

impl<T: PlainSlice> DerefMut for ArrayGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` is the only way to it.
        unsafe { self.memory.slice_mut(0..self.memory.len()) }
    }
}

impl<T: PlainSlice> Drop for ArrayGuard<'_, T> {
    fn drop(&mut self) {
        // A forked child is another process: the elements are still lent to its parent.
        if this_process().is_ok_and(|process| process == self.me) {
            self.memory.control().take_back(self.damage);
        }
    }
}

impl<T: PlainSlice + fmt::Debug> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

/// The lock of an [`Array`](crate::Array) without its data; dropping it releases the lock.
///
/// While a thread has it, its `get`, `set` and `to_vec` do not lock again.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ArrayLock<'a> {
    control: &'a ArrayControl,
    partition: Partition<'a>,
    raw: Guard<'a>,
}

impl<'a> ArrayLock<'a> {
    pub(crate) fn acquire(
        control: &'a ArrayControl,
        partition: Partition<'a>,
        deadline: Deadline,
    ) -> Result<Self, LockError<Self>> {
        let (raw, damage) = control.acquire(deadline).map_err(widen)?;
        let owner_died = raw.outcome() == Outcome::OwnerDied || damage.is_some();
        let lock = Self {
            control,
            partition,
            raw,
        };
        if owner_died {
            Err(LockError::OwnerDied(lock))
        } else {
            Ok(lock)
        }
    }

    /// Says that the elements are whole: later owners are no longer told of the death.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Claimed`](mp_layout::ErrorKind::Claimed) while anybody has a chunk; nothing is changed then.
    pub fn recover(&mut self) -> mp_layout::Result<()> {
        self.partition.expect_whole()?;
        self.partition.clear();
        self.control.take_back(None);
        self.raw.recover();
        Ok(())
    }
}

impl fmt::Debug for ArrayLock<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ArrayLock").finish_non_exhaustive()
    }
}

/// The same refusal for a guard of another type.
fn widen<G>(error: LockError<core::convert::Infallible>) -> LockError<G> {
    match error {
        LockError::OwnerDied(never) => match never {},
        LockError::Recursive => LockError::Recursive,
        LockError::TooManyHeld => LockError::TooManyHeld,
        LockError::Timeout(holder) => LockError::Timeout(holder),
        LockError::Os(error) => LockError::Os(error),
        other => LockError::Os(mp_layout::Error::from(other)),
    }
}
