//! Memory files: sealed, whole, refused with figures.
#![cfg(not(miri))]

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use mp_os::memfd::{self, Commit, CreateError};
use mp_testkit::{PATIENCE, Watchdog};

#[test]
fn cannot_shrink_grow_or_be_unsealed() {
    let fd = memfd::create("test", 8192, Commit::Now).expect("8 KiB");
    assert!(memfd::check_seals(&fd).expect("a memfd"));
    let file = File::from(fd);
    assert_eq!(file.metadata().expect("fstat").len(), 8192);
    for size in [0, 4096, 16_384] {
        let error = file.set_len(size).expect_err("sealed");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }
}

#[test]
fn plain_files_have_no_seals() {
    let file = File::open("/proc/self/exe").expect("the test");
    assert!(!memfd::check_seals(&file).expect("an open file"));
}

#[test]
fn size_is_kept_to_the_byte() {
    for size in [0, 1, 4095, 4097] {
        let fd = memfd::create("test", size, Commit::Now).expect("small");
        assert_eq!(File::from(fd).metadata().expect("fstat").len(), size);
    }
}

#[test]
fn impossible_sizes_are_refused_with_figures() {
    for size in [1 << 45, i64::MAX as u64, u64::MAX] {
        let error = memfd::create("test", size, Commit::Now).expect_err("nobody has that");
        let text = error.to_string();
        let CreateError::NotEnough { wanted, free, .. } = error else {
            panic!("refused otherwise: {text}")
        };
        assert_eq!(wanted, size);
        assert!(free < size);
        assert!(text.contains("were asked for; "), "{text}");
    }
}

#[test]
fn sparse_files_may_be_larger_than_memory() {
    let fd = memfd::create("test", 1 << 44, Commit::Sparse).expect("no page of it exists");
    let error = memfd::reserve(&fd, 0..1 << 44).expect_err("now they would");
    assert!(matches!(error, CreateError::NotEnough { .. }), "{error}");
    let error = memfd::create("test", u64::MAX, Commit::Sparse).expect_err("no file is that large");
    assert!(matches!(error, CreateError::NotEnough { .. }), "{error}");
}

fn blocks(file: &File) -> u64 {
    use std::os::unix::fs::MetadataExt;
    file.metadata().expect("fstat").blocks() * 512
}

#[test]
fn reserves_and_gives_back() {
    const CHUNK: u64 = 1 << 20;
    let file = File::from(memfd::create("test", 1 << 30, Commit::Sparse).expect("sparse"));
    assert_eq!(blocks(&file), 0);
    memfd::reserve(&file, CHUNK..3 * CHUNK).expect("2 MiB");
    assert_eq!(blocks(&file), 2 * CHUNK);
    file.write_all_at(b"here", 2 * CHUNK).expect("reserved");
    memfd::give_back(&file, 2 * CHUNK..3 * CHUNK).expect("it is ours");
    assert_eq!(blocks(&file), CHUNK);
    let mut bytes = [1; 4];
    file.read_exact_at(&mut bytes, 2 * CHUNK).expect("inside");
    assert_eq!(bytes, [0; 4]);
    memfd::give_back(&file, 5..5).expect("nothing to do");
    memfd::reserve(&file, 5..5).expect("nothing to do");
}

#[test]
fn populates_a_mapping() {
    const LEN: usize = 1 << 20;
    let fd = memfd::create("test", LEN as u64, Commit::Sparse).expect("sparse");
    let (read, write) = (rustix::mm::ProtFlags::READ, rustix::mm::ProtFlags::WRITE);
    let flags = rustix::mm::MapFlags::SHARED;
    let place = std::ptr::null_mut();
    // SAFETY: a new mapping at a place of the kernel's choice.
    let memory = unsafe { rustix::mm::mmap(place, LEN, read | write, flags, &fd, 0) };
    let memory = memory.expect("1 MiB");
    // SAFETY: mapped for writing just now.
    let populated = unsafe { memfd::populate(memory.cast(), LEN) };
    assert_eq!(
        blocks(&File::from(fd)),
        if populated { LEN as u64 } else { 0 }
    );
    // SAFETY: the mapping, not used any more.
    unsafe { rustix::mm::munmap(memory, LEN) }.expect("mapped");
}

extern "C" fn do_nothing(_: libc::c_int) {}

/// A timer like a profiler's, which ends before the kernel has reserved so much by one call.
/// Kernels that finish the call first, as Linux 6.18 does, pass in any case.
#[test]
fn signals_do_not_keep_memory_from_being_reserved() {
    let _watchdog = Watchdog::new(PATIENCE);
    // SAFETY: all zeros is a disposition without flags, so calls are not restarted.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = do_nothing as extern "C" fn(libc::c_int) as usize;
    // SAFETY: `action` is whole, and its handler does nothing.
    let installed =
        unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
    // SAFETY: all zeros is an event that says nothing.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = libc::SIGUSR1;
    // SAFETY: it has no conditions.
    event.sigev_notify_thread_id = unsafe { libc::gettid() };
    let mut timer: libc::timer_t = std::ptr::null_mut();
    // SAFETY: the event is whole, and both live through the call.
    let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
    assert_eq!(made, 0);
    let every = libc::timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    let spec = libc::itimerspec {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: the timer just made.
    let set = unsafe { libc::timer_settime(timer, 0, &raw const spec, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    let file = memfd::create("test", 64 << 20, Commit::Now);
    // SAFETY: as above. It is used no more.
    assert_eq!(unsafe { libc::timer_delete(timer) }, 0);
    assert_eq!(blocks(&File::from(file.expect("64 MiB"))), 64 << 20);
}

#[test]
fn a_file_that_another_process_has_sealed_is_sealed() {
    let fd = memfd::create_sealable("twice", 4096, Commit::Now).expect("made");
    assert!(memfd::seal_writes(&fd).expect("sealed"));
    assert!(memfd::seal_writes(&fd).expect("sealed already"));
    let never = memfd::create("never", 4096, Commit::Now).expect("made");
    let error = memfd::seal_writes(&never).expect_err("its seals are final");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}
