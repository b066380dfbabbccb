//! Handles of one structure: clones, names, wrong kinds, guards that were leaked.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mp_layout::{Error, ErrorKind};
use mp_object::{Event, Lock, Mutex};
use mp_os::robust;
use mp_sync::LockError;
use mp_testkit::{Forked, PATIENCE, UniqueName, Watchdog};

#[track_caller]
fn refused<T>(result: Result<T, Error>, kind: ErrorKind) -> String {
    let error = result.map(drop).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    error.to_string()
}

#[test]
fn clones_are_one_mutex() {
    let mutex = Mutex::new([1_u32, 2]).unwrap();
    let clone = mutex.clone();
    *clone.lock().unwrap() = [3, 4];
    assert_eq!(*mutex.lock().unwrap(), [3, 4]);
    let guard = mutex.lock().unwrap();
    assert!(matches!(clone.try_lock(), Err(LockError::Recursive)));
    drop(guard);
    drop(mutex);
    assert_eq!(*clone.lock().unwrap(), [3, 4]);
}

#[test]
fn separately_made_ones_are_apart() {
    let (one, other) = (Mutex::new(1_u8).unwrap(), Mutex::new(1_u8).unwrap());
    assert!(!one.object().is_same(other.object()));
    *one.lock().unwrap() = 2;
    assert_eq!(*other.lock().unwrap(), 1);
    assert_eq!(one.object().name(), None);
}

#[test]
fn threads_share_a_mutex() {
    let _watchdog = Watchdog::new(PATIENCE);
    let total = Mutex::new(0_u64).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            let total = total.clone();
            scope.spawn(move || (0..1000).for_each(|_| *total.lock().unwrap() += 1));
        }
    });
    assert_eq!(*total.lock().unwrap(), 4000);
}

#[test]
fn killed_holder_is_told_to_the_next() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let mutex = Mutex::new(0_u64).unwrap();
    let child = Forked::holding(|| {
        *mutex.lock().unwrap() = 1;
        mutex.lock().unwrap()
    });
    child.kill_and_reap();
    match mutex.lock_timeout(PATIENCE) {
        Err(LockError::OwnerDied(guard)) => assert_eq!(*guard, 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_open_the_same_object() {
    let name = UniqueName::new("same");
    let slashed = format!("/{}", &*name);
    let made = Mutex::create_named(&slashed, 5_i64).unwrap();
    let opened = Mutex::<i64>::open(&name).unwrap();
    assert!(opened.object().is_same(made.object()));
    *opened.lock().unwrap() += 1;
    assert_eq!(*made.lock().unwrap(), 6);
    let with_slash = Mutex::<i64>::open(&slashed).unwrap();
    assert!(with_slash.object().is_same(made.object()));
    for handle in [&made, &opened, &with_slash] {
        assert_eq!(handle.object().name(), Some(&*name));
    }
    assert!(name.path().exists());
}

#[test]
fn another_process_opens_by_name() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let name = UniqueName::new("process");
    let mutex = Mutex::create_named(&name, 1_u64).unwrap();
    let child = Forked::new(|| {
        *Mutex::<u64>::open(&name).unwrap().lock().unwrap() += 1;
        true
    });
    assert!(child.succeeds());
    assert_eq!(*mutex.lock().unwrap(), 2);
}

#[test]
fn taken_name_is_refused_and_its_object_unharmed() {
    let name = UniqueName::new("taken");
    let first = Mutex::create_named(&name, 1_u64).unwrap();
    refused(Mutex::create_named(&name, 2_u64), ErrorKind::AlreadyExists);
    refused(Event::create_named(&name), ErrorKind::AlreadyExists);
    assert_eq!(*first.lock().unwrap(), 1);
    assert!(
        Mutex::<u64>::open(&name)
            .unwrap()
            .object()
            .is_same(first.object())
    );
}

#[test]
fn open_or_create_makes_once_then_opens() {
    let name = UniqueName::new("either");
    let made = Mutex::open_or_create(&name, 1_u64).unwrap();
    let opened = Mutex::open_or_create(&name, 2_u64).unwrap();
    assert!(opened.object().is_same(made.object()));
    assert_eq!(*opened.lock().unwrap(), 1, "the second value is not used");
    refused(Lock::open_or_create(&name), ErrorKind::WrongKind);
}

#[test]
fn unlinked_name_is_gone_and_its_users_stay() {
    let name = UniqueName::new("gone");
    let first = Mutex::create_named(&name, 1_u64).unwrap();
    Mutex::<u64>::unlink(&name).unwrap();
    refused(Mutex::<u64>::open(&name), ErrorKind::NotFound);
    refused(Mutex::<u64>::unlink(&name), ErrorKind::NotFound);
    assert_eq!(*first.lock().unwrap(), 1);
    let second = Mutex::open_or_create(&name, 9_u64).unwrap();
    assert!(!second.object().is_same(first.object()));
    assert_eq!(*second.lock().unwrap(), 9);
}

#[test]
fn impossible_names_are_refused() {
    for name in ["", "/", "a/b", "//a", "nul\0", ".", "..", &"x".repeat(256)] {
        refused(Lock::create_named(name), ErrorKind::InvalidName);
        refused(Lock::open(name), ErrorKind::InvalidName);
        refused(Lock::open_or_create(name), ErrorKind::InvalidName);
        refused(Lock::unlink(name), ErrorKind::InvalidName);
    }
}

#[test]
fn wrong_kind_names_both_sides() {
    let name = UniqueName::new("kind");
    let _lock = Lock::create_named(&name).unwrap();
    let text = refused(Event::open(&name), ErrorKind::WrongKind);
    assert!(text.contains("found lock, expected event"), "{text}");
    assert!(text.contains(&*name), "{text}");
    let text = refused(Mutex::<u64>::open(&name), ErrorKind::WrongKind);
    assert!(text.contains("found lock, expected mutex"), "{text}");
}

#[test]
fn wrong_type_names_both_sides() {
    let name = UniqueName::new("type");
    let _mutex = Mutex::create_named(&name, 1_u64).unwrap();
    for (text, expected) in [
        (
            refused(Mutex::<f64>::open(&name), ErrorKind::WrongType),
            "f64",
        ),
        (
            refused(Mutex::<i64>::open(&name), ErrorKind::WrongType),
            "i64",
        ),
        (
            refused(Mutex::<u32>::open(&name), ErrorKind::WrongType),
            "u32",
        ),
        (
            refused(Mutex::<[u64; 2]>::open(&name), ErrorKind::WrongType),
            "[u64; 2] of 16 bytes",
        ),
    ] {
        let (found, wanted) = text.split_once(", expected ").unwrap();
        assert!(found.contains("u64"), "{text}");
        assert!(wanted.contains(expected), "{text}");
    }
}

/// The inode of the file mapped at `address`, as `/proc/self/maps` tells it.
fn mapped_inode(address: usize) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().find_map(|line| {
        let (start, rest) = line.split_once('-')?;
        let (end, rest) = rest.split_once(' ')?;
        let number = |hex| usize::from_str_radix(hex, 16).unwrap();
        let here = (number(start)..number(end)).contains(&address);
        here.then(|| rest.split_whitespace().nth(3).unwrap_or("").to_owned())
    })
}

