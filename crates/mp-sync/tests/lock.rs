//! `Lock`: who is told of a death, and how waiting ends.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mp_layout::{Error, ErrorKind};
use mp_os::clock::Deadline;
use mp_sync::{Lock, LockError};

#[path = "shared/processes.rs"]
mod processes;
use mp_testkit::stay;
use processes::{child, place, shared_memory, until, until_waited_for};

#[test]
fn waiter_gets_the_lock_of_a_killed_holder() {
    let memory = shared_memory();
    let (lock, word): (&Lock, &AtomicU32) = (place(memory, 0), place(memory, 0));
    let holder = child(|| {
        let _guard = lock.lock().unwrap();
        stay();
    });
    until(|| lock.holder().is_some_and(|by| by.tid() == holder.pid()));
    let told: &AtomicU32 = place(memory, 128);
    let waiter = child(|| match lock.lock() {
        Err(LockError::OwnerDied(_guard)) => told.store(1, Ordering::Release),
        other => panic!("{other:?}"),
    });
    until_waited_for(word);
    holder.kill();
    // How soon is for the kill checks, whose waiters have no timeouts.
    until(|| told.load(Ordering::Acquire) == 1);
    waiter.join();
    assert!(lock.lock().is_ok(), "the death was reported once already");
}

#[test]
fn death_of_who_was_told_is_told_again() {
    let memory = shared_memory();
    let lock: &Lock = place(memory, 0);
    for _ in 0..2 {
        let holder = child(|| {
            let _guard = lock.lock().or_else(LockError::into_guard).unwrap();
            stay();
        });
        until(|| lock.holder().is_some_and(|by| by.tid() == holder.pid()));
        holder.kill();
    }
    let told = lock.lock_timeout(Duration::from_secs(5)).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::OwnerDied);
}

#[test]
fn thread_that_ends_with_a_leaked_guard_is_a_dead_owner() {
    let memory = shared_memory();
    let lock: &Lock = place(memory, 0);
    std::thread::spawn(|| std::mem::forget(lock.lock().unwrap()))
        .join()
        .unwrap();
    let told = lock.lock_timeout(Duration::from_secs(5)).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::OwnerDied);
}

#[test]
fn released_in_any_order() {
    let memory = shared_memory();
    let [a, b, c]: [&Lock; 3] = [0, 64, 128].map(|offset| place(memory, offset));
    let holder = child(|| {
        let (held_a, held_b, held_c) = (a.lock().unwrap(), b.lock().unwrap(), c.lock().unwrap());
        drop(held_b);
        drop(held_a);
        let again = b.lock().unwrap();
        std::mem::forget((held_c, again));
    });
    holder.join();
    assert!(
        a.lock_timeout(Duration::from_secs(5)).is_ok(),
        "was released"
    );
    for lock in [b, c] {
        let told = lock.lock_timeout(Duration::from_secs(5)).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::OwnerDied);
    }
}

#[test]
fn second_lock_by_the_same_thread_is_an_error() {
    let memory = shared_memory();
    let lock: &Lock = place(memory, 0);
    let guard = lock.lock().unwrap();
    assert!(matches!(lock.lock(), Err(LockError::Recursive)));
    assert!(matches!(lock.try_lock(), Err(LockError::Recursive)));
    drop(guard);
    assert!(lock.lock().is_ok());
}

#[test]
fn holds_1024_locks_and_no_more() {
    let memory = shared_memory();
    let locks: Vec<&Lock> = (0..1025).map(|index| place(memory, index * 64)).collect();
    let mut guards: Vec<_> = locks[..1024]
        .iter()
        .map(|lock| lock.lock().unwrap())
        .collect();
    if !mp_os::robust::supported() {
        assert!(locks[1024].lock().is_ok(), "no list, no limit");
        return;
    }
    let error = locks[1024].lock().unwrap_err();
    assert!(matches!(error, LockError::TooManyHeld));
    assert!(error.to_string().contains("1024"), "{error}");
    guards.pop();
    assert!(locks[1024].lock().is_ok(), "there is room again");
}

#[test]
fn timeout_names_the_holder() {
    let memory = shared_memory();
    let lock: &Lock = place(memory, 0);
    let holder = child(|| {
        let _guard = lock.lock().unwrap();
        stay();
    });
    until(|| lock.holder().is_some());
    // Long enough for a busy machine to let the waiter come to its sleep.
    let timeout = Duration::from_secs(1);
    let start = Instant::now();
    let error = lock.lock_timeout(timeout).unwrap_err();
    assert!(start.elapsed() >= timeout);
    let LockError::Timeout(by) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((by.pid(), by.tid()), (Some(holder.pid()), holder.pid()));
    assert!(
        by.held_for() >= timeout / 2 && by.held_for() <= start.elapsed(),
        "{by}"
    );
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", holder.pid())),
        "{error}"
    );
    let converted = Error::from(error);
    assert_eq!(converted.kind(), ErrorKind::TimedOut);
    assert!(
        converted.to_string().contains(&holder.pid().to_string()),
        "{converted}"
    );
    holder.kill();
}

