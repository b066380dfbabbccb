//! The whole array, lent to one thread.

use core::fmt;
use core::ops::{Deref, DerefMut};

use mp_layout::PlainSlice;
use mp_object::ProcessIdentity;
use mp_object::owner::this_process;
use mp_os::clock::Deadline;
use mp_sync::LockError;

use crate::array_control::{ArrayControl, OpGuard, Refused, Until};
use crate::array_memory::ArrayMemory;
use crate::partition::{Partition, Whole};

/// All elements of a locked [`Array`](crate::Array) as one slice; dropping it releases the lock.
///
/// It stays with the thread that acquired it. In a forked child the parent's guard releases
/// nothing, and must not be used to reach the elements. If it is leaked, no process reaches the
/// elements until this one ends.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ArrayGuard<'a, T: PlainSlice> {
    memory: &'a ArrayMemory<T>,
    me: ProcessIdentity,
    held: OpGuard<'a>,
}

impl<'a, T: PlainSlice> ArrayGuard<'a, T> {
    pub(crate) fn acquire(
        memory: &'a ArrayMemory<T>,
        until: Until,
    ) -> Result<Self, LockError<Self>> {
        let me = this_process()?;
        let control = memory.control();
        let held = control
            .acquire_whole(memory.partition(), until)
            .map_err(without_guard)?;
        control.expect_writable()?;
        control.begin_write(me);
        let guard = Self { memory, me, held };
        if guard.owner_died() {
            Err(LockError::OwnerDied(guard))
        } else {
            Ok(guard)
        }
    }

    /// Says that the elements are whole: later owners no longer get `OwnerDied`.
    pub fn recover(&mut self) {
        self.memory.partition().clear();
        self.held.recover();
    }

    /// Whether a process died while it wrote elements or held the lock, and the array was not
    /// recovered since.
    #[must_use]
    pub fn owner_died(&self) -> bool {
        self.held.owner_died()
    }
}

impl<T: PlainSlice> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: this thread has the mutex, and `begin_write` keeps all others away even if the
        // guard is leaked and the thread ends (I1, I2 of array_control); `&mut [T]` is only
        // given by `&mut self`.
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
            self.memory.control().end_write(self.held.poisoned_by);
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
    held: OpGuard<'a>,
}

impl<'a> ArrayLock<'a> {
    pub(crate) fn acquire(
        control: &'a ArrayControl,
        partition: Partition<'a>,
        deadline: Deadline,
    ) -> Result<Self, LockError<Self>> {
        let held = control.acquire(deadline).map_err(without_guard)?;
        let lock = Self {
            control,
            partition,
            held,
        };
        if lock.held.owner_died() {
            Err(LockError::OwnerDied(lock))
        } else {
            Ok(lock)
        }
    }

    /// Says that the elements are whole: later owners no longer get `OwnerDied`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Claimed`](mp_layout::ErrorKind::Claimed) while a living process has a chunk;
    /// nothing is changed then.
    pub fn recover(&mut self) -> mp_layout::Result<()> {
        if let Whole::Claimed(claim) = self.partition.join()? {
            return Err(self.partition.claimed("recover", claim));
        }
        self.partition.clear();
        self.control.end_write(None);
        self.held.recover();
        Ok(())
    }
}

impl fmt::Debug for ArrayLock<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ArrayLock").finish_non_exhaustive()
    }
}

/// The same refusal for any guard.
fn without_guard<G>(refused: Refused) -> LockError<G> {
    refused.map_guard(|never| match never {})
}