#[test]
fn leaked_guard_keeps_its_memory_and_its_lock() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let name = UniqueName::new("leaked");
    let other = Mutex::create_named(&name, 5_u64).unwrap();
    let (say, hear) = mpsc::channel();
    let (finish, finished) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let name = &name;
        scope.spawn(move || {
            let last = Mutex::<u64>::open(name).unwrap();
            // SAFETY: only the address is of interest.
            let address = unsafe { last.object().payload() }.as_ptr().addr();
            std::mem::forget(last.lock().unwrap());
            drop(last);
            say.send((robust::tid(), address, robust::supported()))
                .unwrap();
            finished.recv_timeout(PATIENCE).unwrap();
        });
        let (tid, address, on_a_list) = hear.recv_timeout(PATIENCE).unwrap();
        assert!(
            mapped_inode(address).is_some() || !on_a_list,
            "the kernel walks through it"
        );
        match other.lock_timeout(Duration::from_millis(5)) {
            Err(LockError::Timeout(holder)) => {
                assert_eq!(
                    (holder.tid(), holder.pid()),
                    (tid, Some(std::process::id()))
                );
            }
            other => panic!("{other:?}"),
        }
        finish.send(()).unwrap();
    });
    match other.lock_timeout(PATIENCE) {
        Err(LockError::Failed(error)) => assert_eq!(
            error.kind(),
            ErrorKind::Claimed,
            "its thread has ended, but somebody may have a reference: {error}"
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn last_handle_unmaps_the_memory() {
    let lock = Lock::new().unwrap();
    // SAFETY: only the address is of interest.
    let address = unsafe { lock.object().payload() }.as_ptr().addr();
    drop(lock.lock().unwrap());
    let clone = lock.clone();
    drop(lock);
    let inode = mapped_inode(address);
    assert!(inode.is_some());
    drop(clone);
    // Another thread's mapping may have taken the place.
    assert_ne!(mapped_inode(address), inode);
}
