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

use crate::limits;

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
    /// The kernel refused.
    Os(io::Error),
}

/// The limit's name where `/dev/shm` is full.
pub(crate) const DEV_SHM: &str = "/dev/shm";
const FILE_SIZE: &str = "the largest file";

impl CreateError {
    fn way_out(limit: &str) -> &'static str {
        match limit {
            DEV_SHM => "remount it larger, or start the container with a larger --shm-size",
            limits::CGROUP => "raise the container's memory limit, or share less at once",
            FILE_SIZE => "split it",
            _ => "share less at once, or free some memory",
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
            } => write!(
                f,
                "{limit} has {} left, {} were asked for; {}",
                Amount(*free),
                Amount(*wanted),
                Self::way_out(limit)
            ),
            Self::Os(error) => write!(f, "the kernel refused to create shared memory: {error}"),
        }
    }
}

impl std::error::Error for CreateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotEnough { .. } => None,
            Self::Os(error) => Some(error),
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

/// Refuses a size that no file can have.
pub(crate) fn check_size(size: u64) -> Result<(), CreateError> {
    let free = i64::MAX as u64;
    if size > free {
        return Err(CreateError::NotEnough {
            wanted: size,
            free,
            limit: FILE_SIZE,
        });
    }
    Ok(())
}

/// Refuses to commit more than the machine and the cgroups have left.
pub(crate) fn check_memory(wanted: u64) -> Result<(), CreateError> {
    let room = limits::memory_room();
    if wanted > room.free {
        return Err(CreateError::NotEnough {
            wanted,
            free: room.free,
            limit: room.limit,
        });
    }
    Ok(())
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
