//! The operations of [`Ring`].

use std::num::NonZeroU64;

use mp_ring::{Consumer, PopError, Producer, PushError, Ring};

use crate::judge::{Before, Judged, Scene, Stage, VICTIM, Value, Verdict, number, value};
use crate::{assert_safe, region};

impl<'m> Judged<'m> for Ring<'m, Value> {
    type Producer = Producer<'m, Value>;
    type Consumer = Consumer<'m, Value>;
    const ROOM: usize = 6;

    fn create(stage: &'m Stage) -> Self {
        // SAFETY: the stage's words are only used as this ring, and by nobody while it is made.
        unsafe { Ring::create(region(stage), Self::ROOM) }.unwrap()
    }

    fn claim_producer(self, me: NonZeroU64) -> Verdict<Self::Producer> {
        Ring::claim_producer(self, me).map_err(|error| error.to_string())
    }

    fn claim_consumer(self, me: NonZeroU64) -> Verdict<Self::Consumer> {
        Ring::claim_consumer(self, me).map_err(|error| error.to_string())
    }

    fn sweep(self) {
        // SAFETY: the victim is dead whenever there is a sweep.
        unsafe { Ring::sweep(&self, |owner| owner == VICTIM) };
    }

    fn push(producer: &mut Self::Producer, number: u64) -> bool {
        producer.push(value(number)).is_ok()
    }

    fn pop(consumer: &mut Self::Consumer) -> Verdict<Option<u64>> {
        match consumer.pop() {
            Ok(value) => number(value).map(Some),
            Err(PopError::Empty) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn values(numbers: &[u64]) -> [Value; 3] {
    std::array::from_fn(|index| value(numbers.get(index).copied().unwrap_or(0)))
}

/// Of 8 slots, the last is the one after the next.
const NEAR_THE_END: Before = Before { moved: 4, held: 2 };

#[test]
fn push_until_full() {
    let push = |producer: &mut Producer<'_, Value>, batch: &[u64]| match batch {
        [number] => producer.push(value(*number)).unwrap(),
        _ => assert_eq!(producer.push(value(9)), Err(PushError::Full(value(9)))),
    };
    let (scene, batches) = (
        Scene::new(NEAR_THE_END),
        [&[10][..], &[11], &[12], &[13], &[]],
    );
    let name = "Ring: push until full";
    assert_safe(&scene.producer_dies::<Ring<_>>(name, &batches, push));
}

/// A consumer that saw the ring empty takes a value pushed alone from beside the tail.
#[test]
fn push_to_a_waiting_consumer() {
    let push = |producer: &mut Producer<'_, Value>, batch: &[u64]| {
        producer.push(value(batch[0])).unwrap();
    };
    let scene = Scene::new(Before { moved: 4, held: 0 });
    let name = "Ring: push to a waiting consumer";
    let batches = [&[10][..], &[11], &[12]];
    assert_safe(&scene.producer_dies::<Ring<_>>(name, &batches, push));
}

#[test]
fn push_slice() {
    let push = |producer: &mut Producer<'_, Value>, batch: &[u64]| {
        let pushed = producer.push_slice(&values(batch)[..batch.len()]);
        assert_eq!(pushed, Ok(batch.len()));
    };
    let (scene, batches) = (Scene::new(NEAR_THE_END), [&[10, 11, 12][..], &[13]]);
    let name = "Ring: push_slice around the end";
    assert_safe(&scene.producer_dies::<Ring<_>>(name, &batches, push));
}

#[test]
fn commit_in_place() {
    let push = |producer: &mut Producer<'_, Value>, batch: &[u64]| {
        let mut grant = producer.reserve(batch.len() + 1).unwrap();
        let (one, two) = grant.slices();
        for (slot, number) in one.iter_mut().chain(two).zip(batch) {
            *slot = value(*number);
        }
        grant.commit(batch.len());
    };
    let (scene, batches) = (Scene::new(NEAR_THE_END), [&[10, 11, 12][..], &[]]);
    let name = "Ring: reserve, fill and commit around the end";
    assert_safe(&scene.producer_dies::<Ring<_>>(name, &batches, push));
}

/// Of 8 slots, the last holds the second of five values.
const ACROSS_THE_END: Before = Before { moved: 6, held: 5 };

#[test]
fn pop_until_empty() {
    let scene = Scene::new(ACROSS_THE_END);
    let pop = |consumer: &mut Consumer<'_, Value>, count| match count {
        0 => assert_eq!(consumer.pop(), Err(PopError::Empty)),
        _ => scene.note(number(consumer.pop().unwrap()).unwrap()),
    };
    let (name, counts) = ("Ring: pop until empty", [1, 1, 1, 1, 1, 0]);
    assert_safe(&scene.consumer_dies::<Ring<_>>(name, &counts, pop));
}

#[test]
fn pop_slice() {
    let scene = Scene::new(ACROSS_THE_END);
    let pop = |consumer: &mut Consumer<'_, Value>, count| {
        let mut values = [[0; 3]; 3];
        assert_eq!(consumer.pop_slice(&mut values), Ok(count));
        for value in &values[..count] {
            scene.note(number(*value).unwrap());
        }
    };
    let (name, counts) = ("Ring: pop_slice around the end", [3, 2]);
    assert_safe(&scene.consumer_dies::<Ring<_>>(name, &counts, pop));
}

#[test]
fn release_in_place() {
    let scene = Scene::new(ACROSS_THE_END);
    let pop = |consumer: &mut Consumer<'_, Value>, count| {
        let chunk = consumer.read_chunk(count + 1).unwrap();
        let (one, two) = chunk.slices();
        for value in one.iter().chain(two).take(count) {
            scene.note(number(*value).unwrap());
        }
        chunk.release(count);
    };
    let (name, counts) = ("Ring: read a chunk and release around the end", [3, 1]);
    assert_safe(&scene.consumer_dies::<Ring<_>>(name, &counts, pop));
}

#[test]
fn sweep() {
    let scene = Scene::new(ACROSS_THE_END);
    let report = scene.sweeper_dies::<Ring<_>>("Ring: sweep");
    assert_safe(&report);
}
