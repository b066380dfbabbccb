//! Which processes map certain memory.

use std::process::{Command, Stdio};

use mp_os::memfd::{self, Commit};
use mp_os::robust::{thread_maps, tid};
use mp_testkit::Forked;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

#[test]
fn a_process_without_the_mapping_is_told_from_one_with_it() {
    let file = memfd::create("mapped", 4096, Commit::Now).unwrap();
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: a new mapping at an address of the kernel's choice; nothing is made of its bytes.
    let map = unsafe { mmap(std::ptr::null_mut(), 4096, protection, flags, &file, 0) }.unwrap();
    let address = map.addr();
    assert_eq!(thread_maps(tid(), address), Some(true), "this process");

    let with = Forked::holding(|| ());
    assert_eq!(thread_maps(with.pid(), address + 4000), Some(true));
    with.kill_and_reap();

    let mut without = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // `spawn` returns when the child has become `cat`.
    assert_eq!(thread_maps(without.id(), address), Some(false));
    drop(without.stdin.take());
    assert!(without.wait().unwrap().success());
    assert_eq!(thread_maps(without.id(), address), None, "it has ended");
    // SAFETY: mapped above, and nobody uses it any more.
    unsafe { munmap(map, 4096) }.unwrap();
    assert_eq!(
        thread_maps(tid(), address),
        None,
        "no memory of a file any more"
    );
}

#[test]
fn of_memory_without_a_file_nothing_is_said() {
    let heap = Box::new(0_u64);
    let address = std::ptr::from_ref(&*heap).addr();
    assert_eq!(
        thread_maps(std::os::unix::process::parent_id(), address),
        None
    );
    assert_eq!(thread_maps(tid(), 16), None, "not mapped at all");
}
