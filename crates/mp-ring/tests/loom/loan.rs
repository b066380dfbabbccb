//! Values in place.

use std::num::NonZeroU64;

use mp_layout::Arena;
use mp_layout::model::thread;
use mp_ring::{ANONYMOUS, LoanRing, LoanSeat, PopError};

use crate::{SIZE, explore};

fn ring(capacity: usize) -> LoanRing<'static, [u64; 2]> {
    let arena: &'static Arena = Box::leak(Box::default());
    // SAFETY: the arena is fresh, and only this ring is made in it.
    unsafe { LoanRing::create(arena.region(SIZE), capacity, 3) }.unwrap()
}

fn seat(ring: LoanRing<'static, [u64; 2]>) -> LoanSeat<'static, [u64; 2]> {
    ring.claim_seat(ANONYMOUS).unwrap()
}

const fn id(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

/// What there is, `None` if nothing.
fn pop(seat: &LoanSeat<'_, [u64; 2]>) -> Option<u64> {
    match seat.pop() {
        Ok([value, check]) => {
            assert_eq!(check, !value, "torn");
            Some(value)
        }
        Err(error) => {
            assert_eq!(error, PopError::Empty);
            None
        }
    }
}

/// Whether there was room.
fn push(seat: &LoanSeat<'_, [u64; 2]>, value: u64) -> bool {
    match seat.push([value, !value]) {
        Ok(()) => true,
        Err(error) => {
            assert!(matches!(error, mp_ring::PushError::Full(_)), "{error:?}");
            false
        }
    }
}

fn sorted(values: impl IntoIterator<Item = Option<u64>>) -> Vec<u64> {
    let mut values: Vec<_> = values.into_iter().flatten().collect();
    values.sort_unstable();
    values
}

/// A slot is used again as soon as it is free; with one cell, so is that.
#[test]
fn one_pushes_and_another_pops_around_the_end() {
    for capacity in [1, 2] {
        explore(move || {
            let ring = ring(capacity);
            let (producer, consumer) = (seat(ring), seat(ring));
            let pushing = thread::spawn(move || {
                [1, 2, 3].map(|value| push(&producer, value).then_some(value))
            });
            let popped = [pop(&consumer), pop(&consumer)];
            let pushed = pushing.join().unwrap();
            let rest = [pop(&consumer), pop(&consumer)];
            let popped: Vec<_> = popped.into_iter().chain(rest).flatten().collect();
            assert_eq!(popped, sorted(pushed), "in order, each once");
        });
    }
}

#[test]
fn two_consumers_share_values() {
    explore(|| {
        let ring = ring(2);
        let (one, other) = (seat(ring), seat(ring));
        assert!(push(&one, 1) && push(&one, 2));
        let popping = thread::spawn(move || [pop(&other), pop(&other)]);
        let popped = pop(&one);
        let pushed = push(&one, 3);
        let mut values = popping.join().unwrap().to_vec();
        values.push(popped);
        values.extend([pop(&one), pop(&one)]);
        let expected: &[u64] = if pushed { &[1, 2, 3] } else { &[1, 2] };
        assert_eq!(sorted(values), expected);
    });
}

#[test]
fn two_producers_share_slots_and_cells() {
    explore(|| {
        let ring = ring(2);
        let (one, other) = (seat(ring), seat(ring));
        let pushing = thread::spawn(move || push(&other, 1));
        let mut pushed = vec![push(&one, 2).then_some(2)];
        let mut popped = vec![pop(&one)];
        // There may seem to be no room: the other has looked at a slot before it was free.
        pushed.extend([
            push(&one, 3).then_some(3),
            pushing.join().unwrap().then_some(1),
        ]);
        popped.extend([pop(&one), pop(&one)]);
        assert!(pushed.iter().flatten().count() >= 2);
        assert_eq!(sorted(popped), sorted(pushed));
    });
}

/// A value that is returned goes through a new publication while others take.
#[test]
fn what_is_dropped_comes_again_once() {
    explore(|| {
        let ring = ring(1);
        let (one, other) = (seat(ring), seat(ring));
        assert!(push(&one, 1));
        let taking = thread::spawn(move || {
            let taken = other.take();
            taken.map(|taken| taken.redeliveries()).ok()
        });
        let popped = pop(&one);
        let redeliveries = taking.join().unwrap();
        assert!(popped.is_some() || redeliveries == Some(0));
        let rest = pop(&one);
        assert_eq!(sorted([popped, rest]), [1]);
        assert!(push(&one, 2), "its slot is free");
    });
}

/// The dead had taken a value and left its cell; the living push, take and help meanwhile.
#[test]
fn a_sweep_disturbs_no_one() {
    explore(|| {
        let ring = ring(2);
        let (dead, living, sweeper) = (ring.claim_seat(id(1)).unwrap(), seat(ring), seat(ring));
        assert!(push(&living, 1) && push(&living, 2));
        std::mem::forget(dead.take().unwrap());
        std::mem::forget(dead);
        let working = thread::spawn(move || {
            let popped = pop(&living);
            (popped, push(&living, 3), pop(&living))
        });
        // SAFETY: `dead` does nothing any more.
        let swept = unsafe { ring.sweep(id(2), |owner| owner == id(1)) };
        assert_eq!(swept.unwrap(), 1);
        let (first, pushed, second) = working.join().unwrap();
        let mut values = vec![first, second];
        values.extend([pop(&sweeper), pop(&sweeper), pop(&sweeper)]);
        let expected: &[u64] = if pushed { &[1, 2, 3] } else { &[1, 2] };
        assert_eq!(sorted(values), expected);
    });
}

/// Two see the same death. One sweeps, and the other is refused or finds nothing.
#[test]
fn two_sweeps_return_a_value_once() {
    explore(|| {
        let ring = ring(1);
        let (dead, living) = (ring.claim_seat(id(1)).unwrap(), seat(ring));
        assert!(push(&living, 1));
        std::mem::forget(dead.take().unwrap());
        std::mem::forget(dead);
        // SAFETY: `dead` does nothing any more.
        let sweep = move |me| unsafe { ring.sweep(id(me), |owner| owner == id(1)) }.unwrap_or(0);
        let sweeping = thread::spawn(move || sweep(2));
        let swept = sweep(3);
        assert_eq!(sweeping.join().unwrap() + swept, 1);
        assert_eq!([pop(&living), pop(&living)], [Some(1), None]);
    });
}

/// Two see the same death; one pushes and another takes meanwhile.
#[test]
#[cfg(shuttle)]
fn two_sweeps_disturb_no_one() {
    explore(|| {
        let ring = ring(2);
        let (dead, producer, consumer) = (ring.claim_seat(id(1)).unwrap(), seat(ring), seat(ring));
        assert!(push(&producer, 1));
        std::mem::forget(dead.take().unwrap());
        std::mem::forget(dead);
        // SAFETY: `dead` does nothing any more.
        let sweep = move |me| unsafe { ring.sweep(id(me), |owner| owner == id(1)) }.unwrap_or(0);
        let sweeping = [2, 3].map(|me| thread::spawn(move || sweep(me)));
        let pushing =
            thread::spawn(move || [2, 3].map(|value| push(&producer, value).then_some(value)));
        let popping = thread::spawn(move || [pop(&consumer), pop(&consumer)]);
        let swept = sweeping.map(|thread| thread.join().unwrap());
        assert_eq!(swept.iter().sum::<usize>(), 1);
        let pushed = pushing.join().unwrap();
        let popped = popping.join().unwrap();
        let last = seat(ring);
        let rest = [pop(&last), pop(&last), pop(&last)];
        assert_eq!(
            sorted(popped.into_iter().chain(rest)),
            sorted(pushed.into_iter().chain([Some(1)]))
        );
        assert!(push(&last, 4) && push(&last, 5), "all slots are free");
    });
}
