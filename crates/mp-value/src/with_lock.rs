//! Values and arrays that share a lock of the program's own: Python's `Value('i', 0, lock=lock)`.
//!
//! The object keeps its own lock below the shared one: it is what makes each change whole, whoever dies. The shared lock is
//! taken first, always, so that the two cannot deadlock.
//!
//! # If a process dies
//!
//! With the shared lock: the next operation through any of the objects, or the next [`get_lock`](WithLock::get_lock), gets
//! `OwnerDied`, once. An operation that gets it has changed nothing and released the lock. Each value is the old or the new
//! one, but a step of several changes may have been left half done.

use core::fmt;
use core::ops::{Deref, DerefMut};
use std::time::Duration;

#[cfg(doc)]
use mp_layout::ErrorKind;
use mp_layout::{Plain, PlainSlice, Result};
use mp_object::Lock;
use mp_sync::{LockError, LockGuard};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Array, ArrayGuard, Number, Value, ValueGuard};

/// A [`Value`] or an [`Array`] whose operations take a [`Lock`] of the program's own, which other objects may share.
///
/// It travels to other processes with its lock. A thread that has the lock, by [`get_lock`](Self::get_lock) or from the lock
/// itself, makes several changes to several objects in one step for all who use the lock. Operations of the object's own
/// handle, reached by [`unlocked`](Self::unlocked), do not wait for the lock.
///
/// ```
/// use mp_object::Lock;
/// use mp_value::{Array, Value};
///
/// let lock = Lock::new()?;
/// let total = Value::new(0_u64)?.with_lock(&lock);
/// let parts = Array::<u64>::new(3)?.with_lock(&lock);
///
/// let both = lock.lock()?;
/// parts.set(1, 5)?; // this thread has the lock: it is not taken again
/// total.fetch_add(5)?;
/// drop(both);
/// assert_eq!((total.get(), parts.get(1)?), (5, 5));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone)]
pub struct WithLock<T> {
    object: T,
    lock: Lock,
}

impl<T> Value<T> {
    /// The same value, whose operations take `lock` first.
    pub fn with_lock(self, lock: &Lock) -> WithLock<Self> {
        WithLock::new(self, lock)
    }
}

impl<T> Array<T> {
    /// The same array, whose operations take `lock` first.
    pub fn with_lock(self, lock: &Lock) -> WithLock<Self> {
        WithLock::new(self, lock)
    }
}

impl<T> WithLock<T> {
    fn new(object: T, lock: &Lock) -> Self {
        let lock = lock.clone();
        Self { object, lock }
    }

    /// Acquires the shared lock. While this thread has it, operations of all objects with this lock do not take it again.
    ///
    /// # Errors
    ///
    /// All of [`LockError`] but `Timeout`; [`LockError::OwnerDied`] has the guard.
    pub fn get_lock(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.lock.lock()
    }

    /// [`get_lock`](Self::get_lock), which waits up to `timeout`; zero means one attempt.
    ///
    /// # Errors
    ///
    /// Those of [`get_lock`](Self::get_lock), and [`LockError::Timeout`], which names the holder.
    pub fn get_lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.lock.lock_timeout(timeout)
    }

    /// The object without the shared lock.
    pub fn unlocked(&self) -> &T {
        &self.object
    }

    /// The shared lock for one operation; `None` if this thread has it already.
    fn enter(&self) -> Result<Option<LockGuard<'_>>> {
        match self.lock.lock() {
            Err(LockError::Recursive) => Ok(None),
            locked => Ok(Some(locked?)),
        }
    }
}

impl<T: Plain> WithLock<Value<T>> {
    /// [`Value::try_get`]; it takes no lock.
    ///
    /// # Errors
    ///
    /// Those of [`Value::try_get`].
    pub fn try_get(&self) -> Result<T> {
        self.object.try_get()
    }

    /// [`Value::set`] under the shared lock.
    ///
    /// # Errors
    ///
    /// Those of [`Value::set`], and [`ErrorKind::OwnerDied`] if the lock's last owner died; then nothing is changed.
    pub fn set(&self, value: T) -> Result<()> {
        let _lock = self.enter()?;
        self.object.set(value)
    }

