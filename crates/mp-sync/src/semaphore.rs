//! A number of permits, taken and given back.
//!
//! # Source
//! Dijkstra's counting semaphore with the words of CPython's `multiprocessing.Semaphore`, on an
//! [`EventCount`] instead of POSIX `sem_t`.
//!
//! # Layout
//! ```text
//!  0 count    the eventcount, 48 bytes
//! 48 permits  how many can be taken
//! 52 most     0, or how many there may be
//! 56 reserved 0
//! ```
//!
//! # Invariants
//! - I1 `permits` changes by one compare-and-swap: a permit is taken or not, given back or not.
//! - I2 `permits` is at most what `most` says.
//!
//! # Orderings
//! A release is a SeqCst compare-and-swap, so that [`EventCount::notify_committed`] will do; as a
//! Release it pairs with the Acquire of the one who takes the permit.
//!
//! # Progress
//! `release`, `try_acquire` and `value` are lock-free; `acquire` blocks. Waiters are not served in
//! order.
//!
//! # If a process dies
//! A permit that a dead process had taken stays taken, as in Python: any process may release, so no
//! process owns a permit. A [`SemaphoreGuard`] changes nothing about that: it is not in the shared
//! memory. No wake-up is lost: a releaser that is killed before it woke a waiter,
//! and a waiter that is killed after it was woken, ring the bell of the eventcount, and another
//! waiter looks. Of several permits released in one step each taker passes the wake-up on (rule b).

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use mp_layout::atomic::{AtomicU32, Ordering};
use mp_layout::{Described, Error, ErrorKind, Kind, Result, TypeTag, shared_struct};
use mp_os::clock::Deadline;

use crate::{EventCount, Wait, owner};

/// The most permits that a semaphore can have, as POSIX has it.
const MAX_VALUE: u32 = i32::MAX as u32;

shared_struct! {
    /// A counting semaphore in shared memory.
    ///
    /// Any process and thread may release a permit, also one that it did not take.
    ///
    /// # If a process dies
    ///
    /// The permits that it had taken stay taken, by a guard or without one. Waiters are woken as if
    /// it lived. Those of a [`PermitSemaphore`](crate::PermitSemaphore) come back.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_sync::Semaphore;
    /// use std::time::Duration;
    ///
    /// # #[repr(align(64))]
    /// # struct Memory([u64; 8]);
    /// # let memory = Box::leak(Box::new(Memory([0; 8])));
    /// // Zeroed memory is a semaphore without permits.
    /// let items: &Semaphore = mp_layout::Region::from_exclusive(&mut memory.0).place(0)?;
    /// assert!(!items.try_acquire());
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| items.release_many(2).unwrap());
    ///     items.acquire();
    ///     assert!(items.acquire_timeout(Duration::from_secs(10)));
    /// });
    /// assert_eq!(items.value(), 0);
    ///
    /// items.release()?;
    /// {
    ///     let _guard = items.acquire_guard(); // Python's `with items:`
    ///     assert_eq!(items.value(), 0);
    /// }
    /// assert_eq!(items.value(), 1);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    #[repr(align(64))]
    pub struct Semaphore: 64 bytes {
        count: EventCount = "what waiters sleep on",
        permits: AtomicU32 = "how many permits can be taken",
        most: AtomicU32 = "0, or how many permits there may be",
        reserved: [AtomicU32; 2] = "0",
    }
}

// SAFETY: only `Semaphore` is of kind semaphore.
unsafe impl Described for Semaphore {
    const KIND: Kind = Kind::Semaphore;

    /// How many permits it has.
    type Initial = u32;

    fn tag() -> TypeTag {
        TypeTag::NONE
    }

    fn initialise(&self, permits: u32) -> Result<()> {
        self.start_with(permits, 0)
    }
}

