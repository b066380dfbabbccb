//! What the C library offers to processes: mutexes, robust or not, and condition variables.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;

use mp_shm::Segment;

/// A pthread mutex in shared memory, with a number that it guards.
pub struct PthreadMutex {
    segment: Segment,
}

/// As they lie in the page.
#[repr(C)]
struct Page {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    number: UnsafeCell<u64>,
    condvar: UnsafeCell<libc::pthread_cond_t>,
}

// SAFETY: the number is only reached under the mutex; the others are made to be shared.
unsafe impl Sync for Page {}

impl PthreadMutex {
    /// A process-shared mutex that does not notice the death of an owner.
    pub fn plain() -> Self {
        Self::new(libc::PTHREAD_MUTEX_STALLED)
    }

    /// A process-shared mutex that does.
    pub fn robust() -> Self {
        Self::new(libc::PTHREAD_MUTEX_ROBUST)
    }

    fn new(robustness: libc::c_int) -> Self {
        let segment = Segment::anonymous("pthread", 4096).expect("a page");
        let mutex = Self { segment };
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: room for attributes.
        check(unsafe { libc::pthread_mutexattr_init(attributes) });
        let shared = libc::PTHREAD_PROCESS_SHARED;
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_mutexattr_setpshared(attributes, shared) });
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_mutexattr_setrobust(attributes, robustness) });
        // SAFETY: memory of the right size and alignment that nobody else uses yet; the attributes
        // were made above.
        check(unsafe { libc::pthread_mutex_init(mutex.page().mutex.get(), attributes) });
        mutex
    }

    #[inline(always)]
    fn page(&self) -> &Page {
        let start = self.segment.region().as_ptr().cast::<Page>();
        // SAFETY: the segment's page is aligned and larger, zero bytes are valid for all fields,
        // and all who reach the page do so through the cells.
        unsafe { &*start }
    }

    /// Locks, calls `then` with the number and whether an owner died, and unlocks.
    ///
    /// # Panics
    ///
    /// If the C library reports anything but a dead owner.
    #[inline(always)]
    pub fn with(&self, then: impl FnOnce(&mut u64, bool)) {
        let page = self.page();
        // SAFETY: initialised by `new`, in memory that lives as long as `self`.
        let locked = unsafe { libc::pthread_mutex_lock(page.mutex.get()) };
        if locked == libc::EOWNERDEAD {
            // SAFETY: this thread has it, with the owner's death not yet recovered.
            check(unsafe { libc::pthread_mutex_consistent(page.mutex.get()) });
        } else {
            check(locked);
        }
        // SAFETY: this thread has the mutex, and only who has it touches the number.
        then(
            unsafe { &mut *page.number.get() },
            locked == libc::EOWNERDEAD,
        );
        // SAFETY: this thread has it.
        check(unsafe { libc::pthread_mutex_unlock(page.mutex.get()) });
    }

    /// Locks, adds one to the number, and unlocks.
    #[inline(always)]
    pub fn add(&self) {
        self.with(|number, _| *number += 1);
    }

    /// The number.
    pub fn number(&self) -> u64 {
        let mut copy = 0;
        self.with(|number, _| copy = *number);
        copy
    }
}

impl fmt::Debug for PthreadMutex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PthreadMutex")
            .finish_non_exhaustive()
    }
}

/// A number in shared memory that can be waited for by a pthread condition variable.
#[derive(Debug)]
pub struct PthreadCondvar(PthreadMutex);

impl PthreadCondvar {
    /// The number 0.
    pub fn new() -> Self {
        let mutex = PthreadMutex::plain();
        let mut attributes = MaybeUninit::<libc::pthread_condattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: room for attributes.
        check(unsafe { libc::pthread_condattr_init(attributes) });
        let shared = libc::PTHREAD_PROCESS_SHARED;
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_condattr_setpshared(attributes, shared) });
        // SAFETY: memory of the right size and alignment that nobody else uses yet; the attributes
        // were made above.
        check(unsafe { libc::pthread_cond_init(mutex.page().condvar.get(), attributes) });
        Self(mutex)
    }

    /// Makes it `number` and wakes one waiter.
    pub fn set(&self, number: u64) {
        self.0.with(|current, _| *current = number);
        // SAFETY: initialised by `new`.
        check(unsafe { libc::pthread_cond_signal(self.0.page().condvar.get()) });
    }

    /// Waits until it is `number`.
    pub fn wait_for(&self, number: u64) {
        let page = self.0.page();
        self.0.with(|current, _| {
            let current: *mut u64 = current;
            // SAFETY: this thread has the mutex whenever it looks; others write only while it waits
            // below.
            while unsafe { current.read_volatile() } != number {
                // SAFETY: both initialised by `new`, and this thread has the mutex.
                check(unsafe { libc::pthread_cond_wait(page.condvar.get(), page.mutex.get()) });
            }
        });
    }
}

impl Default for PthreadCondvar {
    fn default() -> Self {
        Self::new()
    }
}

#[inline(always)]
fn check(error: libc::c_int) {
    assert_eq!(error, 0, "{}", std::io::Error::from_raw_os_error(error));
}
