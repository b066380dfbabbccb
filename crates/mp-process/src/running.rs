//! A process that was started, as every handle of it sees it.
//!
//! # Invariants
//!
//! - I1: the child is reaped once, by the first thread that finds it ended, inside the initialiser
//!   of `end`. So its number cannot be reused while `end` is empty.
//! - I2: the child sends its outcome before it exits. An outcome that is neither in the socket nor
//!   at the listener when the child has ended never comes.
//!
//! # If a process dies
//!
//! The child may die at any instruction: its descriptor becomes readable, and without an outcome
//! the status is the signal. The parent's death ends the child, see [`mp_os::parent_death`].

use std::io::PipeReader;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{io, mem};

use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::Deadline;
use mp_os::pidfd::{Ended, Exit, PidFd};
use mp_os::wakeup;

use crate::for_children::ForChildren;
use crate::frame::{self, SET_UP};
use crate::outcome::Outcome;
use crate::status::Status;
use crate::table;
use crate::way_back::WayBack;

#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) daemon: bool,
    pub(crate) pid: u32,
    watch: ExitWatch,
    /// Until the outcome has been read.
    socket: Mutex<Option<OwnedFd>>,
    end: OnceLock<End>,
}

/// How its end is seen.
#[derive(Debug)]
pub(crate) enum ExitWatch {
    Process(PidFd),
    /// The kernel has reaped and forgotten it already. The read end of a pipe whose write end is
    /// closed: readable, as the descriptor of an ended process is.
    Forgotten(PipeReader),
}

impl ExitWatch {
    /// Watches a process by its descriptor; `None` if the kernel has forgotten it.
    pub(crate) fn new(process: Option<PidFd>) -> io::Result<Self> {
        Ok(match process {
            Some(process) => Self::Process(process),
            None => Self::Forgotten(io::pipe()?.0),
        })
    }

    fn wait_end(&self, deadline: Deadline) -> io::Result<bool> {
        match self {
            Self::Process(process) => process.wait_end(deadline),
            Self::Forgotten(_) => Ok(true),
        }
    }

    fn send_signal(&self, signal: i32) -> io::Result<()> {
        match self {
            Self::Process(process) => process.send_signal(signal),
            Self::Forgotten(_) => Ok(()),
        }
    }

    fn reap(&self) -> Option<Ended> {
        match self {
            Self::Process(process) => process.reap(Deadline::PASSED).ok().flatten(),
            Self::Forgotten(_) => None,
        }
    }
}

impl AsFd for ExitWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Process(process) => process.as_fd(),
            Self::Forgotten(pipe) => pipe.as_fd(),
        }
    }
}

#[derive(Debug)]
struct End {
    /// `None` if another part of the program, or the kernel, reaped it.
    ended: Option<Ended>,
    outcome: Option<Outcome>,
}

impl Running {
    pub(crate) fn new(
        name: String,
        daemon: bool,
        pid: u32,
        watch: ExitWatch,
        socket: OwnedFd,
    ) -> Self {
        Self {
            name,
            daemon,
            pid,
            watch,
            socket: Mutex::new(Some(socket)),
            end: OnceLock::new(),
        }
    }

    /// Waits until it says that it is set up.
    ///
    /// # Errors
    ///
    /// Why it is not. Then it has ended, and was reaped.
    pub(crate) fn await_setup(&self) -> Result<()> {
        let is_set_up = self.hears_of_setup();
        match is_set_up.map_err(|source| Error::os("wait for", self.title(), source)) {
            Ok(true) => Ok(()),
            // What it sent instead, or its death.
            Ok(false) => self.result::<(), _>(),
            Err(error) => {
                // Whether it is set up is not known.
                self.send_signal(libc::SIGKILL)?;
                self.reap_by(Deadline::NEVER)?;
                Err(error)
            }
        }
    }

