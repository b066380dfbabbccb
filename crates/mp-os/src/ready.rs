//! Waiting for one descriptor, up to a deadline.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::clock::Deadline;

/// Waits until `fd` shows any of `wanted`, an error or a hang-up, and returns what it shows;
/// empty once the deadline has passed. A descriptor that is closed is an error, and shows nothing.
pub(crate) fn wait(
    fd: BorrowedFd<'_>,
    wanted: PollFlags,
    deadline: Deadline,
) -> io::Result<PollFlags> {
    loop {
        let timeout = deadline.of_one_call().to_relative_timespec();
        let mut fds = [PollFd::from_borrowed_fd(fd, wanted)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) if fds[0].revents().contains(PollFlags::NVAL) => return Err(Errno::BADF.into()),
            Ok(0) if !deadline.is_expired() => {}
            Ok(_) => return Ok(fds[0].revents()),
            Err(Errno::INTR) if deadline.is_expired() => return Ok(PollFlags::empty()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
