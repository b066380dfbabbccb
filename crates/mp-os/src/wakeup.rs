//! Waiting for several descriptors together, and a descriptor that any process rings.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use crate::clock::Deadline;

/// A descriptor (an eventfd) that is readable from [`ring`](Self::ring) until
/// [`clear`](Self::clear), close-on-exec.
///
/// It is for a process that waits for other descriptors as well, such as those of its children.
/// What waits for memory alone sleeps on a futex, which costs less.
///
/// # Examples
///
/// ```
/// use mp_os::clock::Deadline;
/// use mp_os::wakeup::{Wakeup, wait_any};
/// use std::os::fd::AsFd;
///
/// let wakeup = Wakeup::new()?;
/// let (reader, writer) = std::io::pipe()?;
/// wakeup.ring()?;
/// drop(writer);
/// let descriptors = [reader.as_fd(), wakeup.as_fd()];
/// assert_eq!(wait_any(&descriptors, Deadline::NEVER)?, [0, 1]);
/// wakeup.clear()?;
/// assert_eq!(wait_any(&descriptors, Deadline::NEVER)?, [0]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Wakeup(OwnedFd);

impl Wakeup {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE` without free descriptors.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(eventfd(0, flags)?))
    }

    /// Makes it readable, if it is not. Never waits.
    ///
    /// # Errors
    ///
    /// `EBADF` if other code closed it.
    pub fn ring(&self) -> io::Result<()> {
        loop {
            match rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
                // Full means readable, which is what was asked for.
                Ok(_) | Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes it not readable, until it is rung again. Never waits.
    ///
    /// # Errors
    ///
    /// As for [`ring`](Self::ring).
    pub fn clear(&self) -> io::Result<()> {
        loop {
            match rustix::io::read(&self.0, &mut [0; 8]) {
                Ok(_) | Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Wakeup {
    /// Takes one that another process passed.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// Waits until one of `fds` is readable, or shows an error or a hang-up; returns the places of all
/// that do, in order, and none once the deadline has passed.
///
/// # Errors
///
/// What `poll` reports: `ENOMEM`, or `EINVAL` for more descriptors than a process may have.
pub fn wait_any(fds: &[BorrowedFd<'_>], deadline: Deadline) -> io::Result<Vec<usize>> {
    let mut waited: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    loop {
        let timeout = deadline.of_one_call().to_relative_timespec();
        match poll(&mut waited, timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) if !deadline.is_expired() => {}
            Ok(0) | Err(Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let shows = |place: &usize| !waited[*place].revents().is_empty();
    Ok((0..fds.len()).filter(shows).collect())
}