impl Semaphore {
    fn start_with(&self, permits: u32, most: u32) -> Result<()> {
        if permits > MAX_VALUE {
            return Err(Error::new(ErrorKind::InvalidInput, "make", "a semaphore")
                .with_detail(format!("{permits} permits, at most {MAX_VALUE} can be")));
        }
        // Relaxed: what publishes the object orders it.
        self.most.store(most, Ordering::Relaxed);
        self.permits.store(permits, Ordering::Relaxed);
        Ok(())
    }

    /// Takes a permit, and blocks until there is one.
    #[inline]
    pub fn acquire(&self) {
        self.acquire_with(Wait::Adaptive, Deadline::NEVER);
    }

    /// Takes a permit if there is one; returns whether it did.
    #[must_use = "a permit that was taken is to be released"]
    #[inline]
    pub fn try_acquire(&self) -> bool {
        self.take().is_some()
    }

    /// Takes a permit, and waits for one up to `timeout`; returns whether it did.
    #[must_use = "a permit that was taken is to be released"]
    pub fn acquire_timeout(&self, timeout: impl Into<Deadline>) -> bool {
        self.acquire_with(Wait::Adaptive, timeout)
    }

    /// Takes a permit, and waits for one in the given way up to `timeout`; returns whether it did.
    pub fn acquire_with(&self, wait: Wait, timeout: impl Into<Deadline>) -> bool {
        // Outside the bell: who takes a permit without having slept owes no other a wake-up.
        self.try_acquire()
            || self
                .count
                .wait_until(wait, timeout.into(), || self.take_and_pass_on())
                .is_some()
    }

    /// Takes a permit, and blocks until there is one; the guard releases it when it is dropped.
    #[inline]
    pub fn acquire_guard(&self) -> SemaphoreGuard<'_> {
        self.acquire();
        self.guard()
    }

    /// Takes a permit with a guard, if there is one.
    #[inline]
    pub fn try_acquire_guard(&self) -> Option<SemaphoreGuard<'_>> {
        self.try_acquire().then(|| self.guard())
    }

    /// Takes a permit with a guard, and waits for one up to `timeout`.
    pub fn acquire_guard_timeout(
        &self,
        timeout: impl Into<Deadline>,
    ) -> Option<SemaphoreGuard<'_>> {
        self.acquire_timeout(timeout).then(|| self.guard())
    }

    fn guard(&self) -> SemaphoreGuard<'_> {
        SemaphoreGuard {
            semaphore: self,
            tid: owner::tid(),
            not_send: PhantomData,
        }
    }

    /// Takes a permit; returns how many are left.
    #[inline]
    fn take(&self) -> Option<u32> {
        let mut permits = self.permits.load(Ordering::Relaxed);
        loop {
            let left = permits.checked_sub(1)?;
            // Acquire pairs with the release of the permit.
            match self.permits.compare_exchange_weak(
                permits,
                left,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(left),
                Err(now) => permits = now,
            }
        }
    }

    fn take_and_pass_on(&self) -> Option<()> {
        let left = self.take()?;
        // Rule (b): the releaser of several may have died after its first wake-up.
        if left > 0 && self.count.has_sleepers() {
            self.count.notify(1);
        }
        Some(())
    }

    /// Gives a permit back and wakes a waiter.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there would be more permits than can be: 2,147,483,647, and
    /// those it began with for a [`BoundedSemaphore`]. Nothing is released then.
    #[inline]
    pub fn release(&self) -> Result<()> {
        self.release_many(1)
    }

    /// Gives `count` permits back in one step and wakes as many waiters.
    ///
    /// # Errors
    ///
    /// Those of [`Semaphore::release`]; then none is released.
    #[inline]
    pub fn release_many(&self, count: u32) -> Result<()> {
        self.count.under_bell(|| {
            let mut permits = self.permits.load(Ordering::Relaxed);
            loop {
                let Some(more) = permits.checked_add(count).filter(|&n| n <= self.most()) else {
                    return Err(self.released_too_often(permits, count));
                };
                // SeqCst for `notify_committed`; Release pairs with the Acquire of the taker.
                match self.permits.compare_exchange_weak(
                    permits,
                    more,
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => break,
                    Err(now) => permits = now,
                }
            }
            self.count.notify_committed(count);
            Ok(())
        })
    }

    /// How many permits can be taken; another process may take or release some before this returns.
    #[must_use]
    #[inline]
    pub fn value(&self) -> u32 {
        self.permits.load(Ordering::Relaxed)
    }

    /// What is notified when a permit is released, for who waits for something else as well.
    pub fn event_count(&self) -> &EventCount {
        &self.count
    }

    /// Whether a thread sleeps for a permit, or did until one was given back; how many is not
    /// known.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.count.has_sleepers()
    }

    /// How many permits there may be.
    #[must_use]
    pub fn most(&self) -> u32 {
        match self.most.load(Ordering::Relaxed) {
            0 => MAX_VALUE,
            bound => bound,
        }
    }

    #[cold]
    fn released_too_often(&self, permits: u32, count: u32) -> Error {
        Error::new(ErrorKind::InvalidInput, "release", "a semaphore").with_detail(format!(
            "it has {permits} of at most {} permits, and {count} were released",
            self.most()
        ))
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Semaphore")
            .field("value", &self.value())
            .finish_non_exhaustive()
    }
}

