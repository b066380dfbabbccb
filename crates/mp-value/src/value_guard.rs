//! A value's lock, with and without a copy of the value.

use core::fmt;
use core::ops::{Deref, DerefMut};

use mp_layout::Plain;

use crate::Value;
use crate::value_control::OpGuard;

/// The lock of a [`Value`] and a copy of what it holds; dropping it writes the copy back, in one
/// step, and releases the lock.
///
/// If it was never borrowed mutably, or is dropped by a panic, nothing is written. It stays with
/// the thread that acquired it; in a forked child the parent's guard does nothing.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ValueGuard<'a, T: Plain> {
    value: &'a Value<T>,
    local: T,
    is_changed: bool,
    was_panicking: bool,
    held: OpGuard<'a>,
}

impl<'a, T: Plain> ValueGuard<'a, T> {
    pub(crate) fn new(value: &'a Value<T>, held: OpGuard<'a>, local: T) -> Self {
        let was_panicking = std::thread::panicking();
        Self {
            value,
            local,
            is_changed: false,
            was_panicking,
            held,
        }
    }
}

impl<T: Plain> Deref for ValueGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.local
    }
}

impl<T: Plain> DerefMut for ValueGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.is_changed = true;
        &mut self.local
    }
}

impl<T: Plain> Drop for ValueGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let is_panic = std::thread::panicking() && !self.was_panicking;
        if self.is_changed && !is_panic && self.held.is_held_here() {
            self.value.commit(self.local);
        }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.local.fmt(formatter)
    }
}

/// The lock of a [`Value`] without its data; dropping it releases the lock.
///
/// While a thread has it, its `set`, `fetch_add` and `update` do not lock again.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ValueLock<'a> {
    /// Held for its drop.
    _held: OpGuard<'a>,
}

impl<'a> ValueLock<'a> {
    pub(crate) fn new(held: OpGuard<'a>) -> Self {
        Self { _held: held }
    }
}

impl fmt::Debug for ValueLock<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ValueLock").finish_non_exhaustive()
    }
}
