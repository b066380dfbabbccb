//! A ring of values in place: what one thread sees of it, and what several do. Miri runs this, too.
#![cfg(not(loom))]

use std::cell::Cell;
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mp_layout::{ErrorKind, Region};
use mp_ring::{
    ANONYMOUS, Corrupt, Loan, LoanRing, LoanSeat, PopError, PushError, ReserveError, Taken,
};
use mp_testkit::{PATIENCE, Watchdog};
use proptest::collection::vec;
use proptest::prelude::*;

/// Words of a ring of four seats: the sweeper's is the last of the shape.
const SWEEPER: usize = 24;
const TAIL: usize = 128;
const HEAD: usize = 256;
const CELLS: usize = 512;

/// From one position to the next, and the mark of an empty cell.
const STEP: u64 = 1 << 16;
const NO_SLOT: u64 = STEP - 1;

/// States of a slot.
const TAKEN: u64 = 2 << 62;
const RETURNED: u64 = 3 << 62;

/// The seat of a sweep, in a slot's word.
const BY_SWEEPER: u64 = 1023 << 52;

const fn id(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

/// A value whose parts tell whether it is torn.
type Value = [u64; 12];

const fn value(number: u64) -> Value {
    let mut value = [!number; 12];
    value[0] = number;
    value
}

#[track_caller]
fn number(value: &Value) -> u64 {
    assert_eq!(*value, self::value(value[0]), "torn");
    value[0]
}

/// A ring with its words, as a careless or dying peer reaches them.
struct Opened<'a> {
    region: Region<'a>,
    ring: LoanRing<'a, Value>,
}

fn memory(capacity: usize) -> Vec<u64> {
    vec![0; LoanRing::<Value>::words_for(capacity, 4).unwrap()]
}

impl<'a> Opened<'a> {
    fn new(memory: &'a mut [u64], capacity: usize) -> Self {
        let skipped = memory.as_ptr().align_offset(128);
        let region = Region::from_exclusive(&mut memory[skipped..]);
        // SAFETY: the memory is this test's own.
        let ring = unsafe { LoanRing::create(region, capacity, 4) }.unwrap();
        Self { region, ring }
    }

    fn overwrite(&self, offset: usize, word: u64) {
        let place: &AtomicU64 = self.region.place(offset).unwrap();
        place.store(word, Ordering::SeqCst);
    }

    fn word(&self, offset: usize) -> u64 {
        let place: &AtomicU64 = self.region.place(offset).unwrap();
        place.load(Ordering::SeqCst)
    }

    fn cell(&self, index: usize) -> usize {
        CELLS + index * 8
    }

    fn slot(&self, slot: usize) -> usize {
        let cells = self.ring.capacity().next_power_of_two() * 8;
        CELLS + cells.next_multiple_of(128) + slot * 64
    }

    /// Starts at `position`, a multiple of the cells.
    fn start_at(&self, position: u64) {
        let cells = self.ring.capacity().next_power_of_two();
        for index in 0..cells {
            let at = position.wrapping_add(index as u64);
            self.overwrite(self.cell(index), at.wrapping_mul(STEP) | NO_SLOT);
        }
        self.overwrite(TAIL, position.wrapping_mul(STEP));
        self.overwrite(HEAD, position.wrapping_mul(STEP));
    }
}

/// Sweeps what these owners left.
fn sweep(ring: LoanRing<'_, Value>, dead: &[u64]) -> mp_layout::Result<usize> {
    // SAFETY: the tests use nothing that these owners had.
    unsafe { ring.sweep(id(99), |owner| dead.contains(&owner.get())) }
}

fn drain(seat: &LoanSeat<'_, Value>) -> Vec<u64> {
    std::iter::from_fn(|| seat.pop().ok())
        .map(|value| number(&value))
        .collect()
}

/// Pushes numbers from `first` on until there is no room.
fn fill(seat: &LoanSeat<'_, Value>, first: u64) -> Vec<u64> {
    (first..)
        .take_while(|number| seat.push(value(*number)).is_ok())
        .collect()
}

