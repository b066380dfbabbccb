//! What threads of one process see; runs under Miri, too:
//! `MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks" cargo +nightly miri test -p mp-sync
//! --test threads`. The structures are leaked on purpose: a lock must not be freed.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mp_layout::{Described, Place, Region};
use mp_os::clock::Deadline;
use mp_sync::{
    Barrier, Condition, Event, EventCount, LockError, Mutex, PermitSemaphore, RwLock, Wait,
};

#[repr(align(64))]
struct Memory([u64; 2048]);

fn placed<T: Place>() -> &'static T {
    let memory = Box::leak(Box::new(Memory([0; 2048])));
    let region = Region::from_exclusive(&mut memory.0);
    // SAFETY: leaked memory stays, and it is used for nothing else.
    unsafe { region.place_guarded(0) }.expect("16 KiB, aligned to 64")
}

const ROUNDS: u64 = if cfg!(miri) { 6 } else { 20_000 };

/// For operations of many steps, of which each takes Miri long.
const FEW_ROUNDS: u64 = if cfg!(miri) { 2 } else { 1000 };

#[test]
fn mutex_excludes() {
    let mutex: &Mutex<u64> = placed();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..ROUNDS).for_each(|_| *mutex.lock().unwrap() += 1));
        }
    });
    assert_eq!(*mutex.lock().unwrap(), 3 * ROUNDS);
}

#[test]
fn held_mutex_is_refused_to_others_and_to_oneself() {
    let mutex: &Mutex<u64> = placed();
    let guard = mutex.lock().unwrap();
    assert!(matches!(mutex.lock(), Err(LockError::Recursive)));
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(mutex.try_lock(), Err(LockError::Timeout(_)))));
        scope.spawn(|| {
            let waited = mutex.lock_timeout(Duration::from_millis(5));
            assert!(matches!(waited, Err(LockError::Timeout(_))));
        });
    });
    drop(guard);
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn event_wakes_all() {
    for wait in [Wait::Adaptive, Wait::Sleep] {
        let event: &Event = placed();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert!(event.wait_with(wait, Deadline::NEVER)));
            }
            event.set();
        });
    }
}

#[test]
fn units_all_arrive() {
    let (count, units) = (placed::<EventCount>(), AtomicU32::new(0));
    let take = || {
        let taken = count.wait_until(Wait::Sleep, Deadline::NEVER, || {
            units
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                    left.checked_sub(1)
                })
                .ok()
        });
        assert!(taken.is_some());
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..ROUNDS).for_each(|_| take()));
        }
        for _ in 0..2 * ROUNDS {
            count.under_bell(|| {
                units.fetch_add(1, Ordering::SeqCst);
                count.notify_committed(1);
            });
        }
    });
    assert_eq!(units.into_inner(), 0);
}

#[test]
fn suspicion_runs_when_a_wait_takes_long() {
    let count: &EventCount = placed();
    let mut suspected = 0;
    let result = count.wait_until_or_suspect(
        Wait::Sleep,
        Deadline::after(Duration::from_millis(if cfg!(miri) { 2000 } else { 600 })),
        || None::<()>,
        || suspected += 1,
    );
    assert!(result.is_none() && suspected >= 1);
}

#[test]
fn condition_hands_over() {
    let (condition, turn): (&Condition, AtomicU32) = (placed(), AtomicU32::new(0));
    let play = |mine: u32| {
        let mut guard = condition.lock().unwrap();
        for _ in 0..FEW_ROUNDS {
            guard = guard
                .wait_for(|| turn.load(Ordering::Relaxed) == mine)
                .unwrap();
            turn.store(1 - mine, Ordering::Relaxed);
            guard.notify(1);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| play(1));
        play(0);
    });
}

#[test]
fn barrier_holds_all_until_the_last() {
    let barrier: &Barrier = placed();
    barrier.initialise(3).unwrap();
    let steps = [const { AtomicU32::new(0) }; 3];
    let walk = |me: usize| {
        for step in 1..=FEW_ROUNDS as u32 {
            steps[me].store(step, Ordering::Relaxed);
            barrier.wait().unwrap();
            assert!(steps.iter().all(|s| s.load(Ordering::Relaxed) == step));
            barrier.wait().unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| walk(1));
        scope.spawn(|| walk(2));
        walk(0);
    });
}

/// What the lock guards, in memory that Miri watches for races.
struct Guarded(std::cell::UnsafeCell<u64>);

// SAFETY: the test reaches it while it holds a lock.
unsafe impl Sync for Guarded {}

#[test]
fn rwlock_excludes() {
    let (lock, number): (&RwLock, Guarded) = (placed(), Guarded(0.into()));
    let number = &number;
    let rounds = FEW_ROUNDS;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                for _ in 0..rounds {
                    let guard = lock.write().unwrap();
                    // SAFETY: held to write.
                    unsafe { *number.0.get() += 1 };
                    drop(guard);
                }
            });
        }
        for _ in 0..rounds {
            let share = lock.read().unwrap();
            // SAFETY: held to read.
            assert!(unsafe { *number.0.get() } <= 2 * rounds);
            drop(share);
        }
    });
    let _share = lock.read().unwrap();
    // SAFETY: held to read.
    assert_eq!(unsafe { *number.0.get() }, 2 * rounds);
}

#[test]
fn permits_exclude() {
    let (permits, number): (&PermitSemaphore, Guarded) = (placed(), Guarded(0.into()));
    permits.initialise(1).unwrap();
    let number = &number;
    let rounds = FEW_ROUNDS;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(move || {
                for _ in 0..rounds {
                    let permit = permits.acquire().unwrap();
                    // SAFETY: there is one permit, and this thread has it.
                    unsafe { *number.0.get() += 1 };
                    drop(permit);
                }
            });
        }
    });
    assert_eq!(permits.available(), 1);
}
