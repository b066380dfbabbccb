//! One value with its lock.

use core::fmt;

#[cfg(doc)]
use mp_layout::ErrorKind;
use mp_layout::{Cells, Kind, Plain, PlainSlice, Region, Result, TypeTag};
use mp_object::{Object, ObjectType, Placed, Plan};
use mp_os::clock::Deadline;

use crate::elements::Elements;
use crate::first::First;
use crate::value_control::ValueControl;
use crate::{Number, ValueGuard, ValueLock};

/// A value in shared memory: Python's `multiprocessing.Value`.
///
/// The handle is passed to other processes as an argument or opened by name; clones are the same
/// value. It is any [`Plain`] type: a number, `bool`, `char`, an array of these, a structure.
///
/// ```
/// use mp_value::Value;
///
/// let hits = Value::new(0_u32)?;
/// *hits.lock()? += 1; // no other process adds meanwhile; written when the guard is dropped
/// hits.fetch_add(2)?;
/// hits.update(|hits| hits * 10)?;
/// assert_eq!(hits.get(), 30);
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # If a process dies
///
/// The value is the old one or the new one, whole, whatever its size, and no error reports the
/// death. A guard works on a copy and writes it back in one step when it is dropped.
pub struct Value<T> {
    control: Placed<ValueControl>,
    copies: Elements<T>,
}

/// Bytes from the start of the payload to the two copies.
const fn copies_offset<T>() -> usize {
    size_of::<ValueControl>().next_multiple_of(align_of::<T>())
}

/// The two copies.
fn copies<T: Plain>(payload: Region<'_>) -> Result<Cells<'_, T>> {
    Cells::new(payload.subregion(copies_offset::<T>(), 2 * size_of::<T>())?)
}

impl<T: Plain> Value<T> {
    /// Makes a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotEnoughMemory`] with what is free and what was asked for,
    /// [`ErrorKind::TooManyDescriptors`], [`ErrorKind::Unsupported`] if the kernel or a sandbox has
    /// no memory files; [`ErrorKind::InvalidInput`] if `T` has no bytes.
    pub fn new(value: T) -> Result<Self> {
        Self::create(First::of::<T>(value))
    }

    /// Makes a value under `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidName`], and those of [`Value::new`], of
    /// the memory of `/dev/shm`.
    pub fn create_named(name: &str, value: T) -> Result<Self> {
        ObjectType::create_named(name, First::of::<T>(value))
    }

    /// Opens the value named `name`, or makes one.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) but `NotFound`, and those of [`Value::new`].
    pub fn open_or_create(name: &str, value: T) -> Result<Self> {
        ObjectType::open_or_create(name, First::of::<T>(value))
    }

    /// The value, for types such as `bool` and `char`, some of whose bit patterns are no value. It
    /// takes no lock.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if the bytes are not a `T`: a foreign program wrote them.
    pub fn try_get(&self) -> Result<T> {
        let copies = self.copies();
        self.control.read(|copy| copies.try_get(copy))
    }

    /// Replaces the value under the lock; blocks until the lock is free.
    ///
    /// Under this thread's own [`get_lock`](Self::get_lock) it does not lock again.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Recursive`] under this thread's own [`lock`](Self::lock), whose copy would
    ///   overwrite this.
    /// - [`ErrorKind::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`ErrorKind::Corrupt`] if the lock's bytes were overwritten.
    pub fn set(&self, value: T) -> Result<()> {
        self.set_until(value, Deadline::NEVER)
    }

    /// [`set`](Self::set) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`Value::set`].
    pub fn try_set(&self, value: T) -> Result<()> {
        self.set_until(value, Deadline::PASSED)
    }

    /// [`set`](Self::set) that waits up to `timeout`: a `Duration`, an `Instant` or a [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`Value::set`].
    pub fn set_timeout(&self, value: T, timeout: impl Into<Deadline>) -> Result<()> {
        self.set_until(value, timeout.into())
    }

    #[inline]
    pub(crate) fn set_until(&self, value: T, deadline: Deadline) -> Result<()> {
        let held = self.control.enter(deadline)?;
        self.commit(value);
        drop(held);
        Ok(())
    }

    /// Replaces the value by what `change` makes of it, under the lock, and returns the new one.
    ///
    /// If `change` panics, the value stays. To wait for the lock for a limited time only, call it
    /// under [`get_lock_timeout`](Self::get_lock_timeout).
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Recursive`] under this thread's own [`lock`](Self::lock), whose copy would
    ///   overwrite this.
    /// - [`ErrorKind::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`ErrorKind::Corrupt`] if the value's bytes are not a `T`, or the lock's were overwritten.
    pub fn update(&self, change: impl FnOnce(T) -> T) -> Result<T> {
        let mut held = self.control.enter(Deadline::NEVER)?;
        let old = self.try_get()?;
        held.lend();
        let new = change(old);
        self.commit(new);
        Ok(new)
    }

    /// Acquires the lock and a copy of the value, which is written back when the guard is dropped;
    /// blocks until the lock is free.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Recursive`] if this thread has the lock already.
    /// - [`ErrorKind::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`ErrorKind::Corrupt`] if the value's bytes are not a `T`, or the lock's were overwritten.
    pub fn lock(&self) -> Result<ValueGuard<'_, T>> {
        self.lock_until(Deadline::NEVER)
    }

    /// [`lock`](Self::lock) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`Value::lock`].
    pub fn try_lock(&self) -> Result<ValueGuard<'_, T>> {
        self.lock_until(Deadline::PASSED)
    }

    /// [`lock`](Self::lock) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`Value::lock`].
    pub fn lock_timeout(&self, timeout: impl Into<Deadline>) -> Result<ValueGuard<'_, T>> {
        self.lock_until(timeout.into())
    }

    pub(crate) fn lock_until(&self, deadline: Deadline) -> Result<ValueGuard<'_, T>> {
        let mut held = self.control.acquire(deadline)?;
        let local = self.try_get()?;
        held.lend();
        Ok(ValueGuard::new(self, held, local))
    }

    /// Acquires the lock without the data; blocks until it is free.
    ///
    /// While this thread has it, its `set`, `fetch_add` and `update` do not lock again, so that
    /// several of them are one step for others who lock. `get` takes no lock: it sees each of
    /// them.
    ///
    /// ```
    /// # let value = mp_value::Value::new(1.5)?;
    /// let lock = value.get_lock()?;
    /// value.set(value.get() + 1.0)?;
    /// drop(lock);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Recursive`] if this thread has the lock already.
    /// - [`ErrorKind::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`ErrorKind::Corrupt`] if the lock's bytes were overwritten.
    pub fn get_lock(&self) -> Result<ValueLock<'_>> {
        self.get_lock_until(Deadline::NEVER)
    }

    /// [`get_lock`](Self::get_lock) without waiting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`Value::get_lock`].
    pub fn try_get_lock(&self) -> Result<ValueLock<'_>> {
        self.get_lock_until(Deadline::PASSED)
    }

    /// [`get_lock`](Self::get_lock) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`Value::get_lock`].
    pub fn get_lock_timeout(&self, timeout: impl Into<Deadline>) -> Result<ValueLock<'_>> {
        self.get_lock_until(timeout.into())
    }

    pub(crate) fn get_lock_until(&self, deadline: Deadline) -> Result<ValueLock<'_>> {
        Ok(ValueLock::new(self.control.acquire(deadline)?))
    }

    /// Replaces the value; the caller holds the mutex.
    #[inline]
    pub(crate) fn commit(&self, value: T) {
        let copies = self.copies();
        self.control.commit(|copy| copies.set(copy, value));
    }

    #[inline]
    fn copies(&self) -> Cells<'_, T> {
        // SAFETY: the handle keeps the payload mapped, and no slice of the copies is ever formed.
        unsafe { self.copies.cells() }
    }
}

