//! What a process sets right about itself: its standard input and error, its signals, its niceness,
//! its name, and what it does at its end.

use std::ffi::CString;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::event::PollFlags;
use rustix::fs::FileType;
use rustix::io::{Errno, ReadWriteFlags};

use crate::clock::Deadline;
use crate::ready;

/// Descriptor 0; `None` if it is closed.
///
/// Takes no lock, unlike `std::io::stdin`: a child that is forked while another thread makes that
/// would wait for ever.
#[must_use]
pub fn stdin() -> Option<BorrowedFd<'static>> {
    let stdin = rustix::stdio::stdin();
    rustix::io::fcntl_getfd(stdin).is_ok().then_some(stdin)
}

/// Makes descriptor 0 a copy of `file`, whatever it was.
///
/// # Errors
///
/// `EMFILE` if this process may have no descriptor 0.
pub fn replace_stdin(file: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::stdio::dup2_stdin(file)?)
}

/// Writes to standard error. Where that is a pipe or a socket that is full, it waits for a reader
/// up to the deadline.
///
/// Takes no lock: a thread that waits in `eprintln!` for the reader is not waited for.
///
/// # Errors
///
/// `TimedOut` if there was no room by the deadline; what `write` reports.
pub fn write_stderr(mut bytes: &[u8], deadline: Deadline) -> io::Result<()> {
    let stderr = rustix::stdio::stderr();
    let kind = FileType::from_raw_mode(rustix::fs::fstat(stderr)?.st_mode);
    // A file and a terminal take what they get.
    let mut may_wait = !matches!(kind, FileType::Fifo | FileType::Socket);
    while !bytes.is_empty() {
        let written = if may_wait {
            rustix::io::write(stderr, bytes)
        } else {
            // The offset that means none, as pipes have none.
            let pieces = [IoSlice::new(bytes)];
            rustix::io::pwritev2(stderr, &pieces, u64::MAX, ReadWriteFlags::NOWAIT)
        };
        match written {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                if ready::wait(stderr, PollFlags::OUT, deadline)?.is_empty() {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "no process reads standard error",
                    ));
                }
            }
            // A kernel that cannot do it for this kind of file.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if !may_wait => may_wait = true,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Blocks these signals in the calling thread and lets all others in, whatever the thread had
/// blocked that started this process.
///
/// # Errors
///
/// `EINVAL` for a signal that does not exist.
pub fn set_blocked_signals(signals: &[i32]) -> io::Result<()> {
    mask(libc::SIG_SETMASK, &signal_set(signals)?);
    Ok(())
}

/// Keeps Ctrl-C (SIGINT) from the calling thread and from the threads that it starts. What is sent
/// meanwhile waits.
pub fn block_interrupts() {
    if let Ok(interrupts) = signal_set(&[libc::SIGINT]) {
        mask(libc::SIG_BLOCK, &interrupts);
    }
}

/// Signals that the calling thread does not get until this is dropped; what is sent meanwhile
/// waits.
pub(crate) struct HeldBack {
    before: libc::sigset_t,
    /// The mask is that of one thread.
    _of_this_thread: PhantomData<*const ()>,
}

impl HeldBack {
    pub(crate) fn new(signals: &[i32]) -> io::Result<Self> {
        Ok(Self {
            before: mask(libc::SIG_BLOCK, &signal_set(signals)?),
            _of_this_thread: PhantomData,
        })
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        mask(libc::SIG_SETMASK, &self.before);
    }
}

/// Changes what the calling thread blocks; returns what it blocked before.
fn mask(how: libc::c_int, signals: &libc::sigset_t) -> libc::sigset_t {
    let mut before = *signals;
    // SAFETY: two sets that are initialised, and a change that exists: it cannot fail.
    unsafe { libc::pthread_sigmask(how, signals, &raw mut before) };
    before
}

fn signal_set(signals: &[i32]) -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: a set that was initialised; a number that is no signal's gives -1.
        if unsafe { libc::sigaddset(set.as_mut_ptr(), *signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: initialised above.
    Ok(unsafe { set.assume_init() })
}

/// Whether a process can block, ignore and handle the signal: there is one of that number, it is
/// not SIGKILL or SIGSTOP, and libc does not keep it for itself.
#[must_use]
pub fn may_be_handled(signal: i32) -> bool {
    !matches!(signal, libc::SIGKILL | libc::SIGSTOP) && signal_set(&[signal]).is_ok()
}

/// Makes the signal have no effect on this process.
///
/// # Errors
///
/// `EINVAL` if it is none that [may be handled](may_be_handled).
pub fn ignore_signal(signal: i32) -> io::Result<()> {
    // SAFETY: ignoring a signal runs no code of this process.
    signalled(unsafe { libc::signal(signal, libc::SIG_IGN) })
}

/// Gives the signal its default effect.
///
/// # Errors
///
/// `EINVAL` if it is none that [may be handled](may_be_handled).
pub fn reset_signal(signal: i32) -> io::Result<()> {
    // SAFETY: the default effect runs no code of this process.
    signalled(unsafe { libc::signal(signal, libc::SIG_DFL) })
}

fn signalled(previous: libc::sighandler_t) -> io::Result<()> {
    if previous == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The niceness of the calling thread, -20 to 19.
///
/// # Errors
///
/// What a sandbox answers that forbids it.
pub fn niceness() -> io::Result<i32> {
    Ok(rustix::process::getpriority_process(None)?)
}

/// Sets the niceness of the calling thread and of the threads that it starts.
///
/// # Errors
///
/// `EACCES` if it is lower than this process may have.
pub fn set_niceness(niceness: i32) -> io::Result<()> {
    Ok(rustix::process::setpriority_process(None, niceness)?)
}

/// Makes writing to a pipe that has no reader an error instead of the end of this process, as
/// Rust's runtime does before `main`.
pub fn ignore_broken_pipes() {
    // SAFETY: ignoring a signal runs no code of this process.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Names the calling thread, and if that is the first one the process, for `ps` and `top`: the
/// first 15 bytes up to a NUL.
///
/// # Errors
///
/// What a sandbox answers that forbids it.
pub fn show_name(name: &str) -> io::Result<()> {
    let shown = name.split('\0').next().unwrap_or_default();
    Ok(rustix::thread::set_name(&CString::new(shown)?)?)
}

/// Has `last` called when this process exits, before what was given earlier; not when a signal ends
/// it.
///
/// # Errors
///
/// `OutOfMemory` if there is none to remember it.
pub fn at_exit(last: extern "C" fn()) -> io::Result<()> {
    // SAFETY: a function that may be called at any time; libc keeps its address.
    match unsafe { libc::atexit(last) } {
        0 => Ok(()),
        _ => Err(io::ErrorKind::OutOfMemory.into()),
    }
}
