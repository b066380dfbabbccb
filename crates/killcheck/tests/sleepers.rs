//! Somebody is asleep while the victim dies.
#![cfg(target_arch = "x86_64")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use killcheck::{Check, Failure, Moment, Role, SharedArea};

const LIMIT: Duration = Duration::from_millis(500);

/// A counting semaphore whose waiters recheck so often, or never of their own accord.
struct Semaphore {
    permits: AtomicU32,
    waiters: AtomicU32,
}

impl Semaphore {
    fn area() -> SharedArea<Self> {
        // SAFETY: atomics only, for which zero is valid.
        unsafe { SharedArea::zeroed() }.expect("a page")
    }

    fn release(&self) {
        self.permits.fetch_add(1, Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) > 0 {
            let word = self.permits.as_ptr();
            // SAFETY: the word lives in a mapping.
            unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, 1) };
        }
    }

    fn acquire(&self, recheck: Option<Duration>) {
        let recheck = recheck.map(|r| libc::timespec {
            tv_sec: 0,
            tv_nsec: i64::from(r.subsec_nanos()),
        });
        let recheck = recheck
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        self.waiters.fetch_add(1, Ordering::SeqCst);
        loop {
            let permits = self.permits.load(Ordering::SeqCst);
            let taken = permits > 0
                && self
                    .permits
                    .compare_exchange(permits, permits - 1, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok();
            if taken {
                self.waiters.fetch_sub(1, Ordering::SeqCst);
                return;
            }
            let word = self.permits.as_ptr();
            // SAFETY: the word lives in a mapping, the timeout is null or a timespec.
            unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, 0, recheck) };
        }
    }

    fn has_permits(&self) -> bool {
        self.permits.load(Ordering::SeqCst) > 0
    }
}

fn dying_publisher<'a>(recheck: Option<Duration>) -> Check<'a, SharedArea<Semaphore>> {
    Check::new("semaphore: release, a sleeper present")
        .setup(|semaphore: &SharedArea<Semaphore>| semaphore.reset())
        .sleeper(move |semaphore| semaphore.acquire(recheck))
        .victim(|semaphore| semaphore.release())
        .must_wake(|semaphore| semaphore.has_permits())
        .survivor(|semaphore| {
            semaphore.release();
            Ok(())
        })
        .limit(LIMIT)
}

#[test]
fn a_publisher_that_dies_between_commit_and_wake_is_caught() {
    let report = dying_publisher(None)
        .stop_after(8)
        .run(&Semaphore::area())
        .expect("the check runs");
    report.assert_caught();
    for finding in report.findings() {
        assert_eq!(
            (finding.role, &finding.failure),
            (Role::Sleeper, &Failure::LostWake(LIMIT))
        );
    }
    assert!(
        report.findings().len() < report.kill_points().len(),
        "before the commit is fine"
    );
}

#[test]
fn a_sleeper_that_rechecks_survives_its_publisher() {
    let recheck = Duration::from_millis(5);
    let report = dying_publisher(Some(recheck))
        .run(&Semaphore::area())
        .expect("the check runs");
    report.assert_safe();
    assert!(
        report.wakes() > 0,
        "some sleepers woke by what the victim left: {report}"
    );
    assert!(report.longest_wake() < Some(LIMIT));
    assert!(report.median_wake() <= report.longest_wake());
}

fn dying_sleeper<'a>(recheck: Option<Duration>) -> Check<'a, SharedArea<Semaphore>> {
    Check::new("semaphore: acquire, woken, another sleeper present")
        .setup(|semaphore: &SharedArea<Semaphore>| semaphore.reset())
        .victim(|semaphore| semaphore.acquire(None))
        .sleeper(move |semaphore| semaphore.acquire(recheck))
        .waker(|semaphore| semaphore.release())
        .must_wake(|semaphore| semaphore.has_permits())
        .survivor(|semaphore| {
            semaphore.release();
            Ok(())
        })
        .limit(LIMIT)
}

#[test]
fn a_woken_victim_that_dies_with_the_wake_is_caught() {
    let report = dying_sleeper(None)
        .stop_after(8)
        .run(&Semaphore::area())
        .expect("the check runs");
    report.assert_caught();
    assert!(
        report
            .findings()
            .iter()
            .all(|f| f.failure == Failure::LostWake(LIMIT)),
        "{report}"
    );
    assert!(
        report
            .kill_points()
            .iter()
            .all(|point| point.moment != Moment::Asleep)
    );
    assert_eq!(
        report.kill_points().len() + report.skipped(),
        report.instructions() + 1
    );
    assert_eq!(report.missed(), []);
}

#[test]
fn a_sleeper_that_rechecks_survives_the_death_of_the_one_woken() {
    let report = dying_sleeper(Some(Duration::from_millis(20)))
        .run(&Semaphore::area())
        .expect("it runs");
    report.assert_safe();
    assert!(report.wakes() > 0, "{report}");
}
