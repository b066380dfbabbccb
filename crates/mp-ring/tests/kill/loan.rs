//! The operations of [`LoanRing`].

use std::cell::RefCell;
use std::num::NonZeroU64;

use killcheck::{Check, Report};
use mp_ring::{LoanRing, LoanSeat, PopError, PushError};

use crate::judge::{Before, Judged, Scene, Stage, VICTIM, Verdict, go_around};
use crate::{assert_safe, region};

/// Its parts tell whether it is torn.
type Value = [u64; 5];

const CAPACITY: usize = 5;
const SEATS: usize = 4;

const LIVING: NonZeroU64 = NonZeroU64::new(5).unwrap();
const SWEEPER: NonZeroU64 = NonZeroU64::new(6).unwrap();
const DEAD_SWEEPER: NonZeroU64 = NonZeroU64::new(7).unwrap();

const fn value(number: u64) -> Value {
    [number, !number, number << 32, number, !number]
}

fn number(value: Value) -> Verdict<u64> {
    if value == self::value(value[0]) {
        Ok(value[0])
    } else {
        Err(format!("torn: {value:x?}"))
    }
}

type Ring<'m> = LoanRing<'m, Value>;
type Seat<'m> = LoanSeat<'m, Value>;

impl<'m> Judged<'m> for Ring<'m> {
    type Producer = Seat<'m>;
    type Consumer = Seat<'m>;
    const ROOM: usize = CAPACITY;

    fn create(stage: &'m Stage) -> Self {
        // SAFETY: the stage's words are only used as this ring, and by no other process while it is
        // made.
        unsafe { LoanRing::create(region(stage), CAPACITY, SEATS) }.unwrap()
    }

    fn claim_producer(self, me: NonZeroU64) -> Verdict<Self::Producer> {
        self.claim_seat(me).map_err(|error| error.to_string())
    }

    fn claim_consumer(self, me: NonZeroU64) -> Verdict<Self::Consumer> {
        self.claim_producer(me)
    }

    fn sweep(self) {
        let is_dead = |owner| owner == VICTIM || owner == DEAD_SWEEPER;
        // SAFETY: the victim is dead whenever there is a sweep.
        unsafe { LoanRing::sweep(&self, SWEEPER, is_dead) }.expect("one sweeps");
    }

    fn push(seat: &mut Self::Producer, number: u64) -> bool {
        seat.push(value(number)).is_ok()
    }

    fn pop(seat: &mut Self::Consumer) -> Verdict<Option<u64>> {
        match seat.pop() {
            Ok(value) => number(value).map(Some),
            Err(PopError::Empty) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[test]
fn loan_and_push_until_full() {
    let push = |seat: &mut Seat<'_>, batch: &[u64]| match batch {
        [number] => {
            drop(seat.loan().unwrap());
            seat.push(value(*number)).unwrap();
        }
        _ => assert_eq!(seat.push(value(9)), Err(PushError::Full(value(9)))),
    };
    let scene = Scene::new(Before { moved: 6, held: 2 });
    let batches = [&[10][..], &[11], &[12], &[]];
    let name = "LoanRing: loan and push until full";
    assert_safe(&scene.producer_dies::<Ring<'_>>(name, &batches, push));
}

fn pop_all(seat: &mut Seat<'_>) -> Verdict<Vec<u64>> {
    std::iter::from_fn(|| Ring::pop(seat).transpose()).collect()
}

/// Kills a consumer, which notes what it begins to release. Before any sweep the living push, and
/// pop what it has not taken; after it comes what it had taken and not released, and all room.
fn consumer_dies(scene: &Scene, name: &str, consume: impl Fn(&Seat<'_>)) -> Report {
    let ring: Ring<'_> = scene.prepare();
    let living = RefCell::new(None);
    Check::new(name)
        .setup(|()| {
            drop(living.take());
            scene.prepare::<Ring<'_>>();
            living.replace(ring.claim_seat(LIVING).ok());
        })
        .victim(|()| consume(&ring.claim_seat(VICTIM).unwrap()))
        .survivor(|()| {
            let mut living = living.borrow_mut();
            let living = living.as_mut().ok_or("no seat")?;
            let pushed = living.push(value(100)).map(|()| 100);
            let before = pop_all(living)?;
            ring.sweep();
            let after = pop_all(living)?;
            let mut found = [&before[..], &after].concat();
            found.sort_unstable();
            let begun = scene.noted().len();
            let left = |released| scene.held().skip(released).chain(pushed);
            // Of the last, nothing tells whether its release ended.
            let is_whole = [begun, begun.saturating_sub(1)]
                .into_iter()
                .any(|released| left(released).eq(found.iter().copied()));
            if !is_whole || after.len() > 1 {
                return Err(format!("released {begun}, then {before:?}, {after:?}"));
            }
            go_around::<Ring<'_>>(&mut ring.claim_producer(LIVING)?, living)
        })
        .run(&())
        .expect("the check runs")
}

const FULL_BUT_ONE: Before = Before { moved: 6, held: 4 };

#[test]
fn take_and_release_until_empty() {
    let scene = Scene::new(FULL_BUT_ONE);
    let name = "LoanRing: take and release until empty";
    assert_safe(&consumer_dies(&scene, name, |seat| {
        while let Ok(taken) = seat.take() {
            scene.note(number(*taken).unwrap());
            taken.release();
        }
    }));
}

#[test]
fn what_is_dropped_comes_again() {
    let scene = Scene::new(FULL_BUT_ONE);
    let name = "LoanRing: take and drop";
    assert_safe(&consumer_dies(&scene, name, |seat| {
        for _ in 0..3 {
            drop(seat.take().unwrap());
        }
    }));
}

/// Words of the stage's ring of 5 in 8 cells, after 6 that went through: the first is in cell 6.
const FIRST_CELL: usize = CELLS + 6;
const THIRD_CELL: usize = CELLS;
const CELLS: usize = 512 / 8;
const SLOTS: usize = 640 / 8;

/// A consumer that empties the cell before the slot names it.
#[test]
fn control_that_a_value_leaves_the_ring_before_it_has_an_owner_is_caught() {
    let scene = Scene::new(FULL_BUT_ONE);
    let name = "cell before slot: take";
    let report = consumer_dies(&scene, name, |seat| {
        let cell = scene.word(FIRST_CELL);
        scene.overwrite(FIRST_CELL, cell + (8 << 16) | 0xffff);
        let slot = SLOTS + (cell & 0xffff) as usize * 8;
        let state = scene.word(slot);
        scene.overwrite(slot, state & !(3 << 62) | 2 << 62);
        // The release is as it should be.
        scene.note(1);
        scene.overwrite(slot, state & ((1 << 40) - 1));
        let _ring = seat;
    });
    println!("{report}");
    report.assert_caught();
}

/// A sweeper dies, too: of a process that died with a loan, a value in a cell that it had not
/// emptied, another one taken, one returned and not published, and a seat.
#[test]
fn sweep() {
    let scene = Scene::new(FULL_BUT_ONE);
    let ring: Ring<'_> = scene.prepare();
    let report = Check::new("LoanRing: sweep")
        .setup(|()| {
            let ring: Ring<'_> = scene.prepare();
            let dead = ring.claim_seat(VICTIM).unwrap();
            let cell = scene.word(FIRST_CELL);
            std::mem::forget((dead.loan().unwrap(), dead.take().unwrap()));
            std::mem::forget(dead.take().unwrap());
            let third = SLOTS + (scene.word(THIRD_CELL) & 0xffff) as usize * 8;
            std::mem::forget(dead.take().unwrap());
            std::mem::forget(dead);
            scene.overwrite(FIRST_CELL, cell);
            // Returned instead of taken, with one redelivery more and the next generation.
            let taken = scene.word(third);
            scene.overwrite(third, (taken | 3 << 62) + (1 << 40) + 1);
        })
        .victim(|()| {
            let is_dead = |owner| owner == VICTIM;
            // SAFETY: the owner is no process.
            unsafe { LoanRing::sweep(&ring, DEAD_SWEEPER, is_dead) }.unwrap();
        })
        .survivor(|()| {
            let mut living = ring.claim_producer(LIVING)?;
            let mut found = pop_all(&mut living)?;
            ring.sweep();
            found.extend(pop_all(&mut living)?);
            if found[..1] != [4] {
                return Err(format!("there are {found:?}"));
            }
            found.sort_unstable();
            if found != [1, 2, 3, 4] {
                return Err(format!("there are {found:?}"));
            }
            let seats: Vec<_> = (0..).map_while(|_| ring.claim_seat(LIVING).ok()).collect();
            if seats.len() != SEATS - 1 {
                return Err(format!("{} seats", seats.len()));
            }
            drop(seats);
            go_around::<Ring<'_>>(&mut ring.claim_producer(LIVING)?, &mut living)
        })
        .run(&())
        .expect("the check runs");
    assert_safe(&report);
}
