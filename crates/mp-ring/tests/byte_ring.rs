//! What one thread sees of a ring of records.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::num::NonZeroU64;

use mp_layout::{Error, ErrorKind, Region};
use mp_ring::{ByteRing, ClaimError, PopError, ReserveError, Role};
use proptest::collection::vec;
use proptest::prelude::*;

const fn id(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

fn memory(capacity: usize) -> Vec<u64> {
    vec![0; ByteRing::words_for(capacity).unwrap()]
}

#[test]
fn capacity_is_rounded_and_bounded() {
    for (asked, given) in [(1, 16), (16, 16), (17, 32), (1000, 1024)] {
        let mut memory = memory(asked);
        let ring = ByteRing::new(&mut memory, asked, None).unwrap();
        assert_eq!((ring.capacity(), ring.max_record()), (given, given / 2 - 8));
    }
    for capacity in [0, usize::MAX, (16 << 30) + 1] {
        let error = ByteRing::size_for(capacity).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&capacity.to_string()), "{error}");
    }
    assert_eq!(ByteRing::size_for(16 << 30).unwrap(), (16 << 30) + 384);
    let error = ByteRing::new(&mut [0; 64], 1024, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize);
    let error = ByteRing::new(&mut [0; 64], 16, Some(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn longest_record_fits_wherever_an_empty_ring_is() {
    let mut memory = memory(128);
    let (mut producer, mut consumer) = ByteRing::new(&mut memory, 128, None)
        .unwrap()
        .split()
        .unwrap();
    let mut bytes = Vec::new();
    for len in (0..=56).chain(0..=56) {
        producer.push(&vec![1; len]).unwrap();
        consumer.pop_into(&mut bytes).unwrap();
        producer.push(&[2; 56]).unwrap();
        consumer.pop_into(&mut bytes).unwrap();
        assert_eq!(bytes, [2; 56]);
    }
    assert_eq!(
        producer.push(&[0; 57]),
        Err(ReserveError::TooLarge { len: 57, max: 56 })
    );
}

#[test]
fn limit_counts_records() {
    let mut memory = memory(1024);
    let ring = ByteRing::new(&mut memory, 1024, Some(2)).unwrap();
    let (mut producer, mut consumer) = ring.split().unwrap();
    assert_eq!(producer.push_many(&["a", "b", "c"]), Ok(2));
    assert_eq!(producer.push(b"c"), Err(ReserveError::Full));
    assert_eq!(producer.has_room_for(1), Ok(false));
    assert_eq!((ring.len(), ring.max_records()), (2, Some(2)));
    consumer.peek().unwrap().release();
    assert_eq!(producer.has_room_for(1), Ok(true));
    producer.push(b"c").unwrap();
    assert_eq!(consumer.len(), 2);
}

#[test]
fn batch_ends_before_what_does_not_fit_and_says_so_next() {
    let mut memory = memory(64);
    let (mut producer, mut consumer) = ByteRing::new(&mut memory, 64, None)
        .unwrap()
        .split()
        .unwrap();
    let long = [0; 25];
    let records: [&[u8]; 3] = [b"a", &long, b"b"];
    assert_eq!(producer.push_many(&records), Ok(1));
    assert_eq!(
        producer.push_many(&records[1..]),
        Err(ReserveError::TooLarge { len: 25, max: 24 })
    );
    assert_eq!(producer.push_many::<&[u8]>(&[]), Ok(0));
    assert_eq!(consumer.peek().unwrap().bytes(), b"a");
}

#[test]
fn records_read_together_are_released_together() {
    let mut memory = memory(256);
    let (mut producer, mut consumer) = ByteRing::new(&mut memory, 256, None)
        .unwrap()
        .split()
        .unwrap();
    producer.push_many(&["one", "two", "three"]).unwrap();
    let mut records = consumer.records();
    assert_eq!(records.next().unwrap().1, b"one");
    drop(records);
    assert_eq!(consumer.len(), 3);
    let mut records = consumer.records();
    assert_eq!(records.next().unwrap().1, b"one");
    assert_eq!(records.next().unwrap().1, b"two");
    assert_eq!(producer.len(), 3);
    records.release();
    assert_eq!(producer.len(), 1);
    assert_eq!(consumer.peek().unwrap().bytes(), b"three");
}

#[test]
fn a_record_that_would_cross_the_end_skips_it() {
    let mut memory = memory(64);
    let ring = ByteRing::new(&mut memory, 64, None).unwrap();
    let (mut producer, mut consumer) = ring.split().unwrap();
    producer.push(&[7; 24]).unwrap();
    consumer.peek().unwrap().release();
    producer.push(&[7; 8]).unwrap();
    consumer.peek().unwrap().release();
    assert_eq!(ring.used(), 0);
    let mut grant = producer.reserve(20).unwrap();
    grant.bytes().fill(9);
    grant.set_tag(5);
    grant.commit_all();
    let (left_before_the_end, with_header) = (64 - 48, 8 + 24);
    assert_eq!(ring.used(), left_before_the_end + with_header);
    let record = consumer.peek().unwrap();
    assert_eq!((record.tag(), record.bytes()), (5, &[9; 20][..]));
    record.release();
    assert_eq!(ring.used(), 0);
}

#[test]
fn dropped_grant_and_record_change_nothing() {
    let mut memory = memory(64);
    let (mut producer, mut consumer) = ByteRing::new(&mut memory, 64, None)
        .unwrap()
        .split()
        .unwrap();
    producer.push(b"kept").unwrap();
    producer.reserve(8).unwrap().bytes().fill(1);
    drop(consumer.peek().unwrap());
    assert_eq!((producer.len(), consumer.len()), (1, 1));
    assert_eq!(consumer.peek().unwrap().bytes(), b"kept");
}

#[test]
fn role_is_claimed_once_and_swept_from_the_dead() {
    let mut memory = memory(64);
    let ring = ByteRing::new(&mut memory, 64, None).unwrap();
    let mut producer = ring.claim_producer(id(3)).unwrap();
    producer.push(b"committed").unwrap();
    producer.reserve(10).unwrap().bytes().fill(1); // and dies before the commit
    std::mem::forget(producer);
    let claimed = ClaimError::Claimed {
        role: Role::Producer,
        owner: id(3),
    };
    assert_eq!(ring.claim_producer(id(4)).unwrap_err(), claimed);
    // SAFETY: the handle is forgotten and runs no more.
    assert!(unsafe { ring.sweep(|owner| owner == id(3)) }.producer);
    ring.claim_producer(id(4)).unwrap().push(b"after").unwrap();
    let mut consumer = ring.claim_consumer(id(5)).unwrap();
    consumer.peek().unwrap().release();
    drop(consumer);
    let mut consumer = ring.claim_consumer(id(6)).unwrap();
    assert_eq!(consumer.peek().unwrap().bytes(), b"after");
}

#[test]
fn handles_made_under_a_lock_see_each_others_work() {
    const ROUNDS: u32 = if cfg!(miri) { 30 } else { 1000 };
    let mut memory = memory(64);
    let ring = ByteRing::new(&mut memory, 64, None).unwrap();
    let mut bytes = Vec::new();
    for number in 0..ROUNDS {
        // SAFETY: each handle is dropped at once; there is no other thread.
        let mut producer = unsafe { ring.locked_producer() }.unwrap();
        producer.push_tagged(number, &number.to_ne_bytes()).unwrap();
        // SAFETY: as above.
        let mut producer = unsafe { ring.locked_producer() }.unwrap();
        producer.push_tagged(number, b"").unwrap();
        for expected in [&number.to_ne_bytes()[..], b""] {
            // SAFETY: as above.
            let mut consumer = unsafe { ring.locked_consumer() }.unwrap();
            assert_eq!(consumer.pop_into(&mut bytes), Ok(number));
            assert_eq!(bytes, expected);
        }
    }
    assert!(ring.is_empty() && ring.used() == 0);
}

#[test]
fn attaching_checks_the_shape() {
    let mut words = memory(64);
    let start = words.as_ptr().align_offset(128);
    let region = Region::from_exclusive(&mut words[start..]);
    // SAFETY: the memory is this test's own, and no handle is made.
    let attach = |region| unsafe { ByteRing::attach(region) }.map_err(|error: Error| error.kind());
    assert_eq!(attach(region).unwrap_err(), ErrorKind::NotReady);
    // SAFETY: as above.
    unsafe { ByteRing::create(region, 64, Some(9)) }.unwrap();
    assert_eq!(attach(region).unwrap().max_records(), Some(9));
    let short = region.subregion(0, 440).unwrap();
    assert_eq!(attach(short).unwrap_err(), ErrorKind::WrongSize);
}

#[derive(Clone, Debug)]
enum Step {
    Push(u32, Vec<u8>),
    PushMany(Vec<Vec<u8>>),
    Grant(usize, usize, bool),
    Pop,
    Peek(bool),
    Records(usize, bool),
    Rejoin,
}

fn step() -> impl Strategy<Value = Step> {
    let record = || vec(any::<u8>(), 0..40);
    prop_oneof![
        (any::<u32>(), record()).prop_map(|(tag, bytes)| Step::Push(tag, bytes)),
        vec(record(), 0..6).prop_map(Step::PushMany),
        (0..40_usize, 0..40_usize, any::<bool>()).prop_map(|(len, kept, commit)| Step::Grant(
            len,
            kept.min(len),
            commit
        )),
        Just(Step::Pop),
        any::<bool>().prop_map(Step::Peek),
        (0..6_usize, any::<bool>()).prop_map(|(count, release)| Step::Records(count, release)),
        Just(Step::Rejoin),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 512 }, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn does_what_a_deque_does(
        capacity in 1_usize..200,
        limit in proptest::option::of(1_u32..6),
        steps in vec(step(), 0..if cfg!(miri) { 12 } else { 100 }),
    ) {
        let mut memory = memory(capacity);
        let ring = ByteRing::new(&mut memory, capacity, limit).unwrap();
        let (mut producer, mut consumer) = ring.split().unwrap();
        let mut model: VecDeque<(u32, Vec<u8>)> = VecDeque::new();
        let mut bytes = Vec::new();
        for step in steps {
            match step {
                Step::Push(tag, record) => match producer.push_tagged(tag, &record) {
                    Ok(()) => model.push_back((tag, record)),
                    Err(ReserveError::TooLarge { len, max }) => {
                        prop_assert!(len == record.len() && len > max && max == ring.max_record());
                    }
                    Err(error) => {
                        prop_assert_eq!(error, ReserveError::Full);
                        prop_assert!(!model.is_empty(), "empty, yet full");
                    }
                },
                Step::PushMany(records) => {
                    let count = producer.push_many(&records).unwrap_or(0);
                    model.extend(records.into_iter().take(count).map(|record| (0, record)));
                }
                Step::Grant(len, kept, commit) => if let Ok(mut grant) = producer.reserve(len) {
                    prop_assert_eq!(grant.bytes().len(), len);
                    grant.bytes().fill(len as u8);
                    if commit {
                        grant.commit(kept);
                        model.push_back((0, vec![len as u8; kept]));
                    }
                },
                Step::Pop => {
                    let popped = consumer.pop_into(&mut bytes).ok().map(|tag| (tag, bytes.clone()));
                    prop_assert_eq!(popped, model.pop_front());
                }
                Step::Peek(release) => if let Ok(record) = consumer.peek() {
                    let (tag, bytes) = model.front().unwrap();
                    prop_assert_eq!((record.tag(), record.bytes()), (*tag, &bytes[..]));
                    if release {
                        record.release();
                        model.pop_front();
                    }
                } else {
                    prop_assert!(model.is_empty());
                },
                Step::Records(count, release) => {
                    let mut records = consumer.records();
                    for (tag, bytes) in model.iter().take(count) {
                        prop_assert_eq!(records.next(), Ok((*tag, &bytes[..])));
                    }
                    if release {
                        records.release();
                        model.drain(..count.min(model.len()));
                    }
                }
                Step::Rejoin => {
                    drop((producer, consumer));
                    (producer, consumer) = ring.split().unwrap();
                }
            }
            prop_assert_eq!([producer.len(), consumer.len(), ring.len()], [model.len(); 3]);
            prop_assert!(limit.is_none_or(|limit| model.len() <= limit as usize));
        }
        prop_assert_eq!(consumer.peek().is_err_and(|error| error == PopError::Empty), model.is_empty());
    }
}
