//! What one thread sees of a ring of plain values.
#![cfg(not(loom))]

use std::num::NonZeroU64;

use mp_layout::{Error, ErrorKind, Region};
use mp_ring::{ClaimError, Freed, PopError, PushError, ReserveError, Ring, Role};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::VecDeque;

fn memory<T: mp_layout::Plain>(capacity: usize) -> Vec<u64> {
    vec![0; Ring::<T>::words_for(capacity).unwrap()]
}

const fn id(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

#[test]
fn holds_exactly_its_capacity() {
    for capacity in [1, 2, 3, 7, 8, if cfg!(miri) { 11 } else { 100 }] {
        let mut memory = memory::<u64>(capacity);
        let (mut producer, mut consumer) =
            Ring::new(&mut memory, capacity).unwrap().split().unwrap();
        for lap in 0..3 {
            for value in 0..capacity as u64 {
                producer.push(lap + value).unwrap();
            }
            assert!(producer.is_full() && consumer.is_full());
            assert_eq!(producer.push(99), Err(PushError::Full(99)));
            for value in 0..capacity as u64 {
                assert_eq!(consumer.pop(), Ok(lap + value));
            }
            assert_eq!(consumer.pop(), Err(PopError::Empty));
            assert!(producer.is_empty() && consumer.is_empty());
        }
    }
}

#[test]
fn refuses_no_and_endless_capacity() {
    for capacity in [0, usize::MAX, usize::MAX / 2 + 1, usize::MAX / 8] {
        let error = Ring::<u64>::size_for(capacity).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&capacity.to_string()), "{error}");
        let error = Ring::<u64>::new(&mut [0; 100], capacity).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn refuses_too_little_memory() {
    for words in [0, 1, 15, 40, 64] {
        let error = Ring::<u64>::new(&mut vec![0; words], 64).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongSize);
    }
}

