//! What threads of one process see; runs under Miri, too:
//! `MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks" cargo +nightly miri test -p mp-sync
//! --test threads`. The structures are leaked on purpose: a lock must not be freed.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mp_layout::{Place, Region};
use mp_os::clock::Deadline;
use mp_sync::{Event, EventCount, LockError, Mutex, Wait};

#[repr(align(64))]
struct Memory([u64; 8]);

fn placed<T: Place>() -> &'static T {
    let memory = Box::leak(Box::new(Memory([0; 8])));
    let region = Region::from_exclusive(&mut memory.0);
    // SAFETY: leaked memory stays, and it is used for nothing else.
    unsafe { region.place_guarded(0) }.expect("64 bytes, aligned to 64")
}

const ROUNDS: u64 = if cfg!(miri) { 20 } else { 20_000 };

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
