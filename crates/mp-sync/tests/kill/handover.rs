//! Wake-ups after the release of a lock: what a condition's notifier must not rely on.

use std::sync::atomic::{AtomicU32, Ordering};

use killcheck::{Failure, SharedArea};
use mp_os::clock::Deadline;
use mp_sync::{EventCount, RawMutex, Wait};

use super::{check, learn_who_one_is};

/// A flag that is raised under a mutex; its waiter is woken after the mutex is released.
#[repr(C)]
struct Late {
    mutex: RawMutex,
    count: EventCount,
    flag: AtomicU32,
}

impl Late {
    fn raise(&self) {
        let guard = self.mutex.lock().expect("free");
        self.count.under_bell(|| {
            self.flag.store(1, Ordering::SeqCst);
            // Here the pending slot names the mutex, and no bell.
            drop(guard);
            self.count.notify(1);
        });
    }

    fn is_up(&self) -> bool {
        self.flag.load(Ordering::SeqCst) == 1
    }

    fn wait(&self) {
        let seen = self
            .count
            .wait_until(Wait::Sleep, Deadline::NEVER, || self.is_up().then_some(()));
        assert!(seen.is_some());
    }
}

/// Why a condition's notifier holds a mutex of its own until it wakes.
#[test]
fn control_the_bell_around_the_release_is_not_enough() {
    if !mp_os::robust::supported() {
        mp_testkit::not_checked("threads have no robust list here, and so no bell");
        return;
    }
    // SAFETY: `Place`s and an atomic.
    let area: SharedArea<Late> = unsafe { SharedArea::zeroed() }.expect("a page");
    let report = check("a flag raised under a lock; its waiter is woken after that")
        .setup(|late: &SharedArea<Late>| late.reset())
        .warm_up(|_| learn_who_one_is())
        .sleeper(|late| late.wait())
        .victim(|late| late.raise())
        .must_wake(|late| late.is_up())
        .survivor(|late| {
            late.raise();
            Ok(())
        })
        .assert_caught(&area);
    let is_lost_wake = |failure: &Failure| matches!(failure, Failure::LostWake(_));
    assert!(
        report.findings().iter().any(|it| is_lost_wake(&it.failure)),
        "{report}"
    );
}
