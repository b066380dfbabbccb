//! The locks and events of the `raw_sync` crate.

use std::cell::UnsafeCell;
use std::fmt;

use mp_shm::Segment;
use raw_sync::Timeout;
use raw_sync::events::{Event, EventImpl, EventInit, EventState};
use raw_sync::locks::{LockImpl, LockInit, Mutex};

/// Its mutex, with a number that it guards.
pub struct RawSyncMutex {
    lock: Box<dyn LockImpl>,
    number: *const UnsafeCell<u64>,
    /// What the others point into.
    _segment: Segment,
}

// SAFETY: its lock is a process-shared pthread mutex, and the number is only reached under it.
unsafe impl Sync for RawSyncMutex {}
// SAFETY: the pointers are into a segment that the value keeps mapped, and are no thread's own.
unsafe impl Send for RawSyncMutex {}

impl RawSyncMutex {
    /// A free mutex around 0.
    ///
    /// # Panics
    ///
    /// If the crate refuses.
    pub fn new() -> Self {
        let segment = Segment::anonymous("raw_sync mutex", 4096).expect("a page");
        let start = segment.region().as_ptr();
        // SAFETY: within the page.
        let number = unsafe { start.add(1024) };
        // SAFETY: memory that nobody else uses yet, more than the mutex's size.
        let (lock, _) = unsafe { Mutex::new(start, number) }.expect("a mutex");
        Self {
            lock,
            number: number.cast(),
            _segment: segment,
        }
    }

    /// Locks, adds one to the number, and unlocks.
    #[inline(always)]
    pub fn add(&self) {
        let _guard = self.lock.lock().expect("nobody died");
        // SAFETY: aligned, within the segment, and all reach it through this cell.
        let number = unsafe { &*self.number };
        // SAFETY: this thread has the mutex.
        unsafe { *number.get() += 1 };
    }

    /// The number.
    pub fn number(&self) -> u64 {
        let _guard = self.lock.lock().expect("nobody died");
        // SAFETY: aligned, within the segment, and all reach it through this cell.
        let number = unsafe { &*self.number };
        // SAFETY: this thread has the mutex.
        unsafe { *number.get() }
    }
}

/// Its event, which is cleared by who sees it.
pub struct RawSyncEvent {
    event: Box<dyn EventImpl>,
    /// What the event points into.
    _segment: Segment,
}

// SAFETY: the event is a process-shared pthread mutex and condition variable.
unsafe impl Sync for RawSyncEvent {}
// SAFETY: the pointers are into a segment that the value keeps mapped, and are no thread's own.
unsafe impl Send for RawSyncEvent {}

impl RawSyncEvent {
    /// An event that is not set.
    ///
    /// # Panics
    ///
    /// If the crate refuses.
    pub fn new() -> Self {
        let segment = Segment::anonymous("raw_sync event", 4096).expect("a page");
        // SAFETY: memory that nobody else uses yet, more than the event's size.
        let (event, _) = unsafe { Event::new(segment.region().as_ptr(), true) }.expect("an event");
        Self {
            event,
            _segment: segment,
        }
    }

    /// Sets it.
    pub fn set(&self) {
        self.event.set(EventState::Signaled).expect("an event");
    }

    /// Waits until it is set, and clears it.
    pub fn wait(&self) {
        self.event.wait(Timeout::Infinite).expect("an event");
    }
}

impl Default for RawSyncMutex {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for RawSyncEvent {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RawSyncMutex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RawSyncMutex")
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RawSyncEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RawSyncEvent")
            .finish_non_exhaustive()
    }
}
