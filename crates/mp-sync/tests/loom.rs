//! Models of the lock word and of the eventcount, and of what is built on them, explored by loom:
//! `RUSTFLAGS="--cfg loom" cargo test -p mp-sync --release --test loom`, and by shuttle with
//! `RUSTFLAGS="--cfg loom --cfg shuttle"`.
//!
//! What loom checks are the orderings; shuttle runs the same models in random interleavings, and
//! those of more threads. The futex is a model whose waits do not time out, so that a lost wake-up
//! is a deadlock. The dead of these models have died before the others begin, but one: who owes
//! wake-ups after the release of a lock dies before it has changed a word for them.
#![cfg(loom)]

#[cfg(shuttle)]
#[path = "loom/sweeps.rs"]
mod sweeps;

use mp_layout::model::cell::UnsafeCell;
use mp_layout::model::sync::Arc;
use mp_layout::model::sync::atomic::{AtomicU32, Ordering};
use mp_layout::model::{explore, thread};
use mp_layout::{Described, Place};
use mp_os::clock::Deadline;
use mp_sync::{
    Barrier, Condition, Event, EventCount, PermitSemaphore, RawLockError, RawMutex, RwLock,
    Semaphore, Wait, as_the_dead,
};

/// Explores with at most three involuntary switches, where almost all bugs show.
fn model(run: impl Fn() + Sync + Send + 'static) {
    explore(3, run);
}

/// The same with two switches, for operations of many steps.
fn shallow_model(run: impl Fn() + Sync + Send + 'static) {
    explore(2, run);
}

struct Guarded {
    mutex: RawMutex,
    data: UnsafeCell<u32>,
}

// SAFETY: the tests reach the data while they hold the mutex; loom reports if two do.
unsafe impl Sync for Guarded {}
// SAFETY: a number.
unsafe impl Send for Guarded {}

fn excludes(threads: u32, rounds: u32) {
    model(move || {
        let shared = Arc::new(Guarded {
            mutex: RawMutex::zeroed(),
            data: UnsafeCell::new(0),
        });
        let add = move |shared: &Guarded| {
            for _ in 0..rounds {
                let guard = shared.mutex.lock().unwrap();
                // SAFETY: the mutex is held; loom checks the claim.
                shared.data.with_mut(|data| unsafe { *data += 1 });
                drop(guard);
            }
        };
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || add(&shared))
            })
            .collect();
        add(&shared);
        others.into_iter().for_each(|other| other.join().unwrap());
        // SAFETY: the others have ended.
        assert_eq!(shared.data.with(|data| unsafe { *data }), threads * rounds);
    });
}

#[test]
fn two_threads_exclude_each_other() {
    excludes(2, 2);
}

#[test]
fn three_threads_exclude_each_other() {
    excludes(3, 1);
}

/// A thread that tries the lock reads the number of one owner and the start time of the next, which
/// signed in between. Were that a proof of death, the first owner would lose the lock that it has
/// again by then. It takes five involuntary switches.
#[test]
fn start_of_another_owner_proves_no_death() {
    explore(5, || {
        let shared = Arc::new(Guarded {
            mutex: RawMutex::zeroed(),
            data: UnsafeCell::new(0),
        });
        let held = shared.mutex.lock().unwrap();
        let prover = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || match shared.mutex.try_lock() {
                // SAFETY: the mutex is held; loom checks the claim.
                Ok(_guard) => shared.data.with_mut(|data| unsafe { *data += 1 }),
                Err(error) => assert!(matches!(error, RawLockError::TimedOut(_))),
            })
        };
        drop(held);
        mp_sync::as_another_owner(|| drop(shared.mutex.lock().unwrap()));
        let again = shared.mutex.lock().unwrap();
        // SAFETY: as above.
        shared.data.with_mut(|data| unsafe { *data += 1 });
        drop(again);
        prover.join().unwrap();
    });
}

/// A waiter and a notifier of one flag.
fn flag_is_seen(notify: fn(&EventCount)) {
    model(move || {
        let shared = Arc::new((EventCount::zeroed(), AtomicU32::new(0)));
        let notifier = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.1.store(1, Ordering::Release);
                notify(&shared.0);
            })
        };
        let (count, flag) = &*shared;
        let seen = count.wait_until(Wait::Sleep, Deadline::NEVER, || {
            (flag.load(Ordering::Acquire) == 1).then_some(())
        });
        assert!(seen.is_some());
        notifier.join().unwrap();
    });
}

#[test]
fn notify_after_a_release_store_is_not_lost() {
    flag_is_seen(|count| count.notify(1));
}

/// The control: a wake-up that does not come must be found.
#[test]
#[should_panic(expected = "deadlock")]
fn without_a_notify_the_waiter_sleeps_on() {
    flag_is_seen(|_| ());
}

