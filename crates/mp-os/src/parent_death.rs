//! Children that die with their parent process, by an exit or by any signal.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that made the child ends, and misses a parent that
//! dies first. So the parent keeps the only write end of a pipe, and each child asks the kernel
//! for a SIGKILL when that end hangs up, then looks once whether it already has.
//!
//! # If a process dies
//! The kernel closes the parent's end with its last thread, and kills the children with that.
//! A child killed before it asked needs nothing; one that asks too late sees the hang-up.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::clock::Deadline;
use crate::ready;

/// `<asm-generic/fcntl.h>`; the libc crate lacks it for Linux.
const F_SETSIG: libc::c_int = 10;

/// The parent's side, one per process: while it lives, so may the children.
///
/// Both ends are close-on-exec. A child of a plain `fork` inherits the write end; it must drop its
/// copy before it does anything else, or it keeps its siblings alive.
#[derive(Debug)]
pub struct ParentPipe {
    read: OwnedFd,
    /// Never written to; its closing is the signal.
    _write: OwnedFd,
}

impl ParentPipe {
    /// Creates the pipe.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE` without free descriptors.
    pub fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self {
            read,
            _write: write,
        })
    }

    /// The end that children get, to pass to [`die_with_parent`].
    #[must_use]
    pub fn read_end(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

/// Makes the calling process die by SIGKILL when the last holder of the pipe's write end does; if
/// it already has, immediately.
///
/// Opens the pipe once more (so that siblings do not share the request) and leaves that descriptor
/// open until the process ends. Replacing the process by `exec` ends the request.
///
/// # Errors
///
/// What opening `/proc/self/fd/N` or `fcntl` reports; the process then does not die with the pipe.
pub fn die_with_parent(pipe: BorrowedFd<'_>) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let own = open(path, flags, Mode::empty())?;
    let me = rustix::process::getpid();
    // SAFETY: F_SETOWN takes a number: this process.
    set(unsafe { libc::fcntl(own.as_raw_fd(), libc::F_SETOWN, me.as_raw_nonzero().get()) })?;
    // SAFETY: F_SETSIG takes a number: the signal.
    set(unsafe { libc::fcntl(own.as_raw_fd(), F_SETSIG, libc::SIGKILL) })?;
    // Last, when owner and signal are right. rustix's flags do not name O_ASYNC.
    let asynchronous = OFlags::from_bits_retain(libc::O_ASYNC.unsigned_abs());
    fcntl_setfl(&own, fcntl_getfl(&own)? | asynchronous)?;
    // Looked at after asking: a hang-up is either seen here or signalled.
    if ready::wait(own.as_fd(), PollFlags::empty(), Deadline::PASSED)?.contains(PollFlags::HUP) {
        rustix::process::kill_process(me, rustix::process::Signal::KILL)?;
    }
    let _open_for_good = own.into_raw_fd();
    Ok(())
}

fn set(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
