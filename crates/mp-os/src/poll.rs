//! Looking at a descriptor, without waiting or up to a deadline.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::clock::Deadline;
use crate::ready;

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
    look(&mut fds)?;
    Ok(is_hung_up(&fds[0]))
}

/// Of which descriptors all copies of the other end are closed, by their places: what
/// [`has_hung_up`] asks, of many with one system call. Read ends of pipes can be asked as well.
///
/// # Errors
///
/// What `poll` reports.
///
/// # Examples
///
/// ```
/// use std::os::fd::AsFd;
///
/// let (kept, _writer) = std::io::pipe()?;
/// let (left, writer) = std::io::pipe()?;
/// drop(writer);
/// let ends = [kept.as_fd(), left.as_fd()];
/// assert_eq!(mp_os::poll::hung_up(ends)?, [1]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn hung_up<'fd>(ends: impl IntoIterator<Item = BorrowedFd<'fd>>) -> io::Result<Vec<usize>> {
    let ends = ends.into_iter();
    let mut fds: Vec<_> = ends
        .map(|end| PollFd::from_borrowed_fd(end, PollFlags::empty()))
        .collect();
    look(&mut fds)?;
    let fds = fds.iter().enumerate();
    Ok(fds
        .filter_map(|(place, fd)| is_hung_up(fd).then_some(place))
        .collect())
}

/// Waits until `fd` is readable, has hung up or shows an error; false once the deadline has passed.
///
/// # Errors
///
/// What `poll` reports; `EBADF` for a descriptor that is closed.
///
/// # Examples
///
/// ```
/// use mp_os::clock::Deadline;
///
/// let (reader, writer) = std::io::pipe()?;
/// assert!(!mp_os::poll::wait_readable(&reader, Deadline::PASSED)?);
/// drop(writer);
/// assert!(mp_os::poll::wait_readable(&reader, Deadline::NEVER)?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn wait_readable(fd: impl AsFd, deadline: Deadline) -> io::Result<bool> {
    Ok(!ready::wait(fd.as_fd(), PollFlags::IN, deadline)?.is_empty())
}

/// Waits until `fd` is writable, has hung up or shows an error, as [`wait_readable`] does.
///
/// # Errors
///
/// Those of [`wait_readable`].
pub fn wait_writable(fd: impl AsFd, deadline: Deadline) -> io::Result<bool> {
    Ok(!ready::wait(fd.as_fd(), PollFlags::OUT, deadline)?.is_empty())
}

fn is_hung_up(fd: &PollFd<'_>) -> bool {
    fd.revents().contains(PollFlags::HUP)
}

/// Asks about each descriptor, without waiting.
fn look(fds: &mut [PollFd<'_>]) -> io::Result<()> {
    let now = Deadline::PASSED.to_relative_timespec();
    loop {
        match poll(fds, now.as_ref()) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
