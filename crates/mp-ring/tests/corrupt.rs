//! Arbitrary bytes in the words and the data: errors, never a panic, a hang or a read out of
//! bounds.
#![cfg(not(loom))]

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{ErrorKind, Region};
use mp_ring::{ByteRing, ClaimError, Corrupt, PopError, PushError, Ring};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const TAIL: usize = 128;
const HEAD: usize = 256;
const DATA: usize = 384;

/// Memory of a segment, with its words reachable as a careless peer reaches them.
struct Segment(Vec<u64>);

impl Segment {
    fn new(size: usize) -> Self {
        Self(vec![0; size / 8 + 15])
    }

    fn region(&mut self) -> Region<'_> {
        let start = self.0.as_ptr().align_offset(128);
        Region::from_exclusive(&mut self.0[start..])
    }
}

/// Writes a word as the ring does: those before the data are atomics, the data is not. Miri cannot
/// follow what is both.
fn overwrite(region: Region<'_>, offset: usize, word: u64) {
    if offset < DATA {
        let place: &AtomicU64 = region.place(offset).unwrap();
        place.store(word, Ordering::SeqCst);
    } else {
        let place = region.pointer_to::<u64>(offset, 1).unwrap();
        // SAFETY: one thread uses the segment, and no handle lends its data meanwhile.
        unsafe { place.write(word) };
    }
}

#[test]
fn impossible_positions_are_named() {
    let mut segment = Segment::new(1024);
    let region = segment.region();
    // SAFETY: the memory is this test's own.
    let ring = unsafe { Ring::<u64>::create(region, 4) }.unwrap();
    let (mut producer, mut consumer) = ring.split().unwrap();
    producer.push_slice(&[1, 2, 3, 4]).unwrap();
    overwrite(region, HEAD, 5);
    let corrupt = Corrupt::Positions {
        head: 5,
        tail: 4,
        capacity: 4,
    };
    assert_eq!(producer.push(5), Err(PushError::Corrupt(5, corrupt)));
    assert_eq!(producer.push_slice(&[5]), Err(corrupt));
    assert!(producer.reserve(1).is_err());
    assert_eq!(ring.len(), 4);
    overwrite(region, HEAD, 0);
    overwrite(region, TAIL, 5);
    let corrupt = Corrupt::Positions {
        head: 0,
        tail: 5,
        capacity: 4,
    };
    assert_eq!(consumer.pop(), Err(PopError::Corrupt(corrupt)));
    assert_eq!(consumer.pop_slice(&mut [0; 4]), Err(corrupt));
    assert!(corrupt.to_string().contains("0x5"), "{corrupt}");
    drop((producer, consumer));
    assert_eq!(ring.split().unwrap_err(), ClaimError::Corrupt(corrupt));
    overwrite(region, TAIL, 4);
    assert_eq!(
        ring.split().unwrap().1.pop(),
        Ok(1),
        "the failed claim was given back"
    );
}

#[test]
fn record_longer_than_what_is_published_is_refused() {
    let mut segment = Segment::new(1024);
    let region = segment.region();
    // SAFETY: the memory is this test's own.
    let ring = unsafe { ByteRing::create(region, 64, None) }.unwrap();
    let (mut producer, mut consumer) = ring.split().unwrap();
    producer.push(&[1; 10]).unwrap();
    for len in [17, 56, 57, u32::MAX - 8, u32::MAX - 1, u32::MAX] {
        overwrite(region, DATA, u64::from(len));
        let corrupt = Corrupt::Record {
            offset: 0,
            len,
            readable: 24,
        };
        assert_eq!(consumer.peek().unwrap_err(), PopError::Corrupt(corrupt));
        let mut bytes = vec![1];
        assert_eq!(consumer.pop_into(&mut bytes), Err(corrupt.into()));
        assert_eq!(bytes, [1]);
    }
    overwrite(region, DATA, 16);
    assert_eq!(consumer.peek().unwrap().bytes().len(), 16);
}

#[test]
fn skip_mark_at_the_start_of_the_data_is_refused() {
    let mut segment = Segment::new(1024);
    let region = segment.region();
    // SAFETY: the memory is this test's own.
    let ring = unsafe { ByteRing::create(region, 64, None) }.unwrap();
    let (mut producer, mut consumer) = ring.split().unwrap();
    producer.push(&[1; 24]).unwrap();
    consumer.peek().unwrap().release();
    producer.push(&[1; 8]).unwrap();
    consumer.peek().unwrap().release();
    producer.push(&[1; 16]).unwrap();
    assert_eq!(ring.used(), 16 + 24, "the end is skipped");
    overwrite(region, DATA, u64::from(u32::MAX));
    assert!(matches!(
        consumer.peek(),
        Err(PopError::Corrupt(Corrupt::Record { len: u32::MAX, .. }))
    ));
}

