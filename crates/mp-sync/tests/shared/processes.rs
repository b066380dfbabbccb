//! Memory and children for tests with real processes. Every wait is bounded: what hangs is killed
//! by its alarm.
#![allow(dead_code, reason = "each test file uses what it needs")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mp_layout::{Place, Region};

pub(crate) struct Child(libc::pid_t);

/// Zeroed memory that this process and its future children share.
pub(crate) fn shared_memory() -> Region<'static> {
    // SAFETY: no signal handler of ours; the default action ends this process.
    unsafe { libc::alarm(120) };
    let (size, protection) = (1 << 17, libc::PROT_READ | libc::PROT_WRITE);
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED);
    let start = NonNull::new(memory.cast()).expect("mmap gives no null");
    // SAFETY: never unmapped, and only used through this region.
    unsafe { Region::new(start, size) }
}

pub(crate) fn place<T: Place>(memory: Region<'static>, offset: usize) -> &'static T {
    // SAFETY: each place in the memory is used for one thing, and the memory is never unmapped.
    unsafe { memory.place_guarded(offset) }.expect("within the memory")
}

/// Runs `work` in a child, which exits with 0, or with 101 if it panics.
pub(crate) fn child(work: impl FnOnce()) -> Child {
    // SAFETY: the child runs the closure, which uses atomics and system calls, and leaves by
    // `_exit`; glibc keeps its allocator usable.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: as in `shared_memory`.
            unsafe { libc::alarm(30) };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: leaves without the parent's exit handlers.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "fork failed");
            Child(pid)
        }
    }
}

impl Child {
    pub(crate) fn pid(&self) -> u32 {
        self.0.unsigned_abs()
    }

    /// Kills it and reaps it.
    pub(crate) fn kill(self) {
        // SAFETY: a child that has not been reaped.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        self.reap();
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn join(self) {
        let status = self.reap();
        assert_eq!(
            status, 0,
            "the child panicked (101 << 8) or was killed by a signal"
        );
    }

    fn reap(self) -> i32 {
        let mut status = 0;
        // SAFETY: the status is a local.
        let reaped = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert_eq!(reaped, self.0);
        status
    }
}

pub(crate) fn pause() -> ! {
    loop {
        // SAFETY: sleeps until a signal.
        unsafe { libc::pause() };
    }
}

/// Yields until it is true; panics after 20 s.
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited 20 s");
        std::thread::yield_now();
    }
}

/// Waits until the futex word of a lock says that somebody waits.
pub(crate) fn until_waited_for(word: &AtomicU32) {
    until(|| word.load(Ordering::Relaxed) >> 31 == 1);
}

/// How soon a death is noticed: by the kernel's wake, or by a recheck on the path without it.
pub(crate) fn death_noticed_within() -> Duration {
    if mp_os::robust::supported() {
        Duration::from_millis(100)
    } else {
        Duration::from_secs(2)
    }
}
