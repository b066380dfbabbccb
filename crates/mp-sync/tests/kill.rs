//! SIGKILL before every instruction of lock, unlock, set and wait.
//!
//! Complete in release builds: `cargo test -p mp-sync --release --test kill --features raw_sync`.
//! Debug builds try a sample of the points.
#![cfg(all(target_arch = "x86_64", not(loom)))]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use killcheck::{Check, Failure, SharedArea};
use mp_os::clock::Deadline;
use mp_os::futex;
use mp_sync::{Event, EventCount, LockError, Mutex, Wait};

const OWNER_DIED: u32 = 1 << 30;

/// Less than the lock's recheck, so that only the kernel's wake is in time for a survivor; the sleepers
/// here have no timeouts at all. Without a robust list the rechecks must do.
fn limit() -> Duration {
    if mp_os::robust::supported() {
        Duration::from_millis(400)
    } else {
        Duration::from_secs(2)
    }
}

fn check<'a, T>(name: &str) -> Check<'a, SharedArea<T>> {
    let most = match (mp_os::robust::supported(), cfg!(debug_assertions)) {
        (false, _) => 12, // each death takes a recheck to be noticed
        (true, true) => 100,
        (true, false) => usize::MAX,
    };
    Check::new(name)
        .limit(limit())
        .max_points(most)
        .stop_after(4)
}

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
    held[1] += 1;
}

