//! Semaphores: no permit is lost or made up, whoever waits how.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mp_layout::{Described, ErrorKind};
use mp_os::clock::Deadline;
use mp_sync::{BoundedSemaphore, Semaphore, Wait};

#[path = "shared/processes.rs"]
mod processes;
use processes::{child, place, shared_memory, until};

#[test]
fn never_are_more_inside_than_there_are_permits() {
    let memory = shared_memory();
    let permits: &Semaphore = place(memory, 0);
    let [inside, most, done]: [&AtomicU32; 3] =
        [place(memory, 128), place(memory, 192), place(memory, 256)];
    permits.release_many(2).expect("there is room");
    let workers = [(); 4].map(|()| {
        child(|| {
            for _ in 0..500 {
                permits.acquire();
                let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                // The first waits for a second one, which there is room for.
                until(|| most.load(Ordering::SeqCst) >= 2);
                std::thread::yield_now();
                inside.fetch_sub(1, Ordering::SeqCst);
                permits.release().expect("it was acquired");
            }
            done.fetch_add(1, Ordering::SeqCst);
        })
    });
    workers.into_iter().for_each(processes::Child::join);
    assert_eq!((most.load(Ordering::SeqCst), permits.value()), (2, 2));
    assert_eq!(done.load(Ordering::SeqCst), 4);
}

#[test]
fn another_process_may_release() {
    let memory = shared_memory();
    let turn: &Semaphore = place(memory, 0);
    for wait in [Wait::Adaptive, Wait::Spin, Wait::Sleep] {
        let other = child(|| turn.release().expect("there is room"));
        assert!(turn.acquire_with(wait, Deadline::NEVER));
        other.join();
        assert_eq!(turn.value(), 0);
    }
}

#[test]
fn one_release_of_many_wakes_as_many() {
    let memory = shared_memory();
    let (gate, asleep): (&Semaphore, &AtomicU32) = (place(memory, 0), place(memory, 128));
    let waiters = [(); 3].map(|()| {
        child(|| {
            asleep.fetch_add(1, Ordering::SeqCst);
            assert!(gate.acquire_with(Wait::Sleep, Deadline::NEVER));
        })
    });
    until(|| asleep.load(Ordering::SeqCst) == 3);
    gate.release_many(3).expect("there is room");
    waiters.into_iter().for_each(processes::Child::join);
    assert_eq!(gate.value(), 0);
}

#[test]
fn a_timeout_takes_nothing() {
    let memory = shared_memory();
    let semaphore: &Semaphore = place(memory, 0);
    assert!(!semaphore.try_acquire());
    assert!(!semaphore.acquire_timeout(Duration::ZERO));
    let start = Instant::now();
    assert!(!semaphore.acquire_timeout(Duration::from_millis(20)));
    assert!(start.elapsed() >= Duration::from_millis(20));
    semaphore.release().expect("there is room");
    assert!(semaphore.acquire_timeout(Duration::ZERO));
    assert!(!semaphore.try_acquire());
}

#[test]
fn too_many_permits_are_refused_and_change_nothing() {
    let memory = shared_memory();
    let semaphore: &Semaphore = place(memory, 0);
    semaphore.release_many(i32::MAX as u32).expect("the most");
    for count in [1, u32::MAX] {
        let error = semaphore.release_many(count).expect_err("one too many");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("2147483647"), "{error}");
    }
    assert_eq!(semaphore.value(), i32::MAX as u32);

    let bounded: &BoundedSemaphore = place(memory, 64);
    assert_eq!(
        bounded.initialise(0).expect_err("useless").kind(),
        ErrorKind::InvalidInput
    );
    bounded.initialise(2).expect("a bound of two");
    assert!(bounded.release().is_err());
    assert!(bounded.try_acquire());
    bounded.release().expect("it was acquired");
    assert_eq!((bounded.value(), bounded.most()), (2, 2));
    assert!(semaphore.initialise(u32::MAX).is_err());
}

#[test]
fn a_guard_releases_its_permit_when_it_is_dropped() {
    let memory = shared_memory();
    let (plain, bounded): (&Semaphore, &BoundedSemaphore) = (place(memory, 0), place(memory, 64));
    plain.initialise(1).expect("one permit");
    bounded.initialise(1).expect("a bound of one");
    for semaphore in [plain, bounded] {
        let guard = semaphore.acquire_guard();
        assert!(semaphore.try_acquire_guard().is_none());
        assert!(semaphore.acquire_guard_timeout(Duration::ZERO).is_none());
        drop(guard);
        let guard = semaphore.try_acquire_guard().expect("it was released");
        guard.release().expect("there is room");
        assert_eq!(semaphore.value(), 1);
        let unwound = std::panic::catch_unwind(|| {
            let _guard = semaphore.acquire_guard_timeout(Duration::MAX);
            assert_eq!(semaphore.value(), 1, "a panic with the permit");
        });
        assert!(unwound.is_err());
        assert_eq!(semaphore.value(), 1);
    }
}

#[test]
fn a_guard_whose_permit_was_released_already_says_so() {
    let bounded: &BoundedSemaphore = place(shared_memory(), 0);
    bounded.initialise(1).expect("a bound of one");
    let guard = bounded.acquire_guard();
    bounded.release().expect("any process may");
    let error = guard.release().expect_err("it is there already");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let guard = bounded.acquire_guard();
    bounded.release().expect("any process may");
    drop(guard);
    assert_eq!(bounded.value(), 1);
}

#[test]
fn a_forked_child_does_not_release_its_parents_permit() {
    let semaphore: &Semaphore = place(shared_memory(), 0);
    semaphore.initialise(1).expect("one permit");
    let guard = RefCell::new(Some(semaphore.acquire_guard()));
    child(|| drop(guard.take())).join();
    let released = child(|| {
        let guard = guard.take().expect("a copy of the parent's");
        guard.release().expect("nothing to do");
    });
    released.join();
    assert_eq!(semaphore.value(), 0);
    drop(guard);
    assert_eq!(semaphore.value(), 1);
}

#[test]
fn every_timeout_is_understood() {
    let memory = shared_memory();
    let semaphore: &Semaphore = place(memory, 0);
    let past = Instant::now();
    for timeout in [Duration::MAX, Duration::from_secs(u64::MAX)] {
        semaphore.release().expect("there is room");
        assert!(semaphore.acquire_timeout(timeout));
    }
    for timeout in [Duration::ZERO, Duration::from_nanos(1)] {
        assert!(!semaphore.acquire_timeout(timeout));
    }
    assert!(!semaphore.acquire_timeout(past), "a moment that has passed");
}

/// What a wild write leaves must not panic or loop.
#[test]
fn overwritten_words_end_every_operation() {
    for (permits, most) in [(u32::MAX, 0), (u32::MAX, 1), (5, 1), (0, u32::MAX)] {
        let memory = shared_memory();
        let semaphore: &Semaphore = place(memory, 0);
        let words: &[AtomicU32; 16] = place(memory, 0);
        words[12].store(permits, Ordering::Relaxed);
        words[13].store(most, Ordering::Relaxed);
        assert_eq!(semaphore.try_acquire(), permits > 0);
        let released = semaphore.release_many(7).map_err(|error| error.kind());
        assert!(matches!(released, Ok(()) | Err(ErrorKind::InvalidInput)));
        let left = semaphore.value();
        assert_eq!(semaphore.acquire_timeout(Duration::ZERO), left > 0);
    }
}
