//! Memory that is there when it is touched, or refused beforehand with both figures.
//!
//! Memory files are sparse: without [`Commit::Now`] a page is found, or not, when it is first
//! written, and a process that finds none is killed by SIGBUS or by the OOM killer. Reserving
//! more than a cgroup allows gets the process killed, too; hence the look at what is free first.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use rustix::param::page_size;

use crate::limits::{self, Room};

/// Whether the pages of a new memory file are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// All of them, immediately.
    Now,
    /// None; parts are reserved later, or found on first write.
    Sparse,
}

/// Why memory could not be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum CreateError {
    /// Less is free than was wanted.
    NotEnough {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes left of the tightest limit.
        free: u64,
        /// Which limit that is.
        limit: &'static str,
    },
    /// `/dev/shm` takes no file: there is none, it is not a directory, or the like.
    DevShm(io::Error),
    /// The kernel is too old, or a sandbox forbids a system call that nothing replaces.
    Refused {
        /// The system call.
        call: &'static str,
        /// Which kernel or setting it takes.
        needs: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel refused.
    Os(io::Error),
}

/// Bytes that one call of `fallocate` reserves: 0.1 to 0.3 ms in a busy virtual machine, less than
/// passes between two signals of a profiler.
const PIECE: u64 = 256 << 10;

/// The limit's name where `/dev/shm` is full.
pub(crate) const DEV_SHM: &str = "/dev/shm";

impl CreateError {
    /// What the limit has: left of it, or for one.
    fn verb(limit: &str) -> (&'static str, &'static str) {
        match limit {
            limits::LARGEST_FILE | limits::FILE_LIMIT => ("may have", ""),
            _ => ("has", " left"),
        }
    }

    fn way_out(limit: &str) -> &'static str {
        match limit {
            DEV_SHM => "remount it larger, or start the container with a larger --shm-size",
            limits::CGROUP => "raise the container's memory limit, or share less together",
            limits::LARGEST_FILE => "split it",
            limits::FILE_LIMIT | limits::ADDRESSES => "raise that limit, or share less together",
            _ => "share less together, or free some memory",
        }
    }

    /// Why `/dev/shm` takes no file, and what helps.
    fn dev_shm(error: &io::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match error.kind() {
            io::ErrorKind::NotFound => write!(f, "there is no {DEV_SHM}; mount a tmpfs there"),
            io::ErrorKind::NotADirectory => {
                write!(f, "{DEV_SHM} is not a directory; mount a tmpfs there")
            }
            io::ErrorKind::StorageFull => {
                write!(f, "{DEV_SHM} has no room for another file; remove some")
            }
            _ if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => write!(
                f,
                "{DEV_SHM} takes no file that has no name yet (O_TMPFILE), as a tmpfs of Linux 3.11 or newer does"
            ),
            _ => write!(f, "{DEV_SHM} takes no file: {error}; mount a tmpfs there"),
        }
    }
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnough {
                wanted,
                free,
                limit,
            } => {
                let (has, left) = Self::verb(limit);
                let (free, wanted) = (Amount(*free), Amount(*wanted));
                let way_out = Self::way_out(limit);
                write!(
                    f,
                    "{limit} {has} {free}{left}, {wanted} were asked for; {way_out}"
                )
            }
            Self::DevShm(error) => Self::dev_shm(error, f),
            Self::Refused {
                call,
                needs,
                source,
            } => write!(
                f,
                "the kernel or a sandbox refuses {call} ({source}); {needs}"
            ),
            Self::Os(error) => write!(f, "the kernel refused to create shared memory: {error}"),
        }
    }
}

impl std::error::Error for CreateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotEnough { .. } => None,
            Self::DevShm(error) | Self::Os(error) => Some(error),
            Self::Refused { source, .. } => Some(source),
        }
    }
}

impl From<io::Error> for CreateError {
    fn from(error: io::Error) -> Self {
        Self::Os(error)
    }
}

impl From<Errno> for CreateError {
    fn from(error: Errno) -> Self {
        Self::Os(error.into())
    }
}

impl From<CreateError> for io::Error {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Os(error) => error,
            full @ CreateError::NotEnough { .. } => Self::new(io::ErrorKind::OutOfMemory, full),
            missing @ (CreateError::DevShm(_) | CreateError::Refused { .. }) => {
                Self::new(io::ErrorKind::Unsupported, missing)
            }
        }
    }
}

/// Bytes as people read them.
struct Amount(u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 10 << 10 => write!(f, "{bytes} bytes"),
            bytes if bytes < 10 << 20 => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{} MiB", bytes >> 20),
        }
    }
}

/// Refuses a size that no file, or no file of this process, can have.
///
/// Growing a file beyond the process's own limit (`RLIMIT_FSIZE`) would end the process by SIGXFSZ.
pub(crate) fn check_size(size: u64) -> Result<(), CreateError> {
    limits::file_room().check(size)
}

