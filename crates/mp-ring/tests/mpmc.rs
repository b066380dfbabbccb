//! A ring for many producers and many consumers: what one thread sees of it, and what several do.
//! Miri runs this, too.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mp_layout::{ErrorKind, Region};
use mp_ring::{ANONYMOUS, Corrupt, MpmcProducer, MpmcRing, NoRoom, PopError, PushError};
use proptest::collection::vec;
use proptest::prelude::*;

const TAIL: usize = 128;
const HEAD: usize = 256;
const SKIP: usize = 264;
/// Where the cells of a ring of up to 16 producers start.
const CELLS: usize = 512;

/// States of a cell.
const EMPTY: u64 = 0;
const CLAIMED: u64 = 1 << 62;
const FULL: u64 = 2 << 62;

/// The positions there are.
const POSITIONS: u64 = 1 << 52;

const fn id(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

fn memory<T: mp_layout::Plain>(capacity: usize) -> Vec<u64> {
    vec![0; MpmcRing::<T>::words_for(capacity, 4).unwrap()]
}

/// A ring with its words, as a careless or dying peer reaches them.
struct Opened<'a> {
    region: Region<'a>,
    ring: MpmcRing<'a, u64>,
}

impl<'a> Opened<'a> {
    fn new(memory: &'a mut [u64], capacity: usize) -> Self {
        let skipped = memory.as_ptr().align_offset(128);
        let region = Region::from_exclusive(&mut memory[skipped..]);
        // SAFETY: the memory is this test's own.
        let ring = unsafe { MpmcRing::create(region, capacity, 4) }.unwrap();
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

    /// Overwrites the word of the cell of `index`.
    fn set_cell(&self, index: usize, word: u64) {
        self.overwrite(CELLS + index * 16, word);
    }

    /// Starts at `position`, a multiple of a capacity that is a power of two.
    fn start_at(&self, position: u64) {
        for index in 0..self.ring.capacity() {
            self.set_cell(index, EMPTY | ((position + index as u64) % POSITIONS));
        }
        self.overwrite(TAIL, position);
        self.overwrite(HEAD, position);
        self.overwrite(SKIP, position);
    }
}

fn drain(ring: MpmcRing<'_, u64>) -> Vec<u64> {
    std::iter::from_fn(|| ring.pop().ok()).collect()
}

#[test]
fn holds_exactly_its_capacity() {
    for capacity in [1, 2, 3, 5, 8, if cfg!(miri) { 11 } else { 100 }] {
        let mut memory = memory::<u64>(capacity);
        let ring = MpmcRing::new(&mut memory, capacity, 4).unwrap();
        let producer = ring.claim_producer(ANONYMOUS).unwrap();
        for lap in 0..4 {
            assert!(ring.is_empty());
            for value in 0..capacity as u64 {
                assert_eq!(ring.len(), value as usize);
                producer.push(lap + value).unwrap();
            }
            assert!(ring.is_full());
            assert_eq!(producer.push(99), Err(PushError::Full(99)));
            for value in 0..capacity as u64 {
                assert_eq!(ring.pop(), Ok(lap + value));
            }
            assert_eq!(ring.pop(), Err(PopError::Empty));
        }
    }
}

#[test]
fn carries_values_of_every_size() {
    fn carries<T: mp_layout::Plain + PartialEq + std::fmt::Debug>(values: [T; 3]) {
        let mut memory = memory::<T>(2);
        let ring = MpmcRing::new(&mut memory, 2, 1).unwrap();
        let producer = ring.claim_producer(ANONYMOUS).unwrap();
        for value in values.into_iter().cycle().take(9) {
            producer.push(value).unwrap();
            assert_eq!(ring.pop(), Ok(value));
        }
    }
    carries([(), (), ()]);
    carries([true, false, true]);
    carries([[1_u8, 2, 3], [4, 5, 6], [7, 8, 9]]);
    carries([1.5_f64, -0.5, f64::MAX]);
    carries([[1_u8; 9], [2; 9], [3; 9]]);
    carries([[1_u64; 3], [2; 3], [3; 3]]);
    carries([[1_u8; 25], [2; 25], [3; 25]]);
    carries([[1_u64; 7], [2; 7], [3; 7]]);
}

#[test]
fn refuses_numbers_that_no_ring_has() {
    for (capacity, producers) in [
        (0, 1),
        (usize::MAX, 1),
        (usize::MAX / 32, 1),
        (1, 0),
        (1, 1025),
    ] {
        let error = MpmcRing::<u64>::size_for(capacity, producers).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        let error = MpmcRing::<u64>::new(&mut [0; 100], capacity, producers).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    let error = MpmcRing::<u64>::new(&mut [0; 60], 64, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize);
}

#[test]
fn attaches_to_the_same_type_only() {
    let mut memory = memory::<u64>(4);
    let skipped = memory.as_ptr().align_offset(128);
    let region = Region::from_exclusive(&mut memory[skipped..]);
    // SAFETY: the memory is this test's own, and a ring of `u64` once there is one.
    let attach = || unsafe { MpmcRing::<u64>::attach(region) };
    assert_eq!(attach().unwrap_err().kind(), ErrorKind::NotReady);
    // SAFETY: as above.
    let ring = unsafe { MpmcRing::<u64>::create(region, 3, 2) }.unwrap();
    ring.claim_producer(id(1)).unwrap().push(7).unwrap();
    let other = attach().unwrap();
    assert_eq!((other.capacity(), other.max_producers()), (3, 2));
    assert_eq!(other.pop(), Ok(7));
    // SAFETY: it is refused.
    let error = unsafe { MpmcRing::<u32>::attach(region) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
}

#[test]
fn seats_are_claimed_and_swept() {
    let mut memory = memory::<u64>(4);
    let ring = MpmcRing::<u64>::new(&mut memory, 4, 2).unwrap();
    std::mem::forget(ring.claim_producer(id(1)).unwrap());
    let second = ring.claim_producer(id(2)).unwrap();
    let error = ring.claim_producer(id(3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Claimed);
    assert!(error.to_string().contains("all 2"), "{error}");
    // SAFETY: 1 is dead, and the others have no unfinished push.
    let swept = unsafe { ring.sweep(|owner| owner == id(1)) };
    assert_eq!(swept, 1);
    let third = ring.claim_producer(id(3)).unwrap();
    assert!(ring.claim_producer(id(4)).is_err());
    drop((second, third));
    assert!(ring.claim_producer(id(4)).is_ok());
}

/// A push stopped between its claim and the store that commits it.
#[test]
fn consumers_pass_over_a_push_that_has_not_returned() {
    let mut memory = memory::<u64>(4);
    let opened = Opened::new(&mut memory, 4);
    let ring = opened.ring;
    let stopped = ring.claim_producer(id(1)).unwrap();
    let producer = ring.claim_producer(id(2)).unwrap();
    for _ in 0..3 {
        producer.push(0).unwrap();
        ring.pop().unwrap();
    }
    stopped.push(1).unwrap(); // at position 3
    opened.set_cell(3, CLAIMED | 3);
    for value in [2, 3, 4] {
        producer.push(value).unwrap();
    }
    assert_eq!(producer.push(5), Err(PushError::Full(5)));
    assert_eq!(ring.unfinished(), Some(id(1)));
    assert_eq!((ring.pop(), ring.pop()), (Ok(2), Ok(3)));
    opened.set_cell(3, FULL | 3);
    assert_eq!(ring.unfinished(), None);
    assert_eq!(drain(ring), [1, 4], "what came late is the oldest now");
    for value in 6..10 {
        producer.push(value).unwrap();
    }
    assert_eq!(drain(ring), [6, 7, 8, 9]);
}

#[test]
fn sweep_frees_the_cell_of_a_dead_producer() {
    let mut memory = memory::<u64>(4);
    let opened = Opened::new(&mut memory, 4);
    let ring = opened.ring;
    let dead = ring.claim_producer(id(1)).unwrap();
    let producer = ring.claim_producer(id(2)).unwrap();
    producer.push(1).unwrap();
    dead.push(9).unwrap();
    opened.set_cell(1, CLAIMED | 1);
    std::mem::forget(dead);
    producer.push(2).unwrap();
    // SAFETY: no owner but 1 is dead.
    assert_eq!(unsafe { ring.sweep(|_| false) }, 0);
    assert_eq!(drain(ring), [1, 2]);
    // SAFETY: as above.
    assert_eq!(unsafe { ring.sweep(|owner| owner == id(1)) }, 1);
    for value in 3..7 {
        producer.push(value).unwrap();
    }
    assert_eq!(producer.push(7), Err(PushError::Full(7)));
    assert_eq!(drain(ring), [3, 4, 5, 6]);
}

/// A grant that was leaked keeps its cell, but not for ever.
#[test]
fn sweep_gives_back_what_a_leaked_grant_claimed() {
    let mut memory = memory::<u64>(2);
    let ring = MpmcRing::new(&mut memory, 2, 1).unwrap();
    let producer = ring.claim_producer(id(1)).unwrap();
    std::mem::forget(producer.reserve().unwrap());
    // SAFETY: none is dead.
    let sweep = || unsafe { ring.sweep(|_| false) };
    assert_eq!(sweep(), 0);
    producer.push(1).unwrap();
    let full = producer.push(2);
    assert_eq!(full, Err(PushError::Full(2)), "its producer may write yet");
    drop(producer);
    let producer = ring.claim_producer(id(2)).unwrap();
    assert_eq!(producer.push(2), Err(PushError::Full(2)));
    drop(producer);
    assert_eq!(sweep(), 0);
    let producer = ring.claim_producer(id(2)).unwrap();
    assert_eq!(producer.push(2), Ok(()));
    assert_eq!(drain(ring), [1, 2]);
}

/// A ring that is claimed all around has no value, and one of values has no unfinished push.
#[test]
fn a_look_around_the_whole_ring_ends() {
    for capacity in [1, 2, 3] {
        let mut memory = memory::<u64>(capacity);
        let opened = Opened::new(&mut memory, capacity);
        let producer = opened.ring.claim_producer(id(1)).unwrap();
        for position in 0..capacity as u64 {
            producer.push(position).unwrap();
        }
        assert_eq!(opened.ring.unfinished(), None);
        for position in 0..capacity as u64 {
            opened.set_cell(position as usize, CLAIMED | position);
        }
        assert!(!opened.ring.has_value());
        assert_eq!(opened.ring.unfinished(), Some(id(1)));
        let last = capacity as u64 - 1;
        opened.set_cell(last as usize, FULL | last);
        assert!(opened.ring.has_value());
    }
}

/// Many dead seats cost no more looks at the cells than one.
#[test]
#[cfg_attr(miri, ignore = "measures")]
fn a_sweep_looks_at_each_cell_once() {
    const SEATS: u64 = 512;
    const CAPACITY: usize = 1 << 14;
    let words = MpmcRing::<u64>::words_for(CAPACITY, SEATS as usize).unwrap();
    let mut memory = vec![0; words];
    let ring = MpmcRing::<u64>::new(&mut memory, CAPACITY, SEATS as usize).unwrap();
    // The shortest of several: no load makes all of them long.
    let shortest = |dead: u64| {
        let sweep = |_| {
            (1..=dead).for_each(|owner| std::mem::forget(ring.claim_producer(id(owner)).unwrap()));
            let start = Instant::now();
            // SAFETY: none of them pushes.
            assert_eq!(unsafe { ring.sweep(|_| true) }, dead as usize);
            start.elapsed()
        };
        (0..5).map(sweep).min().unwrap()
    };
    let (one, many) = (shortest(1), shortest(SEATS));
    assert!(many < one * 50, "{many:?} for {SEATS}, {one:?} for one");
}

/// A hint is stored by whoever was slow, any number of laps late.
#[test]
fn hints_may_be_behind() {
    let mut memory = memory::<u64>(4);
    let opened = Opened::new(&mut memory, 4);
    let producer = opened.ring.claim_producer(ANONYMOUS).unwrap();
    for behind in 0..40 {
        producer.push(behind).unwrap();
        producer.push(behind + 1).unwrap();
        assert_eq!(opened.ring.pop(), Ok(behind));
        opened.overwrite(TAIL, behind);
        opened.overwrite(HEAD, behind);
        assert_eq!(drain(opened.ring), [behind + 1]);
        opened.overwrite(HEAD, behind / 2);
        assert_eq!(opened.ring.pop(), Err(PopError::Empty));
    }
}

/// Two deaths left their positions claimed, and a consumer's death the head behind. The second is
/// swept first: the ring stays full because of the other, and says so.
#[test]
fn the_death_that_fills_the_ring_is_named() {
    let mut memory = memory::<u64>(2);
    let opened = Opened::new(&mut memory, 2);
    let ring = opened.ring;
    let [living, first, second] = [1, 2, 3].map(|owner| ring.claim_producer(id(owner)).unwrap());
    living.push(0).unwrap();
    ring.pop().unwrap();
    first.push(1).unwrap();
    opened.set_cell(1, CLAIMED | 1 << 52 | 1);
    second.push(2).unwrap();
    opened.set_cell(0, CLAIMED | 2 << 52 | 2);
    opened.overwrite(HEAD, 0);
    opened.overwrite(TAIL, 2);
    std::mem::forget([first, second]);
    // SAFETY: 2 and 3 never run again.
    let sweep = |dead| unsafe { ring.sweep(|owner| owner == dead) };
    assert_eq!(living.push(7), Err(PushError::Full(7)));
    assert_eq!(ring.unfinished(), Some(id(2)));
    assert_eq!(sweep(id(3)), 1);
    assert_eq!(living.push(7), Err(PushError::Full(7)));
    assert_eq!(ring.pop(), Err(PopError::Empty));
    assert_eq!(ring.unfinished(), Some(id(2)));
    assert_eq!(sweep(id(2)), 1);
    assert_eq!(ring.unfinished(), None);
    assert_eq!((living.push(7), living.push(8)), (Ok(()), Ok(())));
    assert_eq!(drain(ring), [7, 8]);
}

/// As above, but the second is alive and stopped in its push: to sweep the first is what helps.
#[test]
fn a_stopped_push_of_a_later_lap_is_not_named_for_the_dead() {
    let mut memory = memory::<u64>(2);
    let opened = Opened::new(&mut memory, 2);
    let ring = opened.ring;
    let [living, dead, stopped] = [1, 2, 3].map(|owner| ring.claim_producer(id(owner)).unwrap());
    living.push(0).unwrap();
    ring.pop().unwrap();
    dead.push(1).unwrap();
    opened.set_cell(1, CLAIMED | 1 << 52 | 1);
    std::mem::forget(dead);
    stopped.push(2).unwrap();
    opened.set_cell(0, CLAIMED | 2 << 52 | 2);
    opened.overwrite(HEAD, 0);
    assert_eq!(living.push(7), Err(PushError::Full(7)));
    assert_eq!(ring.unfinished(), Some(id(2)));
    // SAFETY: 2 never runs again.
    assert_eq!(unsafe { ring.sweep(|owner| owner == id(2)) }, 1);
    assert_eq!(living.push(7), Ok(()));
    opened.set_cell(0, FULL | 2);
    assert_eq!(drain(ring), [2, 7]);
}

/// Both sides move a hint as far as they know it to be, also when they find no room or no value.
#[test]
fn hints_that_are_behind_are_moved_on() {
    let mut memory = memory::<u64>(4);
    let opened = Opened::new(&mut memory, 4);
    let ring = opened.ring;
    let stopped = ring.claim_producer(id(1)).unwrap();
    let producer = ring.claim_producer(id(2)).unwrap();
    producer.push(0).unwrap();
    stopped.push(1).unwrap();
    opened.set_cell(1, CLAIMED | 1);
    for value in [2, 3] {
        producer.push(value).unwrap();
    }
    assert_eq!(drain(ring), [0, 2, 3]);
    producer.push(4).unwrap();
    opened.overwrite(TAIL, 0);
    opened.overwrite(HEAD, 0);
    assert_eq!(producer.push(5), Err(PushError::Full(5)));
    assert_eq!(ring.pop(), Ok(4));
    assert_eq!((opened.word(HEAD), opened.word(TAIL)), (1, 5));
    opened.overwrite(HEAD, 0);
    assert_eq!(ring.pop(), Err(PopError::Empty));
    assert_eq!(opened.word(HEAD), 1);
}

#[test]
fn positions_start_again() {
    let mut memory = memory::<u64>(4);
    let opened = Opened::new(&mut memory, 4);
    opened.start_at(POSITIONS - 8);
    let producer = opened.ring.claim_producer(ANONYMOUS).unwrap();
    for value in 0..9 {
        for offset in 0..4 {
            producer.push(value + offset).unwrap();
        }
        assert!(producer.push(99).is_err());
        assert_eq!((opened.ring.len(), opened.ring.is_full()), (4, true));
        assert_eq!(drain(opened.ring), [value, value + 1, value + 2, value + 3]);
    }
}

#[test]
fn impossible_words_are_named() {
    let mut memory = memory::<u64>(3);
    let opened = Opened::new(&mut memory, 3);
    let producer = opened.ring.claim_producer(ANONYMOUS).unwrap();
    let refused = |position, word| {
        let corrupt = Corrupt::Cell { position, word };
        assert_eq!(producer.push(1), Err(PushError::Corrupt(1, corrupt)));
        assert_eq!(opened.ring.pop(), Err(PopError::Corrupt(corrupt)));
        assert!(opened.ring.has_value(), "who waits for a pop hears of it");
    };
    let no_seat = CLAIMED | 4 << 52;
    for word in [
        3 << 62,
        FULL | 1,
        EMPTY | 2,
        CLAIMED | 7,
        EMPTY | 1 << 53,
        no_seat,
    ] {
        opened.set_cell(0, word);
        refused(0, word);
    }
    // no fourth cell in a lap of three
    opened.overwrite(TAIL, 3);
    opened.overwrite(HEAD, 3);
    refused(3, 0);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push,
    Pop,
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 200 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// One thread and any number of handles cannot tell it from a queue of the standard library.
    #[test]
    fn behaves_as_a_queue(
        capacity in 1_usize..9,
        steps in vec(prop_oneof![Just(Step::Push), Just(Step::Pop)], 0..if cfg!(miri) { 20 } else { 60 }),
    ) {
        let mut memory = memory::<[u64; 2]>(capacity);
        let ring = MpmcRing::new(&mut memory, capacity, 4).unwrap();
        let producers = [1, 2].map(|number| ring.claim_producer(id(number)).unwrap());
        let mut model = VecDeque::new();
        for (number, step) in (0_u64..).zip(steps) {
            match step {
                Step::Push => {
                    let pushed = producers[(number % 2) as usize].push([number, !number]);
                    if model.len() < capacity {
                        prop_assert_eq!(pushed, Ok(()));
                        model.push_back([number, !number]);
                    } else {
                        prop_assert_eq!(pushed, Err(PushError::Full([number, !number])));
                    }
                }
                Step::Pop => {
                    prop_assert_eq!(ring.pop().ok(), model.pop_front());
                }
            }
            prop_assert_eq!(ring.len(), model.len());
        }
    }

    /// Arbitrary words, of positions that may each seem to be after the one before: an error or
    /// some value, never a panic, a hang or a read out of bounds.
    #[test]
    fn bears_any_words(
        words in vec((0_usize..6, 0_u64..4, 0_u64..6, 0_u64..4, 0_u64..40), 1..8),
    ) {
        let mut memory = memory::<u64>(3);
        let opened = Opened::new(&mut memory, 3);
        let producer = opened.ring.claim_producer(id(1)).unwrap();
        for (place, state, seat, third, position) in words {
            let position = (third * (POSITIONS / 3) + position).min(POSITIONS - 1);
            match place {
                3 => opened.overwrite(TAIL, position),
                4 => opened.overwrite(HEAD, position),
                5 => opened.overwrite(SKIP, position),
                index if state << 62 == CLAIMED => {
                    opened.set_cell(index, CLAIMED | seat << 52 | position);
                }
                index => opened.set_cell(index, state << 62 | position),
            }
            let _named = opened.ring.unfinished();
            for _ in 0..5 {
                let (_pushed, _popped) = (producer.push(1), opened.ring.pop());
            }
            prop_assert!(opened.ring.len() <= 3);
            std::mem::forget(opened.ring.claim_producer(id(2)).unwrap());
            // SAFETY: 2 never runs.
            prop_assert_eq!(unsafe { opened.ring.sweep(|owner| owner == id(2)) }, 1);
        }
    }
}

/// Values of each producer.
const EACH: u64 = if cfg!(miri) { 12 } else { 20_000 };

/// Lets the others run; after a minute without a success they are gone.
fn turn(since: &mut Option<Instant>) {
    let waited = since.get_or_insert_with(Instant::now).elapsed();
    assert!(waited < Duration::from_secs(60), "the others are gone");
    thread::yield_now();
}

fn push_all(producer: &MpmcProducer<'_, [u64; 3]>, name: u64) {
    let mut waiting = None;
    for number in 0..EACH {
        while producer.push([name, number, name ^ !number]).is_err() {
            turn(&mut waiting);
        }
        waiting = None;
    }
}

/// Pops until all together have popped `total` values; of each producer's, which must come in order
/// to any one consumer, the count and the sum.
fn pop_all(ring: MpmcRing<'_, [u64; 3]>, popped: &AtomicU64, total: u64) -> [[u64; 2]; 2] {
    let (mut waiting, mut last, mut sums) = (None, [None; 2], [[0; 2]; 2]);
    while popped.load(Ordering::Relaxed) < total {
        let Ok([name, number, check]) = ring.pop() else {
            turn(&mut waiting);
            continue;
        };
        waiting = None;
        popped.fetch_add(1, Ordering::Relaxed);
        assert_eq!(check, name ^ !number, "torn");
        let name = name as usize;
        assert!(last[name] < Some(number), "{number} after {last:?}");
        last[name] = Some(number);
        sums[name][0] += 1;
        sums[name][1] += number;
    }
    sums
}

#[test]
fn many_push_and_many_pop() {
    for capacity in [1, 3, 64] {
        let mut memory = memory::<[u64; 3]>(capacity);
        let ring = MpmcRing::new(&mut memory, capacity, 4).unwrap();
        let producers = [1, 2].map(|number| ring.claim_producer(id(number)).unwrap());
        let popped = AtomicU64::new(0);
        let sums = thread::scope(|scope| {
            for (name, producer) in (0..).zip(&producers) {
                scope.spawn(move || push_all(producer, name));
            }
            let consumers = [(); 2].map(|()| scope.spawn(|| pop_all(ring, &popped, 2 * EACH)));
            consumers.map(|consumer| consumer.join().unwrap())
        });
        let sum = EACH * (EACH - 1) / 2;
        for (name, (one, other)) in sums[0].iter().zip(&sums[1]).enumerate() {
            let found = (one[0] + other[0], one[1] + other[1]);
            assert_eq!(found, (EACH, sum), "of producer {name}");
        }
        assert_eq!(ring.pop(), Err(PopError::Empty));
    }
}

#[test]
fn a_place_that_was_reserved_is_pushed_or_given_back() {
    let mut memory = memory::<u64>(3);
    let ring = Opened::new(&mut memory, 3).ring;
    let producer = ring.claim_producer(id(1)).unwrap();
    let (given_back, pushed) = (producer.reserve().unwrap(), producer.reserve().unwrap());
    producer.push(30).unwrap();
    assert_eq!((ring.unfinished(), ring.pop()), (Some(id(1)), Ok(30)));
    drop(given_back);
    pushed.commit(20);
    assert_eq!((ring.unfinished(), drain(ring)), (None, vec![20]));
    for value in 1..=3 {
        producer.reserve().unwrap().commit(value);
    }
    assert_eq!(drain(ring), [1, 2, 3]);
}

#[test]
fn a_look_says_what_a_push_and_a_pop_would_find() {
    let mut memory = memory::<u64>(2);
    let ring = Opened::new(&mut memory, 2).ring;
    let producer = ring.claim_producer(id(1)).unwrap();
    let look = || (ring.has_value(), ring.has_room());
    for _ in 0..5 {
        assert_eq!(look(), (false, true));
        let unfinished = producer.reserve().unwrap();
        assert_eq!(look(), (false, true));
        producer.push(1).unwrap();
        assert_eq!(look(), (true, false));
        assert_eq!((ring.pop(), look()), (Ok(1), (false, false)));
        assert_eq!(producer.reserve().unwrap_err(), NoRoom::Unfinished(id(1)));
        unfinished.commit(2);
        assert_eq!(look(), (true, false));
        assert_eq!(producer.reserve().unwrap_err(), NoRoom::Full);
        assert_eq!(drain(ring), [2]);
    }
}

/// Behind a push that is not finished each pop is as quick as without: with a look at each cell in
/// between these would take minutes.
#[test]
#[cfg(not(miri))]
fn values_pass_an_unfinished_push_quickly() {
    const MANY: usize = 1 << 18;
    let mut memory = memory::<u64>(MANY);
    let ring = Opened::new(&mut memory, MANY).ring;
    let producer = ring.claim_producer(id(1)).unwrap();
    let start = Instant::now();
    for lap in 0..2 {
        let unfinished = producer.reserve().unwrap();
        for value in 1..MANY as u64 {
            producer.push(value).unwrap();
        }
        for value in 1..MANY as u64 {
            assert_eq!(ring.pop(), Ok(value));
            let is_quick = value % 1024 != 0 || start.elapsed() < Duration::from_secs(60);
            assert!(is_quick, "{value} of {MANY} popped");
        }
        let left = (ring.pop(), ring.unfinished());
        assert_eq!(left, (Err(PopError::Empty), Some(id(1))));
        unfinished.commit(lap);
        assert_eq!(drain(ring), [lap]);
    }
}

/// The hint is of another unfinished push, of an earlier lap, or of one that is done.
#[test]
fn what_is_skipped_is_done() {
    let mut memory = memory::<u64>(4);
    let opened = Opened::new(&mut memory, 4);
    let ring = opened.ring;
    let producer = ring.claim_producer(id(1)).unwrap();
    for skip in [0, 1, 4, 5, 100, POSITIONS, 1 << 51] {
        opened.start_at(4);
        opened.overwrite(SKIP, skip);
        let [one, other] = [(); 2].map(|()| producer.reserve().unwrap());
        producer.push(3).unwrap();
        producer.push(4).unwrap();
        assert_eq!(drain(ring), [3, 4], "{skip}");
        assert_eq!(ring.unfinished(), Some(id(1)));
        one.commit(1);
        other.commit(2);
        assert_eq!(drain(ring), [1, 2], "{skip}");
    }
}

/// Of two that are passed over, the second is looked at again, too.
#[test]
fn what_is_between_two_that_are_passed_over_is_skipped_alone() {
    let mut memory = memory::<u64>(8);
    let ring = Opened::new(&mut memory, 8).ring;
    let producer = ring.claim_producer(id(1)).unwrap();
    let one = producer.reserve().unwrap();
    producer.push(2).unwrap();
    let other = producer.reserve().unwrap();
    producer.push(4).unwrap();
    producer.push(5).unwrap();
    assert_eq!((ring.pop(), ring.pop()), (Ok(2), Ok(4)));
    other.commit(3);
    producer.push(6).unwrap();
    assert_eq!(drain(ring), [3, 5, 6]);
    one.commit(1);
    assert_eq!(drain(ring), [1]);
}
