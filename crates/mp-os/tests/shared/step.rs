//! Memory that tests share with their forked children.
#![allow(dead_code)] // each test file uses its own part

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};

use mp_os::clock::Deadline;
use mp_os::futex;
use mp_testkit::PATIENCE;

/// How long anything here may take before the test fails.
pub(crate) fn patience() -> Deadline {
    Deadline::after(PATIENCE)
}

/// A zeroed value that forked children share. Lives as long as the test process.
pub(crate) struct Shared<T: 'static>(&'static T);

impl<T> Shared<T> {
    /// # Safety
    ///
    /// All-zero bytes are a valid `T`, and it is made of atomics.
    pub(crate) unsafe fn zeroed() -> Self {
        let (read, write) = (libc::PROT_READ, libc::PROT_WRITE);
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let place = std::ptr::null_mut();
        // SAFETY: a new mapping at a place of the kernel's choice.
        let memory = unsafe { libc::mmap(place, size_of::<T>(), read | write, flags, -1, 0) };
        assert_ne!(memory, libc::MAP_FAILED);
        // SAFETY: zeroed, page aligned, large enough, never unmapped; valid by the caller.
        Self(unsafe { &*memory.cast::<T>() })
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

/// A number that processes wait for.
#[repr(transparent)]
pub(crate) struct Step(AtomicU32);

impl Step {
    pub(crate) fn shared() -> Shared<Self> {
        // SAFETY: an atomic number.
        unsafe { Shared::zeroed() }
    }

    pub(crate) fn reach(&self, step: u32) {
        self.0.store(step, Ordering::Release);
        futex::wake(&self.0, u32::MAX);
    }

    pub(crate) fn now(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Waits for the step; fails the test if it does not come.
    pub(crate) fn await_step(&self, step: u32) {
        let deadline = patience();
        loop {
            let now = self.0.load(Ordering::Acquire);
            if now >= step {
                return;
            }
            assert!(
                !deadline.is_expired(),
                "step {step} did not come, it is {now}"
            );
            let _again = futex::wait(&self.0, now, deadline);
        }
    }
}
