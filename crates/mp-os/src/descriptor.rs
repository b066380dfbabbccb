//! Descriptors by their numbers: one that is given a number, others that make room for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Resource, getrlimit, setrlimit};

/// How many descriptors this process may have open (`ulimit -n`).
#[must_use]
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Lets this process have as many descriptors open as it may grant itself (`ulimit -Hn`). Its
/// children inherit the limit. Returns how many they are.
///
/// # Errors
///
/// What a sandbox answers that forbids it; the limit stays as it was.
pub fn raise_limit() -> io::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(self::limit())
}

/// A copy of `file` with the number `number`, close-on-exec; `None` if that number is in use.
///
/// # Errors
///
/// `EINVAL` if this process may have no descriptor of that number (`ulimit -n`), `EMFILE` if that
/// number and all above it are in use.
///
/// # Examples
///
/// ```
/// use mp_os::descriptor;
/// use std::os::fd::{AsFd, AsRawFd};
///
/// # if cfg!(miri) { return Ok(()) }
/// let (read, _write) = std::io::pipe()?;
/// let number = read.as_raw_fd();
/// assert!(descriptor::copy_as(read.as_fd(), number)?.is_none());
/// let copy = descriptor::copy_as(read.as_fd(), number + 50)?.expect("a free number");
/// assert_eq!(copy.as_raw_fd(), number + 50);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn copy_as(file: BorrowedFd<'_>, number: RawFd) -> io::Result<Option<OwnedFd>> {
    // The kernel gives the lowest free number from there on.
    let copy = fcntl_dupfd_cloexec(file, number)?;
    Ok(Some(copy).filter(|copy| copy.as_raw_fd() == number))
}

/// The same file under a number that is none of `numbers`.
///
/// # Errors
///
/// `EMFILE` without free descriptors.
///
/// # Examples
///
/// ```
/// use mp_os::descriptor;
/// use std::os::fd::{AsRawFd, OwnedFd};
///
/// # if cfg!(miri) { return Ok(()) }
/// let read = OwnedFd::from(std::io::pipe()?.0);
/// let number = read.as_raw_fd();
/// let moved = descriptor::move_off(read, &[number, number + 1])?;
/// assert!(![number, number + 1].contains(&moved.as_raw_fd()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn move_off(mut file: OwnedFd, numbers: &[RawFd]) -> io::Result<OwnedFd> {
    // Open until the end, so that each copy gets another number: one more than there are numbers at
    // most.
    let mut unfit = Vec::new();
    while numbers.contains(&file.as_raw_fd()) {
        let copy = file.try_clone()?;
        unfit.push(std::mem::replace(&mut file, copy));
    }
    Ok(file)
}

/// Takes a pipe all room but one page, the least there is; returns the bytes that are left. A pipe
/// that only hangs up needs none.
///
/// The kernel counts the room of all pipes of a user, written or not (`pipe-user-pages-soft`), and
/// gives little to new ones when that is used up.
///
/// # Errors
///
/// `EBUSY` if more is in it, `EBADF` if it is no pipe.
///
/// # Examples
///
/// ```
/// let (reader, _writer) = std::io::pipe()?;
/// assert!(mp_os::descriptor::shrink_pipe(&reader)? < 65536);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn shrink_pipe(pipe: impl AsFd) -> io::Result<usize> {
    // The kernel makes a page of one byte.
    Ok(fcntl_setpipe_size(pipe, 1)?)
}
