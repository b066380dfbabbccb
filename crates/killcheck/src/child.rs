//! A process beside the victim: survivor, sleeper, waker. It runs one closure, with timeouts or,
//! traced, without.

use std::any::Any;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use libc::pid_t;

use crate::endless_waits::{self, EndlessWaits};
use crate::report::Failure;
use crate::{Error, SharedArea, clock, proc_state};

/// Longest message that comes back from a child, in bytes.
const TEXT: usize = 1000;

const PENDING: u32 = 0;
const GOOD: u32 = 1;
const BAD: u32 = 2;

/// True in forked children only; they do not share it with the harness.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Silences panics in children: each is a finding in the report, and thousands of them on stderr
/// would hide it.
///
/// The hook is set in the harness, where it passes everything on. Setting it in the child would
/// wait for ever if another thread of the harness was panicking during the fork.
fn silence_children() {
    static ONCE: Once = Once::new();
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_CHILD.load(Ordering::Relaxed) {
                previous(panic);
            }
        }));
    });
}

/// Where a child leaves its result before it exits.
#[repr(C)]
pub(crate) struct ResultSlot {
    /// `PENDING`, `GOOD` or `BAD`; stored last, with Release.
    state: AtomicU32,
    len: AtomicU32,
    done_at: AtomicU64,
    text: [AtomicU8; TEXT],
}

pub(crate) fn new_result_slot() -> Result<SharedArea<ResultSlot>, Error> {
    // SAFETY: it is atomics only, for which zero is valid.
    unsafe { SharedArea::zeroed() }
}

impl ResultSlot {
    fn fill(&self, result: &Result<(), String>) {
        self.done_at.store(clock::now(), Ordering::Relaxed);
        let text = result.as_ref().err().map_or("", String::as_str);
        let text = &text.as_bytes()[..text.len().min(TEXT)];
        for (place, byte) in self.text.iter().zip(text) {
            place.store(*byte, Ordering::Relaxed);
        }
        self.len.store(text.len() as u32, Ordering::Relaxed);
        self.state
            .store(if result.is_ok() { GOOD } else { BAD }, Ordering::Release);
    }

    fn text(&self) -> String {
        let len = (self.len.load(Ordering::Relaxed) as usize).min(TEXT);
        let bytes: Vec<u8> = self.text[..len]
            .iter()
            .map(|b| b.load(Ordering::Relaxed))
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// What becomes of the timeouts of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    Passes,
    /// The process is traced, and stands still where it was woken until it is attended to.
    StandsStill,
}

/// A child running one closure, killed and reaped when dropped.
pub(crate) struct Child<'s> {
    pid: pid_t,
    pidfd: OwnedFd,
    slot: &'s ResultSlot,
    waits: Option<EndlessWaits>,
    reaped: bool,
}

