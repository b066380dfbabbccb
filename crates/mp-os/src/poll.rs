//! Looking at a descriptor without waiting.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::clock::Deadline;

/// Whether all copies of the other end of a socket pair are closed, also those that were on their
/// way to a process.
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
