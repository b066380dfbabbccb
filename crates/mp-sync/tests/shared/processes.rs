//! Memory and children for tests with real processes. Every wait is bounded: what hangs is killed
//! by its alarm.
#![allow(dead_code, reason = "each test file uses what it needs")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mp_layout::{Place, Region};
use mp_testkit::Forked;

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

/// A forked child that is to return from its work, or to be killed in it.
pub(crate) struct Child(Forked);

/// Runs `work` in a child.
pub(crate) fn child(work: impl FnOnce()) -> Child {
    Child(Forked::new(|| {
        work();
        true
    }))
}

impl Child {
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Kills it and reaps it.
    pub(crate) fn kill(self) {
        self.0.kill();
        self.0.exit();
    }

    /// Waits for its end, which must be a good one.
    #[track_caller]
    pub(crate) fn join(self) {
        assert!(self.0.succeeds(), "the child panicked or was killed");
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
