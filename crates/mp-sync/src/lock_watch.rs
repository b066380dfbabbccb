//! Waiting for a lock without taking it, together with other things.
//!
//! # If a process dies
//!
//! The owner: its death makes the lock free, and wakes a sleeper. One that waits here and was woken
//! in place of a thread that would take the lock: that thread looks again by itself, after 500 ms
//! at most.

use std::fmt;

use crate::event_count::Registration;
use crate::raw_mutex::RawMutex;

/// How a [`Lock`](crate::Lock), [`RLock`](crate::RLock) or [`Mutex`](crate::Mutex) is waited for by
/// a thread that does not take it, and may wait for other things in the same sleep:
/// [`EventCount::sleep_on_any`](crate::EventCount::sleep_on_any).
///
/// # Examples
///
/// ```
/// use mp_sync::{EventCount, Lock};
/// use std::time::Duration;
///
/// # #[repr(align(64))]
/// # struct Memory([u64; 8]);
/// # let memory = Box::leak(Box::new(Memory([0; 8])));
/// # let lock: &Lock = unsafe { mp_layout::Region::from_exclusive(&mut memory.0).place_guarded(0)? };
/// let watch = lock.watch();
/// assert!(watch.is_ready());
/// let (held, release) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         let guard = lock.lock().unwrap();
///         held.wait();
///         release.wait();
///         drop(guard);
///     });
///     held.wait();
///     assert!(!watch.is_ready());
///     release.wait();
///     while let Some(registration) = watch.register() {
///         let _woken_or_not = EventCount::sleep_on_any(&[registration], Duration::MAX.into());
///     }
///     watch.pass_on(); // another may have slept on it, too
/// });
/// assert!(watch.is_ready());
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct LockWatch<'a>(&'a RawMutex);

impl<'a> LockWatch<'a> {
    pub(crate) fn new(raw: &'a RawMutex) -> Self {
        Self(raw)
    }

    /// Whether no other thread holds the lock; one may by the time this returns.
    #[must_use]
    pub fn is_ready(self) -> bool {
        self.0.is_free() || self.0.is_held_here()
    }

    /// Whether the calling thread holds the lock.
    #[must_use]
    pub fn is_held_here(self) -> bool {
        self.0.is_held_here()
    }

    /// Frees the lock if its owner is dead and the kernel did not see to that. It reads `/proc`.
    pub fn suspect(self) {
        if !self.is_ready() {
            self.0.free_if_owner_is_gone();
        }
    }

    /// Registers the caller as a sleeper, so that the lock's release wakes one; `None` if no thread
    /// holds the lock.
    #[must_use]
    pub fn register(self) -> Option<Registration<'a>> {
        self.0.register()
    }

    /// Wakes another sleeper in place of the caller, or leaves that to the owner's release.
    ///
    /// For one that has slept and takes the lock not, or not yet: a release wakes one sleeper only,
    /// and that may have been the caller.
    pub fn pass_on(self) {
        self.0.pass_on();
    }
}

impl fmt::Debug for LockWatch<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("LockWatch").field(self.0).finish()
    }
}
