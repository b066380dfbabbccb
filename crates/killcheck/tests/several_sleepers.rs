//! More than one is asleep while the victim dies, and one must wake another.
#![cfg(target_arch = "x86_64")]

use std::ptr::null;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use killcheck::{Check, ErrorKind, Failure, Finding, Role, SharedArea};

fn area<T: Sync>() -> SharedArea<T> {
    // SAFETY: this file only puts atomics there, for which zero is valid.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

fn wake(word: &AtomicU32, count: i32) {
    // SAFETY: the word lives in a mapping.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
}

/// Sleeps while the word is as expected, at most `recheck`.
fn sleep(word: &AtomicU32, expected: u32, recheck: Option<Duration>) {
    let recheck = recheck.map(|span| libc::timespec {
        tv_sec: 0,
        tv_nsec: i64::from(span.subsec_nanos()),
    });
    let until = recheck.as_ref().map_or(null(), std::ptr::from_ref);
    // SAFETY: the word lives in a mapping, the timeout is null or a timespec.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            until,
        )
    };
}

const RECHECK: Option<Duration> = Some(Duration::from_millis(5));

/// Enough for a victim that does nothing.
const FEW: usize = 5;

/// Who wakes the second of those who wait for a gate.
#[derive(Clone, Copy, PartialEq)]
enum Opener {
    WakesAll,
    /// The one that the opener has woken.
    ItsSleeper,
    Nobody,
}

/// Opens for all, once.
struct Gate(AtomicU32);

impl Gate {
    fn open(&self, opener: Opener) {
        self.0.store(1, Ordering::SeqCst);
        wake(
            &self.0,
            if opener == Opener::WakesAll {
                i32::MAX
            } else {
                1
            },
        );
    }

    fn pass(&self, opener: Opener) {
        while !self.is_open() {
            sleep(&self.0, 0, RECHECK);
        }
        if opener == Opener::ItsSleeper {
            wake(&self.0, i32::MAX);
        }
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 1
    }
}

fn opener_of_a_gate<'a>(opener: Opener, waiters: usize) -> Check<'a, SharedArea<Gate>> {
    Check::new("gate: open")
        .setup(|gate: &SharedArea<Gate>| gate.reset())
        .sleepers(waiters, move |gate| gate.pass(opener))
        .victim(move |gate| gate.open(opener))
        .survivor(|gate| {
            gate.open(Opener::WakesAll);
            Ok(())
        })
}

fn lost(found: &Finding) -> bool {
    found.role == Role::Sleeper && matches!(found.failure, Failure::LostWake(_))
}

#[test]
fn a_broadcast_that_wakes_one_is_caught_with_two_sleepers_only() {
    let after_the_wake = |waiters| {
        opener_of_a_gate(Opener::Nobody, waiters)
            .victim(|gate| {
                gate.open(Opener::Nobody);
                // Something to be killed in when the system call has been made.
                std::hint::black_box((0..4).fold(0, |sum, n| sum ^ std::hint::black_box(n)));
            })
            .must_wake_count(|_| 0)
            .without_timeouts()
            .run(&area())
            .expect("it runs")
    };
    let (one, two) = (after_the_wake(1), after_the_wake(2));
    one.assert_safe();
    two.assert_safe();
    assert!(one.wakes() > 0 && two.wakes() > 0, "{one}\n{two}");
    // Of two sleepers one woke: as many as of one.
    assert_eq!(one.wakes(), two.wakes(), "{one}\n{two}");
    let must_wake = |opener, waiters| {
        opener_of_a_gate(opener, waiters)
            .warm_up(move |gate| gate.open(opener))
            .victim(|_| ())
            .must_wake(|gate| gate.is_open())
            .max_points(FEW)
            .without_timeouts()
            .run(&area())
            .expect("it runs")
    };
    must_wake(Opener::Nobody, 1).assert_safe();
    let control = must_wake(Opener::Nobody, 2);
    control.assert_caught();
    assert_eq!(control.findings().len(), control.kill_points().len());
    assert!(control.findings().iter().all(lost), "{control}");
    for opener in [Opener::WakesAll, Opener::ItsSleeper] {
        for waiters in [2, 3] {
            let report = must_wake(opener, waiters);
            report.assert_safe();
            assert_eq!(report.wakes(), waiters * report.kill_points().len());
        }
    }
}

/// Units that are given several at a time, with a wake for one: who takes one passes the wake on,
/// or not.
struct Units {
    left: AtomicU32,
    given: AtomicU32,
}

impl Units {
    fn give(&self, units: u32) {
        self.left.fetch_add(units, Ordering::SeqCst);
        self.given.fetch_add(1, Ordering::SeqCst);
        wake(&self.given, 1);
    }

