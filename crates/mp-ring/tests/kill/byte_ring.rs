//! The operations of [`ByteRing`].

use std::cell::RefCell;
use std::num::NonZeroU64;

use mp_ring::{ByteConsumer, ByteProducer, ByteRing, PopError, ReserveError};

use crate::judge::{Before, Judged, Scene, Stage, VICTIM, Verdict};
use crate::{assert_safe, region};

/// The length of a number's record, all bytes of which are the number: 1 to 24.
const fn len(number: u64) -> usize {
    1 + (number * 5 % 24) as usize
}

fn record(number: u64) -> [u8; 24] {
    [number as u8; 24]
}

/// The number of a record whose tag is that number, or 0.
fn number_of(tag: u32, bytes: &[u8]) -> Verdict<u64> {
    let number = bytes.first().map_or(0, |byte| u64::from(*byte));
    // One by one: libc compares slices by another way where one of them is near the end of a page,
    // and the victim's lie elsewhere than those of the traced one.
    let whole = bytes.len() == len(number) && bytes.iter().all(|&byte| byte == number as u8);
    if whole && (tag == 0 || u64::from(tag) == number) {
        Ok(number)
    } else {
        Err(format!("torn: tag {tag}, {bytes:?}"))
    }
}

impl<'m> Judged<'m> for ByteRing<'m> {
    type Producer = ByteProducer<'m>;
    type Consumer = ByteConsumer<'m>;
    /// Records of the longest kind in 256 bytes, however much is skipped.
    const ROOM: usize = 6;

    fn create(stage: &'m Stage) -> Self {
        // SAFETY: the stage's words are only used as this ring, and by nobody while it is made.
        unsafe { ByteRing::create(region(stage), 256, None) }.unwrap()
    }

    fn claim_producer(self, me: NonZeroU64) -> Verdict<Self::Producer> {
        ByteRing::claim_producer(self, me).map_err(|error| error.to_string())
    }

    fn claim_consumer(self, me: NonZeroU64) -> Verdict<Self::Consumer> {
        ByteRing::claim_consumer(self, me).map_err(|error| error.to_string())
    }

    fn sweep(self) {
        // SAFETY: the victim is dead whenever there is a sweep.
        unsafe { ByteRing::sweep(&self, |owner| owner == VICTIM) };
    }

    fn push(producer: &mut Self::Producer, number: u64) -> bool {
        let bytes = &record(number)[..len(number)];
        producer.push_tagged(number as u32, bytes).is_ok()
    }

    fn pop(consumer: &mut Self::Consumer) -> Verdict<Option<u64>> {
        let number = match consumer.peek() {
            Ok(record) => {
                let number = number_of(record.tag(), record.bytes());
                record.release();
                number?
            }
            Err(PopError::Empty) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        Ok(Some(number))
    }
}

/// The third of 10, 11 and 12 does not fit before the end.
const NEAR_A_SKIP: Before = Before { moved: 8, held: 2 };

/// Pushing `last` after `pushed` skips the end.
#[track_caller]
fn assert_skips(before: Before, pushed: &[u64], last: u64) {
    let scene = Scene::new(before);
    let ring: ByteRing<'_> = scene.prepare();
    let mut producer = ByteRing::claim_producer(ring, VICTIM).unwrap();
    for number in pushed {
        assert!(ByteRing::push(&mut producer, *number));
    }
    let used = ring.used();
    assert!(ByteRing::push(&mut producer, last));
    let alone = 8 + len(last).next_multiple_of(8);
    assert!(ring.used() - used > alone);
}

#[test]
fn push_until_full() {
    assert_skips(NEAR_A_SKIP, &[10, 11], 12);
    let push = |producer: &mut ByteProducer<'_>, batch: &[u64]| match batch {
        [number] => assert!(ByteRing::push(producer, *number)),
        _ => assert_eq!(producer.push(&[9; 120]), Err(ReserveError::Full)),
    };
    let scene = Scene::new(NEAR_A_SKIP);
    let batches = [&[10][..], &[11], &[12], &[13], &[]];
    let name = "ByteRing: push_tagged around the end, until full";
    assert_safe(&scene.producer_dies::<ByteRing<'_>>(name, &batches, push));
}

