//! Many producers and consumers.

use std::num::NonZeroU64;

use mp_layout::Arena;
use mp_layout::model::sync::Arc;
use mp_layout::model::sync::atomic::{AtomicBool, Ordering, fence};
use mp_layout::model::thread;
use mp_ring::{ANONYMOUS, MpmcProducer, MpmcRing, PopError};

use crate::{SIZE, explore};

fn ring(capacity: usize) -> MpmcRing<'static, [u64; 2]> {
    let arena: &'static Arena = Box::leak(Box::default());
    // SAFETY: the arena is fresh, and only this ring is made in it.
    unsafe { MpmcRing::create(arena.region(SIZE), capacity, 2) }.unwrap()
}

fn producer(ring: MpmcRing<'static, [u64; 2]>) -> MpmcProducer<'static, [u64; 2]> {
    ring.claim_producer(ANONYMOUS).unwrap()
}

/// Pops until it works, letting the other threads run.
fn pop(ring: MpmcRing<'_, [u64; 2]>) -> u64 {
    loop {
        match ring.pop() {
            Ok([value, check]) => {
                assert_eq!(check, !value, "torn");
                return value;
            }
            Err(error) => assert_eq!(error, PopError::Empty),
        }
        thread::yield_now();
    }
}

/// How far one consumer got past a push that is not finished is no hint for another one, which
/// has seen an earlier push: between them is a value that comes first.
#[test]
fn nothing_is_skipped_that_is_not_done() {
    explore(|| {
        let ring = ring(4);
        let producer = producer(ring);
        let push = |value: u64| producer.push([value, !value]).unwrap();
        let first = producer.reserve().unwrap();
        push(2);
        let popping = thread::spawn(move || ring.pop().ok());
        first.commit([1, !1]);
        let third = producer.reserve().unwrap();
        push(4);
        let mut values: Vec<_> = [ring.pop().ok(), ring.pop().ok(), ring.pop().ok()].into();
        third.commit([3, !3]);
        push(5);
        let other = popping.join().unwrap();
        let rest: Vec<_> = std::iter::from_fn(|| ring.pop().ok()).collect();
        assert!(
            other != Some([5, !5]) || !rest.contains(&[3, !3]),
            "3 comes before 5"
        );
        values.push(other);
        let mut values: Vec<_> = values.into_iter().flatten().chain(rest).collect();
        values.sort_unstable();
        assert_eq!(values, [1, 2, 3, 4, 5].map(|value: u64| [value, !value]));
    });
}

/// The first push returns before the second begins: a consumer that passed the first over while it
/// was written must not take the second.
#[test]
fn what_was_passed_over_comes_before_what_came_after_it() {
    explore(|| {
        let ring = ring(2);
        let producer = producer(ring);
        let pushing = thread::spawn(move || {
            for value in [1, 2] {
                producer.push([value, !value]).unwrap();
            }
        });
        assert_eq!((pop(ring), pop(ring)), (1, 2));
        pushing.join().unwrap();
        assert_eq!(ring.pop(), Err(PopError::Empty));
    });
}

/// A consumer that is not the first finds what it copied overwritten, and drops it.
#[test]
fn two_consumers_share_values_around_the_end() {
    explore(|| {
        let ring = ring(1);
        let producer = producer(ring);
        producer.push([1, !1]).unwrap();
        let popping = thread::spawn(move || ring.pop().ok());
        let pushed = producer.push([2, !2]).is_ok();
        let found = [ring.pop().ok(), popping.join().unwrap(), ring.pop().ok()];
        let mut values: Vec<_> = found.into_iter().flatten().collect();
        values.sort_unstable();
        let expected: &[[u64; 2]] = if pushed {
            &[[1, !1], [2, !2]]
        } else {
            &[[1, !1]]
        };
        assert_eq!(values, expected);
    });
}

#[test]
fn two_producers_share_cells() {
    explore(|| {
        let ring = ring(2);
        let (one, other) = (producer(ring), producer(ring));
        let pushing = thread::spawn(move || one.push([1, !1]).unwrap());
        other.push([2, !2]).unwrap();
        let first = pop(ring);
        assert_eq!(first + pop(ring), 3);
        pushing.join().unwrap();
        assert_eq!(ring.pop(), Err(PopError::Empty));
    });
}

/// One sweeper may be late: by then the seat is another's, who is alive and has claimed the cell.
#[test]
fn late_sweep_takes_nothing_from_the_living() {
    explore(|| {
        let ring = ring(1);
        let [dead, living] = [1, 2].map(|number| NonZeroU64::new(number).unwrap());
        std::mem::forget(ring.claim_producer(dead).unwrap());
        let other = producer(ring);
        // SAFETY: `dead` does nothing any more.
        let sweep = move || unsafe { ring.sweep(|owner| owner == dead) };
        let sweeping = thread::spawn(move || {
            sweep();
            other.push([2, !2]).is_ok()
        });
        sweep();
        let pushed = ring.claim_producer(living).unwrap().push([1, !1]).is_ok();
        let other_pushed = sweeping.join().unwrap();
        assert_ne!(pushed, other_pushed, "there is room for one");
        assert_eq!(pop(ring), if pushed { 1 } else { 2 });
        assert_eq!(ring.pop(), Err(PopError::Empty));
    });
}

/// Two see the same death, of one that had pushed a value and claimed a cell; one pushes and
/// another pops meanwhile.
#[test]
#[cfg(shuttle)]
fn two_sweeps_disturb_no_one() {
    const CAPACITY: usize = 4;
    explore(|| {
        let ring = ring(CAPACITY);
        let dead = NonZeroU64::MIN;
        let died = ring.claim_producer(dead).unwrap();
        died.push([1, !1]).unwrap();
        std::mem::forget(died.reserve().unwrap());
        std::mem::forget(died);
        let living = producer(ring);
        // SAFETY: `dead` does nothing any more.
        let sweep = move || unsafe { ring.sweep(|owner| owner == dead) };
        let sweeping = [(); 2].map(|()| thread::spawn(sweep));
        let pushing = thread::spawn(move || {
            [2, 3].map(|value: u64| living.push([value, !value]).is_ok().then_some(value))
        });
        let popping = thread::spawn(move || [(); 3].map(|()| ring.pop().ok()));
        let swept = sweeping.map(|thread| thread.join().unwrap());
        let mut pushed: Vec<_> = pushing.join().unwrap().into_iter().flatten().collect();
        pushed.insert(0, 1);
        let popped = popping.join().unwrap().into_iter().flatten();
        let rest = std::iter::from_fn(|| ring.pop().ok());
        let popped: Vec<_> = popped.chain(rest).collect();
        let expected: Vec<_> = pushed.iter().map(|&value| [value, !value]).collect();
        assert_eq!(popped, expected, "in order, each once");
        assert_eq!(swept.iter().sum::<usize>(), 1, "the seat is freed once");
        let living = producer(ring);
        for value in 0..CAPACITY as u64 {
            living.push([value, !value]).expect("its cell is free");
        }
        assert!(living.push([9, !9]).is_err(), "no cell is there twice");
    });
}

/// A flag beside the ring closes it: who finds it set, and then no place that is claimed, and then
/// no value, is right that none comes. A queue that waits is built so.
#[test]
fn no_push_comes_after_a_flag_that_closes() {
    explore(|| {
        let ring = ring(2);
        let producer = producer(ring);
        let closed = Arc::new(AtomicBool::new(false));
        let pushing = {
            let closed = Arc::clone(&closed);
            thread::spawn(move || {
                let grant = producer.reserve().unwrap();
                // Loom knows no total order of SeqCst accesses, only of fences.
                fence(Ordering::SeqCst);
                let is_open = !closed.load(Ordering::Acquire);
                if is_open {
                    grant.commit([1, !1]);
                }
                is_open
            })
        };
        let closing = {
            let closed = Arc::clone(&closed);
            thread::spawn(move || closed.store(true, Ordering::Release))
        };
        if closed.load(Ordering::Acquire) {
            fence(Ordering::SeqCst);
            let is_decided = ring.unfinished().is_none();
            let popped = ring.pop().is_ok();
            let pushed = pushing.join().unwrap();
            assert!(!is_decided || popped == pushed, "{popped}, {pushed}");
        } else {
            pushing.join().unwrap();
        }
        closing.join().unwrap();
    });
}