    fn take(&self, passes_on: bool) {
        loop {
            let given = self.given.load(Ordering::SeqCst);
            let less = |left: u32| left.checked_sub(1);
            let taken = self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
            match taken {
                Ok(left) => {
                    if passes_on && left > 1 {
                        wake(&self.given, 1);
                    }
                    return;
                }
                Err(_) => sleep(&self.given, given, RECHECK),
            }
        }
    }

    fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst) as usize
    }
}

/// All units are given before the first kill, with one wake.
fn units<'a>(passes_on: bool, takers: usize, given: u32) -> Check<'a, SharedArea<Units>> {
    Check::new("units: given together, taken one by one")
        .setup(|units: &SharedArea<Units>| units.reset())
        .sleepers(takers, move |units| units.take(passes_on))
        .warm_up(move |units| units.give(given))
        .victim(|_| ())
        .max_points(FEW)
        .must_wake_count(|units| units.left())
        .survivor(move |units| {
            (0..takers).for_each(|_| units.give(1));
            Ok(())
        })
        .without_timeouts()
}

#[test]
fn a_baton_that_is_not_passed_on_is_caught() {
    units(false, 1, 2)
        .run(&area())
        .expect("it runs")
        .assert_safe();
    units(false, 2, 1)
        .run(&area())
        .expect("it runs")
        .assert_safe();
    let control = units(false, 2, 2).run(&area()).expect("it runs");
    control.assert_caught();
    assert!(control.findings().iter().all(lost), "{control}");
    for (takers, given) in [(2, 2), (3, 2), (3, 3), (2, 5)] {
        let report = units(true, takers, given).run(&area()).expect("it runs");
        report.assert_safe();
        let woken = takers.min(given as usize) * report.kill_points().len();
        assert_eq!(report.wakes(), woken, "{report}");
    }
}

#[test]
fn timeouts_rescue_all_sleepers_of_one_point() {
    let control = units(false, 3, 3)
        .allow_rescues(usize::MAX, "a control")
        .run(&area())
        .expect("it runs");
    control.assert_safe();
    assert_eq!(control.rescued().len(), control.kill_points().len());
    assert_eq!(control.wakes(), 3 * control.kill_points().len());
}

#[test]
fn with_timeouts_those_that_returned_before_count() {
    let report = Check::new("units, with timeouts")
        .setup(|units: &SharedArea<Units>| units.reset())
        .sleepers(2, |units| units.take(false))
        .victim(|units| {
            units.give(2);
            while units.left() == 2 {
                std::thread::yield_now();
            }
        })
        .must_wake_count(|units| units.left())
        .max_points(8)
        .allow_missed(1.0, "the victim waits for a sleeper")
        .survivor(|units| {
            units.give(2);
            Ok(())
        })
        .run(&area())
        .expect("it runs");
    report.assert_safe();
}

#[test]
fn sleepers_fall_asleep_in_the_order_they_were_added() {
    let first_word = |words: &SharedArea<[AtomicU32; 4]>, value: u32| {
        while words[0].load(Ordering::SeqCst) == 0 {
            sleep(&words[0], 0, None);
        }
        let place = words[1].fetch_add(1, Ordering::SeqCst) as usize;
        words[2 + place].store(value, Ordering::SeqCst);
        wake(&words[0], 1);
    };
    Check::new("two different sleepers")
        .setup(|words: &SharedArea<[AtomicU32; 4]>| words.reset())
        .sleeper(move |words| first_word(words, 7))
        .sleeper(move |words| first_word(words, 8))
        .victim(|_| ())
        .survivor(|words| {
            words[0].store(1, Ordering::SeqCst);
            wake(&words[0], 1);
            Ok(())
        })
        .invariant(|words| {
            let order = [&words[2], &words[3]].map(|word| word.load(Ordering::SeqCst));
            (order == [7, 8])
                .then_some(())
                .ok_or_else(|| format!("{order:?}"))
        })
        .without_timeouts()
        .run(&area())
        .expect("it runs")
        .assert_safe();
}

#[test]
fn the_second_sleeper_that_stays_awake_is_an_error() {
    let error = Check::new("two takers, one unit")
        .setup(|units: &SharedArea<Units>| units.reset())
        .sleepers(1, |units| units.take(true))
        .sleeper(|_| ())
        .victim(|_| ())
        .survivor(|_| Ok(()))
        .run(&area())
        .expect_err("one does not sleep");
    assert_eq!(error.kind(), ErrorKind::SleeperAwake);
}

#[test]
#[should_panic(expected = "no sleepers are none to be woken")]
fn no_sleepers_are_refused() {
    drop(Check::<()>::new("none").sleepers(0, |()| ()));
}
