//! Starting this program again, as a new process.

use std::ffi::OsString;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::pidfd::{self, PidFd};
use crate::stream::Stream;
use crate::this_process::HeldBack;

/// What a new process gets that differs from this one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The arguments after the program's name; `None` for this process's own.
    pub args: Option<Vec<OsString>>,
    /// Environment variables to set; all others are inherited.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory; `None` for this process's own.
    pub directory: Option<PathBuf>,
    /// The standard output.
    pub stdout: Stream,
    /// The standard error.
    pub stderr: Stream,
    /// Signals that it starts with blocked, besides those of the calling thread.
    pub blocked: Vec<i32>,
}

/// A process that was started.
#[derive(Debug)]
pub struct Started {
    /// Its number.
    pub pid: u32,
    /// Its descriptor, through which it is waited for; `None` if it has ended already and the
    /// kernel has forgotten it, which it does where `SIGCHLD` is ignored.
    pub process: Option<PidFd>,
}

/// Whether the kernel loaded a program interpreter (the dynamic loader) next to this program.
///
/// It did not for a static program. Nor did it for a program that was given to the loader as an
/// argument (`ld.so ./program`): there the kernel ran the loader alone, `/proc/self/exe` is the
/// loader, and [`run_self`] would start that.
#[must_use]
pub fn has_loader() -> bool {
    // SAFETY: takes a number, and reads what the kernel passed to this process at its start.
    unsafe { libc::getauxval(libc::AT_BASE) != 0 }
}

/// Starts the running executable again, found through `/proc/self/exe`, with `stdin` as its
/// standard input. `argv[0]` is ours.
///
/// Descriptors that are not close-on-exec are inherited as well; the new process can
/// [close](close_inherited) them. Nothing runs between fork and exec, so it costs the same however
/// much memory this process has (the standard library uses `posix_spawn`).
///
/// # Errors
///
/// What the kernel reports, for instance `EAGAIN` at the limit of processes; `EINVAL` for a signal
/// to block that does not exist; what [`pidfd::check_support`] says, before anything is started.
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
    pidfd::check_support()?;
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
    command.stdin(Stdio::from(stdin));
    command.stdout(options.stdout.to_stdio()?);
    command.stderr(options.stderr.to_stdio()?);
    // The standard library has a new process inherit what the calling thread blocks.
    let held_back = HeldBack::new(&options.blocked)?;
    let spawned = command.spawn();
    drop(held_back);
    let mut child = spawned?;
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
            // A process that cannot be watched must not stay. Both fail only if it is gone.
            drop(child.kill());
            drop(child.wait());
            Err(error)
        }
    }
}

/// Closes all descriptors that this process inherited, except its standard streams.
///
/// A descriptor crosses `exec` only without close-on-exec, so one that has it was opened by this
/// program and stays.
///
/// # Errors
///
/// What reading `/proc/self/fd` reports.
///
/// # Safety
///
/// No code of this process uses a descriptor above 2 that is not close-on-exec. It is so before
/// `main`, unless code that ran even earlier has opened one.
pub unsafe fn close_inherited() -> io::Result<()> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse::<RawFd>().ok());
        open.extend(number);
    }
    for number in open {
        // SAFETY: takes a number, and changes nothing; that of a descriptor which is closed now
        // gives -1.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if number > libc::STDERR_FILENO && flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
            // SAFETY: the caller promises that no code uses it. An error of the file concerns its
            // writer only.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}