impl<'s> Child<'s> {
    /// Forks a child that runs `work` and leaves its result in `slot`.
    pub(crate) fn start(
        slot: &'s SharedArea<ResultSlot>,
        time: Time,
        work: &dyn Fn() -> Result<(), String>,
    ) -> Result<Self, Error> {
        silence_children();
        slot.state.store(PENDING, Ordering::Relaxed);
        // SAFETY: getpid has no preconditions.
        let harness = unsafe { libc::getpid() };
        // SAFETY: the child only runs the closure and leaves by _exit.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => return Err(Error::last_os("forking a process beside the victim")),
            0 => work_and_exit(harness, slot, time, work),
            _ => {}
        }
        // SAFETY: the child is unreaped, so the number means it; no flags.
        let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if pidfd == -1 {
            let error = Error::last_os("opening a pidfd, which needs Linux 5.3");
            end(pid);
            return Err(error);
        }
        // SAFETY: the call has just returned this descriptor, and no other value owns it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as i32) };
        let mut one = Self {
            pid,
            pidfd,
            slot,
            waits: None,
            reaped: false,
        };
        if time == Time::StandsStill {
            one.waits = Some(EndlessWaits::attach(pid)?);
        }
        Ok(one)
    }

    /// Tells whether it has no timeouts.
    pub(crate) fn is_timeless(&self) -> bool {
        self.waits.is_some()
    }

    /// Lets it go on, if it is one that stands still when no look attends to it. False: it has not
    /// left its place since the last time.
    pub(crate) fn attend(&self) -> Result<bool, Error> {
        self.waits.as_ref().map_or(Ok(false), EndlessWaits::attend)
    }

    fn is_asleep(&self) -> bool {
        if self.is_timeless() {
            proc_state::is_asleep_in_its_call(self.pid)
        } else {
            proc_state::is_asleep(self.pid)
        }
    }

    /// Tells whether it is asleep in a system call, and in no mere pause as far as that is known.
    pub(crate) fn rests(&self) -> bool {
        self.waits.as_ref().is_none_or(EndlessWaits::must_be_woken) && self.is_asleep()
    }

    /// Tells whether it sleeps where only another process could wake it.
    pub(crate) fn must_be_woken(&self) -> bool {
        self.waits.as_ref().is_some_and(EndlessWaits::must_be_woken) && self.is_asleep()
    }

    /// Tells whether one that had fallen asleep has woken, which is certain if it has no timeouts:
    /// not attended to, it stands still or is on its way there.
    pub(crate) fn has_woken(&self) -> bool {
        if self.is_timeless() {
            !self.is_asleep()
        } else {
            self.done_at().is_some()
        }
    }

    /// Returns the longest timeout that was taken from one of its waits.
    pub(crate) fn longest_timeout(&self) -> Option<Duration> {
        self.waits.as_ref().and_then(EndlessWaits::longest_timeout)
    }

    /// Lets the timeout of its wait pass once, if that was taken from it.
    pub(crate) fn pass_timeout(&self) -> Result<(), Error> {
        self.waits
            .as_ref()
            .map_or(Ok(()), EndlessWaits::pass_timeout)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ends_within(Duration::ZERO)
    }

    /// Waits at most `bound` for its end.
    pub(crate) fn ends_within(&self, bound: Duration) -> bool {
        let end = clock::now() + clock::nanos(bound);
        loop {
            let left = end.saturating_sub(clock::now()).div_ceil(1_000_000);
            let mut wanted = libc::pollfd {
                fd: self.pidfd.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            let left = i32::try_from(left).unwrap_or(i32::MAX);
            // SAFETY: one pollfd is passed, and it is ours.
            let ready = unsafe { libc::poll(&raw mut wanted, 1, left) };
            if ready > 0 {
                return true;
            }
            if ready == 0 && clock::now() >= end {
                return false;
            }
        }
    }

    /// Returns when its closure returned, on the monotonic clock in nanoseconds.
    pub(crate) fn done_at(&self) -> Option<u64> {
        let done = self.slot.state.load(Ordering::Acquire) != PENDING;
        done.then(|| self.slot.done_at.load(Ordering::Relaxed))
    }

    /// Waits at most `bound` for its end and says what was wrong with it; kills it if it hangs.
    pub(crate) fn finish(mut self, bound: Duration) -> Option<Failure> {
        if self.ends_within(bound) {
            self.take_end()
        } else {
            Some(Failure::Hang(bound))
        }
    }

    /// Reaps it after its end and says what was wrong with it.
    pub(crate) fn take_end(&mut self) -> Option<Failure> {
        let status = self.kill();
        if libc::WIFSIGNALED(status) {
            return Some(Failure::of_status(status));
        }
        match self.slot.state.load(Ordering::Acquire) {
            GOOD => None,
            BAD => Some(Failure::Violation(self.slot.text())),
            _ => Some(Failure::of_status(status)),
        }
    }

    /// Kills it if it has not ended yet, reaps it and returns its wait status.
    pub(crate) fn kill(&mut self) -> i32 {
        self.reaped = true;
        end(self.pid)
    }
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
        }
    }
}

/// Kills a child (to no effect if it has already ended), reaps it and returns its wait status.
fn end(pid: pid_t) -> i32 {
    // SAFETY: the child is unreaped, so the number still means it.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    let mut status = 0;
    loop {
        // SAFETY: `status` is a writable int.
        let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        let interrupted = std::io::Error::last_os_error().raw_os_error() == Some(libc::EINTR);
        // Stops of a traced one come before its end.
        let is_over = reaped == pid && !libc::WIFSTOPPED(status);
        if is_over || (reaped == -1 && !interrupted) {
            return status;
        }
    }
}

fn work_and_exit(
    harness: pid_t,
    slot: &ResultSlot,
    time: Time,
    work: &dyn Fn() -> Result<(), String>,
) -> ! {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number by value.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // SAFETY: getppid has no preconditions.
    if unsafe { libc::getppid() } == harness {
        IS_CHILD.store(true, Ordering::Relaxed);
        if time == Time::StandsStill {
            endless_waits::accept_tracing();
        }
        let result = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic))));
        slot.fill(&result);
    }
    // SAFETY: _exit may be called at any time; nothing of the harness's state must be run down.
    unsafe { libc::_exit(0) }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