impl<T: Plain> ObjectType for Value<T> {
    type Settings<'s> = First<T>;

    fn plan(first: &First<T>) -> Result<Plan> {
        let size = copies_offset::<T>() + 2 * size_of::<T>();
        Ok(Plan::new(Kind::Value, first.tag, size))
    }

    fn any() -> Plan {
        let size = copies_offset::<T>() + 2 * size_of::<T>();
        Plan::new(Kind::Value, TypeTag::of::<T>(), size)
    }

    unsafe fn initialise(payload: Region<'_>, first: First<T>) -> Result<()> {
        copies(payload)?.try_set(0, first.value)
    }

    unsafe fn attach(object: Object) -> Result<Self> {
        Ok(Self {
            // SAFETY: a value is its control followed by two copies, reached by its own protocol
            // only.
            copies: Elements::locate(unsafe { object.payload() }, copies_offset::<T>(), 2)?,
            // SAFETY: a value starts with its control, and nothing else reaches it.
            control: unsafe { Placed::new(object) }?,
        })
    }

    fn object(&self) -> &Object {
        self.control.object()
    }
}

mp_object::handle!([T: Plain] Value<T>);

impl<T: PlainSlice> Value<T> {
    /// The value. It takes no lock, and never sees half of a change.
    pub fn get(&self) -> T {
        let copies = self.copies();
        self.control.read(|copy| copies.get(copy))
    }
}

impl<T: Number> Value<T> {
    /// Adds `number` under the lock and returns the value before; integers wrap around.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Recursive`] under this thread's own [`lock`](Self::lock), whose copy would
    ///   overwrite this.
    /// - [`ErrorKind::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`ErrorKind::Corrupt`] if the lock's bytes were overwritten.
    pub fn fetch_add(&self, number: T) -> Result<T> {
        let held = self.control.enter(Deadline::NEVER)?;
        let old = self.get();
        self.commit(old.plus(number));
        drop(held);
        Ok(old)
    }
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self {
            control: self.control.clone(),
            copies: self.copies,
        }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Value")
            .field("value", &self.try_get())
            .field("holder", &self.control.mutex.holder())
            .finish_non_exhaustive()
    }
}
