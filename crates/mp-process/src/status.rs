//! How a process ended.

use std::fmt;

use crate::panic::Panic;

/// What a process is doing, or how it ended.
///
/// ```
/// use mp_process::{Process, Status};
///
/// fn give_up() {
///     std::process::exit(3)
/// }
///
/// let mut process = Process::new(give_up, ());
/// assert_eq!(process.status(), Status::NotStarted);
/// process.start()?;
/// process.join()?;
/// assert_eq!(process.status(), Status::Exited(3));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// [`start`](crate::Process::start) has not been called.
    NotStarted,
    /// It has not ended.
    Running,
    /// It exited with this code: 0 after its task returned, 1 if that was an `Err`, or what was
    /// given to `std::process::exit`.
    Exited(i32),
    /// A signal ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core dump.
        core: bool,
    },
    /// Its task panicked.
    Panicked(Panic),
    /// It ended without an outcome, and its exit status is lost: other code of this process waited
    /// for it (`waitpid(-1)`), or `SIGCHLD` is ignored.
    Unknown,
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => formatter.write_str("not started"),
            Self::Running => formatter.write_str("running"),
            Self::Exited(code) => write!(formatter, "exited with code {code}"),
            Self::Signaled { signal, core } => {
                write!(formatter, "ended by signal {signal}")?;
                if let Some(name) = signal_name(*signal) {
                    write!(formatter, " ({name})")?;
                }
                formatter.write_str(if *core { ", core dumped" } else { "" })
            }
            Self::Panicked(panic) => panic.fmt(formatter),
            Self::Unknown => {
                formatter.write_str("ended, but another part of the program waited for it")
            }
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}
