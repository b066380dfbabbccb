//! Values and arrays that share a lock of the program's own: Python's `Value('i', 0, lock=lock)`.
//!
//! The object keeps its own lock below the shared one: it makes each change whole, whichever
//! process dies. The shared lock is taken first, always, so that the two cannot deadlock.
//!
//! # If a process dies
//!
//! With the shared lock: the next operation through any of the objects, or the next
//! [`get_lock`](WithLock::get_lock), gets `OwnerDied`, once. An operation that gets it has changed
//! nothing and released the lock. Each value is the old or the new one, but a step of several
//! changes may have been left half done.

use core::fmt;
use core::ops::{Deref, DerefMut};

use mp_layout::{ErrorKind, Plain, PlainSlice, Result};
use mp_object::Lock;
use mp_os::clock::Deadline;
use mp_sync::{LockError, LockGuard};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::array_control::Until;
use crate::{Array, ArrayGuard, Number, Value, ValueGuard};

/// A [`Value`] or an [`Array`] whose operations take a [`Lock`] of the program's own, which other
/// objects may share.
///
/// It travels to other processes with its lock. A thread that has the lock, by
/// [`get_lock`](Self::get_lock) or from the lock itself, makes several changes to several objects
/// in one step for all who use the lock. Operations of the object's own handle, reached by
/// [`unlocked`](Self::unlocked), do not wait for the lock.
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

    /// Acquires the shared lock; blocks until it is free. While this thread has it, operations of
    /// all objects with this lock do not take it again.
    ///
    /// # Errors
    ///
    /// - [`LockError::OwnerDied`] has the guard: the last owner died while it held the lock.
    /// - [`LockError::Recursive`] if this thread holds the lock already.
    /// - [`LockError::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`LockError::Failed`] with [`ErrorKind::Corrupt`] if the lock's bytes were overwritten.
    pub fn get_lock(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.lock.lock()
    }

    /// [`get_lock`](Self::get_lock) without waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder, and those of [`get_lock`](Self::get_lock).
    pub fn try_get_lock(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.lock.try_lock()
    }

    /// [`get_lock`](Self::get_lock) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder, and those of [`get_lock`](Self::get_lock).
    pub fn get_lock_timeout(
        &self,
        timeout: impl Into<Deadline>,
    ) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.lock.lock_timeout(timeout)
    }

    /// The object without the shared lock.
    pub fn unlocked(&self) -> &T {
        &self.object
    }

    /// The shared lock for one operation; `None` if this thread has it already.
    fn enter(&self, deadline: Deadline) -> Result<Option<LockGuard<'_>>> {
        match self.lock.lock_timeout(deadline) {
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
    /// Those of [`Value::set`], and [`ErrorKind::OwnerDied`] if the lock's last owner died; then
    /// nothing is changed.
    pub fn set(&self, value: T) -> Result<()> {
        self.set_until(value, Deadline::NEVER)
    }

    /// [`set`](Self::set) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`set`](Self::set).
    pub fn try_set(&self, value: T) -> Result<()> {
        self.set_until(value, Deadline::PASSED)
    }

    /// [`set`](Self::set) that waits up to `timeout`: a `Duration`, an `Instant` or a [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`set`](Self::set).
    pub fn set_timeout(&self, value: T, timeout: impl Into<Deadline>) -> Result<()> {
        self.set_until(value, timeout.into())
    }

    fn set_until(&self, value: T, deadline: Deadline) -> Result<()> {
        let _lock = self.enter(deadline)?;
        self.object.set_until(value, deadline)
    }

    /// [`Value::update`] under the shared lock.
    ///
    /// # Errors
    ///
    /// Those of [`Value::update`], and [`ErrorKind::OwnerDied`] if the shared lock's last owner
    /// died; then nothing is changed.
    pub fn update(&self, change: impl FnOnce(T) -> T) -> Result<T> {
        let _lock = self.enter(Deadline::NEVER)?;
        self.object.update(change)
    }

    /// [`Value::lock`] under the shared lock; the guard releases both.
    ///
    /// # Errors
    ///
    /// Those of [`Value::lock`], and [`ErrorKind::OwnerDied`] if the shared lock's last owner died.
    pub fn lock(&self) -> Result<BothLocked<'_, ValueGuard<'_, T>>> {
        self.lock_until(Deadline::NEVER)
    }

    /// [`lock`](Self::lock) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<BothLocked<'_, ValueGuard<'_, T>>> {
        self.lock_until(Deadline::PASSED)
    }

    /// [`lock`](Self::lock) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: impl Into<Deadline>,
    ) -> Result<BothLocked<'_, ValueGuard<'_, T>>> {
        self.lock_until(timeout.into())
    }

    fn lock_until(&self, deadline: Deadline) -> Result<BothLocked<'_, ValueGuard<'_, T>>> {
        let shared = self.enter(deadline)?;
        let own = self.object.lock_until(deadline)?;
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
    /// Those of [`Value::fetch_add`], and [`ErrorKind::OwnerDied`] if the shared lock's last owner
    /// died; then nothing is changed.
    pub fn fetch_add(&self, number: T) -> Result<T> {
        let _lock = self.enter(Deadline::NEVER)?;
        self.object.fetch_add(number)
    }
}

