//! Feature `raw_sync`: a program written for that crate, with ours in its place.
#![cfg(all(feature = "raw_sync", not(loom)))]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mp_sync::raw_sync::{Event, Mutex};
use raw_sync::Timeout;
use raw_sync::events::{EventImpl, EventInit, EventState};
use raw_sync::locks::{LockImpl, LockInit};

#[path = "shared/processes.rs"]
mod processes;
use mp_testkit::stay;
use processes::{child, place, shared_memory, until};

fn mutex(offset: usize) -> Box<dyn LockImpl> {
    let memory = shared_memory();
    let at = memory.as_ptr().wrapping_add(offset);
    assert_eq!(Mutex::size_of(Some(at)), (8 - offset % 8) % 8 + 48);
    // SAFETY: within the memory, which is never unmapped; the data lies behind the lock.
    let (mutex, size) = unsafe { Mutex::new(at, memory.as_ptr().wrapping_add(512)) }.unwrap();
    assert_eq!(size, Mutex::size_of(Some(at)));
    mutex
}

fn event(auto_reset: bool) -> Box<dyn EventImpl> {
    // SAFETY: the memory is large enough and never unmapped.
    unsafe { Event::new(shared_memory().as_ptr(), auto_reset) }
        .unwrap()
        .0
}

#[test]
fn processes_count_together_wherever_the_lock_lies() {
    for offset in [0, 3] {
        let mutex = mutex(offset);
        let count = || {
            for _ in 0..2000 {
                let guard = mutex.lock().unwrap();
                // SAFETY: the lock is held, the data is zeroed memory.
                unsafe { *guard.cast::<u64>() += 1 };
            }
        };
        let other = child(count);
        count();
        other.join();
        // SAFETY: as above.
        assert_eq!(unsafe { *mutex.lock().unwrap().cast::<u64>() }, 4000);
    }
}

#[test]
fn killed_holder_is_an_error_once() {
    let mutex = mutex(0);
    let at: &AtomicU32 = place(shared_memory(), 0);
    let holder = child(|| {
        let _guard = mutex.lock().unwrap();
        at.store(1, Ordering::Release);
        stay();
    });
    until(|| at.load(Ordering::Acquire) == 1);
    holder.kill();
    let in_time = || mutex.try_lock(Timeout::Val(Duration::from_secs(5)));
    assert!(in_time().err().unwrap().to_string().contains("died"));
    assert!(in_time().is_ok());
}

#[test]
fn timed_lock_waits_as_long_as_it_says() {
    let mutex = mutex(0);
    let guard = mutex.lock().unwrap();
    let timeout = Duration::from_millis(20);
    let waiter = child(|| {
        let start = Instant::now();
        let error = mutex.try_lock(Timeout::Val(timeout)).err().unwrap();
        assert!(
            start.elapsed() >= timeout && error.to_string().contains("timed out"),
            "{error}"
        );
    });
    waiter.join();
    drop(guard);
    assert!(mutex.try_lock(Timeout::Val(Duration::ZERO)).is_ok());
}

#[test]
fn release_by_a_stranger_is_refused() {
    let mutex = mutex(0);
    assert!(mutex.release().is_err());
    let guard = mutex.lock().unwrap();
    assert!(mutex.lock().is_err(), "recursion");
    drop(guard);
    assert!(mutex.release().is_err());
}

#[test]
fn read_guard_releases_too() {
    let mutex = mutex(0);
    drop(mutex.rlock().unwrap());
    assert!(mutex.lock().is_ok());
}

#[test]
fn auto_reset_event_wakes_one_per_set() {
    let event = event(true);
    let passed: &AtomicU32 = place(shared_memory(), 0);
    let waiters = [(); 2].map(|()| {
        child(|| {
            event.wait(Timeout::Infinite).unwrap();
            passed.fetch_add(1, Ordering::Release);
        })
    });
    for sets in 1..=2 {
        event.set(EventState::Signaled).unwrap();
        until(|| passed.load(Ordering::Acquire) == sets);
    }
    waiters.into_iter().for_each(processes::Child::join);
    assert!(event.wait(Timeout::Val(Duration::from_millis(5))).is_err());
}

#[test]
fn manual_event_stays_set() {
    let event = event(false);
    let waiters = [(); 2].map(|()| child(|| event.wait(Timeout::Infinite).unwrap()));
    event.set(EventState::Signaled).unwrap();
    waiters.into_iter().for_each(processes::Child::join);
    assert!(event.wait(Timeout::Val(Duration::ZERO)).is_ok());
    event.set(EventState::Clear).unwrap();
    assert!(event.wait(Timeout::Val(Duration::ZERO)).is_err());
}

/// Adding a timeout's fraction to the clock's without a carry makes an impossible time as often as
/// the fraction says: why a program should switch. With 99 hundredths of a second, nearly every
/// wait ends at once.
#[test]
fn control_their_timed_lock_does_not_wait() {
    let memory = shared_memory();
    // SAFETY: the memory is large enough and never unmapped.
    let (theirs, _) =
        unsafe { raw_sync::locks::Mutex::new(memory.as_ptr(), memory.as_ptr()) }.unwrap();
    let guard = theirs.lock().unwrap();
    let attempts = 20;
    let at_once = (0..attempts)
        .filter(|_| {
            let start = Instant::now();
            let refused = theirs
                .try_lock(Timeout::Val(Duration::from_millis(990)))
                .is_err();
            refused && start.elapsed() < Duration::from_millis(500)
        })
        .count();
    drop(guard);
    println!("{at_once} of {attempts} waits of 0.99 s ended at once");
    assert!(at_once >= attempts / 2, "{at_once}");
}
