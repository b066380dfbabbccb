//! `RawMutex`: what it remembers of its dead owners.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicU32, Ordering};

use mp_sync::{Outcome, RawMutex};
use mp_testkit::stay;

#[path = "shared/processes.rs"]
mod processes;
use processes::{child, place, shared_memory, until};

#[test]
fn counts_the_owners_that_died() {
    let memory = shared_memory();
    let (mutex, at): (&RawMutex, &AtomicU32) = (place(memory, 0), place(memory, 128));
    assert_eq!(mutex.death_epoch(), 0);
    for deaths in 1..=3 {
        let owner = child(|| {
            let _guard = mutex.lock().expect("free");
            at.store(deaths, Ordering::Release);
            stay();
        });
        until(|| at.load(Ordering::Acquire) == deaths);
        owner.kill();
        let mut guard = mutex.lock().expect("its owner is dead");
        assert_eq!(guard.outcome(), Outcome::OwnerDied);
        assert_eq!(mutex.death_epoch(), deaths);
        guard.recover();
        drop(guard);
        drop(mutex.lock().expect("free"));
        assert_eq!(mutex.death_epoch(), deaths, "nobody died since");
    }
}