/// A permit of a [`Semaphore`] or [`BoundedSemaphore`] that is released when this is dropped.
///
/// It stays with the thread that took the permit. A leaked guard leaves the permit taken. In a
/// forked child the parent's guard does nothing.
///
/// # If a process dies
///
/// The permit stays taken until another process releases it, as in Python. A
/// [`Permit`](crate::Permit) of a [`PermitSemaphore`](crate::PermitSemaphore) comes back.
#[must_use = "the permit is released when the guard is dropped"]
pub struct SemaphoreGuard<'a> {
    semaphore: &'a Semaphore,
    tid: u32,
    not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives nothing but its `Debug` text, made by loads of atomics.
unsafe impl Sync for SemaphoreGuard<'_> {}

impl SemaphoreGuard<'_> {
    /// Releases the permit, and says if that was refused. Dropping the guard says nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Semaphore::release`]: another thread has released a permit too many meanwhile.
    pub fn release(self) -> Result<()> {
        std::mem::ManuallyDrop::new(self).release_here()
    }

    fn release_here(&self) -> Result<()> {
        // A forked child has a copy of its parent's guard, and no part in the permit.
        if owner::tid() == self.tid {
            self.semaphore.release()?;
        }
        Ok(())
    }
}

impl Drop for SemaphoreGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // Refused if all permits are there already: then there is none to give back.
        self.release_here().unwrap_or_default();
    }
}

impl fmt::Debug for SemaphoreGuard<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("SemaphoreGuard")
            .field(self.semaphore)
            .finish()
    }
}

shared_struct! {
    /// A [`Semaphore`] that refuses to have more permits than it began with: a release too many is
    /// an error, not a permit.
    #[repr(align(64))]
    pub struct BoundedSemaphore: 64 bytes {
        semaphore: Semaphore = "a semaphore whose `most` is what it began with",
    }
}

// SAFETY: only `BoundedSemaphore` is of kind bounded semaphore.
unsafe impl Described for BoundedSemaphore {
    const KIND: Kind = Kind::BoundedSemaphore;

    /// How many permits it has, and at most can have.
    type Initial = u32;

    fn tag() -> TypeTag {
        TypeTag::NONE
    }

    fn initialise(&self, permits: u32) -> Result<()> {
        if permits == 0 {
            return Err(
                Error::new(ErrorKind::InvalidInput, "make", "a bounded semaphore")
                    .with_detail("0 permits, so that none could ever be taken or released"),
            );
        }
        self.semaphore.start_with(permits, permits)
    }
}

impl Deref for BoundedSemaphore {
    type Target = Semaphore;

    #[inline]
    fn deref(&self) -> &Semaphore {
        &self.semaphore
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BoundedSemaphore")
            .field("value", &self.value())
            .field("most", &self.most())
            .finish_non_exhaustive()
    }
}
