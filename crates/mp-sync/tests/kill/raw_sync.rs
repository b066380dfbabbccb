//! raw_sync's mutex, which is caught, and ours by its traits.

use std::sync::atomic::AtomicU64;

use killcheck::{Check, SharedArea};
use raw_sync::locks::{LockInit, Mutex as Theirs};

use super::check;

type Memory = SharedArea<[AtomicU64; 16]>;

fn area() -> Memory {
    // SAFETY: atomics.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

fn lock_and_unlock_under_kills<L: LockInit>(name: &str) -> Check<'static, Memory> {
    let bytes = |memory: &Memory| memory.as_ptr().cast::<u8>();
    // SAFETY: room for a lock of either kind, never freed while it is used.
    let open = move |memory: &Memory| unsafe { L::from_existing(bytes(memory), bytes(memory)) };
    let lock_and_unlock = move |memory: &Memory| {
        let (mutex, _) = open(memory).expect("initialised");
        // An error tells of a death, once; then the lock is free.
        drop(mutex.lock().or_else(|_| mutex.lock()).expect("free"));
    };
    check(name)
        .setup(move |memory: &Memory| {
            memory.reset();
            // SAFETY: as above.
            let made = unsafe { L::new(bytes(memory), bytes(memory)) };
            drop(made.expect("room"));
        })
        .victim(lock_and_unlock)
        .survivor(move |memory| {
            lock_and_unlock(memory);
            Ok(())
        })
        .allow_missed(0.05, "the box is freed as the allocator's state has it")
}

#[test]
fn control_theirs_is_caught() {
    lock_and_unlock_under_kills::<Theirs>("raw_sync's mutex").assert_caught(&area());
}

#[test]
fn ours_behind_the_same_traits() {
    lock_and_unlock_under_kills::<mp_sync::raw_sync::Mutex>("ours by raw_sync's traits")
        .assert_safe(&area());
}
