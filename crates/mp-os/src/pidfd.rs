//! Process descriptors: they name one process, even after its number is used again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};

use crate::clock::Deadline;
use crate::ready;

/// A descriptor of one process, close-on-exec. Readable when all its threads have ended.
///
/// # Examples
///
/// ```no_run
/// use mp_os::clock::Deadline;
/// use mp_os::pidfd::{Exit, PidFd};
///
/// let child = std::process::Command::new("true").spawn()?;
/// let process = PidFd::open(child.id())?;
/// assert_eq!(process.wait_exit(Deadline::NEVER)?, Some(Exit::Code(0)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct PidFd(OwnedFd);

/// How a child process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It called `exit` with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Checks once that this kernel and this sandbox offer every call with which children are watched.
///
/// # Errors
///
/// `Unsupported`, with the call that is missing and the way out.
///
/// # Examples
///
/// ```no_run
/// mp_os::pidfd::check_support()?;
/// let child = std::process::Command::new("true").spawn()?;
/// let process = mp_os::pidfd::PidFd::open(child.id())?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn check_support() -> io::Result<()> {
    // No `OnceLock`: a child that is forked while another thread fills it would wait for ever.
    static OFFERED: AtomicBool = AtomicBool::new(false);
    // Relaxed: the answer alone matters.
    if OFFERED.load(Ordering::Relaxed) {
        return Ok(());
    }
    match PidFd::probe() {
        Ok(()) => {
            OFFERED.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err((call, why)) if is_refusal(&why) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "{call} is not offered here ({why}): children are watched by process descriptors, which need Linux 5.4; \
                 a sandbox must allow pidfd_open, pidfd_send_signal and waitid (seccomp); valgrind 3.19 lacks pidfd_open"
            ),
        )),
        Err((_, error)) => Err(error),
    }
}

/// Whether the kernel or a sandbox does not know or allow the call, or what it is asked to do.
fn is_refusal(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    matches!(
        number,
        Some(libc::ENOSYS | libc::EPERM | libc::EOPNOTSUPP | libc::EACCES | libc::EINVAL)
    )
}

/// All that the kernel reports of a child's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ended {
    /// How it ended.
    pub exit: Exit,
    /// Whether the kernel wrote a core dump.
    pub dumped_core: bool,
}

impl PidFd {
    /// Does with this process what is done with children.
    fn probe() -> Result<(), (&'static str, io::Error)> {
        let me = Self::open(std::process::id()).map_err(|error| ("pidfd_open", error))?;
        me.send_signal(0)
            .map_err(|error| ("pidfd_send_signal", error))?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::PidFd(me.as_fd()), options) {
            // It is no child of its own, which a kernel that knows `P_PIDFD` finds out.
            Err(Errno::CHILD) | Ok(_) => Ok(()),
            Err(error) => Err(("waitid with P_PIDFD", error.into())),
        }
    }

    /// Opens the process that has the number `pid` now.
    ///
    /// For a child that has not been waited for the number cannot have a new bearer.
    ///
    /// # Errors
    ///
    /// `ESRCH` if there is no such process, `EINVAL` or `ENOENT` if the number is a thread's,
    /// `ENOSYS` or `EPERM` before Linux 5.3 and in strict sandboxes.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        Ok(Self(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Whether the process has ended: all its threads, not only its first one.
    ///
    /// # Errors
    ///
    /// What `poll` reports.
    pub fn is_exited(&self) -> io::Result<bool> {
        self.wait_end(Deadline::PASSED)
    }

    /// Waits for the end of the process, a child or not; false if the deadline came first.
    ///
    /// # Errors
    ///
    /// What `poll` reports.
    pub fn wait_end(&self, deadline: Deadline) -> io::Result<bool> {
        Ok(!ready::wait(self.as_fd(), PollFlags::IN, deadline)?.is_empty())
    }

    /// Waits for the end of a child and reaps it; `None` if the deadline came first.
    ///
    /// The kernel reports how it ended only once: keep the answer.
    ///
    /// # Errors
    ///
    /// `ECHILD` if it is not a child of this process, or was reaped before.
    pub fn wait_exit(&self, deadline: Deadline) -> io::Result<Option<Exit>> {
        Ok(self.reap(deadline)?.map(|ended| ended.exit))
    }

    /// As [`wait_exit`](Self::wait_exit), and reports a core dump.
    ///
    /// # Errors
    ///
    /// `ECHILD` if it is not a child of this process, or was reaped before.
    pub fn reap(&self, deadline: Deadline) -> io::Result<Option<Ended>> {
        if !self.wait_end(deadline)? {
            return Ok(None);
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        loop {
            match waitid(WaitId::PidFd(self.as_fd()), options) {
                Ok(status) => return Ok(status.and_then(|status| Ended::of(&status))),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a signal by number; 0 only checks that it could be sent.
    ///
    /// # Errors
    ///
    /// `ESRCH` if the process was reaped, `EPERM` if it is another user's, `EINVAL` if there is no
    /// such signal.
    pub fn send_signal(&self, signal: i32) -> io::Result<()> {
        let no_info = std::ptr::null::<libc::siginfo_t>();
        let fd = self.0.as_raw_fd();
        // SAFETY: passes numbers and a null siginfo, which the kernel then fills in itself.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Ended {
    fn of(status: &WaitIdStatus) -> Option<Self> {
        let code = status.exit_status().map(Exit::Code);
        let exit = code.or(status.terminating_signal().map(Exit::Signal))?;
        Some(Self {
            exit,
            dumped_core: status.dumped(),
        })
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for PidFd {
    /// Takes a process descriptor that was received from elsewhere.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<PidFd> for OwnedFd {
    fn from(process: PidFd) -> Self {
        process.0
    }
}
