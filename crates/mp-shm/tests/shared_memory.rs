//! Named memory: names, sizes, what else may lie in `/dev/shm`, other languages.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use mp_layout::ErrorKind;
use mp_shm::{SharedMemory, transfer};
use mp_testkit::{Forked, UniqueName};

#[test]
fn has_exactly_the_bytes_asked_for() {
    for len in [1, 800, 4095, 4096, 4097] {
        let name = UniqueName::new("shm");
        let memory = SharedMemory::create(&name, len).unwrap();
        assert_eq!(memory.len(), len);
        assert_eq!(std::fs::metadata(name.path()).unwrap().len(), len as u64);
        assert_eq!(SharedMemory::open(&name).unwrap().len(), len);
    }
}

#[test]
fn is_private_to_the_user() {
    use std::os::unix::fs::PermissionsExt;
    let name = UniqueName::new("shm");
    let _memory = SharedMemory::create(&name, 1).unwrap();
    assert_eq!(
        std::fs::metadata(name.path()).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn both_sides_see_the_same_bytes() {
    let name = UniqueName::new("shm");
    let memory = SharedMemory::create(&name, 100).unwrap();
    memory.write(90, b"0123456789").unwrap();
    let other = SharedMemory::open(&format!("/{}", &*name)).unwrap();
    let mut bytes = [0; 4];
    other.read(96, &mut bytes).unwrap();
    assert_eq!(&bytes, b"6789");
    assert_eq!(other.name(), &*name);
}

/// A generated name, removed when the test ends.
struct RemovedAtTheEnd(String);

impl Drop for RemovedAtTheEnd {
    fn drop(&mut self) {
        // The test may have removed it.
        drop(SharedMemory::unlink(&self.0));
    }
}

#[test]
fn generated_names_are_never_the_same() {
    let made: Vec<_> = (0..100).map(|_| SharedMemory::new(8).unwrap()).collect();
    let mut names: Vec<_> = made.iter().map(SharedMemory::name).collect();
    for name in &names {
        let digits = name.strip_prefix("mp_").unwrap();
        assert!(digits.len() == 16 && u64::from_str_radix(digits, 16).is_ok());
        SharedMemory::unlink(name).unwrap();
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 100);
}

#[test]
fn clone_is_the_same_mapping_and_outlives_the_first() {
    let name = UniqueName::new("clone");
    let memory = SharedMemory::create(&name, 8).unwrap();
    let clone = memory.clone();
    assert_eq!(memory.region().as_ptr(), clone.region().as_ptr());
    memory.write(0, b"kept").unwrap();
    memory.close();
    let mut bytes = [0; 4];
    clone.read(0, &mut bytes).unwrap();
    assert_eq!((&bytes, clone.name()), (b"kept", &*name));
}

#[test]
fn same_bytes_are_known_by_the_file_and_not_by_the_name() {
    let name = UniqueName::new("same");
    let first = SharedMemory::create(&name, 8).unwrap();
    let opened = SharedMemory::open(&name).unwrap();
    assert!(first.is_same(&opened) && opened.is_same(&first.clone()));
    SharedMemory::unlink(&name).unwrap();
    let second = SharedMemory::create(&name, 8).unwrap();
    assert!(!second.is_same(&first));
}

fn send(memory: &SharedMemory) -> (Vec<u8>, Vec<OwnedFd>) {
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(memory));
    (bytes.unwrap(), descriptors)
}

fn receive(bytes: &[u8], with: Vec<OwnedFd>) -> Result<SharedMemory, postcard::Error> {
    transfer::incoming(with, || postcard::from_bytes(bytes))
}

#[test]
fn handle_crosses_to_another_process() {
    let name = UniqueName::new("travels");
    let memory = SharedMemory::create(&name, 100).unwrap();
    let (bytes, descriptors) = send(&memory);
    let mut descriptors = Some(descriptors);
    let child = Forked::new(|| {
        let received = receive(&bytes, descriptors.take().unwrap()).unwrap();
        received.write(96, b"back").unwrap();
        received.is_same(&memory) && (received.len(), received.name()) == (100, &*name)
    });
    assert!(child.succeeds());
    let mut back = [0; 4];
    memory.read(96, &mut back).unwrap();
    assert_eq!(&back, b"back");
}

#[test]
fn handle_whose_name_is_anothers_by_now_is_still_the_first() {
    let name = UniqueName::new("anew");
    let first = SharedMemory::create(&name, 8).unwrap();
    let (bytes, descriptors) = send(&first);
    SharedMemory::unlink(&name).unwrap();
    let second = SharedMemory::create(&name, 8).unwrap();
    let received = receive(&bytes, descriptors).unwrap();
    assert!(received.is_same(&first) && !received.is_same(&second));
}

#[test]
fn handle_alone_or_of_truncated_memory_is_refused() {
    let name = UniqueName::new("refused");
    let memory = SharedMemory::create(&name, 8).unwrap();
    postcard::to_stdvec(&memory).expect_err("no descriptor travels");
    let (bytes, descriptors) = send(&memory);
    receive(&bytes, Vec::new()).expect_err("its descriptor did not come");
    let file = std::fs::File::options().write(true).open(name.path());
    for len in [4, 0] {
        file.as_ref().unwrap().set_len(len).unwrap();
        let copies = descriptors.iter().map(|fd| fd.try_clone().unwrap());
        receive(&bytes, copies.collect()).expect_err("it has fewer bytes than it had");
    }
}

#[test]
fn copies_past_the_end_are_refused_whole() {
    let name = UniqueName::new("shm");
    let memory = SharedMemory::create(&name, 10).unwrap();
    assert_eq!(
        memory.write(5, &[1; 6]).unwrap_err().kind(),
        ErrorKind::WrongSize
    );
    assert_eq!(
        memory.write(usize::MAX, &[1]).unwrap_err().kind(),
        ErrorKind::WrongSize
    );
    let mut all = [9; 10];
    memory.read(0, &mut all).unwrap();
    assert_eq!(all, [0; 10]);
}

#[test]
fn copies_of_every_alignment_touch_their_bytes_only() {
    const LEN: usize = 64;
    let name = UniqueName::new("copies");
    let memory = SharedMemory::create(&name, LEN).unwrap();
    let pattern: Vec<u8> = (1..=LEN as u8).collect();
    for offset in 0..=LEN {
        for len in 0..=LEN - offset {
            memory.write(0, &[0; LEN]).unwrap();
            memory.write(offset, &pattern[..len]).unwrap();
            let mut expected = [0; LEN];
            expected[offset..offset + len].copy_from_slice(&pattern[..len]);
            assert!(
                memory.cells::<u8>().unwrap().iter().eq(expected),
                "{len} bytes to {offset}"
            );
            let mut copy = vec![0; len];
            memory.read(offset, &mut copy).unwrap();
            assert_eq!(copy, pattern[..len], "{len} bytes from {offset}");
        }
    }
}

/// A byte after another would show halves of a number that somebody replaces.
#[test]
fn aligned_words_are_copied_whole() {
    let name = UniqueName::new("whole");
    let memory = SharedMemory::create(&name, 80).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..100_000_u64 {
                let byte = (round % 2) as u8 * 0xff;
                memory.write(1, &[byte; 71]).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let mut copy = [0; 64];
            memory.read(8, &mut copy).unwrap();
            for word in copy.as_chunks::<8>().0 {
                assert!([[0; 8], [0xff; 8]].contains(word), "torn: {word:02x?}");
            }
        }
    });
}

