//! Somebody is asleep while the victim dies.
#![cfg(target_arch = "x86_64")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use killcheck::{Check, Failure, KillPoint, Moment, Report, Role, SharedArea};

/// How long a sleeper that is lost, and has its timeouts, is waited for; others are in time on a
/// busy machine, too.
const LIMIT: Duration = Duration::from_secs(3);

/// A counting semaphore whose waiters recheck so often, or never of their own accord.
struct Semaphore {
    permits: AtomicU32,
    waiters: AtomicU32,
    victim_is_dead: AtomicU32,
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
            self.wait_while(0, recheck);
        }
    }

    fn wait_while(&self, permits: u32, recheck: Option<Duration>) {
        let recheck = recheck.map(|r| libc::timespec {
            tv_sec: 0,
            tv_nsec: i64::from(r.subsec_nanos()),
        });
        let recheck = recheck
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        let word = self.permits.as_ptr();
        // SAFETY: the word lives in a mapping, the timeout is null or a timespec.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, permits, recheck) };
    }

    /// As `acquire`, but leaves the permit of a victim that lives: one that is stepped is slower
    /// than any recheck.
    fn acquire_after_the_victim(&self, recheck: Duration) {
        while self.victim_is_dead.load(Ordering::SeqCst) == 0 {
            self.wait_while(self.permits.load(Ordering::SeqCst), Some(recheck));
        }
        self.acquire(Some(recheck));
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
        .stop_after(1)
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
    dying_beside(move |semaphore| semaphore.acquire(recheck))
}

fn dying_beside<'a>(
    sleeper: impl Fn(&SharedArea<Semaphore>) + 'a,
) -> Check<'a, SharedArea<Semaphore>> {
    Check::new("semaphore: acquire, woken, another sleeper present")
        .setup(|semaphore: &SharedArea<Semaphore>| semaphore.reset())
        .victim(|semaphore| semaphore.acquire(None))
        .sleeper(sleeper)
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
        .stop_after(1)
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
    let recheck = Duration::from_millis(5);
    let report = dying_beside(move |semaphore| semaphore.acquire_after_the_victim(recheck))
        .observer(|semaphore, _| semaphore.victim_is_dead.store(1, Ordering::SeqCst))
        .run(&Semaphore::area())
        .expect("it runs");
    report.assert_safe();
    assert_eq!(report.missed(), []);
    assert!(report.wakes() > 0, "{report}");
}

const RECHECK: Option<Duration> = Some(Duration::from_millis(5));

fn points(report: &Report) -> Vec<KillPoint> {
    report.findings().iter().map(|found| found.point).collect()
}

#[test]
fn a_sleeper_that_only_its_recheck_wakes_is_caught_without_timeouts() {
    for dying in [dying_publisher, dying_sleeper] {
        let report = dying(RECHECK)
            .without_timeouts()
            .run(&Semaphore::area())
            .expect("it runs");
        report.assert_caught();
        let lost = |found: &killcheck::Finding| found.failure == Failure::LostWake(LIMIT);
        assert!(report.findings().iter().all(lost), "{report}");
        assert_eq!(report.missed(), []);
        assert!(report.findings().len() < report.kill_points().len());
    }
}

#[test]
fn a_rescue_by_one_timeout_is_counted_and_bounded() {
    for dying in [dying_publisher, dying_sleeper] {
        let area = Semaphore::area();
        let lost = dying(RECHECK).without_timeouts().run(&area).expect("runs");
        let known = dying(RECHECK).allow_rescues(usize::MAX, "a control");
        let known = known.run(&area).expect("it runs");
        known.assert_safe();
        assert_eq!(known.rescued(), points(&lost));
        assert!(known.to_string().contains("a control"), "{known}");
    }
}

#[test]
#[should_panic(expected = "woken by their timeouts only, 2 are allowed")]
fn assert_safe_panics_on_more_rescues_than_allowed() {
    dying_publisher(RECHECK)
        .allow_rescues(2, "a control")
        .run(&Semaphore::area())
        .expect("it runs")
        .assert_safe();
}

/// Announces something to the kernel as this thread's pending robust lock.
fn announce(lock: usize) {
    let (mut head, mut len) = (std::ptr::null_mut::<usize>(), 0_usize);
    // SAFETY: both are writable; 0 means this thread.
    let done = unsafe {
        let call = libc::SYS_get_robust_list;
        libc::syscall(call, 0, &raw mut head, &raw mut len)
    };
    assert!(done == 0 && !head.is_null(), "the C library has set it");
    // SAFETY: the third word of the head, which lives as long as the thread.
    unsafe { head.wrapping_add(2).write_volatile(lock) };
}