#[test]
fn holds_exactly_its_capacity() {
    for capacity in [1, 2, 3, 5, if cfg!(miri) { 6 } else { 100 }] {
        let mut memory = memory(capacity);
        let ring = LoanRing::<Value>::new(&mut memory, capacity, 4).unwrap();
        let [one, other] = [1, 2].map(|owner| ring.claim_seat(id(owner)).unwrap());
        for lap in 0..4 {
            assert!(ring.is_empty());
            for number in 0..capacity as u64 {
                assert_eq!(ring.len(), number as usize);
                one.push(value(lap + number)).unwrap();
            }
            assert_eq!(other.push(value(99)), Err(PushError::Full(value(99))));
            for number in 0..capacity as u64 {
                assert_eq!(other.pop(), Ok(value(lap + number)));
            }
            assert_eq!(one.pop(), Err(PopError::Empty));
        }
    }
}

#[test]
fn what_is_loaned_or_taken_is_in_use() {
    let mut memory = memory(3);
    let ring = LoanRing::<Value>::new(&mut memory, 3, 1).unwrap();
    let seat = ring.claim_seat(ANONYMOUS).unwrap();
    let (mut one, dropped) = (seat.loan().unwrap(), seat.loan().unwrap());
    seat.push(value(3)).unwrap();
    assert_eq!(seat.loan().unwrap_err(), ReserveError::Full);
    *one = value(1);
    one.commit().unwrap();
    let three = seat.take().unwrap();
    assert_eq!(seat.loan().unwrap_err(), ReserveError::Full);
    drop(dropped);
    seat.push(value(2)).unwrap();
    assert_eq!(seat.loan().unwrap_err(), ReserveError::Full);
    assert_eq!((number(&three), drain(&seat)), (3, vec![1, 2]));
    three.release();
    assert_eq!(fill(&seat, 4), [4, 5, 6]);
}

#[test]
fn a_loan_is_written_and_a_value_read_in_place() {
    let mut memory = vec![0; LoanRing::<[u8; 100_000]>::words_for(2, 2).unwrap()];
    let ring = LoanRing::<[u8; 100_000]>::new(&mut memory, 2, 2).unwrap();
    let seat = ring.claim_seat(ANONYMOUS).unwrap();
    for round in 1..6 {
        let mut loan = seat.loan().unwrap();
        let written = loan.as_ptr();
        loan[99_999] = round;
        loan.commit().unwrap();
        let taken = seat.take().unwrap();
        assert_eq!((taken.as_ptr(), taken[99_999]), (written, round));
        taken.release();
    }
}

#[test]
fn what_is_dropped_and_not_released_comes_again_at_the_tail() {
    let mut memory = memory(3);
    let ring = LoanRing::<Value>::new(&mut memory, 3, 2).unwrap();
    let seat = ring.claim_seat(ANONYMOUS).unwrap();
    assert_eq!(fill(&seat, 1), [1, 2, 3]);
    for redeliveries in 0..3 {
        for expected in [1, 2, 3] {
            let taken = seat.take().unwrap();
            assert_eq!(
                (number(&taken), taken.redeliveries()),
                (expected, redeliveries)
            );
        }
    }
    assert_eq!(drain(&seat), [1, 2, 3]);
    seat.push(value(4)).unwrap();
    assert_eq!(seat.take().unwrap().redeliveries(), 0, "a new value");
}

#[test]
fn redeliveries_are_counted_to_4095() {
    let mut memory = memory(2);
    let opened = Opened::new(&mut memory, 2);
    let seat = opened.ring.claim_seat(ANONYMOUS).unwrap();
    seat.push(value(1)).unwrap();
    let slot = opened.slot(0);
    opened.overwrite(slot, opened.word(slot) | 4094 << 40);
    for redeliveries in [4094, 4095, 4095] {
        assert_eq!(seat.take().unwrap().redeliveries(), redeliveries);
    }
    assert_eq!(drain(&seat), [1]);
}