#[test]
fn attaching_needs_a_ring_of_the_same_size_of_value() {
    let mut words = vec![0; Ring::<u64>::words_for(8).unwrap()];
    let start = words.as_ptr().align_offset(128);
    let region = Region::from_exclusive(&mut words[start..]);
    // SAFETY: the memory is this test's own; the rings below are not used at the same time.
    let error = unsafe { Ring::<u64>::attach(region) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotReady);
    // SAFETY: as above.
    unsafe { Ring::<u64>::create(region, 8) }.unwrap();
    // SAFETY: as above.
    let error = unsafe { Ring::<u32>::attach(region) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    let half = region.subregion(0, 400).unwrap();
    // SAFETY: as above.
    let error = unsafe { Ring::<u64>::attach(half) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize);
    // SAFETY: as above.
    let ring = unsafe { Ring::<u64>::attach(region) }.unwrap();
    assert_eq!((ring.capacity(), ring.len()), (8, 0));
}

#[test]
fn role_is_claimed_once_and_given_back() {
    let mut memory = memory::<u8>(4);
    let ring = Ring::<u8>::new(&mut memory, 4).unwrap();
    let mut producer = ring.claim_producer(id(5)).unwrap();
    producer.push(1).unwrap();
    assert_eq!(
        ring.claim_producer(id(6)).unwrap_err(),
        ClaimError::Claimed {
            role: Role::Producer,
            owner: id(5)
        }
    );
    assert_eq!(ring.owner(Role::Producer), Some(id(5)));
    assert_eq!(ring.owner(Role::Consumer), None);
    drop(producer);
    ring.claim_producer(id(6)).unwrap().push(2).unwrap();
    let mut consumer = ring.claim_consumer(id(7)).unwrap();
    assert_eq!((consumer.pop(), consumer.pop()), (Ok(1), Ok(2)));
    let error: Error = ring.claim_consumer(id(8)).unwrap_err().into();
    assert_eq!(error.kind(), ErrorKind::Claimed);
}

#[test]
fn sweep_frees_the_dead_alone_and_successors_continue() {
    let mut memory = memory::<u32>(4);
    let ring = Ring::<u32>::new(&mut memory, 4).unwrap();
    let (mut producer, mut consumer) = (
        ring.claim_producer(id(1)).unwrap(),
        ring.claim_consumer(id(2)).unwrap(),
    );
    producer.push_slice(&[10, 11, 12]).unwrap();
    assert_eq!(consumer.pop(), Ok(10));
    producer.reserve(1).unwrap().slices().0[0] = 99; // and dies before the commit
    consumer.read_chunk(2).unwrap().slices(); // and dies before the release
    std::mem::forget((producer, consumer));
    // SAFETY: the handles that died are forgotten and run no more.
    let freed = unsafe { ring.sweep(|owner| owner == id(2)) };
    assert_eq!(
        freed,
        Freed {
            producer: false,
            consumer: true
        }
    );
    // SAFETY: as above.
    let freed = unsafe { ring.sweep(|_| true) };
    assert!(freed.producer && !freed.consumer);
    let (mut producer, mut consumer) = ring.split().unwrap();
    producer.push_slice(&[13, 14, 15]).unwrap();
    let mut rest = [0; 5];
    assert_eq!(consumer.pop_slice(&mut rest), Ok(4));
    assert_eq!(rest, [11, 12, 13, 14, 0]);
}

#[test]
fn invalid_value_costs_only_itself() {
    let mut words = vec![0; Ring::<u8>::words_for(4).unwrap()];
    let start = words.as_ptr().align_offset(128);
    let region = Region::from_exclusive(&mut words[start..]);
    // SAFETY: the two views have values of the same size and are used by turns; the bytes are
    // checked on the way out.
    let bytes = unsafe { Ring::<u8>::create(region, 4) }.unwrap();
    // SAFETY: as above.
    let bools = unsafe { Ring::<bool>::attach(region) }.unwrap();
    let mut producer = bytes.claim_producer(id(1)).unwrap();
    let mut consumer = bools.claim_consumer(id(1)).unwrap();
    producer.push_slice(&[1, 2, 0]).unwrap();
    let popped = [consumer.pop(), consumer.pop(), consumer.pop()];
    assert_eq!(popped, [Ok(true), Err(PopError::Invalid), Ok(false)]);
    // pushed alone, to a consumer that waits: taken from beside the tail
    for (byte, popped) in [(9, Err(PopError::Invalid)), (1, Ok(true))] {
        assert_eq!(consumer.pop(), Err(PopError::Empty));
        producer.push(byte).unwrap();
        assert_eq!(consumer.pop(), popped);
    }
    assert_eq!(Error::from(PopError::Invalid).kind(), ErrorKind::Decode);
}

/// Values of one to four words, pushed alone and in twos by turns.
#[test]
fn values_of_any_size_reach_a_waiting_consumer() {
    fn pass<const WORDS: usize>() {
        let mut memory = memory::<[u64; WORDS]>(4);
        let (mut producer, mut consumer) = Ring::new(&mut memory, 4).unwrap().split().unwrap();
        for number in (0..100).step_by(3) {
            producer.push([number; WORDS]).unwrap();
            assert_eq!(consumer.pop(), Ok([number; WORDS]));
            let two = [[number + 1; WORDS], [number + 2; WORDS]];
            assert_eq!(producer.push_slice(&two), Ok(2));
            assert_eq!([consumer.pop(), consumer.pop()], two.map(Ok));
            assert_eq!(consumer.pop(), Err(PopError::Empty));
        }
    }
    pass::<0>();
    pass::<1>();
    pass::<2>();
    pass::<3>();
    pass::<4>();
}

#[test]
fn dropped_grant_and_chunk_change_nothing() {
    let mut memory = memory::<u16>(4);
    let (mut producer, mut consumer) = Ring::<u16>::new(&mut memory, 4).unwrap().split().unwrap();
    producer.push(1).unwrap();
    drop(producer.reserve(3).unwrap());
    assert_eq!(producer.len(), 1);
    drop(consumer.read_chunk(1).unwrap());
    assert_eq!((consumer.len(), consumer.pop()), (1, Ok(1)));
}

#[test]
fn grant_tells_never_from_not_now() {
    let mut memory = memory::<u16>(5);
    let (mut producer, _consumer) = Ring::<u16>::new(&mut memory, 5).unwrap().split().unwrap();
    producer.push(1).unwrap();
    assert_eq!(producer.reserve(5).unwrap_err(), ReserveError::Full);
    let error = producer.reserve(6).unwrap_err();
    assert_eq!(error, ReserveError::TooLarge { len: 6, max: 5 });
    assert_eq!(Error::from(error).kind(), ErrorKind::InvalidInput);
    assert!(producer.reserve(0).unwrap().is_empty());
}

#[test]
#[should_panic(expected = "3 committed of 2 reserved")]
fn committing_more_than_reserved_panics() {
    let mut memory = memory::<u16>(5);
    let (mut producer, _consumer) = Ring::<u16>::new(&mut memory, 5).unwrap().split().unwrap();
    producer.reserve(2).unwrap().commit(3);
}

#[test]
fn values_without_size_are_counted() {
    let mut memory = memory::<[u64; 0]>(3);
    let (mut producer, mut consumer) = Ring::new(&mut memory, 3).unwrap().split().unwrap();
    assert_eq!(producer.push_slice(&[[0_u64; 0]; 5]), Ok(3));
    assert_eq!(consumer.read_chunk(9).unwrap().len(), 3);
    assert_eq!(consumer.pop(), Ok([]));
    assert_eq!(consumer.len(), 2);
}

#[derive(Clone, Debug)]
enum Step {
    Push(u32),
    PushSlice(Vec<u32>),
    Grant(usize, Vec<u32>),
    Pop,
    PopSlice(usize),
    Chunk(usize, usize),
    Rejoin,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u32>().prop_map(Step::Push),
        vec(any::<u32>(), 0..20).prop_map(Step::PushSlice),
        (0..20_usize, vec(any::<u32>(), 0..20)).prop_map(|(len, values)| Step::Grant(len, values)),
        Just(Step::Pop),
        (0..20_usize).prop_map(Step::PopSlice),
        (0..20_usize, 0..20_usize).prop_map(|(len, released)| Step::Chunk(len, released)),
        Just(Step::Rejoin),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 512 }, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn does_what_a_deque_does(capacity in 1_usize..20, steps in vec(step(), 0..if cfg!(miri) { 12 } else { 100 })) {
        let mut memory = memory::<u32>(capacity);
        let ring = Ring::new(&mut memory, capacity).unwrap();
        let (mut producer, mut consumer) = ring.split().unwrap();
        let mut model = VecDeque::new();
        for step in steps {
            let free = capacity - model.len();
            match step {
                Step::Push(value) => {
                    let pushed = producer.push(value);
                    prop_assert_eq!(pushed.is_ok(), free > 0);
                    model.extend(pushed.is_ok().then_some(value));
                }
                Step::PushSlice(values) => {
                    let pushed = producer.push_slice(&values).unwrap();
                    prop_assert_eq!(pushed, free.min(values.len()));
                    model.extend(&values[..pushed]);
                }
                Step::Grant(len, values) => match producer.reserve(len) {
                    Ok(mut grant) => {
                        prop_assert!(len <= free);
                        let count = len.min(values.len());
                        let (one, two) = grant.slices();
                        prop_assert_eq!(one.len() + two.len(), len);
                        for (slot, value) in one.iter_mut().chain(two).zip(&values) {
                            *slot = *value;
                        }
                        grant.commit(count);
                        model.extend(&values[..count]);
                    }
                    Err(error) => prop_assert_eq!(error == ReserveError::Full, len > free && len <= capacity),
                },
                Step::Pop => prop_assert_eq!(consumer.pop().ok(), model.pop_front()),
                Step::PopSlice(len) => {
                    let mut values = vec![0; len];
                    let popped = consumer.pop_slice(&mut values).unwrap();
                    prop_assert_eq!(popped, len.min(model.len()));
                    prop_assert!(model.drain(..popped).eq(values.into_iter().take(popped)));
                }
                Step::Chunk(len, released) => match consumer.read_chunk(len) {
                    Ok(chunk) => {
                        let (one, two) = chunk.slices();
                        let count = len.max(1).min(model.len());
                        prop_assert!(one.iter().chain(two).eq(model.iter().take(count)));
                        let released = released.min(count);
                        chunk.release(released);
                        model.drain(..released);
                    }
                    Err(error) => prop_assert!(error == PopError::Empty && model.is_empty()),
                },
                Step::Rejoin => {
                    drop((producer, consumer));
                    (producer, consumer) = ring.split().unwrap();
                }
            }
            prop_assert_eq!([producer.len(), consumer.len(), ring.len()], [model.len(); 3]);
        }
    }
}
