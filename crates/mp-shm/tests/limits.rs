//! Limits of the process and of `/dev/shm`: each an error with its figures, where the system itself
//! would answer with less, or with a signal.

use mp_layout::{Error, ErrorKind};
use mp_os::pidfd::Exit;
use mp_shm::{Segment, SharedMemory, unused_names};
use mp_testkit::{Forked, UniqueName, own_dev_shm, own_empty_dev};

const MIB: usize = 1 << 20;

fn limit(resource: libc::__rlimit_resource_t, most: usize) {
    let limit = libc::rlimit {
        rlim_cur: most as u64,
        rlim_max: most as u64,
    };
    // SAFETY: a valid structure.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

#[track_caller]
fn assert_says<T>(result: Result<T, Error>, kind: ErrorKind, words: &[&str]) {
    let error = result.map(drop).expect_err("it should be refused");
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing: {text}");
    }
}

#[test]
fn a_file_too_large_for_this_process_is_an_error_and_no_signal() {
    let child = Forked::new(|| {
        limit(libc::RLIMIT_FSIZE, MIB);
        let words = ["ulimit -f", "1024 KiB", "2048 KiB were asked for"];
        let kind = ErrorKind::NotEnoughMemory;
        assert_says(Segment::anonymous("frames", 2 * MIB), kind, &words);
        assert_says(Segment::sparse("frames", 2 * MIB), kind, &words);
        assert_says(Segment::unpublished("frames", 2 * MIB), kind, &words);
        assert_says(SharedMemory::create("frames", 2 * MIB), kind, &words);
        Segment::anonymous("frames", MIB).expect("as large as may be");
        true
    });
    assert!(child.succeeds());
}

/// What the test above would end by: the limit is one that kills.
#[test]
fn a_file_too_large_for_this_process_ends_it() {
    let child = Forked::new(|| {
        limit(libc::RLIMIT_FSIZE, MIB);
        // SAFETY: a terminated name.
        let file = unsafe { libc::memfd_create(c"frames".as_ptr(), 0) };
        // SAFETY: a file just made.
        unsafe { libc::ftruncate(file, 2 * MIB as i64) };
        true
    });
    assert_eq!(child.exit(), Exit::Signal(libc::SIGXFSZ));
}

#[test]
fn memory_made_before_the_limit_is_reserved_in_spite_of_it() {
    let segment = Segment::sparse("frames", 4 * MIB).expect("addresses");
    let child = Forked::new(|| {
        limit(libc::RLIMIT_FSIZE, MIB);
        segment
            .reserve(2 * MIB, MIB)
            .expect("it has its size already");
        true
    });
    assert!(child.succeeds());
}

#[test]
fn too_few_addresses_are_an_error_with_both_figures() {
    let child = Forked::new(|| {
        limit(libc::RLIMIT_AS, 1 << 30);
        let refused = Segment::sparse("frames", 4 << 30);
        let words = [
            "map frames: ",
            "ulimit -v",
            " MiB left, 4096 MiB were asked for",
        ];
        assert_says(refused, ErrorKind::NotEnoughMemory, &words);
        true
    });
    assert!(child.succeeds());
}

#[test]
#[ignore = "needs the right to mount"]
fn a_full_dev_shm_is_told_when_memory_is_made_and_when_it_is_reserved() {
    let child = Forked::new(|| {
        own_dev_shm(MIB);
        let kind = ErrorKind::NotEnoughMemory;
        let made = SharedMemory::create("frames", 2 * MIB);
        let words = ["create \"frames\": /dev/shm has 1024 KiB left, 2048 KiB were asked for"];
        assert_says(made, kind, &words);
        let sparse = Segment::unpublished_sparse("frames", 2 * MIB).expect("no page of it");
        sparse.reserve(0, MIB - 4096).expect("so many are left");
        let words = [
            "reserve memory for \"frames\": /dev/shm has 4096 bytes left, 1024 KiB were asked for",
            "--shm-size",
        ];
        assert_says(sparse.reserve(MIB, MIB), kind, &words);
        sparse.publish("frames").expect("a free name");
        let opened = Segment::open("frames").expect("published");
        assert_says(opened.reserve(MIB, MIB), kind, &words);
        sparse.reserve(MIB, 4096).expect("the last page");
        true
    });
    assert!(child.succeeds());
}

#[test]
fn exhausted_descriptors_are_an_error_that_names_the_limit() {
    let name = UniqueName::new("descriptors");
    let segment = Segment::unpublished(&name, 8).expect("a page");
    segment.publish(&name).expect("a free name");
    let child = Forked::new(|| {
        limit(libc::RLIMIT_NOFILE, 3);
        let (kind, words) = (ErrorKind::TooManyDescriptors, ["ulimit -n"]);
        assert_says(Segment::anonymous("frames", 8), kind, &words);
        assert_says(Segment::sparse("frames", 8), kind, &words);
        assert_says(Segment::unpublished("frames", 8), kind, &words);
        assert_says(Segment::open(&name), kind, &words);
        assert_says(SharedMemory::create("frames", 8), kind, &words);
        assert_says(SharedMemory::open(&name), kind, &words);
        assert_says(SharedMemory::open_or_create(&name, 8), kind, &words);
        assert_says(SharedMemory::unlink_unused(&name), kind, &words);
        assert_says(unused_names(), kind, &words);
        SharedMemory::unlink(&name).expect("it needs none");
        true
    });
    assert!(child.succeeds());
}

#[track_caller]
fn assert_all_say(words: &[&str]) {
    let kind = ErrorKind::Unsupported;
    assert_says(SharedMemory::create("frames", 8), kind, words);
    assert_says(Segment::unpublished_sparse("frames", 8), kind, words);
    assert_says(SharedMemory::open("frames"), kind, words);
    assert_says(SharedMemory::open_or_create("frames", 8), kind, words);
    assert_says(SharedMemory::unlink("frames"), kind, words);
    assert_says(SharedMemory::unlink_unused("frames"), kind, words);
    assert_says(unused_names(), kind, words);
    Segment::anonymous("frames", 8).expect("it needs no directory");
}

#[test]
#[ignore = "needs the right to mount"]
fn a_missing_dev_shm_is_told() {
    let child = Forked::new(|| {
        own_empty_dev();
        assert_all_say(&["/dev/shm", "mount a tmpfs there"]);
        true
    });
    assert!(child.succeeds());
}

#[test]
#[ignore = "needs the right to mount"]
fn a_dev_shm_that_is_no_directory_is_told() {
    let child = Forked::new(|| {
        own_empty_dev();
        std::fs::write("/dev/shm", "a file").expect("an empty directory");
        assert_all_say(&["/dev/shm", "director", "mount a tmpfs there"]);
        true
    });
    assert!(child.succeeds());
}