#[test]
fn zero_tries_once_and_max_waits() {
    let memory = shared_memory();
    let (lock, word): (&Lock, &AtomicU32) = (place(memory, 0), place(memory, 0));
    let (locked, release): (&AtomicU32, &AtomicU32) = (place(memory, 128), place(memory, 192));
    let holder = child(|| {
        let guard = lock.lock().unwrap();
        locked.store(1, Ordering::Release);
        until(|| release.load(Ordering::Acquire) == 1);
        drop(guard);
    });
    until(|| locked.load(Ordering::Acquire) == 1);
    let now = lock.lock_timeout(Duration::ZERO).unwrap_err();
    assert_eq!(now.kind(), ErrorKind::TimedOut);
    let waiter = child(|| assert!(lock.lock_timeout(Duration::MAX).is_ok()));
    until_waited_for(word);
    release.store(1, Ordering::Release);
    waiter.join();
    holder.join();
    assert!(lock.lock_timeout(Duration::ZERO).is_ok());
}

#[test]
fn forked_child_neither_owns_nor_releases_the_lock() {
    let memory = shared_memory();
    let lock: &Lock = place(memory, 0);
    let mut guard = Some(lock.lock().unwrap());
    child(|| {
        drop(guard.take());
        assert!(matches!(lock.try_lock(), Err(LockError::Timeout(_))));
    })
    .join();
    assert_eq!(lock.holder().map(|by| by.tid()), Some(mp_os::robust::tid()));
    assert!(matches!(lock.lock(), Err(LockError::Recursive)));
    drop(guard);
    assert!(lock.try_lock().is_ok());
}

#[test]
fn random_kills_never_block_the_survivors() {
    let memory = shared_memory();
    let (lock, rounds): (&Lock, &AtomicU32) = (place(memory, 0), place(memory, 128));
    let spin = |_| {
        child(|| {
            loop {
                let _guard = lock.lock().or_else(LockError::into_guard).unwrap();
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let mut children: Vec<_> = (0..3).map(spin).collect();
    for round in 0..60 {
        let seen = rounds.load(Ordering::Relaxed);
        until(|| rounds.load(Ordering::Relaxed).wrapping_sub(seen) > round % 7);
        children.swap_remove(round as usize % 3).kill();
        children.push(spin(round));
    }
    children.into_iter().for_each(processes::Child::kill);
    assert!(
        lock.lock_timeout(Duration::from_secs(5))
            .or_else(LockError::into_guard)
            .is_ok()
    );
}

#[test]
fn a_sleeping_waiter_is_seen() {
    let lock: &Lock = place(shared_memory(), 0);
    let guard = lock.lock().expect("free");
    assert!(!lock.is_waited_for());
    let waiter = child(|| drop(lock.lock().expect("nobody dies")));
    until(|| lock.is_waited_for());
    drop(guard);
    waiter.join();
    until(|| lock.holder().is_none());
}

/// A release wakes one sleeper, which may have been one that only watches.
#[test]
fn one_that_only_watches_passes_its_wake_up_on() {
    let memory = shared_memory();
    let (lock, word): (&Lock, &AtomicU32) = (place(memory, 0), place(memory, 0));
    let watch = lock.watch();
    assert!(watch.is_ready() && watch.register().is_none());
    // Held by another: its release is to wake the next.
    let guard = lock.lock().expect("free");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(!watch.is_ready() && !watch.is_held_here());
            assert!(!lock.is_waited_for());
            watch.pass_on();
            assert!(lock.is_waited_for());
        });
    });
    assert!(watch.is_held_here() && watch.is_ready());
    drop(guard);
    // Free: no release is to come.
    assert!(!lock.is_waited_for());
    let sleeper = std::thread::spawn(|| {
        let patience = Deadline::after(Duration::from_secs(60));
        while mp_os::futex::wait(word, 0, patience) == mp_os::futex::Wake::Interrupted {}
        assert!(!patience.is_expired(), "never woken");
    });
    until(|| {
        watch.pass_on();
        sleeper.is_finished()
    });
    sleeper.join().expect("woken");
}

/// In memory without the kernel's list, such as of an owner in the fallback mode.
#[test]
fn a_watch_frees_the_lock_of_an_owner_that_the_kernel_did_not_mark() {
    let memory = shared_memory();
    let (lock, word): (&Lock, &AtomicU32) = (place(memory, 0), place(memory, 0));
    let child = child(|| ());
    let dead = child.pid();
    child.join();
    word.store(dead, Ordering::SeqCst);
    let watch = lock.watch();
    assert!(!watch.is_ready());
    watch.suspect();
    assert!(watch.is_ready());
    assert!(matches!(lock.try_lock(), Err(LockError::OwnerDied(_))));
}
