//! Names in /dev/shm, and everything that can wear one.
#![cfg(not(miri))]

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use mp_os::commit::{Commit, CreateError};
use mp_os::named::{self, Name, NameError, OpenError};
use mp_testkit::Forked;

/// A name of this process alone, whose path is removed when dropped.
struct Own(Name);

impl Own {
    fn new(test: &str) -> Self {
        Self(Name::new(&format!("mp-os-{}-{test}", std::process::id())).expect("short"))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let path = self.0.path();
        drop(fs::remove_file(path).or_else(|_| fs::remove_dir(path)));
    }
}

#[test]
fn refuses_what_no_file_can_be_called() {
    let long = "x".repeat(256);
    let cases = [
        ("", NameError::Empty),
        ("/", NameError::Empty),
        (".", NameError::Dots),
        ("..", NameError::Dots),
        ("/..", NameError::Dots),
        ("a/b", NameError::Slash),
        ("//a", NameError::Slash),
        ("a/", NameError::Slash),
        ("a\0b", NameError::Nul),
        (long.as_str(), NameError::TooLong(256)),
    ];
    for (text, error) in cases {
        assert_eq!(Name::new(text), Err(error), "{text:?}");
    }
    assert_eq!(Name::new("/a").expect("one slash").as_str(), "a");
    assert_eq!(
        Name::new(&long[..255]).expect("the longest").as_str().len(),
        255
    );
    assert_eq!(
        Name::new(&format!("/{}", &long[..255]))
            .expect("the longest")
            .as_str()
            .len(),
        255
    );
}

#[test]
fn appears_whole_under_its_name() {
    let name = Own::new("whole");
    let file = named::create_unpublished(12_345, Commit::Now).expect("12 KiB");
    assert!(!named::exists(&name.0).expect("lstat"));
    assert!(matches!(named::open(&name.0), Err(OpenError::NotFound)));
    named::publish(&file, &name.0).expect("the name is free");
    assert!(named::exists(&name.0).expect("lstat"));
    let status = fs::metadata(name.0.path()).expect("published");
    assert_eq!((status.len(), status.mode() & 0o7777), (12_345, 0o600));
    let again = File::from(named::open(&name.0).expect("ours"));
    assert_eq!(again.metadata().expect("fstat").ino(), status.ino());
    let second = named::create_unpublished(1, Commit::Now).expect("1 byte");
    let error = named::publish(&second, &name.0).expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    named::unlink(&name.0).expect("ours");
    assert!(matches!(named::unlink(&name.0), Err(OpenError::NotFound)));
}

#[test]
fn fifo_neither_blocks_nor_opens() {
    let name = Own::new("fifo");
    let path = std::ffi::CString::new(name.0.path()).expect("no NUL");
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    assert!(matches!(
        named::open(&name.0),
        Err(OpenError::NotRegular("fifo"))
    ));
    assert!(matches!(
        named::unlink(&name.0),
        Err(OpenError::NotRegular("fifo"))
    ));
    assert!(
        fs::metadata(name.0.path())
            .expect("it stays")
            .file_type()
            .is_fifo()
    );
}

#[test]
fn symlink_is_not_followed() {
    let (name, target) = (Own::new("link"), Own::new("target"));
    let file = named::create_unpublished(1, Commit::Now).expect("1 byte");
    named::publish(&file, &target.0).expect("free");
    std::os::unix::fs::symlink(target.0.path(), name.0.path()).expect("free");
    assert!(matches!(named::open(&name.0), Err(OpenError::Symlink)));
    assert!(matches!(named::unlink(&name.0), Err(OpenError::Symlink)));
    assert!(named::exists(&name.0).expect("lstat"));
    let error = named::publish(&file, &name.0).expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

#[test]
fn directory_and_socket_are_told() {
    let directory = Own::new("directory");
    fs::create_dir(directory.0.path()).expect("free");
    assert!(matches!(
        named::open(&directory.0),
        Err(OpenError::NotRegular("directory"))
    ));
    assert!(matches!(
        named::unlink(&directory.0),
        Err(OpenError::NotRegular("directory"))
    ));
    let socket = Own::new("socket");
    let _bound = std::os::unix::net::UnixListener::bind(socket.0.path()).expect("free");
    assert!(matches!(
        named::open(&socket.0),
        Err(OpenError::NotRegular(_))
    ));
    assert!(matches!(
        named::unlink(&socket.0),
        Err(OpenError::NotRegular("socket"))
    ));
}

#[test]
fn foreign_file_is_told_and_kept() {
    if !rustix::process::geteuid().is_root() {
        mp_testkit::not_checked("only root can give a file away");
        return;
    }
    let name = Own::new("foreign");
    let file = named::create_unpublished(1, Commit::Now).expect("1 byte");
    named::publish(&file, &name.0).expect("free");
    std::os::unix::fs::chown(name.0.path(), Some(12_345), None).expect("root may");
    assert!(matches!(
        named::open(&name.0),
        Err(OpenError::ForeignOwner { uid: 12_345 })
    ));
    assert!(matches!(
        named::unlink(&name.0),
        Err(OpenError::ForeignOwner { uid: 12_345 })
    ));
    assert!(named::exists(&name.0).expect("lstat"));
}

#[test]
fn full_directory_is_refused_with_figures() {
    for size in [1 << 45, i64::MAX as u64, u64::MAX] {
        let error = named::create_unpublished(size, Commit::Now).expect_err("nobody has that");
        let CreateError::NotEnough { wanted, free, .. } = error else {
            panic!("refused otherwise: {error}")
        };
        assert!(wanted == size && free < size);
    }
}

#[test]
fn umask_takes_no_rights_away() {
    let name = Own::new("umask");
    let child = Forked::new(|| {
        // SAFETY: concerns this child only.
        unsafe { libc::umask(0o777) };
        let file = named::create_unpublished(1, Commit::Now).expect("1 byte");
        named::publish(&file, &name.0).is_ok()
    });
    assert_eq!(child.exit(), mp_os::pidfd::Exit::Code(0));
    assert_eq!(
        fs::metadata(name.0.path()).expect("published").mode() & 0o777,
        0o600
    );
}