/// The lock can be had, and what it guards is whole or said to be torn.
fn whole_or_told(pair: &Pair) -> Result<(), String> {
    match pair.lock_timeout(limit()) {
        Ok(held) if held[0] == held[1] => Ok(()),
        Ok(held) => Err(format!("torn, and nobody said so: {:?}", *held)),
        Err(LockError::OwnerDied(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// What a process does once: it asks who it is, by a text of `/proc` that is a little longer or shorter each time.
fn learn_who_one_is() {
    drop(pair().lock());
}

#[test]
fn lock_and_unlock() {
    check("mutex: lock, change, unlock")
        .setup(|pair: &Pair| pair.reset())
        .warm_up(|pair| drop(pair.lock()))
        .victim(change)
        .survivor(whole_or_told)
        .invariant(whole_or_told)
        .run(&pair())
        .expect("the check runs")
        .assert_safe();
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
        .run(&pair())
        .expect("the check runs")
        .assert_safe();
}

#[test]
fn first_lock_of_a_process() {
    check("mutex: a process's first lock, change, unlock")
        .max_points(if mp_os::robust::supported() { 400 } else { 12 })
        .setup(|pair: &Pair| pair.reset())
        .allow_missed(0.1, "the text of /proc is not always as long")
        .victim(change)
        .survivor(whole_or_told)
        .invariant(whole_or_told)
        .run(&pair())
        .expect("the check runs")
        .assert_safe();
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
        .run(&pair())
        .expect("the check runs")
        .assert_safe();
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
fn woken_waiter_with_another_asleep() {
    check("mutex: woken, lock, change, unlock; another sleeps")
        .without_timeouts()
        .setup(held_by_the_harness)
        .warm_up(|_| learn_who_one_is())
        .victim(change)
        .sleeper(|pair: &Pair| drop(pair.lock()))
        .waker(release_for_the_harness)
        .must_wake(|_| true)
        .survivor(whole_or_told)
        .run(&pair())
        .expect("the check runs")
        .assert_safe();
}

fn event() -> SharedArea<Event> {
    // SAFETY: as in `pair`.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

#[test]
fn event_set_with_a_sleeper() {
    check("event: set; a waiter sleeps")
        .without_timeouts()
        .setup(|event: &SharedArea<Event>| event.reset())
        .sleeper(|event| assert!(event.wait_with(Wait::Sleep, Deadline::NEVER)))
        .victim(|event| event.set())
        .must_wake(|event| event.is_set())
        .survivor(|event| {
            event.set();
            Ok(())
        })
        .run(&event())
        .expect("the check runs")
        .assert_safe();
}

#[test]
fn event_waiter_woken_with_another_asleep() {
    check("event: woken; another sleeps")
        .without_timeouts()
        .allow_missed(0.05, "a waiter may be woken before it sleeps")
        .setup(|event: &SharedArea<Event>| event.reset())
        .victim(|event| assert!(event.wait_with(Wait::Sleep, Deadline::NEVER)))
        .sleeper(|event| assert!(event.wait_with(Wait::Sleep, Deadline::NEVER)))
        .waker(|event| event.set())
        .must_wake(|event| event.is_set())
        .survivor(|event| {
            event.set();
            Ok(())
        })
        .run(&event())
        .expect("the check runs")
        .assert_safe();
}

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

    fn is_there(&self) -> bool {
        self.left.load(Ordering::SeqCst) > 0
    }
}

type Taking = fn(&Units);

fn giver_dies<'a>(give: Taking, take: Taking) -> Check<'a, SharedArea<Units>> {
    check("eventcount: give a unit; a taker sleeps")
        .without_timeouts()
        .setup(|units: &SharedArea<Units>| units.reset())
        .sleeper(move |units| take(units))
        .victim(move |units| give(units))
        .must_wake(|units| units.is_there())
        .survivor(move |units| {
            give(units);
            Ok(())
        })
}

fn taker_dies<'a>(give: Taking, take: Taking) -> Check<'a, SharedArea<Units>> {
    check("eventcount: a taker woken; another sleeps")
        .without_timeouts()
        .setup(|units: &SharedArea<Units>| units.reset())
        .victim(move |units| take(units))
        .sleeper(move |units| take(units))
        .waker(move |units| give(units))
        .must_wake(|units| units.is_there())
        .survivor(move |units| {
            give(units);
            Ok(())
        })
}

#[test]
fn giver_with_a_sleeper() {
    giver_dies(Units::give, Units::take)
        .run(&Units::area())
        .expect("runs")
        .assert_safe();
}

#[test]
fn woken_taker_with_another_asleep() {
    taker_dies(Units::give, Units::take)
        .run(&Units::area())
        .expect("runs")
        .assert_safe();
}

#[test]
fn control_without_the_bell_is_caught() {
    if !mp_os::robust::supported() {
        mp_testkit::not_checked("threads have no robust list here, and so no bell");
        return;
    }
    for dying in [giver_dies, taker_dies] {
        let report = dying(Units::give_without_bell, Units::take_without_bell)
            .run(&Units::area())
            .expect("the check runs");
        report.assert_caught();
        assert!(
            report
                .findings()
                .iter()
                .any(|finding| matches!(finding.failure, Failure::LostWake(_))),
            "{report}"
        );
    }
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
        .run(&area)
        .expect("the check runs")
        .assert_caught();
}

#[cfg(feature = "raw_sync")]
mod raw_sync_mutex {
    use raw_sync::locks::{LockInit, Mutex as Theirs};

    use super::*;

    type Memory = SharedArea<[std::sync::atomic::AtomicU64; 16]>;

    fn killed<L: LockInit>(name: &str) -> killcheck::Report {
        // SAFETY: atomics.
        let area: Memory = unsafe { SharedArea::zeroed() }.expect("a page");
        let bytes = |memory: &Memory| memory.as_ptr().cast::<u8>();
        // SAFETY: room for a lock of either kind, never freed while it is used.
        let open = move |memory: &Memory| unsafe { L::from_existing(bytes(memory), bytes(memory)) };
        let lock_and_unlock = move |memory: &Memory| {
            let (mutex, _) = open(memory).expect("initialised");
            // An error tells of a death, once; then the lock is free.
            drop(mutex.lock().or_else(|_| mutex.lock()).expect("free"));
        };
        check(name)
            .setup(move |memory: &Memory| {
                memory.reset();
                // SAFETY: as above.
                let made = unsafe { L::new(bytes(memory), bytes(memory)) };
                drop(made.expect("room"));
            })
            .victim(lock_and_unlock)
            .survivor(move |memory| {
                lock_and_unlock(memory);
                Ok(())
            })
            .allow_missed(0.05, "the box is freed as the allocator's state has it")
            .run(&area)
            .expect("the check runs")
    }

    #[test]
    fn control_theirs_is_caught() {
        let report = killed::<Theirs>("raw_sync's mutex");
        println!("{report}");
        report.assert_caught();
    }

    #[test]
    fn ours_behind_the_same_traits() {
        let report = killed::<mp_sync::raw_sync::Mutex>("ours by raw_sync's traits");
        println!("{report}");
        report.assert_safe();
    }
}
