//! Eventcounts: the bell, and the wake that each taker passes on.

use std::sync::atomic::{AtomicU32, Ordering};

use killcheck::{Check, Failure, SharedArea};
use mp_os::clock::Deadline;
use mp_sync::{EventCount, Wait};

use super::{check, learn_who_one_is};

/// A counting semaphore, with the bell or without.
struct Units {
    count: EventCount,
    left: AtomicU32,
}

impl Units {
    fn area() -> SharedArea<Self> {
        // SAFETY: a `Place` and an atomic.
        unsafe { SharedArea::zeroed() }.expect("a page")
    }

    fn try_take(&self) -> Option<u32> {
        let less = |left: u32| left.checked_sub(1);
        let taken = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less)
            .ok()?;
        if taken > 1 && self.count.has_sleepers() {
            self.count.notify(1);
        }
        Some(taken)
    }

    fn take(&self) {
        let taken = self
            .count
            .wait_until(Wait::Sleep, Deadline::NEVER, || self.try_take());
        assert!(taken.is_some());
    }

    fn give(&self) {
        self.count.under_bell(|| self.give_without_bell());
    }

    /// Gives two and wakes one: rule (b) is for the other.
    fn give_two(&self) {
        self.count.under_bell(|| {
            self.left.fetch_add(2, Ordering::SeqCst);
            self.count.notify_committed(1);
        });
    }

    fn give_without_bell(&self) {
        self.left.fetch_add(1, Ordering::SeqCst);
        self.count.notify_committed(1);
    }

    fn take_without_bell(&self) {
        while self.try_take().is_none() {
            let ticket = self.count.prepare();
            if self.try_take().is_some() {
                return;
            }
            let _how = self.count.sleep(ticket, Deadline::NEVER);
        }
    }

    fn there(&self) -> usize {
        self.left.load(Ordering::SeqCst) as usize
    }
}

type Taking = fn(&Units);

fn giver_dies<'a>(give: Taking, take: Taking) -> Check<'a, SharedArea<Units>> {
    check("eventcount: give a unit; a taker sleeps")
        .setup(|units: &SharedArea<Units>| units.reset())
        .sleeper(move |units| take(units))
        .victim(move |units| give(units))
        .must_wake_count(|units| units.there())
        .survivor(move |units| {
            give(units);
            Ok(())
        })
}

fn taker_dies<'a>(give: Taking, take: Taking) -> Check<'a, SharedArea<Units>> {
    check("eventcount: a taker woken; another sleeps")
        .setup(|units: &SharedArea<Units>| units.reset())
        .victim(move |units| take(units))
        .sleeper(move |units| take(units))
        .waker(move |units| give(units))
        .must_wake_count(|units| units.there())
        .survivor(move |units| {
            give(units);
            Ok(())
        })
}

#[test]
fn giver_with_a_sleeper() {
    giver_dies(Units::give, Units::take).assert_safe(&Units::area());
}

#[test]
fn woken_taker_with_another_asleep() {
    taker_dies(Units::give, Units::take).assert_safe(&Units::area());
}

#[test]
fn giver_of_two_with_two_sleepers() {
    giver_dies(Units::give_two, Units::take)
        .warm_up(|_| learn_who_one_is())
        .sleeper(|units| units.take())
        .assert_safe(&Units::area());
}

#[test]
fn woken_taker_of_one_of_two_with_two_asleep() {
    taker_dies(Units::give_two, Units::take)
        .sleeper(|units| units.take())
        .assert_safe(&Units::area());
}

#[test]
fn control_without_the_bell_is_caught() {
    if !mp_os::robust::supported() {
        mp_testkit::not_checked("threads have no robust list here, and so no bell");
        return;
    }
    for dying in [giver_dies, taker_dies] {
        let report =
            dying(Units::give_without_bell, Units::take_without_bell).assert_caught(&Units::area());
        assert!(
            report
                .findings()
                .iter()
                .any(|finding| matches!(finding.failure, Failure::LostWake(_))),
            "{report}"
        );
    }
}
