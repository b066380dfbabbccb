//! `RwLock`: readers share, a writer is alone, and what the dead held comes back.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mp_layout::{ErrorKind, Region};
use mp_sync::{LockError, RwLock};

#[path = "shared/processes.rs"]
mod processes;
use processes::{Child, child, place, shared_memory, until};

const AFTER_LOCK: usize = 16384;

fn lock() -> (Region<'static>, &'static RwLock) {
    let memory = shared_memory();
    (memory, place(memory, 0))
}

/// A child that does `hold` with the lock held until it is killed.
fn holder(memory: Region<'static>, hold: impl FnOnce(&dyn Fn())) -> Child {
    let held: &AtomicU32 = place(memory, AFTER_LOCK);
    held.store(0, Ordering::SeqCst);
    let child = child(|| {
        hold(&|| {
            held.store(1, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        });
    });
    until(|| held.load(Ordering::SeqCst) == 1);
    child
}

fn reader(memory: Region<'static>, lock: &'static RwLock) -> Child {
    holder(memory, |stay| {
        let _share = lock.read().expect("no writer");
        stay();
    })
}

fn writer(memory: Region<'static>, lock: &'static RwLock) -> Child {
    holder(memory, |stay| {
        let _guard = lock.write().expect("free");
        stay();
    })
}

#[test]
fn writers_are_alone_and_readers_see_whole_changes() {
    let (memory, lock) = lock();
    let [one, other]: [&AtomicU64; 2] = [0, 64].map(|at| place(memory, AFTER_LOCK + at));
    let work = || {
        for turn in 0..400 {
            if turn % 4 == 0 {
                let _guard = lock.write().expect("nobody dies");
                let number = one.load(Ordering::Relaxed);
                one.store(number + 1, Ordering::Relaxed);
                std::thread::yield_now();
                other.store(number + 1, Ordering::Relaxed);
            } else {
                let _share = lock.read().expect("nobody dies");
                let number = one.load(Ordering::Relaxed);
                std::thread::yield_now();
                assert_eq!(other.load(Ordering::Relaxed), number);
            }
        }
    };
    let others = [(); 3].map(|()| child(work));
    work();
    others.into_iter().for_each(Child::join);
    assert_eq!(one.load(Ordering::Relaxed), 400);
}

#[test]
fn readers_share_and_are_listed() {
    let (memory, lock) = lock();
    let readers = [(); 3].map(|()| reader(memory, lock));
    let mut listed: Vec<_> = lock.readers().iter().filter_map(|h| h.pid()).collect();
    listed.sort_unstable();
    let mut expected = readers.each_ref().map(Child::pid);
    expected.sort_unstable();
    assert_eq!(listed, expected);
    assert_eq!(lock.writer(), None);
    assert!(lock.try_read().is_ok());
    match lock.try_write() {
        Err(LockError::Timeout(holder)) => {
            assert!(holder.pid().is_some_and(|p| expected.contains(&p)));
        }
        other => panic!("{other:?}"),
    }
    assert!(
        lock.try_read().is_ok(),
        "a writer that gave up keeps nobody out"
    );
    readers.into_iter().for_each(Child::kill);
    assert!(
        lock.write().is_ok(),
        "readers change nothing, so nobody learns of their deaths"
    );
    assert!(lock.readers().is_empty());
}

#[test]
fn a_writer_is_named_to_those_whose_time_passes() {
    let (memory, lock) = lock();
    let writer = writer(memory, lock);
    let start = Instant::now();
    let timeout = Duration::from_millis(20);
    let mut holders = Vec::new();
    match lock.read_timeout(timeout) {
        Err(LockError::Timeout(holder)) => holders.push(holder.pid()),
        other => panic!("{other:?}"),
    }
    match lock.write_timeout(timeout) {
        Err(LockError::Timeout(holder)) => holders.push(holder.pid()),
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() >= 2 * timeout);
    assert_eq!(holders, [Some(writer.pid()); 2]);
    assert!(matches!(lock.try_read(), Err(LockError::Timeout(_))));
    assert!(matches!(lock.try_write(), Err(LockError::Timeout(_))));
    writer.kill();
}

/// The kernel wakes the writer: a reader's slot is a robust mutex.
#[test]
fn the_share_of_a_killed_reader_comes_back_to_a_waiting_writer() {
    let (memory, lock) = lock();
    let reader = reader(memory, lock);
    let writer = child(|| drop(lock.write().expect("a reader's death is no writer's")));
    until(|| lock.writer().is_some());
    reader.kill();
    writer.join();
}

#[test]
fn all_learn_of_a_killed_writer_until_a_writer_has_had_the_lock() {
    let (memory, lock) = lock();
    writer(memory, lock).kill();
    for _ in 0..2 {
        assert!(matches!(lock.read(), Err(LockError::OwnerDied(_))));
    }
    assert!(matches!(lock.try_read(), Err(LockError::OwnerDied(_))));
    // One that is told and dies, too, leaves it to the next.
    holder(memory, |stay| match lock.write() {
        Err(LockError::OwnerDied(_guard)) => stay(),
        other => panic!("{other:?}"),
    })
    .kill();
    assert!(matches!(lock.try_write(), Err(LockError::OwnerDied(_))));
    assert!(lock.read().is_ok());
    assert!(lock.write().is_ok());
}

/// It waited for readers and had changed nothing.
#[test]
fn the_death_of_a_writer_that_waited_is_nobodys_concern() {
    let (_, lock) = lock();
    let share = lock.read().expect("free");
    let waiting = child(|| drop(lock.write()));
    until(|| lock.is_waited_for());
    assert!(matches!(lock.try_read(), Err(LockError::Recursive)));
    waiting.kill();
    drop(share);
    assert!(lock.read().is_ok());
    assert!(lock.write().is_ok());
}

/// Each of these would wait for itself.
#[test]
fn a_thread_that_asks_again_is_told() {
    let (_, lock) = lock();
    let guard = lock.write().expect("free");
    assert!(matches!(lock.write(), Err(LockError::Recursive)));
    assert!(matches!(lock.read(), Err(LockError::Recursive)));
    drop(guard);
    let share = lock.read().expect("free");
    assert!(matches!(lock.write(), Err(LockError::Recursive)));
    let waiting = child(|| drop(lock.write().expect("nobody dies")));
    until(|| lock.is_waited_for());
    assert!(matches!(lock.read(), Err(LockError::Recursive)));
    assert!(matches!(lock.write(), Err(LockError::Recursive)));
    drop(share);
    waiting.join();
}

#[test]
fn more_readers_than_there_are_slots_get_an_error() {
    let (_, lock) = lock();
    let shares: Vec<_> = (0..255).map(|_| lock.read().expect("a slot")).collect();
    let error = match lock.read() {
        Err(LockError::Failed(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    assert!(error.to_string().contains("255"), "{error}");
    drop(shares);
    assert!(lock.write().is_ok());
}

#[test]
fn the_slots_of_dead_readers_are_used_again() {
    let (_, lock) = lock();
    child(|| (0..255).for_each(|_| std::mem::forget(lock.read().expect("a slot")))).join();
    let shares: Vec<_> = (0..255).map(|_| lock.read().expect("a slot")).collect();
    assert_eq!(lock.readers().len(), 255);
    drop(shares);
}

#[test]
fn a_forked_child_releases_nothing_of_its_parents() {
    let (_, lock) = lock();
    let share = RefCell::new(lock.read().ok());
    child(|| drop(share.take())).join();
    assert_eq!(lock.readers().len(), 1);
    drop(share);
    let guard = RefCell::new(lock.write().ok());
    child(|| drop(guard.take())).join();
    child(|| assert!(lock.try_read().is_err())).join();
}

/// What a wild write leaves must not panic or loop.
#[test]
fn overwritten_words_end_every_operation() {
    for (offset, value) in [(48, u32::MAX), (48, 7), (52, u32::MAX), (52, 0)] {
        let (memory, lock) = lock();
        let words: &[AtomicU32; 4096] = place(memory, 0);
        words[offset / 4].store(value, Ordering::Relaxed);
        for _ in 0..2 {
            drop(lock.read());
            drop(lock.write_timeout(Duration::from_millis(1)));
            assert!(lock.readers().len() <= 255);
        }
        assert!(lock.read().is_ok() && lock.write().is_ok());
    }
}

/// Where the kernel marks no deaths, a dead reader's number stays in its slot, and may be that of a
/// thread that started later.
#[test]
fn a_dead_reader_that_had_this_threads_number_is_not_this_thread() {
    let (memory, lock) = lock();
    let [used, word, owner_start]: [&AtomicU32; 3] =
        [52, 64, 64 + 20].map(|offset| place(memory, offset));
    let me = mp_os::robust::tid();
    let started = mp_os::robust::thread_start_time(me).expect("/proc is there");
    used.store(1, Ordering::SeqCst);
    word.store(me, Ordering::SeqCst);
    owner_start.store((started as u32).wrapping_sub(1).max(1), Ordering::SeqCst);
    drop(lock.write().expect("the reader is dead"));
    assert_eq!(word.load(Ordering::SeqCst), 0);
}
