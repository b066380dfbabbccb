//! Shared memory with a name: files in `/dev/shm`, as `shm_open` has them.
//!
//! A file is made without a name, filled, and then linked under its name in one step, so no process
//! opens one that is half made. Names are opened without following anything.
//!
//! # Names that no process uses
//!
//! A name stays when all its users have died: another program may still want the file. The kernel
//! knows whether a process has it open, mapped, or on its way over a socket: it grants a write
//! lease (`F_SETLEASE`) on a file to its only opener alone. [`unlink_unused`] removes a name under
//! such a lease. The kernel refuses the lease while any program has the file open. A program that
//! opens it while the lease is held waits for the end of the lease; [`open`] then finds that the
//! file has no name any more.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fchmod, fstat, fstatvfs, ftruncate, linkat, lstat,
    open as open_file, unlink as unlink_file,
};
use rustix::io::Errno;

use crate::commit::{Commit, CreateError, DEV_SHM, allocate, check_memory, check_size};

mod name;
mod unused;

pub use name::{Name, NameError};
pub use unused::{is_unused, names, unlink_unused};

/// Why a name could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// There is nothing of that name.
    NotFound,
    /// There is no `/dev/shm`, or it is not a directory.
    NoDevShm,
    /// The name is a symbolic link; it was not followed.
    Symlink,
    /// The name is something else than a file: this.
    NotRegular(&'static str),
    /// The file belongs to another user.
    ForeignOwner {
        /// That user's number.
        uid: u32,
    },
    /// The kernel grants no leases of files in `/dev/shm`, so it cannot say whether one is in use.
    NoLeases,
    /// The kernel refused.
    Os(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no shared memory of that name"),
            Self::NoDevShm => {
                write!(f, "{DEV_SHM} is no directory; mount a tmpfs there")
            }
            Self::Symlink => f.write_str("the name is a symbolic link, which is not followed"),
            Self::NotRegular(kind) => write!(f, "the name is a {kind}, not shared memory"),
            Self::ForeignOwner { uid } => write!(f, "it belongs to another user (uid {uid})"),
            Self::NoLeases => write!(
                f,
                "the kernel grants no lease of it, which takes a tmpfs at {DEV_SHM} and fs.leases-enable = 1"
            ),
            Self::Os(error) => write!(f, "the kernel refused: {error}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Os(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Errno> for OpenError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT if !is_dev_shm_there() => Self::NoDevShm,
            Errno::NOENT => Self::NotFound,
            Errno::NOTDIR => Self::NoDevShm,
            Errno::LOOP => Self::Symlink,
            Errno::ISDIR => Self::NotRegular("directory"),
            // What opening a socket, or a device that is not there, answers.
            Errno::NXIO | Errno::NODEV => Self::NotRegular("socket or device"),
            other => Self::Os(other.into()),
        }
    }
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        let kind = match error {
            OpenError::Os(error) => return error,
            OpenError::NotFound => io::ErrorKind::NotFound,
            OpenError::NoDevShm | OpenError::NoLeases => io::ErrorKind::Unsupported,
            OpenError::ForeignOwner { .. } => io::ErrorKind::PermissionDenied,
            OpenError::Symlink | OpenError::NotRegular(_) => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

/// Creates a file of `size` bytes in `/dev/shm`, mode 0600, that has no name yet.
///
/// It vanishes with its last descriptor unless it is [`publish`]ed.
///
/// # Errors
///
/// [`CreateError::NotEnough`] if `/dev/shm`, the machine or a cgroup has less left (with
/// [`Commit::Now`]) or no file of this process may be as large; [`CreateError::DevShm`] if there is
/// no `/dev/shm` to make files in; [`CreateError::Refused`] if the kernel or a sandbox has nothing
/// to reserve pages with; [`CreateError::Os`] for what else the kernel reports. At most 16 KiB are
/// made without a look at what the machine and the cgroups have left.
///
/// # Examples
///
/// ```no_run
/// use mp_os::commit::Commit;
/// use mp_os::named::{self, Name};
///
/// let name = Name::new("frames-of-camera-1")?;
/// let file = named::create_unpublished(4096, Commit::Now)?;
/// // Fill it through a mapping, then:
/// named::publish(&file, &name)?;
/// assert!(named::exists(&name)?);
/// named::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn create_unpublished(size: u64, commit: Commit) -> Result<OwnedFd, CreateError> {
    check_size(size)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let private = Mode::RUSR | Mode::WUSR;
    let fd = open_file(DEV_SHM, flags, private).map_err(no_file)?;
    // The umask may have taken rights away.
    fchmod(&fd, private)?;
    ftruncate(&fd, size)?;
    if commit == Commit::Now {
        reserve(&fd, 0..size)?;
    }
    Ok(fd)
}

/// Why no file could be made: what concerns the process, and what concerns the directory.
fn no_file(error: Errno) -> CreateError {
    match error {
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => error.into(),
        _ => CreateError::DevShm(error.into()),
    }
}

/// Reserves the pages of a byte range of a sparse file in `/dev/shm`.
///
/// # Errors
///
/// [`CreateError::NotEnough`] if `/dev/shm`, the machine or a cgroup has less left;
/// [`CreateError::Refused`] as for [`create_unpublished`]; [`CreateError::Os`] for what else the
/// kernel reports. Pages reserved before the error may stay reserved.
pub fn reserve(fd: impl AsFd, range: Range<u64>) -> Result<(), CreateError> {
    let fd = fd.as_fd();
    let wanted = range.end.saturating_sub(range.start);
    let full = |free| CreateError::NotEnough {
        wanted,
        free,
        limit: DEV_SHM,
    };
    // Asked first: reserving all that is left, to find that it is not enough, would hit others.
    let free = free_space(fd)?;
    if wanted > free {
        return Err(full(free));
    }
    check_memory(wanted)?;
    match allocate(fd, range.start, wanted) {
        Err(CreateError::Os(error)) if error.kind() == io::ErrorKind::StorageFull => {
            Err(full(free_space(fd)?))
        }
        other => other,
    }
}

fn free_space(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let space = fstatvfs(fd)?;
    // A tmpfs mounted without a size limit says 0 blocks in all.
    if space.f_blocks == 0 {
        return Ok(u64::MAX);
    }
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Gives a file of [`create_unpublished`] its name, in one step.
///
/// # Errors
///
/// `EEXIST` if the name is taken; nothing has changed then.
pub fn publish(fd: impl AsFd, name: &Name) -> io::Result<()> {
    let source = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    Ok(linkat(
        CWD,
        source,
        CWD,
        name.path(),
        AtFlags::SYMLINK_FOLLOW,
    )?)
}

/// Opens a file of our own user by name, for reading and writing, close-on-exec.
///
/// Neither links are followed nor does a fifo block. A file that is just being removed by
/// [`unlink_unused`] is not there.
///
/// # Errors
///
/// [`OpenError`], each kind of thing that is not ours or not a file by its own.
pub fn open(name: &Name) -> Result<OwnedFd, OpenError> {
    open_as(name, OFlags::RDWR)
}

/// As [`open`], for reading only.
///
/// # Errors
///
/// As [`open`].
pub fn open_read_only(name: &Name) -> Result<OwnedFd, OpenError> {
    open_as(name, OFlags::RDONLY)
}

fn open_as(name: &Name, access: OFlags) -> Result<OwnedFd, OpenError> {
    let fd = open_any(name, access)?;
    let stat = fstat(&fd)?;
    check(&stat)?;
    if stat.st_nlink == 0 {
        return Err(OpenError::NotFound);
    }
    Ok(fd)
}

/// Opens the file, also one that has lost its name meanwhile.
fn open_any(name: &Name, access: OFlags) -> Result<OwnedFd, OpenError> {
    let waiting = access | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mut flags = waiting | OFlags::NONBLOCK;
    loop {
        match open_file(name.path(), flags, Mode::empty()) {
            Ok(fd) => return Ok(fd),
            // A process has a lease, so it is a regular file and does not block but for that: for
            // microseconds; if its holder is stopped, until the kernel takes it away (45 s).
            Err(Errno::AGAIN) => flags = waiting,
            Err(Errno::INTR) => {}
            Err(error) => return Err(refusal(error, name)),
        }
    }
}

fn is_dev_shm_there() -> bool {
    rustix::fs::stat(DEV_SHM)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Another user's file refuses with EACCES; the error says whose it is.
fn refusal(error: Errno, name: &Name) -> OpenError {
    if error != Errno::ACCESS {
        return error.into();
    }
    match lstat(name.path()).map(|stat| check(&stat)) {
        Ok(Err(foreign)) => foreign,
        _ => error.into(),
    }
}

/// Removes a name. Processes that have the file open or mapped keep it.
///
/// # Errors
///
/// As [`open`]: what is not a file of our own user stays.
pub fn unlink(name: &Name) -> Result<(), OpenError> {
    // /dev/shm is sticky: between the look and the unlink no stranger can replace our file.
    check(&lstat(name.path())?)?;
    Ok(unlink_file(name.path())?)
}

/// Whether there is anything of that name, ours or not.
///
/// # Errors
///
/// What `lstat` reports.
pub fn exists(name: &Name) -> io::Result<bool> {
    match lstat(name.path()) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Refuses what is not a regular file of our own user.
fn check(stat: &Stat) -> Result<(), OpenError> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Symlink => return Err(OpenError::Symlink),
        FileType::Directory => Some("directory"),
        FileType::Fifo => Some("fifo"),
        FileType::Socket => Some("socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("device"),
        _ => Some("thing of an unknown kind"),
    };
    if let Some(kind) = kind {
        return Err(OpenError::NotRegular(kind));
    }
    let uid = stat.st_uid;
    if uid == rustix::process::geteuid().as_raw() {
        Ok(())
    } else {
        Err(OpenError::ForeignOwner { uid })
    }
}