#[test]
fn a_loan_of_the_dead_is_given_back() {
    let mut memory = memory(3);
    let ring = Opened::new(&mut memory, 3).ring;
    let [dead, living] = [1, 2].map(|owner| ring.claim_seat(id(owner)).unwrap());
    dead.push(value(1)).unwrap();
    let mut loan = dead.loan().unwrap();
    loan[0] = 5;
    std::mem::forget(loan);
    let mut kept = living.loan().unwrap();
    kept.write(value(2));
    assert!(living.loan().is_err());
    assert_eq!(sweep(ring, &[3]).unwrap(), 0);
    assert!(living.loan().is_err());
    std::mem::forget(dead);
    assert_eq!(sweep(ring, &[1]).unwrap(), 1);
    living.push(value(3)).unwrap();
    kept.commit().unwrap();
    assert_eq!(drain(&living), [1, 3, 2], "what was pushed stays");
    assert_eq!(fill(&living, 4).len(), 3);
    let seats: Vec<_> = (0..).map_while(|_| ring.claim_seat(id(3)).ok()).collect();
    assert_eq!(seats.len(), 3);
}

#[test]
fn what_the_dead_had_taken_comes_again() {
    let mut memory = memory(3);
    let ring = Opened::new(&mut memory, 3).ring;
    let living = ring.claim_seat(id(9)).unwrap();
    assert_eq!(fill(&living, 1), [1, 2, 3]);
    let dead = ring.claim_seat(id(1)).unwrap();
    assert_eq!(
        number(&dead.take().unwrap()),
        1,
        "dropped: it comes after 3"
    );
    let (taken, kept) = (dead.take().unwrap(), living.take().unwrap());
    assert_eq!((number(&taken), number(&kept)), (2, 3));
    std::mem::forget((taken, kept));
    std::mem::forget(dead);
    assert_eq!(sweep(ring, &[1]).unwrap(), 1);
    assert_eq!(drain(&living), [1, 2], "the sweep leaves 3 to the living");
    assert_eq!(fill(&living, 4), [4, 5]);
}

#[test]
fn deaths_are_counted_as_redeliveries() {
    let mut memory = memory(2);
    let ring = Opened::new(&mut memory, 2).ring;
    let living = ring.claim_seat(id(9)).unwrap();
    living.push(value(1)).unwrap();
    for redeliveries in 0..3 {
        let dead = ring.claim_seat(id(1)).unwrap();
        let taken = dead.take().unwrap();
        assert_eq!((number(&taken), taken.redeliveries()), (1, redeliveries));
        std::mem::forget(taken);
        std::mem::forget(dead);
        assert_eq!(sweep(ring, &[1]).unwrap(), 1);
    }
    assert_eq!(living.take().unwrap().redeliveries(), 3);
}

/// A taker died between the compare-and-swap of the slot and that of the cell.
#[test]
fn a_cell_that_its_taker_did_not_empty_stops_no_other() {
    for capacity in [1, 2, 3, 4] {
        let mut memory = memory(capacity);
        let opened = Opened::new(&mut memory, capacity);
        let ring = opened.ring;
        let [dead, living] = [1, 2].map(|owner| ring.claim_seat(id(owner)).unwrap());
        let pushed = fill(&living, 1);
        let cell = opened.word(opened.cell(0));
        std::mem::forget(dead.take().unwrap());
        std::mem::forget(dead);
        opened.overwrite(opened.cell(0), cell);
        opened.overwrite(HEAD, 0);
        assert_eq!(drain(&living), pushed[1..]);
        for _ in 0..3 {
            let pushed = fill(&living, 10);
            assert_eq!((pushed.len(), drain(&living)), (capacity - 1, pushed));
        }
        let found = (sweep(ring, &[1]).unwrap(), drain(&living));
        assert_eq!(found, (1, vec![1]));
        assert_eq!(fill(&living, 20).len(), capacity);
    }
}

