//! A flag to wait for.
//!
//! # Source
//! CPython's `multiprocessing.Event`, on an [`EventCount`] instead of a condition variable.
//!
//! # Layout
//! ```text
//!  0 count  the eventcount, 48 bytes
//! 48 state  bit 0 SET, bits 1..31 how often it was set
//! 52 reserved 0
//! ```
//!
//! # Invariants
//! - I1 `state` changes from clear to set in one step that also counts. So a waiter knows that it
//!   was set even if it has been cleared again.
//!
//! # Orderings
//! Setting is a SeqCst compare-and-swap, so that [`EventCount::notify_committed`] will do; as a
//! Release it pairs with the Acquire loads of waiters and of `is_set`.
//!
//! # Progress
//! `set`, `clear`, `is_set` are lock-free; `wait` blocks.
//!
//! # If a process dies
//! The event is set or not, nothing in between. A setter killed before it woke any waiter rings the
//! bell: one sleeper wakes, sees the flag and wakes all others, and so does each that is woken,
//! so that the death of some of them does not matter either.

use std::fmt;

use mp_layout::atomic::{AtomicU32, Ordering};
use mp_layout::{Described, Kind, TypeTag, shared_struct};
use mp_os::clock::Deadline;

use crate::{EventCount, Wait};

shared_struct! {
    /// A flag in shared memory that processes wait for.
    ///
    /// A thread that waits when the flag is set returns, even if it is cleared immediately.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_sync::Event;
    /// use std::time::Duration;
    ///
    /// # #[repr(align(64))]
    /// # struct Memory([u64; 8]);
    /// # let memory = Box::leak(Box::new(Memory([0; 8])));
    /// # let ready: &Event = mp_layout::Region::from_exclusive(&mut memory.0).place(0)?;
    /// assert!(!ready.wait_timeout(Duration::from_millis(1)));
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| ready.set());
    ///     ready.wait();
    /// });
    /// assert!(ready.is_set());
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    #[repr(align(64))]
    pub struct Event: 64 bytes {
        count: EventCount = "what waiters sleep on",
        state: AtomicU32 = "bit 0 set; the rest counts how often it was set",
        reserved: [AtomicU32; 3] = "0",
    }
}

const SET: u32 = 1;

const STEP: u32 = 2;

// SAFETY: only `Event` is of kind event.
unsafe impl Described for Event {
    const KIND: Kind = Kind::Event;

    type Initial = ();

    fn tag() -> TypeTag {
        TypeTag::NONE
    }

    fn initialise(&self, (): ()) -> mp_layout::Result<()> {
        Ok(())
    }
}

impl Event {
    /// Sets the flag and wakes all waiters.
    pub fn set(&self) {
        self.count.under_bell(|| {
            let mut state = self.state.load(Ordering::Relaxed);
            while state & SET == 0 {
                let set = state.wrapping_add(STEP) | SET;
                // SeqCst for `notify_committed`; Release pairs with the Acquire of a thread that
                // sees it.
                match self
                    .state
                    .compare_exchange(state, set, Ordering::SeqCst, Ordering::Relaxed)
                {
                    Ok(_) => return self.count.notify_committed(u32::MAX),
                    Err(now) => state = now,
                }
            }
            // Set already, perhaps by a thread that died before it woke the waiters.
            self.count.notify_all();
        });
    }

    /// Clears the flag.
    pub fn clear(&self) {
        // Release: a thread that sees it cleared sees what came before.
        self.state.fetch_and(!SET, Ordering::Release);
    }

    /// Whether the flag is set; another thread may change it before this returns.
    #[must_use]
    #[inline]
    pub fn is_set(&self) -> bool {
        self.state.load(Ordering::Acquire) & SET != 0
    }

    /// Blocks until the flag is set. What only looks is [`is_set`](Event::is_set).
    pub fn wait(&self) {
        self.wait_with(Wait::Adaptive, Deadline::NEVER);
    }

    /// [`wait`](Event::wait) up to `timeout`: a `Duration`, an `Instant` or a [`Deadline`]. Returns
    /// whether the flag was set.
    ///
    /// Zero only looks, [`Duration::MAX`](std::time::Duration::MAX) waits forever.
    pub fn wait_timeout(&self, timeout: impl Into<Deadline>) -> bool {
        self.wait_with(Wait::Adaptive, timeout)
    }

    /// [`wait_timeout`](Event::wait_timeout) in a chosen way.
    pub fn wait_with(&self, wait: Wait, timeout: impl Into<Deadline>) -> bool {
        self.wait_until(wait, timeout.into())
    }

    /// What is notified when the flag is set, for who waits for something else as well.
    pub fn event_count(&self) -> &EventCount {
        &self.count
    }

    fn wait_until(&self, wait: Wait, deadline: Deadline) -> bool {
        let first = self.state.load(Ordering::Acquire);
        if first & SET != 0 {
            return true;
        }
        let was_set = || {
            // Acquire pairs with the setter.
            let state = self.state.load(Ordering::Acquire);
            let seen = state & SET != 0 || state >> 1 != first >> 1;
            // Rule (c): the setter may have died before it woke the others.
            if seen {
                self.count.pass_on_to_all();
            }
            seen.then_some(())
        };
        self.count.wait_until(wait, deadline, was_set).is_some()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Event")
            .field("is_set", &self.is_set())
            .finish_non_exhaustive()
    }
}