    fn hears_of_setup(&self) -> io::Result<bool> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(socket) = socket.as_ref().map(OwnedFd::as_fd) else {
            return Ok(false);
        };
        // Its end is seen by its descriptor: a copy of the socket's other end may be elsewhere.
        wakeup::wait_any(&[socket, self.sentinel()], Deadline::NEVER)?;
        let is_set_up = frame::next_is(socket, SET_UP)? == Some(true);
        if is_set_up {
            frame::receive(socket, SET_UP)?;
        }
        Ok(is_set_up)
    }

    /// Waits for its end, reaps it and takes it out of the table; false if the deadline came first.
    pub(crate) fn join(&self, deadline: Deadline) -> Result<bool> {
        let ended = self.reap_by(deadline)?;
        if ended {
            table::forget(self);
        }
        Ok(ended)
    }

    /// Waits for its end and reaps it; false if the deadline came first.
    pub(crate) fn reap_by(&self, deadline: Deadline) -> Result<bool> {
        if self.end.get().is_some() {
            return Ok(true);
        }
        let ended = self.watch.wait_end(deadline);
        if !ended.map_err(|source| Error::os("wait for", self.title(), source))? {
            return Ok(false);
        }
        self.end.get_or_init(|| self.reap());
        Ok(true)
    }

    /// How it ended, if it has; then it is reaped.
    pub(crate) fn poll_status(&self) -> Status {
        if !matches!(self.join(Deadline::PASSED), Ok(true)) {
            return Status::Running;
        }
        match self.end.get() {
            None => Status::Running,
            Some(End {
                outcome: Some(Outcome::Panicked(panic)),
                ..
            }) => Status::Panicked(panic.clone()),
            Some(end) => end.status(),
        }
    }

    pub(crate) fn exitcode(&self) -> Option<i32> {
        if !matches!(self.join(Deadline::PASSED), Ok(true)) {
            return None;
        }
        match self.end.get()?.status() {
            Status::Exited(code) => Some(code),
            Status::Signaled { signal, .. } => Some(-signal),
            _ => None,
        }
    }

    pub(crate) fn result<R: WayBack<W>, W>(&self) -> Result<R> {
        self.join(Deadline::NEVER)?;
        let end = self.end.get();
        match end.and_then(|end| end.outcome.as_ref()) {
            Some(outcome) => R::arrive(outcome, &self.title()),
            None => Err(self.died(end.map_or(Status::Unknown, End::status))),
        }
    }

    pub(crate) fn send_signal(&self, signal: i32) -> Result<()> {
        match self.watch.send_signal(signal) {
            // It has been reaped, so no process is left to signal.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            sent => sent.map_err(|source| Error::os("signal", self.title(), source)),
        }
    }

    pub(crate) fn sentinel(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// Its name in errors.
    fn title(&self) -> String {
        format!("process {:?} (pid {})", self.name, self.pid)
    }

    fn died(&self, status: Status) -> Error {
        let hint = match status {
            Status::Signaled {
                signal: libc::SIGKILL,
                ..
            } => {
                "; unless a user or a program killed it, the kernel ran out of memory (see dmesg, or memory.events of the container)"
            }
            _ => "",
        };
        Error::new(ErrorKind::ProcessDied, "run", self.title())
            .with_detail(format!("{status} before its task returned{hint}"))
    }

    /// Called once, when the process has ended.
    fn reap(&self) -> End {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = mem::take(&mut *socket).and_then(|socket| Outcome::receive(socket.as_fd()));
        let for_children = ForChildren::if_made();
        let late = match (&outcome, &for_children) {
            (None, Some(for_children)) => for_children.late.outcome_of(self.pid),
            _ => Ok(None),
        };
        if let Some(for_children) = for_children {
            for_children.late.forget(self.pid);
        }
        // Last: from here on its number can be that of another child, whose connection would be
        // taken for this one's.
        let ended = self.watch.reap();
        let late = late.unwrap_or_else(|source| self.unknown(ended, source));
        End {
            ended,
            outcome: outcome.or(late),
        }
    }

    /// The outcome where connections wait that cannot be accepted: one of them may be this child's.
    fn unknown(&self, ended: Option<Ended>, source: io::Error) -> Option<Outcome> {
        // Left no outcome: a child that sent one exits with its code.
        if let Some(Ended { exit, .. }) = ended
            && !matches!(exit, Exit::Code(0 | 1))
        {
            return None;
        }
        let object = format!("the result that {} may have left", self.title());
        Some(Outcome::refused(&Error::os("receive", object, source)))
    }
}

impl End {
    fn status(&self) -> Status {
        match (self.ended, &self.outcome) {
            (Some(ended), _) => match ended.exit {
                Exit::Code(code) => Status::Exited(code),
                Exit::Signal(signal) => Status::Signaled {
                    signal,
                    core: ended.dumped_core,
                },
            },
            // It exits with this code right after it has sent the outcome.
            (None, Some(outcome)) => Status::Exited(outcome.code()),
            (None, None) => Status::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_child_has_ended_and_left_its_outcome() {
        let (ours, theirs) = mp_os::socket::pair().unwrap();
        Outcome::returned(&7_u8, Vec::new())
            .send(theirs.as_fd())
            .unwrap();
        drop(theirs);
        let watch = ExitWatch::new(None).unwrap();
        let running = Running::new("short".to_owned(), false, 1, watch, ours);
        let descriptor = PidFd::from(running.sentinel().try_clone_to_owned().unwrap());
        assert!(descriptor.is_exited().unwrap(), "a poll must see the end");
        running.send_signal(libc::SIGKILL).unwrap();
        assert_eq!(running.exitcode(), Some(0));
        assert_eq!(running.result::<u8, _>().unwrap(), 7);
    }
}
