//! What a process sets right about itself: its standard input and error, its signals, its name, and
//! what it does at its end.

use std::ffi::CString;
use std::io::{self, IoSlice};
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

/// Lets all signals in, whatever the thread had blocked that started this process.
pub fn unblock_signals() {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: initialises the set.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: a set that was initialised; the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
}

/// Keeps Ctrl-C (SIGINT) from the calling thread and from the threads that it starts. What is sent
/// meanwhile waits.
pub fn block_interrupts() {
    let mut interrupts = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: initialises the set.
    unsafe { libc::sigemptyset(interrupts.as_mut_ptr()) };
    // SAFETY: a set that was initialised, and a signal that exists.
    unsafe { libc::sigaddset(interrupts.as_mut_ptr(), libc::SIGINT) };
    // SAFETY: a set that was initialised; the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, interrupts.as_ptr(), std::ptr::null_mut()) };
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