    /// [`Value::update`] under the shared lock.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set), and those of [`Value::update`].
    pub fn update(&self, change: impl FnOnce(T) -> T) -> Result<T> {
        let _lock = self.enter()?;
        self.object.update(change)
    }

    /// [`Value::lock`] under the shared lock; the guard releases both.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set), and those of [`Value::lock`].
    pub fn lock(&self) -> Result<BothLocked<'_, ValueGuard<'_, T>>> {
        let shared = self.enter()?;
        let own = self.object.lock()?;
        Ok(BothLocked { own, shared })
    }
}

impl<T: PlainSlice> WithLock<Value<T>> {
    /// [`Value::get`]; it takes no lock.
    pub fn get(&self) -> T {
        self.object.get()
    }
}

impl<T: Number> WithLock<Value<T>> {
    /// [`Value::fetch_add`] under the shared lock.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn fetch_add(&self, number: T) -> Result<T> {
        let _lock = self.enter()?;
        self.object.fetch_add(number)
    }
}

impl<T: Plain> WithLock<Array<T>> {
    /// [`Array::get`] under the shared lock.
    ///
    /// # Errors
    ///
    /// Those of [`Array::get`], and [`ErrorKind::OwnerDied`] if the lock's last owner died.
    pub fn get(&self, index: usize) -> Result<T> {
        let _lock = self.enter()?;
        self.object.get(index)
    }

    /// [`Array::set`] under the shared lock.
    ///
    /// # Errors
    ///
    /// Those of [`Array::set`], and [`ErrorKind::OwnerDied`] if the lock's last owner died; then nothing is changed.
    pub fn set(&self, index: usize, value: T) -> Result<()> {
        let _lock = self.enter()?;
        self.object.set(index, value)
    }

    /// [`Array::to_vec`] under the shared lock.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn to_vec(&self) -> Result<Vec<T>> {
        let _lock = self.enter()?;
        self.object.to_vec()
    }
}

impl<T: PlainSlice> WithLock<Array<T>> {
    /// [`Array::lock`] under the shared lock; the guard releases both.
    ///
    /// # Errors
    ///
    /// Those of [`Array::lock`]; [`LockError::OwnerDied`] has the guard and speaks of the array. If the shared lock's last
    /// owner died, it is [`ErrorKind::OwnerDied`] in [`LockError::Os`], and nothing is locked.
    pub fn lock(
        &self,
    ) -> Result<BothLocked<'_, ArrayGuard<'_, T>>, LockError<BothLocked<'_, ArrayGuard<'_, T>>>>
    {
        let shared = self.enter().map_err(LockError::Os)?;
        match self.object.lock() {
            Ok(own) => Ok(BothLocked { own, shared }),
            Err(LockError::OwnerDied(own)) => Err(LockError::OwnerDied(BothLocked { own, shared })),
            Err(error) => Err(LockError::Os(error.into())),
        }
    }
}

/// A guard of the object and one of the shared lock, released in this order.
#[must_use = "the locks are released when the guard is dropped"]
pub struct BothLocked<'a, G> {
    own: G,
    /// `None` where the thread had the lock before. Held for its drop, which comes after that of `own`.
    shared: Option<LockGuard<'a>>,
}

impl<T: PlainSlice> BothLocked<'_, ArrayGuard<'_, T>> {
    /// [`ArrayGuard::recover`].
    pub fn recover(&mut self) {
        self.own.recover();
    }
}

impl<G: Deref> Deref for BothLocked<'_, G> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        &self.own
    }
}

impl<G: DerefMut> DerefMut for BothLocked<'_, G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.own
    }
}

impl<G: fmt::Debug> fmt::Debug for BothLocked<'_, G> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BothLocked")
            .field("own", &self.own)
            .field("took_the_shared_lock", &self.shared.is_some())
            .finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for WithLock<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WithLock")
            .field("object", &self.object)
            .field("lock", &self.lock)
            .finish()
    }
}

impl<T: Serialize> Serialize for WithLock<T> {
    /// Writes both handles, see [`mp_object::transfer`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.object, &self.lock).serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for WithLock<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (object, lock) = Deserialize::deserialize(deserializer)?;
        Ok(Self { object, lock })
    }
}
