//! Forked children that take something and keep it until they are killed.

#![allow(
    dead_code,
    reason = "each test file compiles its own copy and uses a part of it"
)]

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A forked child; killed when dropped.
pub(crate) struct Child {
    pid: libc::pid_t,
}

impl Child {
    /// Forks a child that does `work` and keeps its result. Returns when the work is done.
    pub(crate) fn holding<R>(work: impl FnOnce() -> R) -> Self {
        let (mut ready, mut done) = std::io::pipe().expect("a pipe");
        // SAFETY: the child only runs `work` and never returns into the test harness.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            // SAFETY: an alarm without a handler ends a child that its parent forgot.
            unsafe { libc::alarm(60) };
            let kept = catch_unwind(AssertUnwindSafe(work));
            if kept.is_err() || done.write_all(b"k").is_err() {
                exit(101);
            }
            loop {
                // SAFETY: sleeps until a signal ends the process.
                unsafe { libc::pause() };
            }
        }
        drop(done);
        let child = Self { pid };
        let mut byte = [0];
        // Bounded by the child's alarm: its end closes the pipe.
        ready.read_exact(&mut byte).expect("the child did its work");
        child
    }

    /// Runs `check` in a forked child and says whether it held.
    pub(crate) fn agrees(check: impl FnOnce() -> bool) -> bool {
        // SAFETY: as in `holding`.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            // SAFETY: as in `holding`.
            unsafe { libc::alarm(60) };
            let agreed = catch_unwind(AssertUnwindSafe(check)).unwrap_or(false);
            exit(if agreed { 0 } else { 1 });
        }
        wait(pid) == 0
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid as u32
    }

    /// Kills it with SIGKILL and waits for its end.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: our own child, which nobody else waits for, so the number is still its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        wait(self.pid);
    }
}

/// Ends a child without running what the harness registered for its own exit.
fn exit(code: i32) -> ! {
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(code) }
}

fn wait(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is valid for a write.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid, "waitpid: {}", std::io::Error::last_os_error());
    status
}