/// The control: without the fence the model must find the lost wake-up. Shuttle knows no stale
/// values.
#[test]
#[cfg(not(shuttle))]
#[should_panic(expected = "deadlock")]
fn without_the_fence_a_wake_is_lost() {
    flag_is_seen(|count| {
        if count.has_sleepers() {
            count.notify(1);
        }
    });
}

#[test]
fn two_sleepers_both_wake() {
    model(|| {
        let event = Arc::new(Event::zeroed());
        let waiter = {
            let event = Arc::clone(&event);
            thread::spawn(move || assert!(event.wait_with(Wait::Sleep, Deadline::NEVER)))
        };
        let setter = {
            let event = Arc::clone(&event);
            thread::spawn(move || event.set())
        };
        assert!(event.wait_with(Wait::Sleep, Deadline::NEVER));
        waiter.join().unwrap();
        setter.join().unwrap();
    });
}

#[test]
fn units_notified_one_by_one_reach_both_takers() {
    model(|| {
        let shared = Arc::new((EventCount::zeroed(), AtomicU32::new(0)));
        let take = |shared: &(EventCount, AtomicU32)| {
            let (count, units) = shared;
            let taken = count.wait_until(Wait::Sleep, Deadline::NEVER, || {
                units
                    .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                        left.checked_sub(1)
                    })
                    .ok()
            });
            assert!(taken.is_some());
        };
        let taker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || take(&shared))
        };
        let giver = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for _ in 0..2 {
                    shared.1.fetch_add(1, Ordering::Release);
                    shared.0.notify(1);
                }
            })
        };
        take(&shared);
        taker.join().unwrap();
        giver.join().unwrap();
    });
}

#[test]
fn permits_released_together_reach_both_takers() {
    model(|| {
        let semaphore = Arc::new(Semaphore::zeroed());
        let acquire = |semaphore: &Semaphore| {
            assert!(semaphore.acquire_with(Wait::Sleep, Deadline::NEVER));
        };
        let other = {
            let semaphore = Arc::clone(&semaphore);
            thread::spawn(move || acquire(&semaphore))
        };
        let releaser = {
            let semaphore = Arc::clone(&semaphore);
            thread::spawn(move || semaphore.release_many(2).unwrap())
        };
        acquire(&semaphore);
        other.join().unwrap();
        releaser.join().unwrap();
        assert_eq!(semaphore.value(), 0);
    });
}

/// A number that the tests reach while they hold a lock; loom reports if two do.
struct Cell(UnsafeCell<u32>);

// SAFETY: loom checks every access.
unsafe impl Sync for Cell {}
// SAFETY: a number.
unsafe impl Send for Cell {}

impl Cell {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn add(&self) {
        // SAFETY: the caller is alone with it; loom checks the claim.
        self.0.with_mut(|number| unsafe { *number += 1 });
    }

    fn get(&self) -> u32 {
        // SAFETY: no other thread writes it now; loom checks the claim.
        self.0.with(|number| unsafe { *number })
    }
}

#[test]
fn a_reader_and_a_writer_exclude_each_other() {
    shallow_model(|| {
        let shared = Arc::new((RwLock::zeroed(), Cell::new()));
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let guard = shared.0.write().unwrap();
                shared.1.add();
                drop(guard);
            })
        };
        let share = shared.0.read().unwrap();
        assert!(shared.1.get() <= 1);
        drop(share);
        writer.join().unwrap();
        assert_eq!(shared.1.get(), 1);
    });
}

#[test]
fn one_permit_is_had_by_one() {
    shallow_model(|| {
        let shared = Arc::new((PermitSemaphore::zeroed(), Cell::new()));
        shared.0.initialise(1).unwrap();
        let work = |shared: &(PermitSemaphore, Cell)| {
            let permit = shared.0.acquire().unwrap();
            shared.1.add();
            drop(permit);
        };
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || work(&shared))
        };
        work(&shared);
        other.join().unwrap();
        assert_eq!((shared.0.available(), shared.1.get()), (1, 2));
    });
}

/// Both sweep while the owner of the one gives it back and another takes it: the count of permits
/// stays.
#[test]
fn two_sweeps_take_nothing_from_the_living() {
    shallow_model(|| {
        let shared = Arc::new(PermitSemaphore::zeroed());
        shared.initialise(2).unwrap();
        let mine = shared.acquire().unwrap();
        let sweeper = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || assert_eq!(shared.sweep(), 0))
        };
        let taker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || drop(shared.acquire().unwrap()))
        };
        assert_eq!(shared.sweep(), 0);
        drop(mine);
        sweeper.join().unwrap();
        taker.join().unwrap();
        assert_eq!(shared.available(), 2);
    });
}