#[test]
fn a_rescue_is_allowed_only_in_the_gap() {
    // The futex word of neither is this thread's or free, so the kernel leaves it alone.
    let (one, other) = ([u64::MAX; 16], [u64::MAX; 16]);
    let address = |lock: &[u64; 16]| (&raw const lock[8]).addr();
    let dying = |lock: usize| {
        dying_publisher(RECHECK).victim(move |semaphore| {
            announce(lock);
            semaphore.release();
            announce(0);
        })
    };
    let area = Semaphore::area();
    for gap in [&one, &other] {
        let report = dying(address(&one))
            .allow_rescues_if(move |_, pending| pending == address(gap), "a control")
            .run(&area)
            .expect("it runs");
        if std::ptr::eq(gap, &one) {
            report.assert_safe();
            assert!(!report.rescued().is_empty(), "{report}");
            assert!(report.to_string().contains("in a gap"), "{report}");
        } else {
            report.assert_caught();
            assert_eq!(report.rescued(), [], "{report}");
        }
    }
}

#[test]
fn who_has_no_timeout_is_not_rescued() {
    let report = dying_publisher(None)
        .allow_rescues(usize::MAX, "a control")
        .run(&Semaphore::area())
        .expect("it runs");
    report.assert_caught();
    assert_eq!(report.rescued(), []);
}

/// A wake, and then something else to die in.
fn release_and_go_on(semaphore: &SharedArea<Semaphore>) {
    semaphore.release();
    for _ in 0..20 {
        std::hint::black_box(semaphore.waiters.load(Ordering::Relaxed));
    }
}

#[test]
fn a_sleeper_stands_still_from_its_wake_to_the_kill() {
    let report = dying_publisher(RECHECK)
        .without_timeouts()
        .victim(release_and_go_on)
        .must_wake(|_| false)
        .observer(|semaphore, point| {
            assert_eq!(semaphore.waiters.load(Ordering::SeqCst), 1, "{point}");
        })
        .run(&Semaphore::area())
        .expect("it runs");
    report.assert_safe();
    assert!(report.wakes_before_the_kill() >= 20, "{report}");
    assert_eq!(report.wakes(), report.wakes_before_the_kill());
}

#[test]
fn sleepers_that_had_gone_before_anybody_looked_are_counted() {
    let report = dying_publisher(None)
        .victim(|semaphore| {
            semaphore.release();
            while semaphore.waiters.load(Ordering::SeqCst) > 0 {
                std::thread::yield_now();
            }
        })
        .must_wake(|_| false)
        .max_points(20)
        .allow_missed(1.0, "the victim waits for the sleeper")
        .run(&Semaphore::area())
        .expect("it runs");
    report.assert_safe();
    assert!(report.wakes_before_the_kill() > 0, "{report}");
}

#[test]
fn a_victim_stepped_past_its_deadline_sleeps_all_the_same() {
    let recheck = Duration::from_micros(300);
    let report = dying_sleeper(RECHECK)
        .victim(move |semaphore| {
            // Stepping through this takes longer than the recheck lasts.
            let mut until = libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            // SAFETY: `until` is a writable timespec.
            unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut until) };
            until.tv_nsec += i64::from(recheck.subsec_nanos());
            until.tv_sec += until.tv_nsec / 1_000_000_000;
            until.tv_nsec %= 1_000_000_000;
            for _ in 0..1000 {
                std::hint::black_box(semaphore.waiters.load(Ordering::Relaxed));
            }
            let (word, wait) = (semaphore.permits.as_ptr(), libc::FUTEX_WAIT_BITSET);
            // SAFETY: the word lives in a mapping, `until` is a timespec.
            unsafe { libc::syscall(libc::SYS_futex, word, wait, 0, &raw const until, 0, -1) };
        })
        .allow_rescues(
            usize::MAX,
            "who wakes the victim leaves the permit to the other",
        )
        .allow_missed(0.1, "the clock")
        .run(&Semaphore::area())
        .expect("the victim falls asleep");
    report.assert_safe();
    assert!(report.kill_points().len() > 2, "{report}");
}