impl<T: Plain> WithLock<Array<T>> {
    /// [`Array::get`] under the shared lock.
    ///
    /// # Errors
    ///
    /// Those of [`Array::get`], [`ErrorKind::OwnerDied`] if the shared lock's last owner died, and
    /// [`ErrorKind::Claimed`] under this thread's own [`get_lock`](Self::get_lock) while a
    /// living process has a chunk.
    pub fn get(&self, index: usize) -> Result<T> {
        self.get_until(index, Deadline::NEVER)
    }

    /// [`get`](Self::get) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of a lock or of a chunk, and those
    /// of [`get`](Self::get).
    pub fn try_get(&self, index: usize) -> Result<T> {
        self.get_until(index, Deadline::PASSED)
    }

    /// [`get`](Self::get) that waits up to `timeout`: a `Duration`, an `Instant` or a [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of a lock or of a chunk, and those
    /// of [`get`](Self::get).
    pub fn get_timeout(&self, index: usize, timeout: impl Into<Deadline>) -> Result<T> {
        self.get_until(index, timeout.into())
    }

    fn get_until(&self, index: usize, deadline: Deadline) -> Result<T> {
        self.when_whole(deadline, |until| self.object.get_until(index, until))
    }

    /// [`Array::set`] under the shared lock.
    ///
    /// # Errors
    ///
    /// Those of [`Array::set`], [`ErrorKind::OwnerDied`] if the shared lock's last owner died, and
    /// [`ErrorKind::Claimed`] under this thread's own [`get_lock`](Self::get_lock) while a
    /// living process has a chunk; then nothing is changed.
    pub fn set(&self, index: usize, value: T) -> Result<()> {
        self.set_until(index, value, Deadline::NEVER)
    }

    /// [`set`](Self::set) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of a lock or of a chunk, and those
    /// of [`set`](Self::set).
    pub fn try_set(&self, index: usize, value: T) -> Result<()> {
        self.set_until(index, value, Deadline::PASSED)
    }

    /// [`set`](Self::set) that waits up to `timeout`: a `Duration`, an `Instant` or a [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of a lock or of a chunk, and those
    /// of [`set`](Self::set).
    pub fn set_timeout(&self, index: usize, value: T, timeout: impl Into<Deadline>) -> Result<()> {
        self.set_until(index, value, timeout.into())
    }

    fn set_until(&self, index: usize, value: T, deadline: Deadline) -> Result<()> {
        self.when_whole(deadline, |until| self.object.set_until(index, value, until))
    }

