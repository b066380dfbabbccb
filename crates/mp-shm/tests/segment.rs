//! Anonymous segments: commitment, seals, descriptors, leaked locks.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use mp_layout::ErrorKind;
use mp_layout::atomic::{AtomicU64, Ordering};
use mp_os::robust::{self, Node};
use mp_shm::Segment;

fn blocks(segment: &Segment) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let file = File::from(segment.as_fd().try_clone_to_owned().unwrap());
    file.metadata().unwrap().blocks() * 512
}

#[test]
fn pages_are_committed_when_it_is_made() {
    assert_eq!(
        blocks(&Segment::anonymous("test", 1 << 20).unwrap()),
        1 << 20
    );
}

#[test]
fn sparse_segments_commit_what_is_reserved_and_give_it_back() {
    let segment = Segment::sparse("test", 4 << 30).unwrap();
    assert_eq!(blocks(&segment), 0);
    segment.reserve(1 << 20, 1 << 16).unwrap();
    assert_eq!(blocks(&segment), 1 << 16);
    segment
        .region()
        .place::<AtomicU64>(1 << 20)
        .unwrap()
        .store(5, Ordering::Relaxed);
    segment.give_back(1 << 20, 1 << 16).unwrap();
    assert_eq!(blocks(&segment), 0);
    segment.reserve(1 << 20, 4096).unwrap();
    let word = segment.region().place::<AtomicU64>(1 << 20).unwrap();
    assert_eq!(
        word.load(Ordering::Relaxed),
        0,
        "given back pages read as zero"
    );
}

/// The kernel would commit pages past the end of a named file, where nobody sees or frees them.
#[test]
fn pages_past_the_end_are_refused() {
    for segment in [
        Segment::sparse("test", 8192).unwrap(),
        Segment::unpublished_sparse("test", 8192).unwrap(),
    ] {
        for (offset, size) in [(8192, 1), (4096, 4097), (0, usize::MAX), (usize::MAX, 1)] {
            let refused = [
                segment.reserve(offset, size),
                segment.give_back(offset, size),
            ];
            for error in refused {
                assert_eq!(error.unwrap_err().kind(), ErrorKind::WrongSize);
            }
        }
        assert_eq!(blocks(&segment), 0);
        segment.reserve(4096, 4096).unwrap();
        assert_eq!(blocks(&segment), 4096);
        segment.reserve(8192, 0).unwrap();
    }
}

#[test]
fn named_segment_is_mapped_from_its_descriptor() {
    let segment = Segment::unpublished("test", 4096).unwrap();
    let word = |segment: &Segment| {
        let word = segment.region().place::<AtomicU64>(8).unwrap();
        word.fetch_add(1, Ordering::Relaxed)
    };
    assert_eq!(word(&segment), 0);
    let descriptor = || segment.as_fd().try_clone_to_owned().unwrap();
    let twin = Segment::from_named_descriptor(descriptor(), "test").unwrap();
    assert_eq!(word(&twin), 1);
    let error = Segment::from_descriptor(descriptor()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Foreign);
    let empty = File::open("/dev/null").unwrap();
    let error = Segment::from_named_descriptor(empty.into(), "test").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated);
}

#[test]
fn impossible_name_is_refused_before_memory_is_taken() {
    for refused in [
        Segment::unpublished("a/b", 1 << 50),
        Segment::unpublished_sparse("", 1 << 50),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidName);
    }
}

#[test]
fn cannot_be_truncated() {
    let segment = Segment::anonymous("test", 8192).unwrap();
    let file = File::from(segment.as_fd().try_clone_to_owned().unwrap());
    assert!(file.set_len(4096).is_err());
    assert!(file.set_len(1 << 20).is_err());
}

#[test]
fn unsealed_descriptors_are_foreign() {
    let path = std::env::temp_dir().join(format!("mp-shm-unsealed-{}", std::process::id()));
    std::fs::write(&path, [0; 4096]).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let error = Segment::from_descriptor(OwnedFd::from(file)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Foreign);
}

#[test]
fn zero_bytes_are_refused() {
    for refused in [
        Segment::anonymous("test", 0),
        Segment::sparse("test", 0),
        Segment::unpublished("test", 0),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn more_than_there_is_is_refused_with_both_figures() {
    let error = Segment::anonymous("test", 1 << 50).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotEnoughMemory);
    assert!(error.to_string().contains("asked for"), "{error}");
    assert!(Segment::anonymous("test", usize::MAX).is_err());
}

#[test]
fn memory_with_a_held_lock_stays_mapped() {
    let Some(thread) = robust::current() else {
        mp_testkit::not_checked("threads have no robust list here");
        return;
    };
    let segment = Segment::anonymous("test", 4096).unwrap();
    let start = segment.region().as_ptr();
    // SAFETY: `Node` is atomics only, and the mapping is expected to outlive the handle.
    let node = unsafe { &*start.cast::<Node>() };
    node.word.store(thread.tid(), Ordering::Relaxed);
    // SAFETY: begun, linked and ended on this thread; the word names it.
    let operation = unsafe { thread.begin(&node.links) };
    // SAFETY: as above.
    unsafe { thread.link(&node.links) };
    drop(operation);
    drop(segment);
    assert_eq!(node.word.load(Ordering::Relaxed), thread.tid());
    // SAFETY: as above.
    let operation = unsafe { thread.begin(&node.links) };
    // SAFETY: as above.
    unsafe { thread.unlink(&node.links) }.unwrap();
    node.word.store(0, Ordering::Relaxed);
    drop(operation);
}
