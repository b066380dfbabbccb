//! Starting this program again, as a new process.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::pidfd::PidFd;

/// What a new process gets that differs from this one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The arguments behind the program's name; `None` for this process's own.
    pub args: Option<Vec<OsString>>,
    /// Environment variables to set; all others are inherited.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory; `None` for this process's own.
    pub directory: Option<PathBuf>,
}

/// A process that was started.
#[derive(Debug)]
pub struct Started {
    /// Its number.
    pub pid: u32,
    /// Its descriptor, through which it is waited for; `None` if it has ended already and the kernel has forgotten it,
    /// which it does where `SIGCHLD` is ignored.
    pub process: Option<PidFd>,
}

/// Starts the running executable again, found through `/proc/self/exe`, with `stdin` as its
/// standard input. The other standard streams are inherited, and `argv[0]` is ours.
///
/// Nothing runs between fork and exec, so it costs the same however much memory this process has
/// (the standard library uses `posix_spawn`).
///
/// # Errors
///
/// What the kernel reports, for instance `EAGAIN` at the limit of processes.
///
/// # Examples
///
/// ```no_run
/// use mp_os::{clock::Deadline, socket, spawn};
///
/// let (ours, theirs) = socket::pair()?;
/// let child = spawn::run_self(theirs, &spawn::Options::default())?;
/// socket::send(&ours, b"hello", &[])?;
/// if let Some(process) = child.process {
///     process.wait_exit(Deadline::NEVER)?;
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn run_self(stdin: OwnedFd, options: &Options) -> io::Result<Started> {
    let mut own = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = own.next() {
        command.arg0(name);
    }
    match &options.args {
        Some(args) => command.args(args),
        None => command.args(own),
    };
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    if let Some(directory) = &options.directory {
        command.current_dir(directory);
    }
    let mut child = command.stdin(Stdio::from(stdin)).spawn()?;
    let pid = child.id();
    // Not yet waited for, so the number is still this child's.
    match PidFd::open(pid) {
        Ok(process) => Ok(Started {
            pid,
            process: Some(process),
        }),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
            Ok(Started { pid, process: None })
        }
        Err(error) => {
            // A process that nobody could watch must not stay. Both fail only if it is gone.
            drop(child.kill());
            drop(child.wait());
            Err(error)
        }
    }
}
