//! Memory that is opened for reading.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use mp_layout::ErrorKind;
use mp_os::pidfd::Exit;
use mp_shm::{ReadOnlyMemory, SharedMemory};
use mp_testkit::{Forked, UniqueName};

#[test]
fn sees_what_others_write_meanwhile() {
    let name = UniqueName::new("read-only");
    let memory = SharedMemory::create(&name, 20).unwrap();
    let seen = ReadOnlyMemory::open(&name).unwrap();
    memory.write(16, b"abcd").unwrap();
    let mut copy = [0; 3];
    seen.read(17, &mut copy).unwrap();
    assert_eq!((&copy, seen.len()), (b"bcd", 20));
    memory.cells::<u32>().unwrap().set(1, 7);
    assert_eq!(seen.cells::<u32>(0, 5).unwrap().to_vec()[..2], [0, 7]);
    SharedMemory::unlink(&name).unwrap();
}

#[test]
fn neither_the_descriptor_nor_the_mapping_can_be_written() {
    let name = UniqueName::new("read-only-kernel");
    let memory = SharedMemory::create(&name, 8).unwrap();
    let seen = ReadOnlyMemory::open(&name).unwrap();
    let descriptor = seen.as_fd().try_clone_to_owned().unwrap();
    assert!(File::from(descriptor).write_all(b"x").is_err());
    let start = seen.pointer_to::<u64>(0, 1).unwrap();
    let writer = Forked::new(|| {
        // SAFETY: mapped and aligned; the kernel ends this child here, which is what the test is
        // about.
        unsafe { start.write_volatile(1) };
        true
    });
    assert_eq!(writer.exit(), Exit::Signal(libc::SIGSEGV));
    assert_eq!(memory.cells::<u64>().unwrap().get(0), 0);
    SharedMemory::unlink(&name).unwrap();
}

#[test]
fn what_is_not_there_is_refused_with_both_figures() {
    let name = UniqueName::new("read-only-end");
    let error = ReadOnlyMemory::open(&name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    SharedMemory::create(&name, 20).unwrap();
    let seen = ReadOnlyMemory::open(&name).unwrap();
    for (offset, len) in [(0, 6), (20, 1), (usize::MAX, 1), (0, usize::MAX)] {
        let error = seen.cells::<u32>(offset, len).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongSize);
        assert!(error.to_string().contains("20 bytes"), "{error}");
    }
    let error = seen.cells::<u32>(2, 1).unwrap_err();
    assert!(error.to_string().contains("a multiple of 4"), "{error}");
    assert_eq!(
        seen.cells::<()>(0, 1).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert!(seen.read(19, &mut [0; 2]).is_err());
    SharedMemory::unlink(&name).unwrap();
}
