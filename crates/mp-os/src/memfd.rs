//! Shared memory without a name: sealed memory files that the kernel frees with their last user.

use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, ftruncate,
    memfd_create,
};
use rustix::io::Errno;

pub use crate::commit::{Commit, CreateError};
use crate::commit::{allocate, check_memory, check_size, is_refused, memory_left, retried};

/// Creates a memory file of exactly `size` bytes that can neither shrink nor grow, ever.
///
/// `name` shows in `/proc/PID/maps` and means nothing else. With [`Commit::Now`] all pages are
/// reserved.
///
/// # Errors
///
/// [`CreateError::NotEnough`] if the size is more than the machine or a cgroup has left (with
/// [`Commit::Now`]) or than a file, or a file of this process, can have; [`CreateError::Refused`]
/// if the kernel or a sandbox has no `memfd_create`, or nothing to reserve pages with;
/// [`CreateError::Os`] for what else the kernel reports. At most 16 KiB are made without a look at
/// what is left.
///
/// # Examples
///
/// ```no_run
/// use mp_os::memfd::{self, Commit, CreateError};
///
/// let fd = memfd::create("frames", 1 << 20, Commit::Now)?;
/// assert_eq!(memfd::check_seals(fd)?, true);
/// let error = memfd::create("frames", 1 << 60, Commit::Now).unwrap_err();
/// assert!(matches!(error, CreateError::NotEnough { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn create(name: &str, size: u64, commit: Commit) -> Result<OwnedFd, CreateError> {
    create_with(name, size, commit, SealFlags::SEAL)
}

/// As [`create`], a file that [`seal_writes`] can seal later.
///
/// # Errors
///
/// Those of [`create`].
pub fn create_sealable(name: &str, size: u64, commit: Commit) -> Result<OwnedFd, CreateError> {
    create_with(name, size, commit, SealFlags::empty())
}

fn create_with(
    name: &str,
    size: u64,
    commit: Commit,
    seals: SealFlags,
) -> Result<OwnedFd, CreateError> {
    check_size(size)?;
    if commit == Commit::Now {
        check_memory(size)?;
    }
    let fd = open(name)?;
    ftruncate(&fd, size)?;
    if commit == Commit::Now {
        allocate(fd.as_fd(), 0, size).map_err(|error| with_figures(error, size))?;
    }
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | seals)?;
    Ok(fd)
}

/// Reserves the pages of a byte range of a sparse memory file.
///
/// # Errors
///
/// As [`create`]. Pages reserved before the error stay reserved.
pub fn reserve(fd: impl AsFd, range: Range<u64>) -> Result<(), CreateError> {
    let len = range.end.saturating_sub(range.start);
    check_memory(len)?;
    allocate(fd.as_fd(), range.start, len).map_err(|error| with_figures(error, len))
}

/// Gives the pages that lie wholly in a byte range back to the kernel; they read as zero again.
///
/// # Errors
///
/// What `fallocate` reports, for instance on a file that is write-sealed.
pub fn give_back(fd: impl AsFd, range: Range<u64>) -> io::Result<()> {
    let len = range.end.saturating_sub(range.start);
    if len == 0 {
        return Ok(());
    }
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(retried(|| fallocate(fd.as_fd(), hole, range.start, len))?)
}

/// Maps the pages of a shared mapping in ahead of their first use, as far as the kernel is able
/// and willing (Linux 5.14); returns whether it did.
///
/// # Safety
///
/// The `len` bytes at `pointer` are mapped for writing, and stay so during the call.
pub unsafe fn populate(pointer: *mut u8, len: usize) -> bool {
    use rustix::mm::{Advice, madvise};
    // SAFETY: the caller's promise. The advice faults pages in as a write would, and writes
    // nothing.
    unsafe { madvise(pointer.cast::<c_void>(), len, Advice::LinuxPopulateWrite) }.is_ok()
}

/// Whether the memory file can neither shrink nor grow; false for files that know no seals.
///
/// # Errors
///
/// What else `fcntl` reports, for instance a closed descriptor.
pub fn check_seals(fd: impl AsFd) -> io::Result<bool> {
    match fcntl_get_seals(fd) {
        Ok(seals) => Ok(seals.contains(SealFlags::SHRINK | SealFlags::GROW)),
        Err(Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Seals a file of [`create_sealable`] against every write of every process, for ever; `false` if
/// some mapping of it can still be written. A file that is sealed so already stays so.
///
/// # Errors
///
/// What else `fcntl` reports, for instance `EPERM` on a file of [`create`].
pub fn seal_writes(fd: impl AsFd) -> io::Result<bool> {
    let fd = fd.as_fd();
    match fcntl_add_seals(fd, SealFlags::WRITE | SealFlags::SEAL) {
        Ok(()) => Ok(true),
        Err(Errno::BUSY) => Ok(false),
        // Another process may have sealed it a moment ago.
        Err(Errno::PERM) if is_read_only_for_ever(fd)? => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Whether no process can write or cut the memory file, ever; false for files that know no seals.
///
/// # Errors
///
/// As [`check_seals`].
pub fn is_read_only_for_ever(fd: impl AsFd) -> io::Result<bool> {
    match fcntl_get_seals(fd) {
        Ok(seals) => Ok(seals.contains(SealFlags::WRITE | SealFlags::SHRINK)),
        Err(Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Kernels before 6.3 do not know `NOEXEC_SEAL` and refuse it, as a sandbox may; some refuse to do
/// without.
fn open(name: &str) -> Result<OwnedFd, CreateError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let opened = match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL | Errno::PERM) => memfd_create(name, flags),
        other => other,
    };
    // A file in /dev/shm that has no name would do but for the seals: any process that has it could
    // cut it short.
    opened.map_err(|error| match error {
        error if is_refused(error) => CreateError::Refused {
            call: "memfd_create",
            needs: "memory without a name takes Linux 3.17, and a sandbox that allows the call",
            source: error.into(),
        },
        other => other.into(),
    })
}

/// The kernel can find less free than was read a moment ago.
fn with_figures(error: CreateError, wanted: u64) -> CreateError {
    match (&error, memory_left(wanted)) {
        (CreateError::Os(source), Err(full)) if is_exhausted(source) => full,
        _ => error,
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::OutOfMemory
    )
}

/// The size of a descriptor's file, in bytes.
///
/// # Errors
///
/// What `fstat` reports.
pub fn size_of_file(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

/// The number of a descriptor's file, which no other file of its file system has.
///
/// # Errors
///
/// What `fstat` reports.
pub fn inode(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(fd)?.st_ino)
}

/// Which file a descriptor is of: as long as that is open, no other file has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file of a descriptor; `None` if the kernel reports nothing about it.
    pub fn of(fd: impl AsFd) -> Option<Self> {
        let stat = rustix::fs::fstat(fd).ok()?;
        Some(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    /// Its two words, which say the same to all processes of this machine.
    pub fn words(self) -> [u64; 2] {
        [self.device, self.inode]
    }
}

/// Whether two descriptors are of one file; `false` also if the kernel reports nothing about them.
pub fn is_same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    FileId::of(one).is_some_and(|file| FileId::of(other) == Some(file))
}
