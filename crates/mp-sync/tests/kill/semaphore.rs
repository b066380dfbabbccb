//! Semaphores: no permit is lost with the one that released or acquired it.

use killcheck::{Check, SharedArea};
use mp_os::clock::Deadline;
use mp_sync::{Semaphore, Wait};

use super::check;

fn semaphore() -> SharedArea<Semaphore> {
    // SAFETY: a `Place`: zero is valid, and all of it is atomics or in an `UnsafeCell`.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

fn permits(semaphore: &Semaphore) -> usize {
    semaphore.value() as usize
}

fn sleep_and_acquire(semaphore: &Semaphore) {
    assert!(semaphore.acquire_with(Wait::Sleep, Deadline::NEVER));
}

fn release_one(semaphore: &Semaphore) -> Result<(), String> {
    semaphore.release().map_err(|error| error.to_string())
}

/// What only a process's first operation does is done after it.
fn release_and_acquire(semaphore: &SharedArea<Semaphore>) {
    semaphore.release().expect("room");
    assert!(semaphore.try_acquire());
}

fn releaser_dies<'a>(count: u32) -> Check<'a, SharedArea<Semaphore>> {
    check(&format!(
        "semaphore: release {count}; as many waiters sleep"
    ))
    .setup(|semaphore: &SharedArea<Semaphore>| semaphore.reset())
    .warm_up(release_and_acquire)
    .sleepers(count as usize, |semaphore| sleep_and_acquire(semaphore))
    .victim(move |semaphore| semaphore.release_many(count).expect("room"))
    .must_wake_count(|semaphore| permits(semaphore))
    .survivor(move |semaphore| (0..count).try_for_each(|_| release_one(semaphore)))
}

fn acquirer_dies<'a>(count: u32) -> Check<'a, SharedArea<Semaphore>> {
    check(&format!(
        "semaphore: woken by a release of {count}; as many others sleep"
    ))
    .setup(|semaphore: &SharedArea<Semaphore>| semaphore.reset())
    .victim(|semaphore| sleep_and_acquire(semaphore))
    .sleepers(count as usize, |semaphore| sleep_and_acquire(semaphore))
    .waker(move |semaphore| semaphore.release_many(count).expect("room"))
    .must_wake_count(|semaphore| permits(semaphore))
    .survivor(move |semaphore| (0..count).try_for_each(|_| release_one(semaphore)))
}

#[test]
fn releaser_of_a_permit_with_a_sleeper() {
    for count in [1, 2] {
        releaser_dies(count).assert_safe(&semaphore());
    }
}

#[test]
fn acquirer_woken_with_others_asleep() {
    acquirer_dies(1).assert_safe(&semaphore());
}
