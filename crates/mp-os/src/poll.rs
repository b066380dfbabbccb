//! Watching several descriptors at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::clock::Deadline;

/// Waits until one of the descriptors is readable, has hung up or shows an error, and returns which do; none once the
/// deadline has passed.
///
/// # Errors
///
/// `EBADF` if one is closed, `EINVAL` for more than `ulimit -n`.
///
/// # Examples
///
/// ```
/// use mp_os::clock::Deadline;
/// use mp_os::{poll, socket};
/// use std::os::fd::AsFd;
///
/// let (left, right) = socket::pair()?;
/// socket::send(&left, b"to the right", &[])?;
/// let ready = poll::readable(&[left.as_fd(), right.as_fd()], Deadline::NEVER)?;
/// assert_eq!(ready, [false, true]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn readable(fds: &[BorrowedFd<'_>], deadline: Deadline) -> io::Result<Vec<bool>> {
    let watched = fds.iter().copied();
    let mut polled: Vec<_> = watched
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    loop {
        let timeout = deadline.of_one_call().to_relative_timespec();
        match poll(&mut polled, timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) if !deadline.is_expired() => {}
            Err(Errno::INTR) => return Ok(vec![false; fds.len()]),
            Err(error) => return Err(error.into()),
            Ok(_)
                if polled
                    .iter()
                    .any(|fd| fd.revents().contains(PollFlags::NVAL)) =>
            {
                return Err(Errno::BADF.into());
            }
            Ok(_) => return Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
        }
    }
}

/// Whether all copies of the other end of a socket pair are closed, also those that were on their way to a process.
///
/// # Errors
///
/// What `poll` reports.
///
/// # Examples
///
/// ```
/// let (left, right) = mp_os::socket::pair()?;
/// assert!(!mp_os::poll::has_hung_up(&left)?);
/// drop(right);
/// assert!(mp_os::poll::has_hung_up(&left)?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn has_hung_up(fd: impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::empty())];
    let now = Deadline::PASSED.to_relative_timespec();
    loop {
        match poll(&mut fds, now.as_ref()) {
            Ok(_) => return Ok(fds[0].revents().contains(PollFlags::HUP)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
