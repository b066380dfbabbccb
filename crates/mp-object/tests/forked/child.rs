//! Children of these tests.
#![allow(dead_code)] // each test file uses its own part

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use mp_object::Event;
use mp_os::clock::Deadline;
use mp_os::pidfd::{Exit, PidFd};

/// How long anything here may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A forked process, killed and reaped when dropped.
pub(crate) struct Child {
    pub(crate) pid: u32,
    process: PidFd,
}

impl Child {
    /// Runs `work` in a forked process, whose exit code is 0 if it returns true, else 1.
    pub(crate) fn fork(work: impl FnOnce() -> bool) -> Self {
        // SAFETY: the child runs `work` and never returns to the harness; in it, it does what glibc allows after a
        // fork: allocation and system calls.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            let good = std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(false);
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

    /// Waits until it has ended, and leaves it unreaped.
    pub(crate) fn await_end(&self) {
        let ended = self.process.wait_end(Deadline::after(PATIENCE));
        assert!(ended.expect("a child"), "process {} does not end", self.pid);
    }

    /// Waits until it has ended, and reaps it.
    pub(crate) fn exit(&self) -> Exit {
        let exit = self.process.wait_exit(Deadline::after(PATIENCE));
        exit.expect("a child").expect("it ends in time")
    }

    pub(crate) fn kill_and_reap(&self) {
        self.kill();
        assert_eq!(self.exit(), Exit::Signal(libc::SIGKILL));
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.process.send_signal(libc::SIGKILL).is_ok() {
            drop(self.process.wait_exit(Deadline::after(PATIENCE)));
        }
    }
}

/// Says that the child is where the test wants it, and stays there until it is killed.
pub(crate) fn stay(arrived: &Event) -> bool {
    arrived.set();
    let never = Event::new().expect("64 bytes");
    never.wait_timeout(PATIENCE)
}

/// Waits for a child to say that it is where the test wants it.
#[track_caller]
pub(crate) fn await_arrival(arrived: &Event) {
    assert!(arrived.wait_timeout(PATIENCE), "the child does not arrive");
}
