//! Kernels and sandboxes that refuse system calls: another way where it keeps the promise, else one
//! error that says what is needed.
//!
//! This process only forks: what a module finds out once about the kernel, each child finds out
//! anew.
#![cfg(not(miri))]

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::AtomicU32;

use mp_os::clock::Deadline;
use mp_os::futex::{self, WaitAny};
use mp_os::memfd::{self, Commit, CreateError};
use mp_os::named::{self, Name, OpenError};
use mp_os::{random, robust};
use mp_testkit::{Argument, Forked, UniqueName, refuse};

const PAGE: u64 = 4096;
/// Old kernels, Docker's and other profiles, file systems and gVisor.
const REFUSALS: [i32; 3] = [libc::ENOSYS, libc::EPERM, libc::EOPNOTSUPP];

/// Runs `check` in a child for which `refuse_some` has set filters.
#[track_caller]
fn check_where(refuse_some: impl Fn(), check: impl Fn()) {
    let child = Forked::new(|| {
        refuse_some();
        check();
        true
    });
    assert!(child.succeeds());
}

fn refuse_populating() {
    let populate = Argument {
        index: 2,
        mask: u32::MAX,
        value: libc::MADV_POPULATE_WRITE as u32,
    };
    refuse(libc::SYS_madvise, libc::EINVAL, Some(populate));
}

/// Whether the kernel knows `MADV_POPULATE_WRITE` (Linux 5.14).
fn populates() -> bool {
    // SAFETY: no byte is touched; the kernel says only whether it knows the advice.
    unsafe { libc::madvise(std::ptr::null_mut(), 0, libc::MADV_POPULATE_WRITE) == 0 }
}

fn pages_of(file: impl AsFd) -> u64 {
    let file = File::from(file.as_fd().try_clone_to_owned().expect("a descriptor"));
    file.metadata().expect("fstat").blocks() * 512 / PAGE
}

/// New and sparse memory of both kinds; what is in it stays.
fn assert_pages_are_committed() {
    let check = |fresh: BorrowedFd<'_>, sparse: BorrowedFd<'_>| {
        assert_eq!((pages_of(fresh), pages_of(sparse)), (5, 0));
        let file = File::from(sparse.try_clone_to_owned().expect("a descriptor"));
        file.write_all_at(b"kept", 2 * PAGE + 5).expect("within");
        memfd::reserve(sparse, PAGE + 1..4 * PAGE - 1).expect("3 pages");
        assert_eq!(pages_of(sparse), 3);
        let mut kept = [0; 4];
        file.read_exact_at(&mut kept, 2 * PAGE + 5).expect("within");
        assert_eq!(&kept, b"kept");
    };
    let make = |commit| memfd::create("test", 5 * PAGE, commit).expect("5 pages");
    check(make(Commit::Now).as_fd(), make(Commit::Sparse).as_fd());
    let make = |commit| named::create_unpublished(5 * PAGE, commit).expect("5 pages");
    check(make(Commit::Now).as_fd(), make(Commit::Sparse).as_fd());
}

#[test]
fn memory_is_committed_where_fallocate_is_refused() {
    if !populates() {
        mp_testkit::not_checked("this kernel has no MADV_POPULATE_WRITE (Linux 5.14)");
        return;
    }
    for errno in REFUSALS {
        let refused = || refuse(libc::SYS_fallocate, errno, None);
        check_where(refused, assert_pages_are_committed);
    }
}

/// gVisor knows `fallocate` without flags only, and no `MADV_POPULATE_WRITE`.
#[test]
fn memory_is_committed_where_fallocate_takes_no_flags() {
    let refused = || {
        let keep_size = Argument {
            index: 1,
            mask: libc::FALLOC_FL_KEEP_SIZE as u32,
            value: libc::FALLOC_FL_KEEP_SIZE as u32,
        };
        refuse(libc::SYS_fallocate, libc::EOPNOTSUPP, Some(keep_size));
        refuse_populating();
    };
    check_where(refused, assert_pages_are_committed);
}

#[test]
fn a_kernel_that_cannot_populate_is_noticed() {
    check_where(refuse_populating, || assert!(!populates()));
}

#[test]
fn memory_that_cannot_be_committed_is_refused() {
    for errno in REFUSALS {
        let refused = || {
            refuse(libc::SYS_fallocate, errno, None);
            refuse_populating();
        };
        check_where(refused, || {
            let anonymous = memfd::create("test", PAGE, Commit::Now);
            let named = named::create_unpublished(PAGE, Commit::Now);
            let sparse = memfd::create("test", PAGE, Commit::Sparse).expect("no page");
            let reserved = memfd::reserve(sparse, 0..PAGE);
            for error in [anonymous.err(), named.err(), reserved.err()] {
                let error = error.expect("nothing commits a page");
                assert!(matches!(error, CreateError::Refused { .. }), "{error}");
                let text = error.to_string();
                assert!(
                    text.contains("fallocate") && text.contains("Linux 5.14"),
                    "{text}"
                );
            }
        });
    }
}

