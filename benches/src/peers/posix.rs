//! What the C library offers to processes besides mutexes: semaphores, barriers and reader-writer
//! locks.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;

use mp_shm::Segment;

/// Room for a `T` of the C library in memory of its own that forked processes share.
struct Shared<T> {
    segment: Segment,
    what: std::marker::PhantomData<UnsafeCell<T>>,
}

// SAFETY: the C library's types in it are made to be shared.
unsafe impl<T> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Shared<T> {}

impl<T> Shared<T> {
    fn new() -> Self {
        Self {
            segment: Segment::anonymous("posix", 4096).expect("a page"),
            what: std::marker::PhantomData,
        }
    }

    #[inline(always)]
    fn get(&self) -> *mut T {
        const { assert!(size_of::<T>() <= 4096) };
        self.segment.region().as_ptr().cast()
    }
}

/// A `sem_t` that processes share.
pub struct PosixSemaphore(Shared<libc::sem_t>);

impl PosixSemaphore {
    /// One with so many permits.
    pub fn new(permits: u32) -> Self {
        let semaphore = Self(Shared::new());
        // SAFETY: room for it that nobody else uses yet.
        check(unsafe { libc::sem_init(semaphore.0.get(), 1, permits) });
        semaphore
    }

    /// Takes a permit.
    #[inline(always)]
    pub fn wait(&self) {
        // SAFETY: initialised by `new`.
        while unsafe { libc::sem_wait(self.0.get()) } != 0 {}
    }

    /// Gives a permit back.
    #[inline(always)]
    pub fn post(&self) {
        // SAFETY: initialised by `new`.
        check(unsafe { libc::sem_post(self.0.get()) });
    }
}

/// A `pthread_barrier_t` that processes share.
pub struct PthreadBarrier(Shared<libc::pthread_barrier_t>);

impl PthreadBarrier {
    /// One of so many parties.
    pub fn new(parties: u32) -> Self {
        let barrier = Self(Shared::new());
        let mut attributes = MaybeUninit::<libc::pthread_barrierattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: room for attributes.
        check(unsafe { libc::pthread_barrierattr_init(attributes) });
        let shared = libc::PTHREAD_PROCESS_SHARED;
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_barrierattr_setpshared(attributes, shared) });
        // SAFETY: room for it that nobody else uses yet; the attributes were made above.
        check(unsafe { libc::pthread_barrier_init(barrier.0.get(), attributes, parties) });
        barrier
    }

    /// Waits for the other parties.
    pub fn wait(&self) {
        // SAFETY: initialised by `new`.
        let last = unsafe { libc::pthread_barrier_wait(self.0.get()) };
        assert!(last == 0 || last == libc::PTHREAD_BARRIER_SERIAL_THREAD);
    }
}

/// A `pthread_rwlock_t` that processes share.
pub struct PthreadRwLock(Shared<libc::pthread_rwlock_t>);

impl PthreadRwLock {
    /// A free one.
    pub fn new() -> Self {
        let lock = Self(Shared::new());
        let mut attributes = MaybeUninit::<libc::pthread_rwlockattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: room for attributes.
        check(unsafe { libc::pthread_rwlockattr_init(attributes) });
        let shared = libc::PTHREAD_PROCESS_SHARED;
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_rwlockattr_setpshared(attributes, shared) });
        // SAFETY: room for it that nobody else uses yet; the attributes were made above.
        check(unsafe { libc::pthread_rwlock_init(lock.0.get(), attributes) });
        lock
    }

    /// Acquires it to read, and releases it.
    #[inline(always)]
    pub fn read(&self) {
        // SAFETY: initialised by `new`.
        check(unsafe { libc::pthread_rwlock_rdlock(self.0.get()) });
        // SAFETY: held by this thread.
        check(unsafe { libc::pthread_rwlock_unlock(self.0.get()) });
    }
}

impl Default for PthreadRwLock {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! opaque {
    ($($type:ident)*) => {
        $(impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_tuple(stringify!($type)).field(&ptr::from_ref(self)).finish()
            }
        })*
    };
}

opaque!(PosixSemaphore PthreadBarrier PthreadRwLock);

#[track_caller]
#[inline(always)]
fn check(result: libc::c_int) {
    assert_eq!(result, 0);
}
