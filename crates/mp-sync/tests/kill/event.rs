//! Events: no death leaves a waiter asleep at an event that is set.

use killcheck::SharedArea;
use mp_os::clock::Deadline;
use mp_sync::{Event, Wait};

use super::{check, check_pairs, learn_who_one_is};

fn event() -> SharedArea<Event> {
    // SAFETY: a `Place`: zero is valid, and all of it is atomics or in an `UnsafeCell`.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

#[test]
fn event_set_with_two_sleepers() {
    check("event: set; two waiters sleep")
        .setup(|event: &SharedArea<Event>| event.reset())
        .sleepers(2, |event| {
            assert!(event.wait_with(Wait::Sleep, Deadline::NEVER))
        })
        .victim(|event| event.set())
        .must_wake(|event| event.is_set())
        .survivor(|event| {
            event.set();
            Ok(())
        })
        .assert_safe(&event());
}

#[test]
fn event_waiter_woken_with_two_asleep() {
    check("event: woken; two others sleep")
        .allow_missed(0.05, "a waiter may be woken before it sleeps")
        .setup(|event: &SharedArea<Event>| event.reset())
        .victim(|event| assert!(event.wait_with(Wait::Sleep, Deadline::NEVER)))
        .sleepers(2, |event| {
            assert!(event.wait_with(Wait::Sleep, Deadline::NEVER))
        })
        .waker(|event| event.set())
        .must_wake(|event| event.is_set())
        .survivor(|event| {
            event.set();
            Ok(())
        })
        .assert_safe(&event());
}

/// The first setter dies, then the second, which finds the flag set. Both leave the waiters to the
/// bell.
#[test]
fn event_set_again_after_its_setter_died() {
    check_pairs("event: set, set again; two waiters sleep")
        .setup(|event: &SharedArea<Event>| event.reset())
        .warm_up(|_| learn_who_one_is())
        .sleepers(2, |event| {
            assert!(event.wait_with(Wait::Sleep, Deadline::NEVER))
        })
        .victim(|event| event.set())
        .recoverer(|event| event.set())
        .must_wake(|event| event.is_set())
        .survivor(|event| {
            event.set();
            Ok(())
        })
        .assert_safe(&event());
}
