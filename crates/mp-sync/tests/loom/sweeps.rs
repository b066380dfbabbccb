//! Several that find the same deaths, beside others that go on: more threads than loom can explore.

use mp_layout::model::sync::Arc;
use mp_layout::model::sync::atomic::{AtomicU64, Ordering};
use mp_layout::model::thread::{self, JoinHandle};
use mp_layout::{Described, Place};
use mp_sync::{Barrier, LockError, Outcome, PermitSemaphore, RawMutex, RwLock, as_the_dead};

use crate::{Cell, model};

/// Starts `count` threads that do the same with `shared`.
fn spawn<T: Send + Sync + 'static, R: Send + 'static>(
    count: usize,
    shared: &Arc<T>,
    work: fn(&T) -> R,
) -> Vec<JoinHandle<R>> {
    let spawn = |_| {
        let shared = Arc::clone(shared);
        thread::spawn(move || work(&shared))
    };
    (0..count).map(spawn).collect()
}

fn join<R>(threads: Vec<JoinHandle<R>>) -> impl Iterator<Item = R> {
    threads.into_iter().map(|thread| thread.join().unwrap())
}

/// Tries again while others are in the way.
fn until_acquired<G>(mut attempt: impl FnMut() -> Result<G, LockError<G>>) -> (G, bool) {
    loop {
        match attempt() {
            Ok(guard) => return (guard, false),
            Err(LockError::OwnerDied(guard)) => return (guard, true),
            Err(LockError::Timeout(_)) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn permits_of_the_dead_come_back_once_and_are_had_by_one_each() {
    model(|| {
        let shared = Arc::new((PermitSemaphore::zeroed(), [Cell::new(), Cell::new()]));
        shared.0.initialise(2).unwrap();
        as_the_dead(|| {
            for _ in 0..2 {
                std::mem::forget(shared.0.acquire().unwrap());
            }
        });
        let sweeping = spawn(2, &shared, |(permits, _)| permits.sweep());
        let working = spawn(2, &shared, |(permits, cells)| {
            let permit = permits.acquire().unwrap();
            cells[permit.number()].add();
        });
        assert_eq!(join(sweeping).sum::<usize>(), 2);
        join(working).for_each(drop);
        let (permits, cells) = &*shared;
        assert_eq!(permits.available(), 2);
        assert_eq!(cells[0].get() + cells[1].get(), 2);
    });
}

/// Where no kernel marks the locks of the dead: each that finds the owner dead may mark it, while
/// others acquire the lock by then.
#[test]
fn a_dead_owner_is_proved_by_several_and_told_once() {
    model(|| {
        let shared = Arc::new((RawMutex::zeroed(), Cell::new()));
        as_the_dead(|| std::mem::forget(shared.0.lock().unwrap()));
        let working = spawn(3, &shared, |(mutex, cell)| {
            loop {
                if let Ok(mut guard) = mutex.try_lock() {
                    cell.add();
                    let is_told = guard.outcome() == Outcome::OwnerDied;
                    guard.recover();
                    return usize::from(is_told);
                }
                thread::yield_now();
            }
        });
        assert_eq!(join(working).sum::<usize>(), 1);
        assert_eq!(shared.1.get(), 3);
    });
}

#[test]
fn a_writer_that_died_is_told_to_the_next_writer() {
    model(|| {
        let shared = Arc::new((RwLock::zeroed(), Cell::new()));
        as_the_dead(|| std::mem::forget(shared.0.write().unwrap()));
        let writing = spawn(2, &shared, |(lock, cell)| {
            let (_guard, is_torn) = until_acquired(|| lock.try_write());
            cell.add();
            is_torn
        });
        let reading = spawn(1, &shared, |(lock, cell)| {
            let (_share, is_torn) = until_acquired(|| lock.try_read());
            (cell.get(), is_torn)
        });
        for (writers, is_torn) in join(reading) {
            assert_eq!(is_torn, writers == 0, "told until a writer has had it");
        }
        assert_eq!(join(writing).filter(|&is_torn| is_torn).count(), 1);
        assert_eq!(shared.1.get(), 2);
    });
}

#[test]
fn the_share_of_a_reader_that_died_keeps_no_writer_out() {
    model(|| {
        let shared = Arc::new((RwLock::zeroed(), Cell::new()));
        as_the_dead(|| std::mem::forget(shared.0.read().unwrap()));
        let writing = spawn(2, &shared, |(lock, cell)| {
            let (_guard, is_torn) = until_acquired(|| lock.try_write());
            cell.add();
            is_torn
        });
        let reading = spawn(1, &shared, |(lock, cell)| {
            let (_share, is_torn) = until_acquired(|| lock.try_read());
            assert!(cell.get() <= 2);
            is_torn
        });
        assert!(join(writing).chain(join(reading)).all(|is_torn| !is_torn));
        assert_eq!(shared.1.get(), 2);
    });
}

#[test]
fn several_that_find_a_dead_party_break_the_barrier_once() {
    model(|| {
        let barrier = Arc::new(Barrier::zeroed());
        barrier.initialise(3).unwrap();
        as_the_dead(|| std::mem::forget(barrier.register().unwrap()));
        let waiting = spawn(1, &barrier, |barrier| barrier.wait().is_err());
        let trying = spawn(2, &barrier, |barrier| barrier.try_wait().is_ok());
        let was_missed = join(trying).all(|is_ok| is_ok);
        // Each left it to another one, which held the lock.
        while was_missed && barrier.try_wait().is_ok() {
            thread::yield_now();
        }
        assert!(join(waiting).all(|is_broken| is_broken));
        barrier.reset().unwrap();
        assert_eq!(barrier.try_wait().unwrap(), None, "the dead party is gone");
        assert_eq!(barrier.waiting(), 0);
    });
}

/// The one that hears of the death wakes the other.
#[test]
fn the_last_of_three_parties_dies_before_it_wakes() {
    crate::a_last_party_that_dies_reaches(2);
}

#[test]
fn a_notifier_of_two_dies_before_it_wakes() {
    crate::a_notifier_that_dies_reaches(2);
}

/// The control: a sweep that looks and then stores takes a permit from the living.
#[test]
#[should_panic(expected = "had by two")]
fn control_a_sweep_that_does_not_compare() {
    const DEAD: u64 = 1;
    model(|| {
        let owner = Arc::new(AtomicU64::new(DEAD));
        let sweeping = spawn(2, &owner, |owner| {
            if owner.load(Ordering::SeqCst) == DEAD {
                owner.store(0, Ordering::SeqCst);
            }
        });
        let mine = 2;
        while owner
            .compare_exchange(0, mine, Ordering::SeqCst, Ordering::SeqCst)
            .is_err()
        {
            thread::yield_now();
        }
        join(sweeping).for_each(drop);
        assert_eq!(owner.load(Ordering::SeqCst), mine, "had by two");
    });
}
