//! An object is mapped once in a process, however many handles of it come.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};

use mp_layout::ErrorKind;
use mp_object::{Event, Mutex, labelled, transfer};
use mp_testkit::{Forked, PATIENCE, UniqueName, Watchdog};

type Counter = Mutex<u64>;

fn send(counter: &Counter) -> (Vec<u8>, Vec<OwnedFd>) {
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(counter));
    (bytes.unwrap(), descriptors)
}

fn receive((bytes, descriptors): (Vec<u8>, Vec<OwnedFd>)) -> Counter {
    transfer::incoming(descriptors, || postcard::from_bytes(&bytes)).unwrap()
}

fn address(counter: &Counter) -> usize {
    // SAFETY: only the address is looked at.
    unsafe { counter.object().payload() }.as_ptr().addr()
}

/// How often the file with this inode is mapped in this process.
fn mapped(inode: u64) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let inode = inode.to_string();
    let inodes = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(4));
    inodes.filter(|mapped| *mapped == inode).count()
}

fn inode(counter: &Counter) -> u64 {
    let descriptor = counter.as_fd().try_clone_to_owned().unwrap();
    fs::File::from(descriptor).metadata().unwrap().ino()
}

#[test]
fn a_received_handle_shares_the_mapping() {
    let counter = Counter::new(1).unwrap();
    let twin = receive(send(&counter));
    assert_eq!(address(&twin), address(&counter));
    drop(counter);
    let third = receive(send(&twin));
    assert_eq!(address(&third), address(&twin));
    *third.lock().unwrap() += 1;
    assert_eq!(*twin.lock().unwrap(), 2);
}

#[test]
fn opening_a_name_again_shares_the_mapping() {
    let name = UniqueName::new("opened-twice");
    let made = Counter::create_named(&name, 1).unwrap();
    let opened = Counter::open(&name).unwrap();
    assert_eq!(address(&opened), address(&made));
    assert_eq!(mapped(inode(&made)), 1);
}

#[test]
fn a_name_made_again_is_another_object() {
    let name = UniqueName::new("made-again");
    let old = Counter::create_named(&name, 1).unwrap();
    Counter::unlink(&name).unwrap();
    let new = Counter::create_named(&name, 2).unwrap();
    let opened = Counter::open(&name).unwrap();
    assert_eq!(address(&opened), address(&new));
    assert_ne!(address(&opened), address(&old));
    assert_eq!(*opened.lock().unwrap(), 2);
}

#[test]
fn a_copied_file_is_another_object() {
    let (name, copy) = (UniqueName::new("original"), UniqueName::new("copy"));
    let original = Counter::create_named(&name, 1).unwrap();
    let path = |name: &str| format!("/dev/shm/{name}");
    fs::copy(path(&name), path(&copy)).unwrap();
    let opened = Counter::open(&copy).unwrap();
    assert_ne!(address(&opened), address(&original));
    *opened.lock().unwrap() = 7;
    assert_eq!(*original.lock().unwrap(), 1);
}

#[test]
fn a_shared_mapping_is_still_checked() {
    let counter = Counter::new(1).unwrap();
    let (bytes, descriptors) = send(&counter);
    let wrong: Result<Event, _> = transfer::incoming(descriptors, || postcard::from_bytes(&bytes));
    assert!(wrong.is_err(), "a mutex is no event");
}

#[test]
fn a_thousand_handles_leave_one_mapping_and_then_none() {
    let name = UniqueName::new("thousand");
    let first = Counter::create_named(&name, 1).unwrap();
    let inode = inode(&first);
    let twins: Vec<Counter> = (0..1000).map(|_| receive(send(&first))).collect();
    assert_eq!(mapped(inode), 1);
    drop((first, twins));
    assert_eq!(mapped(inode), 0);
}

/// The lock of its parent's table may be held for ever by a thread that a child does not have.
#[test]
fn children_forked_at_any_moment_receive_handles() {
    let _watchdog = Watchdog::new(PATIENCE * 4);
    let counter = Counter::new(0).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                drop(receive(send(&counter)));
            }
        });
        for _ in 0..100 {
            let mut sent = Some(send(&counter));
            let child = Forked::new(|| {
                *receive(sent.take().unwrap()).lock().unwrap() += 1;
                true
            });
            assert!(child.succeeds());
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(*counter.lock().unwrap(), 100);
}

#[test]
fn anonymous_memory_says_whose_it_is() {
    let event = Event::new().unwrap();
    assert_eq!(shown(&event), "/memfd:mp:event (deleted)");
}

/// What `/proc` calls an object.
fn shown(object: &impl AsFd) -> String {
    let link = format!("/proc/self/fd/{}", object.as_fd().as_raw_fd());
    fs::read_link(link).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn anonymous_memory_has_the_label_that_it_was_made_under() {
    let make = || labelled("inner", || Event::new().unwrap());
    let (outer, inner, outer_again) = labelled("outer", || {
        (Event::new().unwrap(), make(), Mutex::new(0_u64).unwrap())
    });
    assert_eq!(shown(&outer), "/memfd:mp:event:outer (deleted)");
    assert_eq!(shown(&inner), "/memfd:mp:event:inner (deleted)");
    assert_eq!(shown(&outer_again), "/memfd:mp:mutex:outer (deleted)");
    let other_thread = labelled("mine", || {
        std::thread::scope(|scope| scope.spawn(Event::new).join().unwrap().unwrap())
    });
    let panicked = catch_unwind(|| labelled("gone", || panic!("on purpose")));
    assert!(panicked.is_err());
    for plain in [other_thread, Event::new().unwrap()] {
        assert_eq!(shown(&plain), "/memfd:mp:event (deleted)");
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.contains("/memfd:mp:event:outer"), "{maps}");
}

#[test]
fn a_label_that_the_kernel_would_refuse_is_refused_with_its_length() {
    let make = |label: &str| labelled(label, Event::new);
    drop(make("").unwrap());
    drop(make(&"x".repeat(240)).unwrap());
    for (label, reason) in [
        ("x".repeat(241), "241 bytes, at most 240 are possible"),
        ("a\0b".to_owned(), "contains a NUL"),
    ] {
        let error = make(&label).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(reason), "{error}");
    }
}
