//! Children of these tests, and memory shared with them.
#![allow(dead_code)] // each test file uses its own part

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mp_os::clock::Deadline;
use mp_os::futex;
use mp_os::pidfd::{Exit, PidFd};

/// How long anything here may take before the test fails.
pub(crate) fn patience() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// A forked process, killed and reaped when dropped.
pub(crate) struct Child {
    pub(crate) pid: u32,
    pub(crate) process: PidFd,
}

impl Child {
    /// Runs `work` in a forked process, whose exit code is 0 if it returns true, else 1.
    pub(crate) fn fork(work: impl FnOnce() -> bool) -> Self {
        // SAFETY: the child runs `work` only and never returns to the test harness. The tests do
        // in it what glibc allows after fork: allocation and system calls.
        let pid = unsafe { libc::fork() };
        Self::of(pid, work)
    }

    /// As [`Child::fork`], by a system call that no library hears of.
    ///
    /// Only from a process of one thread: libc's allocator does not hear of it either, and the
    /// child could wait for ever for a lock of another thread.
    pub(crate) fn raw_clone(work: impl FnOnce() -> bool) -> Self {
        // SAFETY: as in `fork`; without flags and a stack the call is a fork.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        Self::of(pid as i32, work)
    }

    fn of(pid: i32, work: impl FnOnce() -> bool) -> Self {
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            let quiet = std::panic::AssertUnwindSafe(work);
            let good = std::panic::catch_unwind(quiet).unwrap_or(false);
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        let pid = pid.unsigned_abs();
        Self {
            pid,
            process: PidFd::open(pid).expect("an unreaped child"),
        }
    }

    pub(crate) fn kill(&self) {
        self.process
            .send_signal(libc::SIGKILL)
            .expect("a child may be killed");
    }

    pub(crate) fn exit(&self) -> Exit {
        self.process
            .wait_exit(patience())
            .expect("a child")
            .expect("it ends in time")
    }

    /// Kills the child and waits until it is gone.
    pub(crate) fn kill_and_reap(&self) {
        self.kill();
        assert_eq!(self.exit(), Exit::Signal(libc::SIGKILL));
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.process.send_signal(libc::SIGKILL).is_ok() {
            drop(self.process.wait_exit(patience()));
        }
    }
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

/// Sleeps until killed; bounded, so that a failing test leaves nobody behind.
pub(crate) fn sleep_until_killed() -> bool {
    let never = AtomicU32::new(0);
    let deadline = patience();
    while !deadline.is_expired() {
        let _again = futex::wait(&never, 0, deadline);
    }
    false
}
