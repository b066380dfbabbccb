//! Files on disk that processes map: made whole, and written by one opening at a time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::commit::{allocate_in_pieces, check_size};

/// Makes a file of `size` zeros with its blocks reserved, where the file system can reserve them;
/// elsewhere a full disk ends a process that writes through a mapping by SIGBUS.
///
/// # Errors
///
/// `AlreadyExists` if there is anything of that path, `StorageFull`, and what else the kernel
/// reports. The file is removed again if it cannot have its size.
pub fn create_new(path: &Path, size: u64) -> io::Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    match sized(&file, size) {
        Ok(()) => Ok(file.into()),
        Err(error) => {
            // What is left otherwise is a file of our own that is no use; the first error is the
            // one to report.
            std::fs::remove_file(path).map_err(|_| io::Error::from(error.kind()))?;
            Err(error)
        }
    }
}

fn sized(file: &File, size: u64) -> io::Result<()> {
    check_size(size).map_err(io::Error::from)?;
    file.set_len(size)?;
    match allocate_in_pieces(file.as_fd(), FallocateFlags::empty(), 0..size) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What is no file must neither keep `open` waiting (a FIFO) nor become the terminal of this
/// process.
const OF_WHATEVER_IT_IS: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// Opens a file for reading and writing. What is no file is opened without waiting.
///
/// # Errors
///
/// What the kernel reports.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OF_WHATEVER_IT_IS)
        .open(path)
        .map(Into::into)
}

/// Opens a file for reading. What is no file is opened without waiting.
///
/// # Errors
///
/// What the kernel reports.
pub fn open_read_only(path: &Path) -> io::Result<OwnedFd> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OF_WHATEVER_IT_IS)
        .open(path)
        .map(Into::into)
}

/// Opens the file of a descriptor again, for reading.
///
/// # Errors
///
/// What the kernel reports, for instance that there is no `/proc`.
pub fn reopen_read_only(fd: impl AsFd) -> io::Result<OwnedFd> {
    open_read_only(Path::new(&format!(
        "/proc/self/fd/{}",
        fd.as_fd().as_raw_fd()
    )))
}

/// Makes this opening of a file the one that writes it; `false` if another has done so.
///
/// The lock (`F_OFD_SETLK`, on the whole file) belongs to the opening: descriptors that were
/// duplicated or passed to other processes share it, and the kernel gives it up when the last of
/// them is closed, however its process ends. Programs that ask for no lock, such as numpy, are not
/// kept away.
///
/// # Errors
///
/// What `fcntl` reports, for instance on a file system without locks.
pub fn lock_for_writing(fd: impl AsFd) -> io::Result<bool> {
    let whole_file = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let number = fd.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open, and the structure lives through the call, which only reads
    // it.
    if unsafe { libc::fcntl(number, libc::F_OFD_SETLK, &raw const whole_file) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct TempFile(std::path::PathBuf);

    impl Drop for TempFile {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    fn temporary(what: &str) -> TempFile {
        let name = format!("mp-os-file-{what}-{}", std::process::id());
        TempFile(std::env::temp_dir().join(name))
    }

    #[test]
    fn one_opening_writes_and_its_duplicates_with_it() {
        let path = temporary("lock");
        let first = create_new(&path.0, 10).unwrap();
        let duplicate = first.try_clone().unwrap();
        let second = open(&path.0).unwrap();
        assert!(lock_for_writing(&first).unwrap() && lock_for_writing(&duplicate).unwrap());
        assert!(!lock_for_writing(&second).unwrap());
        drop(first);
        assert!(
            !lock_for_writing(&second).unwrap(),
            "the duplicate still has it"
        );
        drop(duplicate);
        assert!(lock_for_writing(&second).unwrap());
    }

    #[test]
    fn a_file_that_cannot_have_its_size_is_not_left() {
        let path = temporary("size");
        // More than any file system has: sizes are signed.
        assert!(create_new(&path.0, u64::MAX).is_err());
        assert!(!path.0.exists());
        create_new(&path.0, 1).unwrap();
        let error = create_new(&path.0, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_fifo_that_no_process_writes_is_opened_at_once() {
        let _watchdog = mp_testkit::Watchdog::new(mp_testkit::PATIENCE);
        let path = temporary("fifo");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &path.0, kind, mode, 0).unwrap();
        open_read_only(&path.0).unwrap();
        open(&path.0).unwrap();
    }
}
