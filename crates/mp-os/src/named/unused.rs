//! Names that no process uses, proven by a lease; see the parent module.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{Dir, FlockOperation, Mode, OFlags, flock, fstat, lstat, unlink};
use rustix::io::Errno;

use super::{Name, OpenError, check, open};
use crate::clock::Deadline;
use crate::commit::DEV_SHM;

/// How long a look waits for another process's look to end. Without the wait each would find the
/// other's open file.
const PATIENCE: Duration = Duration::from_millis(100);

/// The names of all files of this user in `/dev/shm`, of any program, in no order.
///
/// # Errors
///
/// [`OpenError::NoDevShm`], or what the kernel reports.
pub fn names() -> Result<Vec<Name>, OpenError> {
    let mut names = Vec::new();
    for entry in Dir::new(directory()?)? {
        let entry = entry?;
        let name = entry.file_name().to_str().ok();
        let Some(name) = name.and_then(|name| Name::new(name).ok()) else {
            continue;
        };
        if lstat(name.path()).is_ok_and(|stat| check(&stat).is_ok()) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether no process has the file of that name open, mapped, or on its way over a socket. It may
/// be opened a moment later.
///
/// # Errors
///
/// As [`open`], and [`OpenError::NoLeases`].
pub fn is_unused(name: &Name) -> Result<bool, OpenError> {
    let _turn = Turn::take()?;
    let file = open(name)?;
    Ok(Lease::take(file.as_fd())?.is_some())
}

/// Removes a name if no process has its file open, mapped, or on its way over a socket; returns
/// whether it did.
///
/// A process that opens the name meanwhile, by [`open`], either keeps it from being removed or does
/// not find it. The same holds for other ways to open, except between finding the name and having
/// the file: there any unlink leaves them with a file without a name.
///
/// # Errors
///
/// As [`open`], and [`OpenError::NoLeases`].
pub fn unlink_unused(name: &Name) -> Result<bool, OpenError> {
    let _turn = Turn::take()?;
    let file = open(name)?;
    unlink_if_unused(name, file.as_fd())
}

/// The second step, of a file that was opened by `name` and has no other user.
fn unlink_if_unused(name: &Name, file: BorrowedFd<'_>) -> Result<bool, OpenError> {
    let Some(_lease) = Lease::take(file)? else {
        return Ok(false);
    };
    let (ours, there) = (fstat(file)?, lstat(name.path())?);
    if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino) {
        // Unlinked and made again since it was opened.
        return Ok(false);
    }
    unlink(name.path())?;
    Ok(true)
}

fn directory() -> Result<OwnedFd, OpenError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(DEV_SHM, flags, Mode::empty())?)
}

/// A lock on the directory: of two processes that look together, each would see the other's open
/// file. Another program may hold it, so the wait is short, and no promise depends on it.
struct Turn {
    directory: OwnedFd,
}

impl Turn {
    fn take() -> Result<Self, OpenError> {
        let directory = directory()?;
        let deadline = Deadline::after(PATIENCE);
        while flock(&directory, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
            && !deadline.is_expired()
        {
            std::thread::yield_now();
        }
        Ok(Self { directory })
    }
}

impl Drop for Turn {
    /// Explicitly: a child that was forked meanwhile has the descriptor, too, and its lock.
    fn drop(&mut self) {
        // Without it the lock ends with the last descriptor.
        let _unlocked = flock(&self.directory, FlockOperation::Unlock);
    }
}

/// A write lease: while it is held no other process has the file open.
struct Lease<'f> {
    file: BorrowedFd<'f>,
}

impl<'f> Lease<'f> {
    /// `None` if another process has the file open.
    fn take(file: BorrowedFd<'f>) -> Result<Option<Self>, OpenError> {
        // The kernel signals the holder of a lease when a process waits for its end: by SIGIO,
        // which would end the process, or by another signal. This one is ignored by
        // default.
        control(file, Command::SetSignal, libc::SIGURG).map_err(OpenError::Os)?;
        match control(file, Command::SetLease, libc::F_WRLCK) {
            Ok(()) => Ok(Some(Self { file })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(OpenError::NoLeases),
            Err(error) => Err(OpenError::Os(error)),
        }
    }
}

impl Drop for Lease<'_> {
    /// Explicitly: a child that was forked meanwhile has the descriptor, too, and its lease.
    fn drop(&mut self) {
        // It fails only if the kernel has taken the lease away already.
        let _gone = control(self.file, Command::SetLease, libc::F_UNLCK);
    }
}

/// The commands of [`control`]: each takes a number and touches no memory.
#[derive(Clone, Copy)]
enum Command {
    /// Sets the signal by which the holder of a lease learns that a process waits for its end.
    SetSignal,
    /// To take a lease, or to give it back.
    SetLease,
}

fn control(file: BorrowedFd<'_>, command: Command, argument: libc::c_int) -> io::Result<()> {
    /// Missing from libc.
    const F_SETSIG: libc::c_int = 10;
    let command = match command {
        Command::SetSignal => F_SETSIG,
        Command::SetLease => libc::F_SETLEASE,
    };
    // SAFETY: an open descriptor, and one of the two commands, which take a number and touch no
    // memory.
    if unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::commit::Commit;
    use crate::named;

    /// A published file of this test's own; its name is removed when the test ends.
    struct Published(Name);

    impl Published {
        fn new(label: &str) -> Self {
            let name = format!("mp-test-{label}-{}", std::process::id());
            let name = Name::new(&name).expect("a valid name");
            drop(make(&name));
            Self(name)
        }
    }

    impl Drop for Published {
        fn drop(&mut self) {
            // The test has usually removed it.
            drop(named::unlink(&self.0));
        }
    }

    fn make(name: &Name) -> OwnedFd {
        let file = named::create_unpublished(1, Commit::Now).expect("1 byte");
        named::publish(&file, name).expect("the name is free");
        file
    }

    #[test]
    fn name_made_anew_between_open_and_lease_stays() {
        let Published(name) = &Published::new("anew");
        let old = open(name).expect("published");
        named::unlink(name).expect("ours");
        let _anew = make(name);
        assert!(!unlink_if_unused(name, old.as_fd()).expect("a file of ours"));
        assert!(named::exists(name).expect("lstat"), "the new one is in use");
    }

    /// An opener that the lease makes wait finds no name when the wait is over.
    #[test]
    fn opener_during_the_lease_finds_nothing() {
        let Published(name) = &Published::new("leased");
        let file = open(name).expect("published");
        std::thread::scope(|scope| {
            let lease = Lease::take(file.as_fd()).expect("a tmpfs has leases");
            let opener = scope.spawn(|| open(name));
            // The kernel asks for the lease back for a process that waits in `open`.
            // SAFETY: an open descriptor, and a command that touches no memory.
            let asked = || unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) };
            let deadline = Deadline::after(Duration::from_secs(20));
            while asked() == libc::F_WRLCK {
                assert!(!deadline.is_expired(), "no process waits for the lease");
                std::thread::yield_now();
            }
            unlink(name.path()).expect("ours");
            drop(lease.expect("no other process has it open"));
            let opened = opener.join().expect("it only opens");
            assert!(matches!(opened, Err(OpenError::NotFound)), "{opened:?}");
        });
    }
}
