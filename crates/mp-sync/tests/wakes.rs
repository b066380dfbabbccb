//! Who wakes whom when nobody dies, and how late a waiter looks again by itself.
//!
//! Every sleep here is bounded by a recheck, which heals a wake that never came before a test
//! notices. So the sleepers have their timeouts taken away, by the harness of the kill checks: one
//! that is not woken sleeps on, and is seen to.
#![cfg(all(target_arch = "x86_64", not(loom)))]

use std::cell::RefCell;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use killcheck::{Check, ErrorKind, Report, SharedArea};
use mp_layout::Described;
use mp_os::clock::Deadline;
use mp_sync::{Event, EventCount, Lock, LockError, PermitSemaphore, Wait};
use mp_testkit::{Forked, not_checked};

/// Puts a `Place` into memory that all processes here share.
fn area<T: Sync>() -> SharedArea<T> {
    // SAFETY: a `Place`, which is made for this: zero is valid, and all of it is atomics or in an
    // `UnsafeCell`.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

/// Carries out a check that must find nothing. `None` where no process may be traced.
fn run<M>(check: &Check<'_, M>, memory: &M) -> Option<Report> {
    match check.run(memory) {
        Ok(report) => {
            report.assert_safe();
            Some(report)
        }
        Err(error) if error.kind() == ErrorKind::TraceRefused => {
            not_checked(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn assert_rechecks_within(recheck: Duration, report: &Report) {
    let longest = report.longest_timeout();
    assert!(
        longest > Some(Duration::ZERO) && longest <= Some(recheck),
        "{report}"
    );
}

/// Lets `count` processes fall asleep, wakes them from this one, and sees how many must wake and
/// do.
fn wake<T: Sync>(
    count: usize,
    setup: impl Fn(&SharedArea<T>),
    sleep: impl Fn(&SharedArea<T>),
    wake: impl Fn(&SharedArea<T>),
    must_wake: usize,
) -> Option<Report> {
    let check = Check::new("a wake")
        .setup(|memory: &SharedArea<T>| {
            memory.reset();
            setup(memory);
        })
        .sleepers(count, sleep)
        .victim(|_| ())
        .observer(|memory, _| wake(memory))
        .must_wake_count(move |_| must_wake)
        .max_points(1)
        .without_timeouts();
    run(&check, &area())
}

fn is_fallback() -> bool {
    !mp_os::robust::supported()
}

/// The word of what lies first in the memory.
fn word<T: Sync>(memory: &SharedArea<T>, index: usize) -> &AtomicU32 {
    let word = memory.as_ptr().cast::<u32>().wrapping_add(index);
    // SAFETY: within the memory, and an atomic of four bytes in all that is put there.
    unsafe { AtomicU32::from_ptr(word) }
}

fn lock_and_unlock(lock: &Lock) {
    drop(lock.lock().or_else(LockError::into_guard).expect("a lock"));
}

#[test]
fn unlock_wakes_one_waiter_and_that_one_the_next() {
    let memory: SharedArea<Lock> = area();
    for waiters in 1..=3 {
        let held = RefCell::new(None);
        let check = Check::new("lock: unlock")
            .setup(|lock: &SharedArea<Lock>| {
                // Of the set-up before, which nobody ended.
                drop(held.take());
                lock.reset();
                // SAFETY: the memory outlives the guard.
                let lock: &'static Lock = unsafe { &*lock.as_ptr() };
                *held.borrow_mut() = Some(lock.lock().expect("fresh"));
            })
            .sleepers(waiters, |lock| lock_and_unlock(lock))
            .victim(|_| ())
            .observer(|_, _| drop(held.take()))
            .must_wake(|_| true)
            .max_points(1)
            .without_timeouts();
        let Some(report) = run(&check, &memory) else {
            return;
        };
        let recheck = Duration::from_millis(if is_fallback() { 100 } else { 500 });
        assert_rechecks_within(recheck, &report);
    }
}

fn wait(event: &Event) {
    assert!(event.wait_with(Wait::Sleep, Deadline::NEVER));
}

#[test]
fn set_wakes_all_waiters() {
    for waiters in 1..=3 {
        wake(
            waiters,
            |_| (),
            |event| wait(event),
            |event| event.set(),
            waiters,
        );
    }
}

/// Each waiter stands still from its wake until the flag is clear again.
#[test]
fn set_that_is_cleared_at_once_wakes_all_that_slept() {
    let set_and_clear = |event: &SharedArea<Event>| {
        event.set();
        event.clear();
    };
    for waiters in 1..=2 {
        wake(waiters, |_| (), |event| wait(event), set_and_clear, waiters);
    }
}

/// The one that set it first did not live to wake the waiters, and no bell rang.
#[test]
fn set_of_a_set_event_wakes_all_waiters() {
    let set_twice = |event: &SharedArea<Event>| {
        word(event, 12).store(3, Ordering::SeqCst);
        assert!(event.is_set());
        event.set();
    };
    for waiters in 1..=2 {
        wake(waiters, |_| (), |event| wait(event), set_twice, waiters);
    }
}

/// One that gives back several permits may wake one waiter only: it dies after that, and its bell
/// rings for the same waiter, which has not run yet. So each that takes a permit and sees another
/// one free wakes the next.
#[test]
fn the_taker_of_a_permit_wakes_the_next_waiter() {
    const OWNERS: usize = 32;
    const WORDS_OF_AN_OWNER: usize = 2;
    let take_all = |permits: &SharedArea<PermitSemaphore>, count: u32| {
        permits.initialise(count).expect("a number of permits");
        for _ in 0..count {
            let permit = permits.try_acquire().expect("/proc is there");
            std::mem::forget(permit.expect("free"));
        }
    };
    // Kept: giving it back would wake the next, too.
    let take = |permits: &SharedArea<PermitSemaphore>| {
        std::mem::forget(permits.acquire().expect("/proc is there"));
    };
    let free_all_and_wake_one = |permits: &SharedArea<PermitSemaphore>| {
        for half in 0..WORDS_OF_AN_OWNER * permits.permits() {
            word(permits, OWNERS + half).store(0, Ordering::SeqCst);
        }
        assert_eq!(permits.available(), permits.permits());
        permits.event_count().notify(1);
    };
    for count in 2..=3 {
        wake(
            count,
            |permits| take_all(permits, count as u32),
            take,
            free_all_and_wake_one,
            count,
        );
    }
}

/// A condition whose waiters do not wake each other.
#[repr(C)]
struct Flag {
    count: EventCount,
    flag: AtomicU32,
}

impl Flag {
    fn wait(&self) {
        let is_up = || (self.flag.load(Ordering::Acquire) == 1).then_some(());
        let seen = self.count.wait_until(Wait::Sleep, Deadline::NEVER, is_up);
        assert!(seen.is_some());
    }

    fn raise(&self, notify: impl Fn(&EventCount)) {
        self.count.under_bell(|| {
            self.flag.store(1, Ordering::SeqCst);
            notify(&self.count);
        });
    }
}

#[test]
fn notify_wakes_as_many_as_it_says() {
    type Notify = fn(&EventCount);
    let all: [(Notify, usize); 3] = [
        (EventCount::notify_all, 3),
        (|count| count.notify(2), 2),
        (|count| count.notify_committed(1), 1),
    ];
    for (notify, wakes) in all {
        let raise = |flag: &SharedArea<Flag>| flag.raise(notify);
        let Some(report) = wake(3, |_| (), |flag| flag.wait(), raise, wakes) else {
            return;
        };
        assert_eq!(report.wakes(), wakes, "{report}");
        let recheck = Duration::from_millis(if is_fallback() { 50 } else { 250 });
        assert_rechecks_within(recheck, &report);
    }
}

/// Runs a test of this file once more, where no kernel marks the locks of the dead.
fn run_in_fallback(test: &str) {
    let this = std::env::current_exe().expect("the test itself");
    let output = Command::new(this)
        .args(["--exact", test, "--nocapture"])
        .env("MP_FORCE_FALLBACK", "1")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains("1 passed"), "{said}");
}

/// Two sleep, and the owner's death is proved by a third that never slept: its unlock has to wake
/// them.
#[test]
fn the_proof_of_a_death_keeps_that_others_sleep() {
    if !is_fallback() {
        return run_in_fallback("the_proof_of_a_death_keeps_that_others_sleep");
    }
    let die_with_it = |lock: &SharedArea<Lock>| {
        let owner = Forked::new(|| {
            std::mem::forget(lock.lock().expect("fresh"));
            true
        });
        assert!(owner.succeeds());
        assert_ne!(word(lock, 0).load(Ordering::SeqCst), 0, "held by the dead");
    };
    let try_lock = |lock: &SharedArea<Lock>| match lock.try_lock() {
        Err(LockError::OwnerDied(guard)) => drop(guard),
        other => panic!("{other:?}"),
    };
    wake(2, die_with_it, |lock| lock_and_unlock(lock), try_lock, 2);
}
