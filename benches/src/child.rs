//! Forked processes.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getppid, kill_process, set_parent_process_death_signal,
    waitpid,
};

use crate::Watchdog;

/// A forked child of a bench, which dies with it and is killed if it is dropped before it was
/// joined.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    joined: bool,
}

impl Child {
    /// Forks a child that does `work` and exits. The work stays the caller's, who drops it after
    /// the child.
    ///
    /// # Panics
    ///
    /// If other threads are still running, or if the system refuses.
    pub fn fork(work: &mut dyn FnMut()) -> Self {
        wait_for_threads();
        // SAFETY: this is the only thread, as was just seen, so the child's copy of the memory is
        // consistent.
        match unsafe { libc::fork() } {
            0 => run(work),
            pid => Self {
                pid: Pid::from_raw(pid).filter(|_| pid > 0).expect("fork works"),
                joined: false,
            },
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// If it did not exit with 0: its work panicked, or it was killed.
    pub fn join(mut self) {
        let status = self.wait();
        assert_eq!(
            status.exit_status(),
            Some(0),
            "the child failed: {status:?}"
        );
    }

    /// Sends it SIGKILL.
    pub fn kill(&self) {
        kill_process(self.pid, Signal::KILL).expect("a child that was not waited for");
    }

    /// Waits for its end, whatever that is.
    pub fn wait(&mut self) -> WaitStatus {
        self.joined = true;
        let waited = waitpid(Some(self.pid), WaitOptions::empty()).expect("it is our child");
        waited.expect("without NOHANG it ends first").1
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.joined {
            self.kill();
            self.wait();
        }
    }
}

fn run(work: &mut dyn FnMut()) -> ! {
    let _watchdog = Watchdog::start();
    let dies_with_parent = set_parent_process_death_signal(Some(Signal::KILL));
    let worked = catch_unwind(AssertUnwindSafe(work));
    if worked.is_err()
        && let Some(bench) = getppid()
    {
        // It may be spinning for what will never come. The panic's message has been printed.
        kill_process(bench, Signal::TERM).expect("it is our parent");
    }
    let code = i32::from(worked.is_err() || dies_with_parent.is_err());
    // SAFETY: the parent's destructors and exit handlers are not this process's to run.
    unsafe { libc::_exit(code) }
}

/// A scoped thread may still be on its way out when its scope ends.
fn wait_for_threads() {
    let start = Instant::now();
    while fs::read_dir("/proc/self/task").map_or(1, Iterator::count) > 1 {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "other threads are running"
        );
        thread::yield_now();
    }
}
