//! Mutexes: what a dead owner left is told or mended, and no waiter is left asleep.

use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};

use killcheck::{Check, SharedArea};
use mp_os::clock::Deadline;
use mp_os::futex;
use mp_sync::{LockError, Mutex};

use super::{check, check_pairs, learn_who_one_is};

const OWNER_DIED: u32 = 1 << 30;

type Pair = SharedArea<Mutex<[u64; 2]>>;

fn pair() -> Pair {
    // SAFETY: a `Place`, which is made for this: zero is valid, and all of it is atomics or in an
    // `UnsafeCell`.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

fn word(pair: &Pair) -> &AtomicU32 {
    // SAFETY: the futex word is the first field of a mutex, and an atomic.
    unsafe { AtomicU32::from_ptr(pair.as_ptr().cast()) }
}

fn change(pair: &Pair) {
    let mut held = match pair.lock() {
        Err(LockError::OwnerDied(mut held)) => {
            *held = [0, 0];
            held.recover();
            held
        }
        other => other.expect("the lock is there to be had"),
    };
    held[0] += 1;
    // Two stores, not one of both: a death between them must be told.
    compiler_fence(Ordering::SeqCst);
    held[1] += 1;
}

/// The lock can be had, and what it guards is whole or said to be torn.
fn whole_or_told(pair: &Pair) -> Result<(), String> {
    match pair.lock() {
        Ok(held) if held[0] == held[1] => Ok(()),
        Ok(held) => Err(format!("torn, and nobody said so: {:?}", *held)),
        Err(LockError::OwnerDied(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn lock_and_unlock() {
    check("mutex: lock, change, unlock")
        .setup(|pair: &Pair| pair.reset())
        .warm_up(|pair| drop(pair.lock()))
        .victim(change)
        .survivor(whole_or_told)
        .invariant(whole_or_told)
        .assert_safe(&pair());
}

#[test]
fn lock_and_unlock_after_another_process() {
    check("mutex: lock, change, unlock; another process did before")
        .setup(|pair: &Pair| {
            pair.reset();
            drop(pair.lock());
        })
        .warm_up(|_| learn_who_one_is())
        .victim(change)
        .survivor(whole_or_told)
        .invariant(whole_or_told)
        .assert_safe(&pair());
}

#[test]
fn first_lock_of_a_process() {
    check("mutex: a process's first lock, change, unlock")
        .max_points(if mp_os::robust::supported() { 400 } else { 12 })
        .setup(|pair: &Pair| pair.reset())
        .victim(change)
        .survivor(whole_or_told)
        .invariant(whole_or_told)
        .assert_safe(&pair());
}

#[test]
fn recoverer() {
    check("mutex: told of a death, recover, unlock")
        .setup(|pair: &Pair| {
            pair.reset();
            pair.lock().expect("fresh")[0] = 1;
            word(pair).store(OWNER_DIED, Ordering::Release);
        })
        .warm_up(|_| learn_who_one_is())
        .victim(change)
        .survivor(whole_or_told)
        .assert_safe(&pair());
}

#[test]
fn recoverer_dies_after_the_owner() {
    check_pairs("mutex: lock, change, unlock; then one that recovers what that left")
        .setup(|pair: &Pair| pair.reset())
        .warm_up(|pair| drop(pair.lock()))
        .victim(change)
        .recoverer(change)
        .survivor(whole_or_told)
        .invariant(whole_or_told)
        .assert_safe(&pair());
}

/// It is told of the death and leaves the data as it is.
#[test]
fn witness_dies_after_the_owner() {
    check_pairs("mutex: lock, change, unlock; then one that only looks")
        .setup(|pair: &Pair| pair.reset())
        .warm_up(|pair| drop(pair.lock()))
        .victim(change)
        .recoverer(|pair| drop(pair.lock()))
        .survivor(whole_or_told)
        .invariant(whole_or_told)
        .assert_safe(&pair());
}

fn is_refused(pair: &Pair) -> bool {
    match pair.lock() {
        Err(LockError::Failed(error)) => error.kind() == mp_layout::ErrorKind::Claimed,
        _ => false,
    }
}

/// A thread of this process leaked its guard. A process that is refused the data for that, and dies
/// of something else meanwhile, must not leave the data to the next.
fn refused<'a>(name: &str) -> Check<'a, Pair> {
    // No timeout may be taken from the wait for the end of the data's process.
    Check::new(name)
        .stop_after(2)
        .setup(|pair: &Pair| {
            pair.reset();
            std::thread::scope(|scope| {
                scope.spawn(|| std::mem::forget(pair.lock().expect("fresh")));
            });
        })
        .victim(|pair| assert!(is_refused(pair)))
}

fn expect_refusal(pair: &Pair) -> Result<(), String> {
    is_refused(pair)
        .then_some(())
        .ok_or_else(|| "a second reference to the data".to_owned())
}

/// Where the kernel gives it no descriptor of the data's process, it does not wait for that one's
/// end. So all is tried but that wait.
#[test]
fn refused_process_dies() {
    let without_descriptors = || mp_testkit::refuse(libc::SYS_pidfd_open, libc::ENOSYS, None);
    refused("mutex: refused, since a living process has the data")
        .shares_only_the_area()
        .warm_up(move |_| {
            learn_who_one_is();
            without_descriptors();
        })
        .survivor(move |pair| {
            without_descriptors();
            expect_refusal(pair)
        })
        // At every instruction there are 31 000, most of which read the text of /proc.
        .max_points(400)
        .assert_safe(&pair());
}

/// In each refusal a second passes, in which the data's process could still end, so few points are
/// tried. Almost all lie in the loop of that second.
#[test]
fn refused_process_dies_while_it_waits() {
    refused("mutex: refused after a wait, since a living process has the data")
        .max_points(5)
        .warm_up(|_| learn_who_one_is())
        .allow_missed(0.5, "the wait for the other process looks at the clock")
        .survivor(expect_refusal)
        .assert_safe(&pair());
}

/// Held by this process, which lives, until somebody releases it as its owner would.
fn held_by_the_harness(pair: &Pair) {
    pair.reset();
    word(pair).store(mp_os::robust::tid(), Ordering::Release);
}

fn release_for_the_harness(pair: &Pair) {
    if word(pair).swap(0, Ordering::Release) >> 31 == 1 {
        futex::wake(word(pair), 1);
    }
}

#[test]
fn woken_waiter_with_two_asleep() {
    check("mutex: woken, lock, change, unlock; two others sleep")
        .setup(held_by_the_harness)
        .warm_up(|_| learn_who_one_is())
        .victim(change)
        .sleepers(2, |pair: &Pair| drop(pair.lock()))
        .waker(release_for_the_harness)
        .must_wake(|_| true)
        .survivor(whole_or_told)
        .assert_safe(&pair());
}

#[test]
fn control_plain_futex_mutex_is_caught() {
    // SAFETY: an atomic.
    let area: SharedArea<AtomicU32> = unsafe { SharedArea::zeroed() }.expect("a page");
    let lock_and_unlock = |word: &AtomicU32| {
        while word.swap(2, Ordering::Acquire) != 0 {
            let _woken = futex::wait(word, 2, Deadline::NEVER);
        }
        if word.swap(0, Ordering::Release) == 2 {
            futex::wake(word, 1);
        }
    };
    check("plain futex mutex")
        .setup(|word: &SharedArea<AtomicU32>| word.reset())
        .victim(move |word| lock_and_unlock(word))
        .survivor(move |word| {
            lock_and_unlock(word);
            Ok(())
        })
        .assert_caught(&area);
}
