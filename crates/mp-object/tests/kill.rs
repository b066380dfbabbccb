//! Killed while it waits for several objects, at every instruction from its wake-up to its end:
//! whom it was woken in place of looks again by itself, and is woken once it has passed that on.
#![cfg(target_arch = "x86_64")]

use std::cell::RefCell;
use std::time::Duration;

use killcheck::{Check, ErrorKind, Report};
use mp_object::{Event, Lock, Semaphore, wait};
use mp_os::clock::Deadline;
use mp_sync::{LockError, Wait};
use mp_testkit::{Forked, PATIENCE, Watchdog, not_checked};

/// Why a death may go unheard at all points before the wake-up is passed on.
const NO_BELL: &str = "one that waits for several objects announces the bell of none of them";

fn has_robust_list() -> bool {
    mp_os::robust::supported()
}

/// So many points, spread evenly.
fn points() -> usize {
    match (has_robust_list(), cfg!(debug_assertions)) {
        (false, _) => 12,
        (true, true) => 40,
        (true, false) => 120,
    }
}

/// The sleeper is woken by its first recheck at the latest, which comes within `recheck`, and
/// without one when the victim lives to the end.
fn assert_passed_on<M>(check: Check<'_, M>, memory: &M, recheck: Duration) {
    let _watchdog = Watchdog::new(PATIENCE * 15);
    // What libraries look up once in a process's life.
    std::hint::black_box(Deadline::after(Duration::ZERO));
    std::hint::black_box(mp_os::cpu::current_cpu());
    let report = check
        .allow_rescues_if(|_, pending| pending == 0, NO_BELL)
        .allow_missed(0.1, "libc's allocator does not always go the same way")
        .max_points(points())
        .run(memory);
    let report: Report = match report {
        Ok(report) => report,
        Err(error) if error.kind() == ErrorKind::TraceRefused => {
            return not_checked(&error.to_string());
        }
        Err(error) => panic!("{error}"),
    };
    println!("{report}");
    report.assert_safe();
    assert!(report.longest_timeout() <= Some(recheck), "{report}");
    let end = report.kill_points().last().expect("it was killed");
    assert!(!report.rescued().is_empty(), "{report}");
    assert!(!report.rescued().contains(end), "{report}");
}

struct Permits {
    semaphore: Semaphore,
    never: Event,
}

impl Permits {
    fn new() -> Self {
        Self {
            semaphore: Semaphore::new(0).expect("a semaphore"),
            never: Event::new().expect("an event"),
        }
    }

    fn start(&self) {
        while self.semaphore.try_acquire() {}
    }

    /// Waits and takes nothing.
    fn watch(&self) {
        let ready = wait(&[&self.never, &self.semaphore], Deadline::NEVER);
        assert_eq!(ready.expect("memory"), [1]);
    }

    fn acquire(&self) {
        assert!(self.semaphore.acquire_with(Wait::Sleep, Deadline::NEVER));
    }

    fn release(&self) {
        self.semaphore.release().expect("room");
    }

    /// What a process does once is done after it.
    fn warm_up(&self) {
        self.release();
        self.watch();
        self.start();
    }
}

#[test]
fn one_that_watches_a_semaphore_is_woken_in_place_of_one_that_acquires() {
    let check = Check::new("wait for a semaphore, woken; one that acquires it sleeps")
        .setup(Permits::start)
        .warm_up(Permits::warm_up)
        .victim(Permits::watch)
        .sleeper(Permits::acquire)
        .waker(Permits::release)
        .must_wake_count(|permits| permits.semaphore.value() as usize)
        .survivor(|permits| {
            permits.release();
            Ok(())
        });
    assert_passed_on(check, &Permits::new(), Duration::from_millis(250));
}

/// Each that watches takes nothing and wakes the next.
#[test]
fn a_permit_wakes_all_that_watch_it() {
    let _watchdog = Watchdog::new(PATIENCE * 15);
    let check = Check::new("release; three wait for the semaphore")
        .setup(Permits::start)
        .sleepers(3, Permits::watch)
        .victim(|_| ())
        .observer(|permits, _| permits.release())
        .must_wake_count(|_| 3)
        .max_points(1)
        .without_timeouts();
    match check.run(&Permits::new()) {
        Ok(report) => report.assert_safe(),
        Err(error) if error.kind() == ErrorKind::TraceRefused => not_checked(&error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

struct Held {
    lock: Lock,
    never: Event,
    release: Event,
    released: Event,
    holder: RefCell<Option<Forked>>,
}

impl Held {
    fn new() -> Self {
        let event = || Event::new().expect("an event");
        Self {
            lock: Lock::new().expect("a lock"),
            never: event(),
            release: event(),
            released: event(),
            holder: RefCell::new(None),
        }
    }

    /// Another process holds the lock until it is asked to release it.
    fn start(&self) {
        self.holder.replace(None);
        self.release.clear();
        self.released.clear();
        let holder = Forked::arriving(|arrival| {
            let guard = self.lock.lock().or_else(LockError::into_guard);
            arrival.arrive();
            self.release.wait();
            drop(guard);
            self.released.set();
            true
        });
        self.holder.replace(Some(holder));
    }

    /// Waits and takes nothing.
    fn watch(&self) {
        let ready = wait(&[&self.never, &self.lock], Deadline::NEVER);
        assert_eq!(ready.expect("memory"), [1]);
    }

    fn lock_and_unlock(&self) {
        drop(
            self.lock
                .lock()
                .or_else(LockError::into_guard)
                .expect("a lock"),
        );
    }

    /// Returns when the holder has released the lock and woken a sleeper.
    fn let_it_be_released(&self) {
        self.release.set();
        self.released.wait();
    }
}

#[test]
fn one_that_watches_a_lock_is_woken_in_place_of_one_that_locks() {
    let check = Check::new("wait for a lock, woken; one that locks it sleeps")
        .setup(Held::start)
        .warm_up(|_| Permits::new().warm_up())
        .victim(Held::watch)
        .sleeper(Held::lock_and_unlock)
        .waker(Held::let_it_be_released)
        .must_wake(|held| held.lock.holder().is_none())
        .survivor(|held| {
            held.lock_and_unlock();
            Ok(())
        });
    assert_passed_on(check, &Held::new(), Duration::from_millis(500));
}
