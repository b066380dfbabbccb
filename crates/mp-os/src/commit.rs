//! Memory that is there when it is touched, or refused beforehand with both figures.
//!
//! Memory files are sparse: without [`Commit::Now`] a page is found, or not, when it is first
//! written, and a process that finds none is killed by SIGBUS or by the OOM killer. Reserving
//! more than a cgroup allows gets the process killed, too; hence the look at what is free first.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::limits::{self, Room};

/// Whether the pages of a new memory file are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// All of them, at once.
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
    /// The kernel refused.
    Os(io::Error),
}

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
            limits::CGROUP => "raise the container's memory limit, or share less at once",
            limits::LARGEST_FILE => "split it",
            limits::FILE_LIMIT | limits::ADDRESSES => "raise that limit, or share less at once",
            _ => "share less at once, or free some memory",
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
            Self::Os(error) => write!(f, "the kernel refused to create shared memory: {error}"),
        }
    }
}

impl std::error::Error for CreateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotEnough { .. } => None,
            Self::DevShm(error) | Self::Os(error) => Some(error),
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
            dev_shm @ CreateError::DevShm(_) => Self::new(io::ErrorKind::Unsupported, dev_shm),
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

/// Refuses to commit more than the machine and the cgroups have left.
pub(crate) fn check_memory(wanted: u64) -> Result<(), CreateError> {
    limits::memory_room().check(wanted)
}

/// Whether so many bytes more could be mapped: what to say where `mmap` has just answered `ENOMEM`.
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

/// Reserves pages without looking at what is free. The file must have that size already.
pub(crate) fn allocate(fd: BorrowedFd<'_>, start: u64, len: u64) -> Result<(), Errno> {
    if len == 0 {
        return Ok(());
    }
    loop {
        match fallocate(fd, FallocateFlags::KEEP_SIZE, start, len) {
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