#[test]
fn push_many() {
    let push = |producer: &mut ByteProducer<'_>, batch: &[u64]| {
        let bytes: [_; 3] = std::array::from_fn(|index| record(batch[index]));
        let records: [_; 3] = std::array::from_fn(|index| &bytes[index][..len(batch[index])]);
        assert_eq!(producer.push_many(&records), Ok(3));
    };
    let (scene, batches) = (Scene::new(NEAR_A_SKIP), [&[10, 11, 12][..]]);
    let name = "ByteRing: push_many around the end";
    assert_safe(&scene.producer_dies::<ByteRing<'_>>(name, &batches, push));
}

#[test]
fn commit_in_place() {
    let push = |producer: &mut ByteProducer<'_>, batch: &[u64]| {
        let len = len(batch[0]);
        let mut grant = producer.reserve(24).unwrap();
        grant.bytes()[..len].copy_from_slice(&record(batch[0])[..len]);
        grant.set_tag(batch[0] as u32);
        grant.commit(len);
    };
    let (scene, batches) = (Scene::new(NEAR_A_SKIP), [&[10][..], &[11], &[12]]);
    let name = "ByteRing: reserve, fill and commit around the end";
    assert_safe(&scene.producer_dies::<ByteRing<'_>>(name, &batches, push));
}

/// The third of 1, 2, 3 and 4 did not fit before the end.
const ACROSS_A_SKIP: Before = Before { moved: 9, held: 4 };

#[test]
fn pop_until_empty() {
    let Before { moved, .. } = ACROSS_A_SKIP;
    assert_skips(Before { moved, held: 2 }, &[], 3);
    let scene = Scene::new(ACROSS_A_SKIP);
    // with room, so that the victim's allocator has nothing to do
    let bytes = RefCell::new(Vec::with_capacity(64));
    let pop = |consumer: &mut ByteConsumer<'_>, count| {
        let mut bytes = bytes.borrow_mut();
        match count {
            0 => assert_eq!(consumer.pop_into(&mut bytes), Err(PopError::Empty)),
            _ => {
                let tag = consumer.pop_into(&mut bytes).unwrap();
                scene.note(number_of(tag, &bytes).unwrap());
            }
        }
    };
    let (name, counts) = ("ByteRing: pop_into until empty", [1, 1, 1, 1, 0]);
    assert_safe(&scene.consumer_dies::<ByteRing<'_>>(name, &counts, pop));
}

#[test]
fn release_in_place() {
    let scene = Scene::new(ACROSS_A_SKIP);
    let pop = |consumer: &mut ByteConsumer<'_>, _| {
        let record = consumer.peek().unwrap();
        scene.note(number_of(record.tag(), record.bytes()).unwrap());
        record.release();
    };
    let (name, counts) = ("ByteRing: peek and release", [1, 1, 1]);
    assert_safe(&scene.consumer_dies::<ByteRing<'_>>(name, &counts, pop));
}

#[test]
fn release_of_many() {
    let scene = Scene::new(ACROSS_A_SKIP);
    let pop = |consumer: &mut ByteConsumer<'_>, count| {
        let mut records = consumer.records();
        for _ in 0..count {
            let (tag, bytes) = records.next().unwrap();
            scene.note(number_of(tag, bytes).unwrap());
        }
        records.release();
    };
    let (name, counts) = ("ByteRing: read records and release them", [3, 1]);
    assert_safe(&scene.consumer_dies::<ByteRing<'_>>(name, &counts, pop));
}

#[test]
fn sweep() {
    let scene = Scene::new(ACROSS_A_SKIP);
    let report = scene.sweeper_dies::<ByteRing<'_>>("ByteRing: sweep");
    assert_safe(&report);
}
