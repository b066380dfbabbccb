//! Shared memory with a name: files in `/dev/shm`, as `shm_open` has them.
//!
//! A file is made without a name, filled, and then linked under its name in one step, so nobody
//! ever opens one that is half made. Names are opened without following anything.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fchmod, fstat, fstatvfs, ftruncate, linkat, lstat,
    open as open_file, unlink as unlink_file,
};
use rustix::io::Errno;

use crate::commit::{Commit, CreateError, DEV_SHM, allocate, check_memory, check_size};

mod name;

pub use name::{Name, NameError};

/// Why a name could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// There is nothing of that name.
    NotFound,
    /// The name is a symbolic link; it was not followed.
    Symlink,
    /// The name is something else than a file: this.
    NotRegular(&'static str),
    /// The file belongs to another user.
    ForeignOwner {
        /// That user's number.
        uid: u32,
    },
    /// The kernel refused.
    Os(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no shared memory of that name"),
            Self::Symlink => f.write_str("the name is a symbolic link, which is not followed"),
            Self::NotRegular(kind) => write!(f, "the name is a {kind}, not shared memory"),
            Self::ForeignOwner { uid } => write!(f, "it belongs to another user (uid {uid})"),
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
            Errno::NOENT => Self::NotFound,
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
/// [`Commit::Now`]); [`CreateError::Os`] for what else the kernel reports.
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
    let fd = open_file(DEV_SHM, flags, private)?;
    // The umask may have taken rights away.
    fchmod(&fd, private)?;
    ftruncate(&fd, size)?;
    if commit == Commit::Now {
        reserve(fd.as_fd(), size)?;
    }
    Ok(fd)
}

fn reserve(fd: BorrowedFd<'_>, size: u64) -> Result<(), CreateError> {
    let free = free_space(fd)?;
    let full = CreateError::NotEnough {
        wanted: size,
        free,
        limit: DEV_SHM,
    };
    if size > free {
        return Err(full);
    }
    check_memory(size)?;
    match allocate(fd, 0, size) {
        Err(Errno::NOSPC) => Err(full),
        other => Ok(other?),
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
/// Neither links are followed nor does a fifo block.
///
/// # Errors
///
/// [`OpenError`], each kind of thing that is not ours or not a file by its own.
pub fn open(name: &Name) -> Result<OwnedFd, OpenError> {
    let flags =
        OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match open_file(name.path(), flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(error) => return Err(refusal(error, name)),
    };
    check(&fstat(&fd)?)?;
    Ok(fd)
}

/// Another user's file refuses with EACCES, which is better told as what it is.
fn refusal(error: Errno, name: &Name) -> OpenError {
    if error != Errno::ACCESS {
        return error.into();
    }
    match lstat(name.path()).map(|stat| check(&stat)) {
        Ok(Err(foreign)) => foreign,
        _ => error.into(),
    }
}

/// Removes a name. Who has the file open or mapped keeps it.
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