#[test]
fn impossible_shapes_are_refused_at_attach() {
    let mut segment = Segment::new(1024);
    let region = segment.region();
    // SAFETY: the memory is this test's own, and no handle is made.
    unsafe { ByteRing::create(region, 64, None) }.unwrap();
    for (offset, word, kind) in [
        (0, 65, ErrorKind::Corrupt),
        (0, 8, ErrorKind::Corrupt),
        (0, u64::MAX, ErrorKind::Corrupt),
        (0, 1 << 20, ErrorKind::WrongSize),
        (0, 64, ErrorKind::Os),
        (8, 0, ErrorKind::Corrupt),
        (8, 1 << 32, ErrorKind::Corrupt),
    ] {
        overwrite(region, offset, word);
        // SAFETY: as above.
        let found = unsafe { ByteRing::attach(region) }
            .map_or_else(|error| error.kind(), |_| ErrorKind::Os);
        assert_eq!(found, kind, "{word} at {offset}");
    }
    // SAFETY: as above.
    unsafe { Ring::<u64>::create(region, 8) }.unwrap();
    for (word, kind) in [
        (1 << 20, ErrorKind::WrongSize),
        (u64::MAX, ErrorKind::InvalidInput),
    ] {
        overwrite(region, 0, word);
        // SAFETY: as above.
        let error = unsafe { Ring::<u64>::attach(region) }.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
}

/// The index of one of these words or of one in the data. Padding is left alone: nothing may write
/// under a reference to it.
fn place(words: &'static [usize]) -> impl Strategy<Value = usize> {
    prop_oneof![select(words), DATA / 8..DATA / 8 + 8]
}

/// A word that is often near what it should be.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0_u64..40,
        Just(u64::from(u32::MAX)),
        (0_u64..20, 0_u64..20).prop_map(|(count, position)| count << 32 | position),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 2000 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ring_survives_any_words(damage in vec((place(&[0, 1, 2, 3, 16, 32]), word(), 0..7_u8), 1..if cfg!(miri) { 12 } else { 40 })) {
        let mut segment = Segment::new(1024);
        let region = segment.region();
        // SAFETY: the memory is this test's own, and one thread uses it.
        let ring = unsafe { Ring::<u64>::create(region, 5) }.unwrap();
        let (mut producer, mut consumer) = ring.split().unwrap();
        for (index, word, action) in damage {
            overwrite(region, index * 8, word);
            match action {
                0 => drop(producer.push(1)),
                1 => drop(producer.push_slice(&[1; 7])),
                2 => drop(producer.reserve(3).map(|mut grant| grant.slices().0.fill(2))),
                3 => drop(consumer.pop()),
                4 => drop(consumer.pop_slice(&mut [0; 7])),
                5 => {
                    for (max, most) in [(2, 2), (usize::MAX, 5)] {
                        if let Ok(chunk) = consumer.read_chunk(max) {
                            let (first, second) = chunk.slices();
                            prop_assert!((1..=most).contains(&(first.len() + second.len())));
                            chunk.release_all();
                        }
                    }
                }
                // SAFETY: as above.
                _ => drop(unsafe { Ring::<u64>::attach(region) }.map(|ring| ring.split())),
            }
            prop_assert!(ring.len().max(producer.len()).max(consumer.len()) <= 5);
        }
    }

    #[test]
    fn byte_ring_survives_any_words(damage in vec((place(&[0, 1, 2, 3, 16, 17, 32, 33]), word(), 0..7_u8), 1..if cfg!(miri) { 12 } else { 40 })) {
        let mut segment = Segment::new(DATA + 64);
        let region = segment.region();
        // SAFETY: the memory is this test's own, and one thread uses it.
        let ring = unsafe { ByteRing::create(region, 64, Some(6)) }.unwrap();
        let (mut producer, mut consumer) = ring.split().unwrap();
        let mut bytes = Vec::new();
        for (index, word, action) in damage {
            overwrite(region, index * 8, word);
            match action {
                0 => drop(producer.push(&[1; 13])),
                1 => drop(producer.push_many(&[[1; 5]; 4])),
                2 => drop(producer.reserve(20).map(|mut grant| grant.bytes().fill(2))),
                3 => drop(consumer.pop_into(&mut bytes)),
                4 => {
                    if let Ok(record) = consumer.peek() {
                        prop_assert!(record.bytes().len() <= 56);
                        record.release();
                    }
                }
                5 => {
                    let mut records = consumer.records();
                    while records.next_into(&mut bytes).is_ok() {
                        prop_assert!(records.count() <= 8, "more records than units");
                    }
                    records.release();
                }
                // SAFETY: as above.
                _ => drop(unsafe { ByteRing::attach(region) }.map(|ring| ring.split())),
            }
            prop_assert!(ring.len() <= 8 && producer.len() <= 8 && consumer.len() <= 8);
        }
    }
}
