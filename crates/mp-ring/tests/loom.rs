//! Every interleaving with up to three preemptions, and every stale load that the memory model
//! allows, for small rings; and some interleavings of more threads.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p mp-ring --release --test loom`, and by shuttle with
//! `RUSTFLAGS="--cfg loom --cfg shuttle"`.
#![cfg(loom)]

#[path = "loom/latest.rs"]
mod latest;
#[path = "loom/loan.rs"]
mod loan;
#[path = "loom/mpmc.rs"]
mod mpmc;

use std::num::NonZeroU64;

use mp_layout::Arena;
use mp_layout::model::{sync, thread};
use mp_ring::{ByteConsumer, ByteProducer, ByteRing, Consumer, PopError, Producer, Ring, Role};

const SIZE: usize = 4096;

fn explore(model: impl Fn() + Sync + Send + 'static) {
    mp_layout::model::explore(3, model);
}

fn ring(capacity: usize) -> Ring<'static, u64> {
    let arena: &'static Arena = Box::leak(Box::default());
    // SAFETY: the arena is fresh, and only this ring is made in it.
    unsafe { Ring::create(arena.region(SIZE), capacity) }.unwrap()
}

fn byte_ring(capacity: usize) -> ByteRing<'static> {
    let arena: &'static Arena = Box::leak(Box::default());
    // SAFETY: the arena is fresh, and only this ring is made in it.
    unsafe { ByteRing::create(arena.region(SIZE), capacity, None) }.unwrap()
}

/// Pushes until it works, letting the other thread run.
fn push(producer: &mut Producer<'_, u64>, value: u64) {
    while producer.push(value).is_err() {
        thread::yield_now();
    }
}

fn pop(consumer: &mut Consumer<'_, u64>) -> u64 {
    loop {
        match consumer.pop() {
            Ok(value) => return value,
            Err(error) => assert_eq!(error, PopError::Empty),
        }
        thread::yield_now();
    }
}

fn push_bytes(producer: &mut ByteProducer<'_>, bytes: &[u8]) {
    while producer.push(bytes).is_err() {
        thread::yield_now();
    }
}

fn pop_bytes(consumer: &mut ByteConsumer<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        match consumer.pop_into(&mut bytes) {
            Ok(_) => return bytes,
            Err(error) => assert_eq!(error, PopError::Empty),
        }
        thread::yield_now();
    }
}

#[test]
fn values_arrive_in_order_around_the_end() {
    explore(|| {
        let (mut producer, mut consumer) = ring(2).split().unwrap();
        let pushing = thread::spawn(move || {
            for value in 1..=4 {
                push(&mut producer, value);
            }
        });
        for value in 1..=4 {
            assert_eq!(pop(&mut consumer), value);
        }
        pushing.join().unwrap();
        assert_eq!(consumer.pop(), Err(PopError::Empty));
    });
}

/// Value 3 is copied to where the copy of value 1 was, which a waiting consumer may just be
/// reading.
#[test]
fn copy_of_a_later_value_is_not_taken_for_an_earlier() {
    explore(|| {
        let (mut producer, mut consumer) = ring(3).split().unwrap();
        let pushing = thread::spawn(move || {
            for value in 1..=3 {
                producer.push(value).unwrap();
            }
        });
        for value in 1..=3 {
            assert_eq!(pop(&mut consumer), value);
        }
        pushing.join().unwrap();
    });
}

#[test]
fn batches_arrive_whole() {
    explore(|| {
        let (mut producer, mut consumer) = ring(3).split().unwrap();
        let pushing = thread::spawn(move || {
            let mut rest: &[u64] = &[1, 2, 3, 4, 5];
            while !rest.is_empty() {
                rest = &rest[producer.push_slice(rest).unwrap()..];
                thread::yield_now();
            }
        });
        let mut popped = Vec::new();
        while popped.len() < 5 {
            let mut values = [0; 2];
            let count = consumer.pop_slice(&mut values).unwrap();
            popped.extend_from_slice(&values[..count]);
            thread::yield_now();
        }
        assert_eq!(popped, [1, 2, 3, 4, 5]);
        pushing.join().unwrap();
    });
}

