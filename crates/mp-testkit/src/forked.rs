//! A forked child that does one thing.

use std::io::{PipeWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mp_os::clock::Deadline;
use mp_os::pidfd::{Exit, PidFd};

/// How long any wait in a test takes at most; then it has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// After so many seconds a child that its parent forgot ends itself.
const ALARM: u32 = 120;

/// A forked process, killed and reaped when dropped.
///
/// The child is a copy of the calling thread alone. glibc lets it allocate and make system calls;
/// of the test's other threads it must need nothing.
///
/// ```
/// use mp_testkit::Forked;
///
/// assert!(Forked::new(|| std::process::id() != 1).succeeds());
/// let holder = Forked::holding(|| vec![7; 100]);
/// holder.kill_and_reap();
/// ```
#[derive(Debug)]
pub struct Forked {
    pid: u32,
    process: PidFd,
}

impl Forked {
    /// Runs `work` in a child, whose exit code is 0 if it returns true, else 1.
    ///
    /// # Panics
    ///
    /// If there is no further process.
    pub fn new(work: impl FnOnce() -> bool) -> Self {
        // SAFETY: the child runs `work` only and never returns to the test harness.
        let pid = unsafe { libc::fork() };
        Self::of(pid, work)
    }

    /// As [`new`](Self::new), by a system call that no library hears of.
    ///
    /// Only from a process of one thread: libc's allocator does not hear of it either, and the
    /// child could wait for ever for a lock of another thread.
    ///
    /// # Panics
    ///
    /// If there is no further process.
    pub fn by_clone(work: impl FnOnce() -> bool) -> Self {
        // SAFETY: as in `new`; without flags and a stack the call is a fork.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        Self::of(pid as libc::pid_t, work)
    }

    /// Runs `work` in a child as [`new`](Self::new) does, and returns when it has arrived where the
    /// test wants it.
    ///
    /// # Panics
    ///
    /// If it never arrives.
    #[track_caller]
    pub fn arriving(work: impl FnOnce(Arrival) -> bool) -> Self {
        let (mut ready, arrived) = std::io::pipe().expect("a pipe");
        let mut arrival = Some(Arrival(arrived));
        let child = Self::new(|| work(arrival.take().expect("not used before")));
        drop(arrival);
        // Bounded by the child's alarm: its end closes the pipe.
        ready.read_exact(&mut [0]).expect("the child arrives");
        child
    }

    /// Runs `work` in a child that keeps the result until it is killed. Returns when the work is
    /// done.
    ///
    /// # Panics
    ///
    /// If the work panics.
    #[track_caller]
    pub fn holding<R>(work: impl FnOnce() -> R) -> Self {
        Self::arriving(|arrival| {
            let _kept = work();
            arrival.stay()
        })
    }

    fn of(pid: libc::pid_t, work: impl FnOnce() -> bool) -> Self {
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            // SAFETY: an alarm without a handler ends the process.
            unsafe { libc::alarm(ALARM) };
            let good = catch_unwind(AssertUnwindSafe(work)).unwrap_or(false);
            // SAFETY: ends the process at once, without what the harness registered for its own
            // exit.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        let pid = pid.unsigned_abs();
        Self {
            pid,
            process: PidFd::open(pid).expect("an unreaped child"),
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its descriptor.
    pub fn process(&self) -> &PidFd {
        &self.process
    }

    /// Sends SIGKILL.
    ///
    /// # Panics
    ///
    /// If it was reaped.
    pub fn kill(&self) {
        self.process
            .send_signal(libc::SIGKILL)
            .expect("a child may be killed");
    }

    /// Waits until it has ended, and leaves it unreaped.
    ///
    /// # Panics
    ///
    /// If it does not end.
    #[track_caller]
    pub fn await_end(&self) {
        let ended = self.process.wait_end(Deadline::after(PATIENCE));
        assert!(ended.expect("a child"), "process {} does not end", self.pid);
    }

    /// Waits until it has ended, and reaps it.
    ///
    /// # Panics
    ///
    /// If it does not end.
    #[track_caller]
    pub fn exit(&self) -> Exit {
        let exit = self.process.wait_exit(Deadline::after(PATIENCE));
        exit.expect("a child").expect("it ends in time")
    }

    /// Waits until it has ended, and says whether its work returned true.
    ///
    /// # Panics
    ///
    /// If it does not end.
    #[track_caller]
    pub fn succeeds(&self) -> bool {
        self.exit() == Exit::Code(0)
    }

    /// Kills it, waits until it has ended, and reaps it.
    ///
    /// # Panics
    ///
    /// If it had ended by itself.
    #[track_caller]
    pub fn kill_and_reap(&self) {
        self.kill();
        assert_eq!(self.exit(), Exit::Signal(libc::SIGKILL));
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        if self.process.send_signal(libc::SIGKILL).is_ok() {
            drop(self.process.wait_exit(Deadline::after(PATIENCE)));
        }
    }
}

/// A child's word that it is where the test wants it.
#[derive(Debug)]
pub struct Arrival(PipeWriter);

impl Arrival {
    /// Says so.
    ///
    /// # Panics
    ///
    /// If the parent does not listen.
    pub fn arrive(mut self) {
        self.0.write_all(b"k").expect("the parent listens");
    }

    /// Says so and sleeps until the process is killed, by the test or by its alarm.
    ///
    /// # Panics
    ///
    /// If the parent does not listen.
    pub fn stay(self) -> ! {
        self.arrive();
        stay()
    }
}

/// Sleeps until the process is killed, by a test or by its alarm.
pub fn stay() -> ! {
    loop {
        // SAFETY: sleeps until a signal.
        unsafe { libc::pause() };
    }
}