/// A sweeper died between the word that says "returned" and the publication.
#[test]
fn what_a_dead_sweeper_had_returned_is_published() {
    let mut memory = memory(2);
    let opened = Opened::new(&mut memory, 2);
    let ring = opened.ring;
    let [dead, living] = [1, 2].map(|owner| ring.claim_seat(id(owner)).unwrap());
    living.push(value(1)).unwrap();
    std::mem::forget(dead.take().unwrap());
    std::mem::forget(dead);
    let taken = opened.word(opened.slot(0));
    assert_eq!(taken, TAKEN | 1);
    opened.overwrite(opened.slot(0), RETURNED | BY_SWEEPER | 1 << 40 | 2);
    opened.overwrite(SWEEPER, 5);
    let error = sweep(ring, &[1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Claimed, "{error}");
    assert_eq!(living.pop(), Err(PopError::Empty));
    assert_eq!(sweep(ring, &[1, 5]).unwrap(), 1);
    for _ in 0..2 {
        let taken = living.take().unwrap();
        assert_eq!((number(&taken), taken.redeliveries()), (1, 1));
        assert_eq!(
            sweep(ring, &[1, 5]).unwrap(),
            0,
            "it is published and taken"
        );
        std::mem::forget(taken);
        opened.overwrite(opened.slot(0), RETURNED | BY_SWEEPER | 1 << 40 | 3);
        assert_eq!(sweep(ring, &[]).unwrap(), 0);
    }
    assert_eq!(drain(&living), [1]);
}

/// What cannot be published again keeps nothing else from being freed.
#[test]
fn a_corrupt_cell_does_not_end_a_sweep() {
    let mut memory = memory(3);
    let opened = Opened::new(&mut memory, 3);
    let ring = opened.ring;
    let [dead, living] = [1, 2].map(|owner| ring.claim_seat(id(owner)).unwrap());
    living.push(value(1)).unwrap();
    std::mem::forget((dead.take().unwrap(), dead.loan().unwrap()));
    std::mem::forget(dead);
    let next = opened.word(opened.cell(1));
    opened.overwrite(opened.cell(1), 7 * STEP);
    let error = sweep(ring, &[1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let seats: Vec<_> = (0..).map_while(|_| ring.claim_seat(id(3)).ok()).collect();
    assert_eq!(seats.len(), 3, "the seat of the dead is free");
    opened.overwrite(opened.cell(1), next);
    assert_eq!(fill(&living, 2), [2, 3], "and so is the slot of its loan");
    assert_eq!(sweep(ring, &[]).unwrap(), 0);
    assert_eq!(drain(&living), [2, 3, 1]);
}

#[test]
fn one_sweeps_at_a_time() {
    let mut memory = memory(2);
    let ring = Opened::new(&mut memory, 2).ring;
    std::mem::forget(ring.claim_seat(id(1)).unwrap());
    let refused = Cell::new(None);
    let is_dead = |owner| {
        let again = sweep(ring, &[1]).map_err(|error| error.kind());
        refused.set(Some(again));
        owner == id(1)
    };
    // SAFETY: 1 never runs.
    assert_eq!(unsafe { ring.sweep(id(7), is_dead) }.unwrap(), 1);
    assert_eq!(refused.get(), Some(Err(ErrorKind::Claimed)));
    assert_eq!(sweep(ring, &[1]).unwrap(), 0);
}

/// A hint is stored by whoever was slow, any number of laps late.
#[test]
fn hints_may_be_behind() {
    let mut memory = memory(3);
    let opened = Opened::new(&mut memory, 3);
    let seat = opened.ring.claim_seat(ANONYMOUS).unwrap();
    for behind in 0..40 {
        assert_eq!(fill(&seat, behind), [behind, behind + 1, behind + 2]);
        assert_eq!(seat.pop(), Ok(value(behind)));
        opened.overwrite(TAIL, behind * STEP);
        opened.overwrite(HEAD, behind * STEP);
        assert_eq!(drain(&seat), [behind + 1, behind + 2]);
        opened.overwrite(HEAD, behind / 2 * STEP);
        assert_eq!(seat.pop(), Err(PopError::Empty));
    }
}

#[test]
fn positions_start_again() {
    let mut memory = memory(4);
    let opened = Opened::new(&mut memory, 4);
    opened.start_at((1 << 48) - 8);
    let seat = opened.ring.claim_seat(ANONYMOUS).unwrap();
    for first in 0..9 {
        assert_eq!(fill(&seat, first).len(), 4);
        assert_eq!(opened.ring.len(), 4);
        assert_eq!(drain(&seat), [first, first + 1, first + 2, first + 3]);
    }
}

#[test]
fn refuses_numbers_that_no_ring_has() {
    for (capacity, seats) in [(0, 1), (65_536, 1), (usize::MAX, 1), (1, 0), (1, 1024)] {
        let error = LoanRing::<u64>::size_for(capacity, seats).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        let error = LoanRing::<u64>::new(&mut [0; 100], capacity, seats).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    type Huge = [u64; usize::MAX >> 12];
    let error = LoanRing::<Huge>::size_for(65_535, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(LoanRing::<u64>::size_for(65_535, 1023).is_ok());
    let error = LoanRing::<u64>::new(&mut [0; 60], 64, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize);
}

#[test]
fn attaches_to_the_same_type_only() {
    let mut memory = memory(4);
    let skipped = memory.as_ptr().align_offset(128);
    let region = Region::from_exclusive(&mut memory[skipped..]);
    // SAFETY: the memory is this test's own, and a ring of values once there is one.
    let attach = || unsafe { LoanRing::<Value>::attach(region) };
    assert_eq!(attach().unwrap_err().kind(), ErrorKind::NotReady);
    // SAFETY: as above.
    let ring = unsafe { LoanRing::<Value>::create(region, 3, 2) }.unwrap();
    ring.claim_seat(id(1)).unwrap().push(value(7)).unwrap();
    let other = attach().unwrap();
    assert_eq!((other.capacity(), other.max_seats()), (3, 2));
    assert_eq!(other.claim_seat(id(1)).unwrap().pop(), Ok(value(7)));
    // SAFETY: it is refused.
    let error = unsafe { LoanRing::<u32>::attach(region) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
}

#[test]
fn impossible_words_are_named() {
    let mut memory = memory(2);
    let opened = Opened::new(&mut memory, 2);
    let seat = opened.ring.claim_seat(ANONYMOUS).unwrap();
    for word in [2, NO_SLOT + STEP, STEP, 1 + 7 * STEP, 3 + 2 * STEP] {
        opened.overwrite(opened.cell(0), word);
        let corrupt = Corrupt::Cell { position: 0, word };
        assert_eq!(
            seat.push(value(1)),
            Err(PushError::Corrupt(value(1), corrupt))
        );
        assert_eq!(seat.take().unwrap_err(), PopError::Corrupt(corrupt));
        assert_eq!(seat.loan().unwrap().commit(), Err(corrupt));
    }
    // more values than slots
    opened.start_at(0);
    assert_eq!(fill(&seat, 1), [1, 2]);
    opened.overwrite(opened.slot(0), 0);
    let word = 0;
    let corrupt = Corrupt::Cell { position: 2, word };
    assert_eq!(
        seat.push(value(3)),
        Err(PushError::Corrupt(value(3), corrupt))
    );
}

/// What a process holds.
enum Held<'s> {
    Loan(Loan<'s, Value>),
    Taken(Taken<'s, Value>),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Loan,
    Take,
    /// Commits or releases what was held longest.
    Finish,
    /// Drops it.
    Drop,
    /// The process dies with all that it holds; a sweep and a successor follow.
    Die,
}

/// A process: its seat, and what it holds, with the number and the redeliveries.
struct Member<'a> {
    owner: u64,
    seat: &'a LoanSeat<'a, Value>,
    held: VecDeque<(Held<'a>, u64, u32)>,
}

impl<'a> Member<'a> {
    fn arrive(ring: LoanRing<'a, Value>, owner: u64) -> Self {
        Self {
            owner,
            // The dead drop nothing.
            seat: Box::leak(Box::new(ring.claim_seat(id(owner)).unwrap())),
            held: VecDeque::new(),
        }
    }
}

/// Published numbers with their redeliveries, in groups: what one sweep publishes has no order.
#[derive(Default)]
struct Model {
    groups: VecDeque<Vec<(u64, u32)>>,
    in_use: usize,
}

impl Model {
    fn publish(&mut self, group: Vec<(u64, u32)>) {
        if !group.is_empty() {
            self.groups.push_back(group);
        }
    }

    /// Whether `found` may come next; then it is gone.
    fn take(&mut self, found: (u64, u32)) -> bool {
        let Some(group) = self.groups.front_mut() else {
            return false;
        };
        let Some(index) = group.iter().position(|published| *published == found) else {
            return false;
        };
        group.remove(index);
        if group.is_empty() {
            self.groups.pop_front();
        }
        true
    }

    fn len(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 200 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Against a queue of the standard library: two processes loan, commit, take, release, drop and
    /// die.
    #[test]
    fn behaves_as_a_queue_that_delivers_again(
        capacity in 1_usize..7,
        steps in vec((0_usize..2, prop_oneof![
            3 => Just(Step::Loan),
            3 => Just(Step::Take),
            4 => Just(Step::Finish),
            1 => Just(Step::Drop),
            1 => Just(Step::Die),
        ]), 0..if cfg!(miri) { 20 } else { 80 }),
    ) {
        let mut memory = memory(capacity);
        let ring = LoanRing::<Value>::new(&mut memory, capacity, 4).unwrap();
        let mut members = [1, 2].map(|owner| Member::arrive(ring, owner));
        let mut model = Model::default();
        for (next, (member, step)) in (10..).zip(steps) {
            let member = &mut members[member];
            match step {
                Step::Loan => match member.seat.loan() {
                    Ok(mut loan) => {
                        model.in_use += 1;
                        *loan = value(next);
                        member.held.push_back((Held::Loan(loan), next, 0));
                    }
                    Err(error) => {
                        prop_assert_eq!((error, model.in_use), (ReserveError::Full, capacity));
                    }
                },
                Step::Take => match member.seat.take() {
                    Ok(taken) => {
                        let (number, count) = (number(&taken), taken.redeliveries());
                        prop_assert!(model.take((number, count)), "{}, {}", number, count);
                        member.held.push_back((Held::Taken(taken), number, count));
                    }
                    Err(error) => prop_assert_eq!((error, model.len()), (PopError::Empty, 0)),
                },
                Step::Finish => match member.held.pop_front() {
                    Some((Held::Loan(loan), number, _)) => {
                        loan.commit().unwrap();
                        model.publish(vec![(number, 0)]);
                    }
                    Some((Held::Taken(taken), ..)) => {
                        taken.release();
                        model.in_use -= 1;
                    }
                    None => {}
                },
                Step::Drop => match member.held.pop_front() {
                    Some((Held::Loan(_), ..)) => model.in_use -= 1,
                    Some((Held::Taken(_), number, count)) => {
                        model.publish(vec![(number, count + 1)]);
                    }
                    None => {}
                },
                Step::Die => {
                    let mut returned = Vec::new();
                    for (held, number, count) in member.held.drain(..) {
                        match held {
                            Held::Loan(_) => model.in_use -= 1,
                            Held::Taken(_) => returned.push((number, count + 1)),
                        }
                        std::mem::forget(held);
                    }
                    model.publish(returned);
                    prop_assert_eq!(sweep(ring, &[member.owner]).unwrap(), 1);
                    *member = Member::arrive(ring, next);
                }
            }
            prop_assert_eq!(ring.len(), model.len());
        }
    }

    /// Arbitrary words, of positions that may each seem to be after the one before: an error or
    /// some value, never a panic, a hang or a read out of bounds.
    #[test]
    fn bears_any_words(
        words in vec((0_usize..9, 0_u64..5, 0_u64..8, 0_u64..4, 0_u64..1024), 1..8),
    ) {
        let _watchdog = Watchdog::new(PATIENCE);
        let mut memory = memory(3);
        let opened = Opened::new(&mut memory, 3);
        let seat = opened.ring.claim_seat(id(1)).unwrap();
        for (place, third, position, state, owner) in words {
            let position = (third * ((1 << 48) / 3) + position).wrapping_mul(STEP);
            match place {
                0 => opened.overwrite(TAIL, position),
                1 => opened.overwrite(HEAD, position),
                2..6 => {
                    let slot = [0, 1, 2, 3, NO_SLOT][state as usize];
                    opened.overwrite(opened.cell(place - 2), position | slot);
                }
                _ => opened.overwrite(opened.slot(place - 6), state << 62 | owner << 52),
            }
            for _ in 0..5 {
                let _pushed = seat.push(value(1));
                drop(seat.take());
                let _popped = seat.pop();
            }
            prop_assert!(opened.ring.len() <= 3);
            std::mem::forget(opened.ring.claim_seat(id(2)).unwrap());
            match sweep(opened.ring, &[2]) {
                Ok(swept) => prop_assert_eq!(swept, 1),
                Err(error) => {
                    prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
                    prop_assert_eq!(opened.word(384 + 8), 0, "the seat is free all the same");
                }
            }
        }
    }
}

/// Values of each producer.
const EACH: u64 = if cfg!(miri) { 8 } else { 20_000 };

/// Lets the others run; after a minute without a success they are gone.
fn turn(since: &mut Option<Instant>) {
    let waited = since.get_or_insert_with(Instant::now).elapsed();
    assert!(waited < Duration::from_secs(60), "the others are gone");
    thread::yield_now();
}

fn push_all(seat: &LoanSeat<'_, Value>, name: u64) {
    let mut waiting = None;
    for number in 0..EACH {
        while seat.push(value(number << 1 | name)).is_err() {
            turn(&mut waiting);
        }
        waiting = None;
    }
}

/// Takes until all together have released `total` values; of each producer's, which must come in
/// order to any one consumer unless they come again, the count and the sum.
fn take_all(seat: &LoanSeat<'_, Value>, released: &AtomicU64, total: u64) -> [[u64; 2]; 2] {
    let (mut waiting, mut last, mut sums) = (None, [None; 2], [[0; 2]; 2]);
    while released.load(Ordering::Relaxed) < total {
        let Ok(taken) = seat.take() else {
            turn(&mut waiting);
            continue;
        };
        waiting = None;
        let (name, number) = ((number(&taken) & 1) as usize, number(&taken) >> 1);
        if taken.redeliveries() == 0 {
            assert!(last[name] < Some(number), "{number} after {last:?}");
            last[name] = Some(number);
            if number % 7 == 0 {
                continue; // it comes again
            }
        }
        taken.release();
        released.fetch_add(1, Ordering::Relaxed);
        sums[name][0] += 1;
        sums[name][1] += number;
    }
    sums
}

#[test]
fn many_push_and_many_take() {
    for capacity in [1, 3, if cfg!(miri) { 4 } else { 64 }] {
        let mut memory = memory(capacity);
        let ring = LoanRing::<Value>::new(&mut memory, capacity, 4).unwrap();
        let seats = [1, 2, 3, 4].map(|owner| ring.claim_seat(id(owner)).unwrap());
        let released = AtomicU64::new(0);
        let sums = thread::scope(|scope| {
            for (name, seat) in (0..).zip(&seats[..2]) {
                scope.spawn(move || push_all(seat, name));
            }
            let consumers = [&seats[2], &seats[3]];
            let consumers =
                consumers.map(|seat| scope.spawn(|| take_all(seat, &released, 2 * EACH)));
            consumers.map(|consumer| consumer.join().unwrap())
        });
        let sum = EACH * (EACH - 1) / 2;
        for (name, (one, other)) in sums[0].iter().zip(&sums[1]).enumerate() {
            let found = (one[0] + other[0], one[1] + other[1]);
            assert_eq!(found, (EACH, sum), "of producer {name}");
        }
        assert_eq!(seats[0].pop(), Err(PopError::Empty));
        assert_eq!(fill(&seats[0], 0).len(), capacity, "all slots are free");
    }
}