/// A page past the end would raise SIGBUS if it were written.
#[test]
fn pages_past_the_end_are_an_error_and_no_signal() {
    let refused = || refuse(libc::SYS_fallocate, libc::ENOSYS, None);
    check_where(refused, || {
        let sparse = memfd::create("test", PAGE, Commit::Sparse).expect("no page");
        memfd::reserve(sparse, 0..2 * PAGE).expect_err("the file has one page");
    });
}

#[test]
fn memory_is_sealed_where_the_newest_flag_is_unknown() {
    for errno in [libc::EINVAL, libc::EPERM] {
        let no_exec = Argument {
            index: 1,
            mask: libc::MFD_NOEXEC_SEAL,
            value: libc::MFD_NOEXEC_SEAL,
        };
        let refused = || refuse(libc::SYS_memfd_create, errno, Some(no_exec));
        check_where(refused, || {
            let memory = memfd::create("test", PAGE, Commit::Now).expect("a page");
            assert!(memfd::check_seals(memory).expect("a memfd"));
        });
    }
}

#[test]
fn missing_memfd_is_told() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let refused = || refuse(libc::SYS_memfd_create, errno, None);
        check_where(refused, || {
            let error = memfd::create("test", PAGE, Commit::Now).expect_err("no memfd");
            assert!(matches!(error, CreateError::Refused { .. }), "{error}");
            let text = error.to_string();
            assert!(
                text.contains("memfd_create") && text.contains("Linux 3.17"),
                "{text}"
            );
            named::create_unpublished(PAGE, Commit::Now).expect("it needs no memfd");
        });
    }
}

#[test]
fn missing_files_without_a_name_are_told() {
    const TMPFILE_ALONE: u32 = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
    let refused = || {
        let tmpfile = |index| Argument {
            index,
            mask: TMPFILE_ALONE,
            value: TMPFILE_ALONE,
        };
        refuse(libc::SYS_openat, libc::EOPNOTSUPP, Some(tmpfile(2)));
        #[cfg(target_arch = "x86_64")]
        refuse(libc::SYS_open, libc::EOPNOTSUPP, Some(tmpfile(1)));
    };
    check_where(refused, || {
        let error = named::create_unpublished(PAGE, Commit::Now).expect_err("no such file");
        assert!(matches!(error, CreateError::DevShm(_)), "{error}");
        assert!(error.to_string().contains("O_TMPFILE"), "{error}");
    });
}

#[test]
fn missing_leases_are_told() {
    let unique = UniqueName::new("no-leases");
    let name = Name::new(&unique).expect("a valid name");
    let file = named::create_unpublished(PAGE, Commit::Now).expect("a page");
    named::publish(file, &name).expect("a free name");
    let refused = || {
        let set_lease = Argument {
            index: 1,
            mask: u32::MAX,
            value: libc::F_SETLEASE as u32,
        };
        refuse(libc::SYS_fcntl, libc::EINVAL, Some(set_lease));
    };
    check_where(refused, || {
        let error = named::unlink_unused(&name).expect_err("no lease, no proof");
        assert!(matches!(error, OpenError::NoLeases), "{error}");
        assert!(error.to_string().contains("fs.leases-enable"), "{error}");
        assert!(named::exists(&name).expect("lstat"));
    });
}

#[test]
fn missing_waitv_is_unsupported() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let refused = || refuse(libc::SYS_futex_waitv, errno, None);
        check_where(refused, || {
            let word = AtomicU32::new(0);
            let waited = futex::wait_any(&[(&word, 0)], Deadline::NEVER);
            assert_eq!(waited, WaitAny::Unsupported);
            assert!(!futex::waitv_supported());
        });
    }
}

#[test]
fn missing_robust_list_is_unsupported() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let refused = || refuse(libc::SYS_get_robust_list, errno, None);
        check_where(refused, || assert!(!robust::supported()));
    }
}

#[test]
fn identities_are_drawn_where_getrandom_is_refused() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let refused = || refuse(libc::SYS_getrandom, errno, None);
        check_where(refused, || {
            let [first, second] = [(); 2].map(|()| random::random_id().expect("/dev/urandom"));
            assert_ne!(first, second);
        });
    }
}

#[test]
fn identities_need_no_descriptor() {
    let no_more_files = || {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a valid structure.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &none) }, 0);
    };
    check_where(no_more_files, || {
        File::open("/dev/urandom").expect_err("no descriptor is left");
        random::random_id().expect("without one");
    });
}
