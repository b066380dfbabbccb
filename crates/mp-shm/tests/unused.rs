//! Names that nobody uses: who counts as a user, and what races leave.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};

use mp_layout::ErrorKind;
use mp_shm::{Segment, SharedMemory, unlink_unused, unused_names};
use mp_testkit::{Forked, UniqueName};

/// A forked child has whatever its parent has open, and the list is of all names: so one test at a
/// time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_listed(name: &UniqueName) -> bool {
    unused_names()
        .expect("a readable /dev/shm")
        .iter()
        .any(|unused| **unused == **name)
}

/// Left by somebody who has gone.
fn left_behind(label: &str) -> UniqueName {
    let name = UniqueName::new(label);
    drop(SharedMemory::create(&name, 64).expect("memory"));
    name
}

#[test]
fn a_name_without_users_is_listed_and_removed_once() {
    let _alone = alone();
    let name = left_behind("left");
    assert!(is_listed(&name));
    assert!(name.path().exists(), "looking removes nothing");
    assert!(unlink_unused(&name).expect("ours"));
    assert!(!name.path().exists() && !is_listed(&name));
    assert_eq!(
        unlink_unused(&name).expect_err("gone").kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn creation_never_replaces_a_name() {
    let _alone = alone();
    let name = left_behind("kept");
    let refused = SharedMemory::create(&name, 64).expect_err("the name is taken");
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert!(SharedMemory::unlink_unused(&name).expect("ours"));
    SharedMemory::create(&name, 64).expect("a free name");
}

#[test]
fn whoever_has_it_open_or_mapped_keeps_it() {
    let _alone = alone();
    let name = left_behind("used");
    let assert_used = |what: &str| {
        assert!(!is_listed(&name), "listed beside {what}");
        assert!(
            !unlink_unused(&name).expect("ours"),
            "removed beside {what}"
        );
    };
    let memory = SharedMemory::open(&name).expect("published");
    assert_used("a handle");
    let descriptor: OwnedFd = memory.as_fd().try_clone_to_owned().expect("a descriptor");
    drop(memory);
    assert_used("a descriptor");
    let (left, right) = mp_os::socket::pair().expect("a socket");
    mp_os::socket::send(&left, b"there", &[descriptor.as_fd()]).expect("room");
    drop(descriptor);
    assert_used("a descriptor on its way");
    drop((left, right));
    let reading = File::open(name.path()).expect("published");
    assert_used("a reader of the file");
    drop(reading);
    let mapping = memmap_only(&name);
    assert_used("a mapping without a descriptor");
    drop(mapping);
    assert!(unlink_unused(&name).expect("ours"));
}

/// A child that has the memory mapped and has closed the descriptor.
fn memmap_only(name: &str) -> Forked {
    let segment = Segment::open(name).expect("published");
    let child = Forked::arriving(|arrival| {
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&segment.as_fd());
        // SAFETY: this process ends by a signal, and nothing uses the descriptor before.
        unsafe { libc::close(descriptor) };
        arrival.stay()
    });
    drop(segment);
    child
}

#[test]
fn a_killed_user_counts_no_more() {
    let _alone = alone();
    let name = left_behind("killed");
    let child = Forked::arriving(|arrival| {
        let memory = SharedMemory::open(&name).expect("published");
        memory.write(0, b"mine").expect("within");
        arrival.stay()
    });
    assert!(!is_listed(&name) && !unlink_unused(&name).expect("ours"));
    child.kill_and_reap();
    assert!(is_listed(&name));
    assert!(unlink_unused(&name).expect("ours"));
}

#[test]
fn programs_in_other_languages_count() {
    let _alone = alone();
    let name = left_behind("python");
    let script = format!(
        "import sys\n\
         from multiprocessing import shared_memory, resource_tracker\n\
         memory = shared_memory.SharedMemory({:?})\n\
         resource_tracker.unregister(memory._name, 'shared_memory')\n\
         print('open', flush=True)\n\
         sys.stdin.read()\n",
        &*name
    );
    let python = Command::new("python3")
        .args(["-c", &script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut python = match python {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            mp_testkit::not_checked("there is no python3");
            return;
        }
        started => started.expect("python3"),
    };
    let mut open = [0; 4];
    let mut output = python.stdout.take().expect("piped");
    std::io::Read::read_exact(&mut output, &mut open).expect("it opens the memory");
    assert!(!is_listed(&name) && !unlink_unused(&name).expect("ours"));
    drop(python.stdin.take());
    python.wait().expect("a child");
    assert!(unlink_unused(&name).expect("ours"));
}

#[test]
fn what_is_no_file_of_ours_stays() {
    let _alone = alone();
    let (link, target) = (UniqueName::new("link"), left_behind("target"));
    std::os::unix::fs::symlink(target.path(), link.path()).expect("a free name");
    assert!(!is_listed(&link));
    assert_eq!(
        unlink_unused(&link).expect_err("a link").kind(),
        ErrorKind::Foreign
    );
    assert!(target.path().exists());
}

#[test]
fn of_several_sweepers_one_removes_it() {
    let _alone = alone();
    const SWEEPERS: usize = 4;
    for _ in 0..50 {
        let name = left_behind("swept");
        let start = Barrier::new(SWEEPERS);
        let removed = std::thread::scope(|scope| {
            let sweep = || {
                start.wait();
                match unlink_unused(&name) {
                    Ok(removed) => removed,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::NotFound);
                        false
                    }
                }
            };
            let sweepers: Vec<_> = (0..SWEEPERS).map(|_| scope.spawn(sweep)).collect();
            let outcomes = sweepers.into_iter().map(|sweeper| sweeper.join());
            outcomes
                .filter(|removed| *removed.as_ref().expect("no panic"))
                .count()
        });
        assert_eq!(removed, 1);
        assert!(!name.path().exists());
    }
}

/// Whoever opens it while it is swept has it with its name, or does not have it.
#[test]
fn who_opens_it_meanwhile_has_it_whole_or_not_at_all() {
    let _alone = alone();
    let (mut opened, mut missed) = (0, 0);
    for attempt in 0.. {
        if attempt >= 300 && opened.min(missed) >= 10 {
            break;
        }
        assert!(attempt < 100_000, "opened {opened} times, missed {missed}");
        let name = left_behind("raced");
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            let sweeper = scope.spawn(|| {
                start.wait();
                unlink_unused(&name)
            });
            start.wait();
            let memory = SharedMemory::open(&name);
            let swept = sweeper.join().expect("no panic");
            match memory {
                Ok(_memory) => {
                    assert!(!swept.expect("it was there"), "removed beside a user");
                    assert!(name.path().exists());
                    opened += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                    assert!(swept.expect("it was there"));
                    missed += 1;
                }
            }
        });
    }
}

/// A sweeper is killed at any moment: the name stays, or is gone, and others go on.
#[test]
fn a_killed_sweeper_holds_nothing_up() {
    let _alone = alone();
    for _ in 0..30 {
        let name = left_behind("sweeper");
        let child = Forked::arriving(|arrival| {
            arrival.arrive();
            while unused_names().is_ok() {
                let _removed = unlink_unused(&name);
            }
            false
        });
        child.kill_and_reap();
        match SharedMemory::open(&name) {
            Ok(memory) => {
                drop(memory);
                assert!(unlink_unused(&name).expect("ours"));
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
    }
}
