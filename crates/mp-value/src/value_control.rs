//! A value that is replaced in one step: a mutex, a version and two copies.
//!
//! # Source
//!
//! The double buffer of wait-free snapshots, after Lamport's "Concurrent reading and writing"
//! (1977). Changed: the version says which copy is current, writers exclude each other by a robust
//! mutex, and readers that meet too many writers take it too.
//!
//! # Layout
//!
//! ```text
//! 0    mutex      excludes writers
//! 48   version    copy number version % 2 is the value
//! 56   lent       1 while the holder's guard has a copy that it will write back
//! 64   copies     two, one after the other (later if the type's alignment wants it)
//! ```
//!
//! # Invariants
//!
//! - I1: `version`, `lent` and the copies are written under the mutex only.
//! - I2: copy `version % 2` is whole, and is not written before `version` has moved on.
//! - I3: one store of `version` replaces the value.
//!
//! # Orderings
//!
//! - `version` is stored with Release after the new copy, and loaded with Acquire before a copy is
//!   read.
//! - A writer's Release fence, between the acquisition of the mutex and its first store to a copy,
//!   pairs with a reader's Acquire fence after its last load of it: a reader that has read anything
//!   of a later write also sees that `version` moved on, and reads again.
//!
//! # Progress
//!
//! Reading is lock-free for 64 attempts (each fails only because a writer has replaced the value)
//! and then blocks writers for one read. Writing blocks.
//!
//! # If a process dies
//!
//! Before the store of `version` the old value stays, after it the new one is there. The next to
//! acquire the mutex clears `lent` and goes on; there is nothing to recover.

use mp_layout::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use mp_layout::shared_struct;
use mp_os::clock::Deadline;
use mp_sync::{Guard, Outcome, RawLockError, RawMutex};

/// Failed attempts after which a reader keeps writers out; under loom so few that this is tried,
/// too.
const ATTEMPTS: u32 = if cfg!(loom) { 2 } else { 64 };

shared_struct! {
    /// What lies in front of the two copies.
    #[derive(Debug)]
    pub(crate) struct ValueControl as "Value: control": 64 bytes {
        pub(crate) mutex: RawMutex = "excludes writers",
        version: AtomicU64 = "its lowest bit says which of the two copies that follow is the value",
        lent: AtomicU32 = "1 while the holder's guard has a copy that it will write back",
        reserved: AtomicU32 = "0",
    }
}

/// The mutex, held by the calling thread: through this value, or through a
/// [`ValueLock`](crate::ValueLock) of its own further up.
pub(crate) struct OpGuard<'a> {
    control: &'a ValueControl,
    lent: bool,
    /// Held for its drop.
    _raw: Option<Guard<'a>>,
}

impl ValueControl {
    /// Acquires the mutex for one operation, unless this thread has it already without a copy.
    #[inline]
    pub(crate) fn enter(&self, deadline: Deadline) -> Result<OpGuard<'_>, RawLockError> {
        match self.acquire(deadline) {
            Err(RawLockError::Recursive) if self.lent.load(Ordering::Relaxed) == 0 => Ok(OpGuard {
                control: self,
                lent: false,
                _raw: None,
            }),
            acquired => acquired,
        }
    }

    /// Acquires the mutex for a guard; fails if this thread has it already.
    #[inline]
    pub(crate) fn acquire(&self, deadline: Deadline) -> Result<OpGuard<'_>, RawLockError> {
        let mut raw = self.mutex.lock_timeout(deadline)?;
        if raw.outcome() == Outcome::OwnerDied {
            self.lent.store(0, Ordering::Relaxed);
            raw.recover();
        }
        Ok(OpGuard {
            control: self,
            lent: false,
            _raw: Some(raw),
        })
    }

    /// What `copy` makes of the current one: a value that was there at one moment.
    #[inline]
    pub(crate) fn read<R>(&self, copy: impl Fn(usize) -> R) -> R {
        let mut hold = None;
        loop {
            for _ in 0..ATTEMPTS {
                // Acquire: pairs with the Release in `commit`.
                let version = self.version.load(Ordering::Acquire);
                let value = copy((version & 1) as usize);
                // Acquire: pairs with the fence in `commit`.
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == version {
                    drop(hold);
                    return value;
                }
            }
            // If this thread cannot have it, it has too many others: try without.
            hold = self.acquire(Deadline::NEVER).ok();
        }
    }

    /// Replaces the value by what `write` stores into the other copy (I3); under the mutex.
    #[inline]
    pub(crate) fn commit(&self, write: impl FnOnce(usize)) {
        let next = self.version.load(Ordering::Relaxed).wrapping_add(1);
        // Release: pairs with the fence in `read`.
        fence(Ordering::Release);
        write((next & 1) as usize);
        // Release: pairs with the first load in `read`.
        self.version.store(next, Ordering::Release);
    }
}

impl OpGuard<'_> {
    /// Keeps this thread's other operations away from the value until `self` is dropped.
    #[inline]
    pub(crate) fn lend(&mut self) {
        self.control.lent.store(1, Ordering::Relaxed);
        self.lent = true;
    }

    /// Whether this thread holds the mutex; false in a forked child's copy.
    #[inline]
    pub(crate) fn is_held_here(&self) -> bool {
        self.control.mutex.is_held_here()
    }
}

impl Drop for OpGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.lent && self.is_held_here() {
            self.control.lent.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "value_control/tests.rs"] // this file is also included by a model
mod tests;