#[test]
fn length_stays_within_what_each_side_knows() {
    explore(|| {
        let ring = ring(2);
        let (mut producer, mut consumer) = ring.split().unwrap();
        let pushing = thread::spawn(move || {
            producer.push(1).unwrap();
            assert!(producer.len() <= 1);
            producer.push(2).unwrap();
            assert!(ring.len() <= 2);
        });
        let before = consumer.len();
        assert!(consumer.len() >= before);
        assert_eq!(before > 0, before > 0 && consumer.pop() == Ok(1));
        pushing.join().unwrap();
    });
}

#[test]
fn successor_continues_after_its_predecessor() {
    let id = |number| NonZeroU64::new(number).unwrap();
    explore(move || {
        let ring = ring(2);
        // the one that finds the role claimed by the other gives up
        let join = move |number| match ring.claim_producer(id(number)) {
            Ok(mut producer) => usize::from(producer.push(number).is_ok()),
            Err(_) => 0,
        };
        let first = thread::spawn(move || join(1));
        let pushed = join(2) + first.join().unwrap();
        assert!(pushed >= 1);
        assert_eq!(ring.owner(Role::Producer), None);
        let mut consumer = ring.claim_consumer(id(9)).unwrap();
        let mut values = [0; 2];
        assert_eq!(consumer.pop_slice(&mut values), Ok(pushed));
        values.sort_unstable();
        assert!(
            values == [1, 2] || (pushed == 1 && values[0] == 0),
            "{values:?}"
        );
    });
}

#[test]
fn records_arrive_in_order_around_the_end() {
    explore(|| {
        let (mut producer, mut consumer) = byte_ring(32).split().unwrap();
        // 16 + 16 fill it; 8 + (8 skipped) + 16 go around
        let pushing = thread::spawn(move || {
            for bytes in [&[1; 8][..], &[2; 3], &[], &[4; 5]] {
                push_bytes(&mut producer, bytes);
            }
        });
        for bytes in [&[1; 8][..], &[2; 3], &[], &[4; 5]] {
            assert_eq!(pop_bytes(&mut consumer), bytes);
        }
        pushing.join().unwrap();
        assert!(consumer.is_empty());
    });
}

#[test]
fn records_pushed_together_arrive_together() {
    explore(|| {
        let (mut producer, mut consumer) = byte_ring(64).split().unwrap();
        let pushing = thread::spawn(move || {
            assert_eq!(producer.push_many(&["ab", "cd"]), Ok(2));
        });
        while consumer.is_empty() {
            thread::yield_now();
        }
        assert_eq!(consumer.len(), 2);
        let mut records = consumer.records();
        let mut bytes = Vec::new();
        for expected in [b"ab", b"cd"] {
            records.next_into(&mut bytes).unwrap();
            assert_eq!(bytes, expected);
        }
        records.release();
        pushing.join().unwrap();
    });
}

#[test]
fn producers_under_a_lock_take_turns() {
    explore(|| {
        let ring = byte_ring(16);
        let lock: &'static _ = Box::leak(Box::new(sync::Mutex::new(())));
        let pushing = [1, 2].map(|number| {
            thread::spawn(move || {
                loop {
                    let _held = lock.lock().unwrap();
                    // SAFETY: made and dropped under the lock.
                    if unsafe { ring.locked_producer() }.unwrap().push(&[]).is_ok() {
                        return number;
                    }
                    thread::yield_now();
                }
            })
        });
        let mut consumer = ring.claim_consumer(NonZeroU64::MIN).unwrap();
        for _ in 0..2 {
            assert_eq!(pop_bytes(&mut consumer), []);
        }
        for thread in pushing {
            thread.join().unwrap();
        }
        assert!(ring.is_empty());
    });
}

#[test]
#[cfg(not(shuttle))]
#[should_panic(expected = "Causality violation")]
fn model_finds_a_value_published_without_release() {
    explore(|| {
        let (mut producer, mut consumer) = ring(2).split().unwrap();
        let pushing = thread::spawn(move || producer.push_unordered(7));
        assert_eq!(pop(&mut consumer), 7);
        pushing.join().unwrap();
    });
}

#[test]
#[cfg(not(shuttle))]
#[should_panic(expected = "Causality violation")]
fn model_finds_a_record_published_without_release() {
    explore(|| {
        let (mut producer, mut consumer) = byte_ring(64).split().unwrap();
        let pushing = thread::spawn(move || producer.push_unordered(&[7; 8]).unwrap());
        let mut bytes = Vec::new();
        while !matches!(consumer.pop_into(&mut bytes), Ok(_)) {
            thread::yield_now();
        }
        assert_eq!(bytes, [7; 8]);
        pushing.join().unwrap();
    });
}
