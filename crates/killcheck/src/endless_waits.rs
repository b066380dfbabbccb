//! Time standing still for a process: its waits have no timeouts.
//!
//! The process is traced and stops at the entry of each system call. There the timeout argument is
//! replaced by one that never passes, and at the exit it is put back, since the caller counts on
//! its registers. The wait itself is an undisturbed one: the process stands in the kernel's queues
//! as any other does, and any process may wake it.
//!
//! A process that was woken stops at the exit until it is attended to. So nothing of it runs before
//! the harness says so.

use std::cell::Cell;
use std::time::Duration;

use libc::pid_t;

use crate::timeout::{Call, Timeout};
use crate::{Error, ErrorKind, clock};

/// Marks a stop at the entry or exit of a system call.
const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// Interrupts a wait: nothing can block this signal, and it is not delivered.
const INTERRUPTION: i32 = libc::SIGSTOP;

/// Where the process is.
#[derive(Debug, Clone, Copy)]
enum Place {
    Outside,
    Inside {
        timeout: Option<Timeout>,
        is_a_pause: bool,
    },
}

/// The tracing of a process whose timeouts do not pass.
#[derive(Debug)]
pub(crate) struct EndlessWaits {
    pid: pid_t,
    place: Cell<Place>,
    /// One interruption is under way that lets a timeout pass.
    passing: Cell<bool>,
    longest_timeout: Cell<Option<Duration>>,
}

/// Lets the parent trace this process, from here on.
pub(crate) fn accept_tracing() {
    // SAFETY: TRACEME takes no arguments.
    let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    if traced == -1 {
        // SAFETY: _exit may be called at any time; the parent finds an end instead of a stop.
        unsafe { libc::_exit(1) };
    }
    // SAFETY: raise takes a signal number by value.
    unsafe { libc::raise(libc::SIGSTOP) };
}

impl EndlessWaits {
    /// Begins with a child that has just called [`accept_tracing`].
    pub(crate) fn attach(pid: pid_t) -> Result<Self, Error> {
        let waits = Self {
            pid,
            place: Cell::new(Place::Outside),
            passing: Cell::new(false),
            longest_timeout: Cell::new(None),
        };
        let first = waits.look(libc::WEXITED | libc::WNOWAIT)?;
        if first.si_code != libc::CLD_TRAPPED {
            return Err(Error::new(
                ErrorKind::TraceRefused,
                "the process could not be traced; a container needs CAP_SYS_PTRACE or a seccomp \
                 profile that allows ptrace",
            ));
        }
        let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
        // SAFETY: SETOPTIONS takes its flags by value.
        let set = unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options as usize) };
        if set == -1 {
            return Err(Error::last_os("tracing a process beside the victim")
                .with_kind(ErrorKind::TraceRefused));
        }
        waits.go_on(0)?;
        Ok(waits)
    }

    /// Lets the process go on from all stops it has come to. False: there were none, so it has been
    /// where it was since the last look.
    pub(crate) fn attend(&self) -> Result<bool, Error> {
        let mut went_on = false;
        while let Some(signal) = self.stop()? {
            self.leave_stop(signal)?;
            went_on = true;
        }
        Ok(went_on)
    }

    /// Returns the longest timeout that one of its waits had; the longest there is if one had none.
    pub(crate) fn longest_timeout(&self) -> Option<Duration> {
        self.longest_timeout.get()
    }

    /// Tells whether the process is in a system call that something else than the clock must end.
    pub(crate) fn must_be_woken(&self) -> bool {
        let is_a_wait = |place| {
            matches!(
                place,
                Place::Inside {
                    is_a_pause: false,
                    ..
                }
            )
        };
        is_a_wait(self.place.get())
    }

    /// Lets the timeout of the present wait pass, if it has one.
    pub(crate) fn pass_timeout(&self) -> Result<(), Error> {
        if !matches!(
            self.place.get(),
            Place::Inside {
                timeout: Some(_),
                ..
            }
        ) {
            return Ok(());
        }
        self.passing.set(true);
        // SAFETY: the child is unreaped, so the number still means it.
        if unsafe { libc::kill(self.pid, INTERRUPTION) } == -1 {
            return Err(Error::last_os("interrupting a process beside the victim"));
        }
        Ok(())
    }

    /// Returns the signal of a stop, if there is one. An end is not taken.
    fn stop(&self) -> Result<Option<i32>, Error> {
        let found = match self.look(libc::WNOHANG) {
            // One that has ended will not stop any more.
            Err(error) if error.is_of_nobody() => return Ok(None),
            found => found?,
        };
        // SAFETY: waitid has filled the struct in, or left it zero.
        let pid = unsafe { found.si_pid() };
        // SAFETY: as above.
        let signal = unsafe { found.si_status() };
        Ok((pid != 0).then_some(signal))
    }

    fn look(&self, flags: i32) -> Result<libc::siginfo_t, Error> {
        let flags = flags | libc::WSTOPPED | libc::__WALL;
        loop {
            // SAFETY: the struct is plain integers, for which zero is valid.
            let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
            let pid = self.pid as libc::id_t;
            // SAFETY: `found` is a writable siginfo_t.
            let done = unsafe { libc::waitid(libc::P_PID, pid, &raw mut found, flags) };
            if done == 0 {
                return Ok(found);
            }
            if std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                return Err(Error::last_os("waiting for a process beside the victim"));
            }
        }
    }

    fn leave_stop(&self, signal: i32) -> Result<(), Error> {
        if signal == SYSCALL_STOP {
            return match self.cross() {
                // It was killed just now.
                Err(error) if error.is_of_nobody() => Ok(()),
                Err(error) => Err(error),
                Ok(()) => self.go_on(0),
            };
        }
        let is_ours = signal == INTERRUPTION && self.passing.replace(false);
        self.go_on(if is_ours { 0 } else { signal })
    }

    /// The process stands between itself and the kernel.
    fn cross(&self) -> Result<(), Error> {
        match self.place.get() {
            Place::Outside => {
                let call = Call::entered(self.pid)?;
                let endless = call.is_endless().then_some(Duration::MAX);
                let timeout = call.take_timeout(self.pid, clock::now())?;
                let this = timeout.as_ref().map(Timeout::left).or(endless);
                self.longest_timeout
                    .set(self.longest_timeout.get().max(this));
                self.place.set(Place::Inside {
                    timeout,
                    is_a_pause: call.is_a_pause(),
                });
            }
            Place::Inside { timeout, .. } => {
                self.place.set(Place::Outside);
                if let Some(timeout) = timeout {
                    if self.passing.get() {
                        timeout.pass(self.pid)?;
                    }
                    timeout.put_back(self.pid)?;
                }
            }
        }
        Ok(())
    }

    fn go_on(&self, signal: i32) -> Result<(), Error> {
        // SAFETY: SYSCALL takes the signal to deliver by value.
        let done = unsafe { libc::ptrace(libc::PTRACE_SYSCALL, self.pid, 0, signal as usize) };
        if done == -1 && std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH) {
            return Err(Error::last_os("letting a process beside the victim go on"));
        }
        Ok(())
    }
}