/// What each wrote before the barrier is there after it.
#[test]
fn parties_see_what_was_done_before_the_barrier() {
    shallow_model(|| {
        let shared = Arc::new((Barrier::zeroed(), [Cell::new(), Cell::new()]));
        shared.0.initialise(2).unwrap();
        let pass = |shared: &(Barrier, [Cell; 2]), me: usize| {
            shared.1[me].add();
            let number = shared.0.wait().unwrap();
            assert_eq!(shared.1[1 - me].get(), 1);
            number
        };
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || pass(&shared, 1))
        };
        let mine = pass(&shared, 0);
        assert_eq!(mine + other.join().unwrap(), 1);
    });
}

/// The last party of the first round wakes the other after it has released the lock, which the
/// other may need for the next round by then.
#[test]
fn the_next_round_of_a_barrier_begins_while_the_last_party_wakes() {
    shallow_model(|| {
        let barrier = Arc::new(Barrier::zeroed());
        barrier.initialise(2).unwrap();
        let other = {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                barrier.wait().unwrap();
                barrier.wait().unwrap();
            })
        };
        barrier.wait().unwrap();
        barrier.wait().unwrap();
        other.join().unwrap();
        assert_eq!(barrier.waiting(), 0);
    });
}

/// It has released the lock, and dies before it changes the word that the others sleep on. The mark
/// of its death keeps one that is about to sleep from it, and wakes one that sleeps.
fn a_last_party_that_dies_reaches(others: u32) {
    shallow_model(move || {
        let barrier = Arc::new(Barrier::zeroed());
        barrier.initialise(others + 1).unwrap();
        let waiting: Vec<_> = (0..others)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                thread::spawn(move || barrier.wait().unwrap())
            })
            .collect();
        as_the_dead(|| {
            while barrier.waiting() < others as usize {
                thread::yield_now();
            }
            assert_eq!(barrier.wait().unwrap(), others as usize);
        });
        for thread in waiting {
            assert!(thread.join().unwrap() < others as usize);
        }
    });
}

#[test]
fn a_last_party_that_dies_before_it_wakes_has_ended_the_round() {
    a_last_party_that_dies_reaches(1);
}

#[test]
fn an_abort_reaches_the_one_that_waits() {
    shallow_model(|| {
        let barrier = Arc::new(Barrier::zeroed());
        barrier.initialise(2).unwrap();
        let other = {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || assert!(barrier.wait().is_err()))
        };
        barrier.abort().unwrap();
        other.join().unwrap();
        barrier.reset().unwrap();
        assert!(!barrier.is_broken());
    });
}

#[test]
fn a_waiter_of_a_condition_is_notified() {
    shallow_model(|| {
        let shared = Arc::new((Condition::zeroed(), Cell::new()));
        let notifier = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let guard = shared.0.lock().unwrap();
                shared.1.add();
                guard.notify(1);
                drop(guard);
            })
        };
        let guard = shared.0.lock().unwrap();
        let guard = guard.wait_for(|| shared.1.get() == 1).unwrap();
        drop(guard);
        notifier.join().unwrap();
        assert_eq!(shared.0.waiting(), 0);
    });
}

/// As at the barrier.
fn a_notifier_that_dies_reaches(waiters: u32) {
    shallow_model(move || {
        let shared = Arc::new((Condition::zeroed(), Cell::new()));
        let waiting: Vec<_> = (0..waiters)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let guard = shared.0.lock().unwrap();
                    drop(guard.wait_for(|| shared.1.get() == 1).unwrap());
                })
            })
            .collect();
        as_the_dead(|| {
            let guard = shared.0.lock().unwrap();
            shared.1.add();
            guard.notify_all();
            drop(guard);
        });
        for thread in waiting {
            thread.join().unwrap();
        }
        assert_eq!(shared.0.waiting(), 0);
    });
}

#[test]
fn a_notifier_that_dies_before_it_wakes_has_notified() {
    a_notifier_that_dies_reaches(1);
}

/// Each wakes after it has released the lock, where the other may be about to notify.
#[test]
fn two_notifiers_wake_a_waiter_each() {
    shallow_model(|| {
        let shared = Arc::new((Condition::zeroed(), Cell::new()));
        let notify = |shared: &(Condition, Cell)| {
            let guard = shared.0.lock().unwrap();
            shared.1.add();
            guard.notify_all();
            drop(guard);
        };
        let notifier = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || notify(&shared))
        };
        let waiter = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let guard = shared.0.lock().unwrap();
                drop(guard.wait_for(|| shared.1.get() > 0).unwrap());
                notify(&shared);
            })
        };
        let guard = shared.0.lock().unwrap();
        drop(guard.wait_for(|| shared.1.get() == 2).unwrap());
        notifier.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(shared.0.waiting(), 0);
    });
}