    /// [`Array::to_vec`] under the shared lock.
    ///
    /// # Errors
    ///
    /// Those of [`Array::get`] but `InvalidInput`, [`ErrorKind::OwnerDied`] if the shared lock's
    /// last owner died, and [`ErrorKind::Claimed`] under this thread's own
    /// [`get_lock`](Self::get_lock) while a living process has a chunk.
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.to_vec_until(Deadline::NEVER)
    }

    /// [`to_vec`](Self::to_vec) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of a lock or of a chunk, and those
    /// of [`to_vec`](Self::to_vec).
    pub fn try_to_vec(&self) -> Result<Vec<T>> {
        self.to_vec_until(Deadline::PASSED)
    }

    /// [`to_vec`](Self::to_vec) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder of a lock or of a chunk, and those
    /// of [`to_vec`](Self::to_vec).
    pub fn to_vec_timeout(&self, timeout: impl Into<Deadline>) -> Result<Vec<T>> {
        self.to_vec_until(timeout.into())
    }

    fn to_vec_until(&self, deadline: Deadline) -> Result<Vec<T>> {
        self.when_whole(deadline, |until| self.object.to_vec_until(until))
    }

    /// Carries out `operation` under the shared lock, when no living process has a chunk.
    ///
    /// It waits for chunks without the shared lock, which a process that has one may need to go on.
    fn when_whole<R>(
        &self,
        deadline: Deadline,
        operation: impl Fn(Until) -> Result<R>,
    ) -> Result<R> {
        loop {
            let shared = self.enter(deadline)?;
            match operation(Until::locked(deadline)) {
                // A living process has a chunk: wait for it, then start over. Under this thread's
                // own lock it is refused.
                Err(error) if error.kind() == ErrorKind::Claimed && shared.is_some() => {
                    drop(shared);
                    self.object.wait_whole(deadline)?;
                }
                done => return done,
            }
        }
    }
}

type ArrayLocked<'a, T> = BothLocked<'a, ArrayGuard<'a, T>>;

impl<T: PlainSlice> WithLock<Array<T>> {
    /// [`Array::lock`] under the shared lock; the guard releases both.
    ///
    /// # Errors
    ///
    /// Those of [`Array::lock`]; [`LockError::OwnerDied`] has the guard and speaks of the array. If
    /// the shared lock's last owner died, it is [`ErrorKind::OwnerDied`] in
    /// [`LockError::Failed`], and nothing is locked. Under this thread's own
    /// [`get_lock`](Self::get_lock) it is [`ErrorKind::Claimed`] while a living process has a
    /// chunk.
    pub fn lock(&self) -> Result<ArrayLocked<'_, T>, LockError<ArrayLocked<'_, T>>> {
        self.lock_until(Deadline::NEVER)
    }

    /// [`lock`](Self::lock) without waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder of the array's lock or of a chunk,
    /// [`LockError::Failed`] with [`ErrorKind::TimedOut`] if the shared lock is held, and those
    /// of [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<ArrayLocked<'_, T>, LockError<ArrayLocked<'_, T>>> {
        self.lock_until(Deadline::PASSED)
    }

    /// [`lock`](Self::lock) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder of the array's lock or of a chunk,
    /// [`LockError::Failed`] with [`ErrorKind::TimedOut`] if the shared lock is held, and those
    /// of [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: impl Into<Deadline>,
    ) -> Result<ArrayLocked<'_, T>, LockError<ArrayLocked<'_, T>>> {
        self.lock_until(timeout.into())
    }

    fn lock_until(
        &self,
        deadline: Deadline,
    ) -> Result<ArrayLocked<'_, T>, LockError<ArrayLocked<'_, T>>> {
        loop {
            let shared = self.enter(deadline)?;
            match self.object.lock_until(Until::locked(deadline)) {
                Ok(own) => return Ok(BothLocked { own, shared }),
                // A living process has a chunk: wait for it without the shared lock, then start
                // over.
                Err(error) if error.kind() == ErrorKind::Claimed && shared.is_some() => {
                    drop(shared);
                    self.object.wait_whole(deadline)?;
                }
                Err(error) => return Err(error.map_guard(|own| BothLocked { own, shared })),
            }
        }
    }
}

/// A guard of the object and one of the shared lock, released in this order.
#[must_use = "the locks are released when the guard is dropped"]
pub struct BothLocked<'a, G> {
    own: G,
    /// `None` where the thread had the lock before. Held for its drop, which comes after that of
    /// `own`.
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
