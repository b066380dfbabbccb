//! Conditions: no notification is lost with the one that had been given it, or that gave it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use killcheck::SharedArea;
use mp_os::clock::Deadline;
use mp_sync::{Condition, ConditionGuard, LockError};

use super::{check, is_unheard, word_of};

/// Offsets of `docs/memory-layout.md`.
const BELL: usize = 48;
const NOTIFIED: usize = 104;
const NEXT: usize = 112;
const FIRST_WAITER: usize = 256;

/// Why some points need a recheck.
const GAP: &str = "the pending slot names the mutex while it is acquired again";

fn condition() -> SharedArea<Condition> {
    // SAFETY: a `Place`: zero is valid, and all of it is atomics or in an `UnsafeCell`.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

/// Locks, whoever died before.
fn lock(condition: &Condition) -> ConditionGuard<'_> {
    match condition.lock() {
        Ok(guard) | Err(LockError::OwnerDied(guard)) => guard,
        Err(error) => panic!("{error}"),
    }
}

fn wait(condition: &Condition) {
    match lock(condition).wait() {
        Ok(guard) | Err(LockError::OwnerDied(guard)) => drop(guard),
        Err(error) => panic!("{error}"),
    }
}

fn notify(condition: &Condition, count: usize) {
    lock(condition).notify(count);
}

/// What only a process's first wait does is done after it; elsewhere, so that the first ticket is
/// the victim's.
fn wait_elsewhere() {
    let elsewhere = condition();
    let passed = lock(&elsewhere).wait_timeout(Deadline::PASSED);
    assert!(passed.is_ok_and(|(_, notified)| !notified));
}

#[test]
fn notifier_with_sleepers() {
    for count in [1, 2] {
        check(&format!(
            "condition: lock, notify {count}, unlock; as many sleep"
        ))
        .setup(|condition: &SharedArea<Condition>| condition.reset())
        .warm_up(|_| wait_elsewhere())
        .sleepers(count, |condition| wait(condition))
        .victim(move |condition| notify(condition, count))
        .must_wake_count(move |condition| count - condition.waiting())
        .survivor(move |condition| {
            notify(condition, count);
            Ok(())
        })
        .assert_safe(&condition());
    }
}

#[test]
fn notified_waiter_with_another_asleep() {
    check("condition: notified; another sleeps")
        .setup(|condition: &SharedArea<Condition>| condition.reset())
        .warm_up(|_| wait_elsewhere())
        .victim(|condition| wait(condition))
        .sleeper(|condition| wait(condition))
        .waker(|condition| notify(condition, 1))
        .must_wake(|condition| {
            let returned = word_of(condition, FIRST_WAITER) == 0;
            word_of(condition, NOTIFIED) > 0 && !returned
        })
        .survivor(|condition| {
            notify(condition, 1);
            Ok(())
        })
        .allow_rescues_if(is_unheard(BELL), GAP)
        .assert_safe(&condition());
}

/// A waiter was notified and killed. The victim is woken by the bell, passes the notification on,
/// to itself, and is killed in that or on its way out: then it is the last one's.
#[test]
fn sweeper_dies_with_another_asleep() {
    let set = |condition: &SharedArea<Condition>, offset: usize, value: u64| {
        // SAFETY: within the structure, aligned, an atomic.
        let word =
            unsafe { AtomicU64::from_ptr(condition.as_ptr().cast::<u8>().add(offset).cast()) };
        word.store(value, Ordering::SeqCst);
    };
    let leave_a_dead_one = move |condition: &SharedArea<Condition>| {
        condition.reset();
        // A word that is of no living process.
        set(condition, FIRST_WAITER, 1 << 22);
        set(condition, NOTIFIED, 1);
        set(condition, NEXT, 1);
    };
    let ring = |condition: &SharedArea<Condition>| {
        // SAFETY: the futex word of the bell, an atomic within the structure.
        let bell = unsafe { AtomicU32::from_ptr(condition.as_ptr().cast::<u8>().add(BELL).cast()) };
        mp_os::futex::wake(bell, 1);
    };
    check("condition: pass on what a dead waiter had; another sleeps")
        .setup(leave_a_dead_one)
        .warm_up(|_| wait_elsewhere())
        .victim(|condition| wait(condition))
        .sleeper(|condition| wait(condition))
        .waker(ring)
        .must_wake(|condition| {
            let has_returned = word_of(condition, FIRST_WAITER + 8) == 0;
            !(has_returned && word_of(condition, NOTIFIED) >= 2)
        })
        .survivor(|condition| {
            notify(condition, 1);
            Ok(())
        })
        .allow_rescues_if(is_unheard(BELL), GAP)
        .max_points(if cfg!(debug_assertions) { 100 } else { 800 })
        .assert_safe(&condition());
}

#[test]
fn storm_of_kills() {
    killcheck::storm("condition: notify, wait a moment")
        .setup(|condition: &SharedArea<Condition>| condition.reset())
        .worker(|condition: &SharedArea<Condition>, _| {
            let guard = lock(condition);
            guard.notify(1);
            match guard.wait_timeout(std::time::Duration::from_millis(5)) {
                Ok((guard, _)) | Err(LockError::OwnerDied(guard)) => drop(guard),
                Err(error) => panic!("{error}"),
            }
        })
        .invariant(|condition| {
            lock(condition).notify_all();
            match condition.waiting() {
                0 => Ok(()),
                waiting => Err(format!("{waiting} wait")),
            }
        })
        .assert_safe(&condition());
}