#[test]
fn second_creation_is_refused_and_leaves_the_first() {
    let name = UniqueName::new("shm");
    let memory = SharedMemory::create(&name, 10).unwrap();
    memory.write(0, b"first").unwrap();
    assert_eq!(
        SharedMemory::create(&name, 10).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    let mut bytes = [0; 5];
    memory.read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"first");
}

#[test]
fn open_or_create_makes_once_and_checks_the_size() {
    let name = UniqueName::new("shm");
    let made = SharedMemory::open_or_create(&name, 64).unwrap();
    made.write(0, &[7]).unwrap();
    let mut byte = [0];
    SharedMemory::open_or_create(&name, 64)
        .unwrap()
        .read(0, &mut byte)
        .unwrap();
    assert_eq!(byte, [7]);
    let error = SharedMemory::open_or_create(&name, 65).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize);
    assert!(
        error.to_string().contains("found 64 bytes, expected 65"),
        "{error}"
    );
}

/// It asked for memory before it looked whether there was anything to open.
#[test]
fn existing_memory_is_opened_without_room_for_another() {
    let name = UniqueName::new("room");
    let _memory = SharedMemory::create(&name, 64).unwrap();
    let error = SharedMemory::open_or_create(&name, 1 << 50).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize);
}

#[test]
fn unlinked_memory_stays_with_its_users() {
    let name = UniqueName::new("shm");
    let memory = SharedMemory::create(&name, 8).unwrap();
    SharedMemory::unlink(&name).unwrap();
    memory.write(0, &[1]).unwrap();
    assert_eq!(
        SharedMemory::open(&name).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        SharedMemory::unlink(&name).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn impossible_names_are_refused() {
    for name in ["", "/", "a/b", "//a", "nul\0", ".", "..", &"x".repeat(256)] {
        for refused in [
            SharedMemory::create(name, 8).unwrap_err(),
            SharedMemory::open(name).unwrap_err(),
            SharedMemory::unlink(name).unwrap_err(),
        ] {
            assert_eq!(
                refused.kind(),
                ErrorKind::InvalidName,
                "{name:?}: {refused}"
            );
        }
    }
    assert!(!Path::new("/dev/shm/a").exists());
}

#[test]
fn longest_name_is_accepted() {
    let name = UniqueName::new("longest");
    let longest = format!("{:x<255}", &*name);
    let made = SharedMemory::create(&longest, 1);
    SharedMemory::unlink(&longest).unwrap();
    assert_eq!(made.unwrap().len(), 1);
}

#[test]
fn links_fifos_and_directories_are_not_followed() {
    let (target, link, fifo, directory) = (
        UniqueName::new("shm"),
        UniqueName::new("shm"),
        UniqueName::new("shm"),
        UniqueName::new("shm"),
    );
    let _memory = SharedMemory::create(&target, 8).unwrap();
    std::os::unix::fs::symlink(target.path(), link.path()).unwrap();
    let fifo_path = CString::new(fifo.path().to_str().unwrap()).unwrap();
    // SAFETY: a terminated path.
    assert_eq!(unsafe { libc::mkfifo(fifo_path.as_ptr(), 0o600) }, 0);
    std::fs::create_dir(directory.path()).unwrap();
    for name in [&link, &fifo, &directory] {
        assert_eq!(
            SharedMemory::open(name).unwrap_err().kind(),
            ErrorKind::Foreign
        );
        assert_eq!(
            SharedMemory::unlink(name).unwrap_err().kind(),
            ErrorKind::Foreign
        );
        assert_eq!(
            SharedMemory::create(name, 8).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
    }
}

#[test]
fn another_users_memory_is_refused() {
    let name = UniqueName::new("shm");
    let memory = SharedMemory::create(&name, 8).unwrap();
    if std::os::unix::fs::chown(name.path(), Some(12345), None).is_err() {
        mp_testkit::not_checked("only root can give a file away");
        return;
    }
    let error = SharedMemory::open(&name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(
        error.to_string().contains("12345"),
        "{error} names the owner"
    );
    drop(memory);
}

#[test]
fn empty_memory_is_refused() {
    let name = UniqueName::new("shm");
    assert_eq!(
        SharedMemory::create(&name, 0).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    std::fs::write(name.path(), b"").unwrap();
    assert_eq!(
        SharedMemory::open(&name).unwrap_err().kind(),
        ErrorKind::Truncated
    );
}

#[test]
fn too_much_memory_is_refused_with_both_figures() {
    for (len, limit) in [(1 << 50, "/dev/shm"), (usize::MAX, "largest file")] {
        let name = UniqueName::new("shm");
        let error = SharedMemory::create(&name, len).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotEnoughMemory, "{error}");
        let text = error.to_string();
        assert!(
            text.contains(limit) && text.contains("were asked for"),
            "{text}"
        );
        assert!(!name.path().exists());
    }
}

/// What a script prints; `None`, said loudly, where there is no python3.
#[track_caller]
fn python(script: &str) -> Option<String> {
    let output = match Command::new("python3").args(["-c", script]).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            mp_testkit::not_checked("there is no python3");
            return None;
        }
        output => output.unwrap(),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Each script attaches memory, shows that it is the same, and exits.
#[test]
fn python_before_3_13_unlinks_what_it_attached_unless_told_not_to() {
    let attached = |script: &str| {
        let memory = SharedMemory::new(8).unwrap();
        let _removed_at_the_end = RemovedAtTheEnd(memory.name().to_owned());
        memory.write(0, b"shared").unwrap();
        let descriptor = memory.as_fd().as_raw_fd();
        let ours = format!("/proc/{}/fd/{descriptor}", std::process::id());
        let script = format!(
            "import mmap, os, sys\n\
             from multiprocessing import resource_tracker, shared_memory\n\
             name, ours = {:?}, {ours:?}\n\
             {script}\n\
             assert bytes(buf[:6]) == b'shared'\n\
             print(sys.version_info >= (3, 13))\n\
             buf.release()\n",
            memory.name()
        );
        let printed = python(&script)?;
        let mut bytes = [0; 6];
        memory.read(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"shared", "who has it open keeps it");
        let is_there = SharedMemory::open(memory.name()).is_ok();
        Some((printed.trim() == "True", is_there))
    };
    let Some((is_new, is_there)) =
        attached("shm = shared_memory.SharedMemory(name); buf = shm.buf")
    else {
        return;
    };
    assert!(!is_there, "the tracker has unlinked it");
    let untracked = if is_new {
        "shm = shared_memory.SharedMemory(name, track=False); buf = shm.buf"
    } else {
        "shm = shared_memory.SharedMemory(name)\n\
         resource_tracker.unregister(shm._name, 'shared_memory')\n\
         buf = shm.buf"
    };
    for script in [
        untracked,
        "buf = memoryview(mmap.mmap(os.open('/dev/shm/' + name, os.O_RDWR), 0))",
        "buf = memoryview(mmap.mmap(os.open(ours, os.O_RDWR), 0))",
    ] {
        assert_eq!(attached(script), Some((is_new, true)), "{script}");
    }
}

#[test]
fn python_opens_ours_and_we_open_pythons() {
    let (ours, theirs) = (UniqueName::new("shm"), UniqueName::new("shm"));
    let memory = SharedMemory::create(&ours, 16).unwrap();
    memory.cells::<f64>().unwrap().set(1, 2.5);
    let script = format!(
        "import struct\n\
         from multiprocessing import shared_memory, resource_tracker\n\
         ours = shared_memory.SharedMemory({:?})\n\
         assert ours.size == 16 and struct.unpack_from('d', ours.buf, 8)[0] == 2.5\n\
         struct.pack_into('d', ours.buf, 0, 4.5)\n\
         theirs = shared_memory.SharedMemory({:?}, create=True, size=24)\n\
         theirs.buf[23] = 9\n\
         for each in (ours, theirs):\n\
         \x20   each.close()\n\
         \x20   resource_tracker.unregister(each._name, 'shared_memory')\n",
        &*ours, &*theirs
    );
    if python(&script).is_none() {
        return;
    }
    assert_eq!(memory.cells::<f64>().unwrap().get(0), 4.5);
    let opened = SharedMemory::open(&theirs).unwrap();
    let mut last = [0];
    opened.read(23, &mut last).unwrap();
    assert_eq!((opened.len(), last), (24, [9]));
}

#[cfg(feature = "shared_memory")]
#[test]
fn shmem_opens_ours_and_we_open_its() {
    use shared_memory::{Shmem, ShmemConf};
    let (ours, theirs) = (UniqueName::new("shm"), UniqueName::new("shm"));
    let memory = SharedMemory::create(&ours, 4096).unwrap();
    memory.write(0, b"ours").unwrap();
    let shmem = Shmem::try_from(&memory).unwrap();
    // SAFETY: nobody writes the memory meanwhile.
    assert_eq!(unsafe { &shmem.as_slice()[..4] }, b"ours");
    assert!(!shmem.is_owner());

    let mut made = ShmemConf::new()
        .size(4096)
        .os_id(format!("/{}", &*theirs))
        .create()
        .unwrap();
    // SAFETY: nobody else has it open yet.
    unsafe { made.as_slice_mut()[..6].copy_from_slice(b"theirs") };
    let opened = SharedMemory::try_from(&made).unwrap();
    let mut bytes = [0; 6];
    opened.read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"theirs");
}
