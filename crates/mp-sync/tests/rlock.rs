//! `RLock`: one thread as often as it likes, and no other until all its guards are gone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mp_sync::{LockError, RLock};

#[path = "shared/processes.rs"]
mod processes;
use processes::{child, place, shared_memory, until};

fn depth(lock: &RLock) -> u32 {
    lock.lock().expect("free or ours").depth() - 1
}

#[test]
fn guards_are_dropped_in_any_order() {
    let memory = shared_memory();
    let lock: &RLock = place(memory, 0);
    let first = lock.lock().expect("free");
    let second = lock.try_lock().expect("ours");
    let third = lock.lock_timeout(Duration::from_secs(1)).expect("ours");
    assert_eq!(third.depth(), 3);
    drop(first);
    drop(third);
    assert_eq!(
        lock.holder().map(|holder| holder.tid()),
        Some(mp_os::robust::tid())
    );
    drop(second);
    assert_eq!(lock.holder(), None);
    assert_eq!(depth(lock), 0);
}

#[test]
fn another_process_waits_for_the_last_guard() {
    let memory = shared_memory();
    let (lock, order): (&RLock, &AtomicU32) = (place(memory, 0), place(memory, 128));
    let outer = lock.lock().expect("free");
    let inner = lock.lock().expect("ours");
    let other = child(|| {
        assert!(matches!(lock.try_lock(), Err(LockError::Timeout(_))));
        order.store(1, Ordering::SeqCst);
        let guard = lock.lock().expect("released twice");
        assert_eq!((guard.depth(), order.load(Ordering::SeqCst)), (1, 2));
    });
    until(|| order.load(Ordering::SeqCst) == 1);
    drop(inner);
    order.store(2, Ordering::SeqCst);
    drop(outer);
    other.join();
}

#[test]
fn processes_exclude_each_other_at_any_depth() {
    let memory = shared_memory();
    let (lock, counter): (&RLock, &AtomicU32) = (place(memory, 0), place(memory, 128));
    let add = || {
        let _inner = lock.lock().expect("ours");
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    };
    let workers = [(); 3].map(|()| {
        child(|| {
            for _ in 0..2000 {
                let _outer = lock.lock().expect("no owner dies");
                add();
                add();
            }
        })
    });
    workers.into_iter().for_each(processes::Child::join);
    assert_eq!(counter.load(Ordering::Relaxed), 12_000);
}

#[test]
fn all_acquisitions_of_a_dead_owner_end() {
    let memory = shared_memory();
    let lock: &RLock = place(memory, 0);
    child(|| {
        let guards = [(); 3].map(|()| lock.lock().expect("free or ours"));
        std::mem::forget(guards);
    })
    .join();
    let Err(LockError::OwnerDied(guard)) = lock.lock() else {
        panic!("the next owner learns that the last one died");
    };
    assert_eq!(guard.depth(), 1);
    drop(guard);
    assert_eq!(depth(lock), 0, "and only the next one");
}

#[test]
fn a_forked_child_drops_its_parents_guards_without_effect() {
    let memory = shared_memory();
    let lock: &RLock = place(memory, 0);
    let mut guards = vec![lock.lock().expect("free"), lock.lock().expect("ours")];
    child(|| guards.clear()).join();
    assert_eq!(guards[0].depth(), 2);
    guards.clear();
    assert_eq!(lock.holder(), None);
}