/// Bytes that are committed without a look at what is left: it takes a hundred times as long as to
/// make them, and a process that allocates takes as much between any look and the commit.
pub(crate) const SMALL: u64 = 16 << 10;

/// Refuses to commit more than the machine and the cgroups have left, unless it is
/// [little](SMALL).
pub(crate) fn check_memory(wanted: u64) -> Result<(), CreateError> {
    if wanted <= SMALL {
        return Ok(());
    }
    memory_left(wanted)
}

/// Checks whether the machine and the cgroups have `wanted` left.
pub(crate) fn memory_left(wanted: u64) -> Result<(), CreateError> {
    limits::memory_room().check(wanted)
}

/// Checks whether `wanted` more bytes could be mapped, to explain an `ENOMEM` of `mmap`.
///
/// # Errors
///
/// [`CreateError::NotEnough`] if this process's limit on addresses (`RLIMIT_AS`) has less left.
pub fn check_addresses(wanted: u64) -> Result<(), CreateError> {
    limits::address_room().check(wanted)
}

impl Room {
    fn check(self, wanted: u64) -> Result<(), CreateError> {
        let Self { free, limit } = self;
        if wanted <= free {
            return Ok(());
        }
        Err(CreateError::NotEnough {
            wanted,
            free,
            limit,
        })
    }
}

/// Whether a system call is not there: of an old kernel, in a sandbox, or for this file.
pub(crate) fn is_refused(error: Errno) -> bool {
    matches!(error, Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP)
}

/// Reserves pages without looking at what is free. The file must have that size already.
///
/// What is in them stays, and one that cannot be had is an error and no signal, whichever way is
/// open: `fallocate` within the file's size, `fallocate` without flags (gVisor knows no others), or
/// page faults on request.
pub(crate) fn allocate(fd: BorrowedFd<'_>, start: u64, len: u64) -> Result<(), CreateError> {
    if len == 0 {
        return Ok(());
    }
    for flags in [FallocateFlags::KEEP_SIZE, FallocateFlags::empty()] {
        match allocate_in_pieces(fd, flags, start..start + len) {
            Err(error) if is_refused(error) => {}
            other => return Ok(other?),
        }
    }
    match fault_in(fd, start, len) {
        Err(source @ (Errno::INVAL | Errno::PERM | Errno::NOSYS)) => Err(CreateError::Refused {
            call: "fallocate",
            needs: "allow it, or use Linux 5.14 or newer, whose MADV_POPULATE_WRITE replaces it",
            source: source.into(),
        }),
        // What a write to a page would end the process for: there is no memory for it.
        Err(Errno::FAULT) => Err(Errno::NOSPC.into()),
        other => Ok(other?),
    }
}

/// Reserves the pages of a byte range by several calls, of which a signal costs one at most.
///
/// Where a signal cuts a call short, tmpfs gives back all that the call had reserved: with one call
/// for all, a process that gets a signal every few milliseconds would never come to the end. Newer
/// kernels finish the call first, as Linux 6.18 does.
pub(crate) fn allocate_in_pieces(
    fd: BorrowedFd<'_>,
    flags: FallocateFlags,
    range: Range<u64>,
) -> Result<(), Errno> {
    let mut start = range.start;
    while start < range.end {
        // Pieces end at multiples of their size, so that no page belongs to two.
        let end = range.end.min((start / PIECE + 1).saturating_mul(PIECE));
        retried(|| fallocate(fd, flags, start, end - start))?;
        start = end;
    }
    Ok(())
}

/// Asks for page faults as writes would have them, through a mapping of its own (Linux 5.14).
fn fault_in(fd: BorrowedFd<'_>, start: u64, len: u64) -> Result<(), Errno> {
    let first = start - start % page_size() as u64;
    let size = usize::try_from(start + len - first).map_err(|_| Errno::NOMEM)?;
    let (protection, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let place = unsafe { mmap(std::ptr::null_mut(), size, protection, shared, fd, first) }?;
    let populated = retried(|| {
        // SAFETY: the mapping just made. The advice writes nothing, and reports what it cannot
        // have.
        unsafe { madvise(place, size, Advice::LinuxPopulateWrite) }
    });
    // SAFETY: the mapping just made, which nothing refers to.
    unsafe { munmap(place, size) }?;
    populated
}

/// Calls again for as long as signals cut the call short.
pub(crate) fn retried(call: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CreateError;

    #[test]
    fn names_both_figures_and_the_way_out() {
        let error = CreateError::NotEnough {
            wanted: 80 << 20,
            free: 64 << 20,
            limit: "/dev/shm",
        };
        let text = error.to_string();
        assert!(
            text.starts_with("/dev/shm has 64 MiB left, 80 MiB were asked for"),
            "{text}"
        );
        assert!(text.contains("--shm-size"), "{text}");
    }
}
