//! Random operations against a `VecDeque`.

#[path = "model/pipe.rs"]
mod pipe;

use std::collections::VecDeque;
use std::time::Duration;

use mp_queue::{Bytes, GetError, PutError, Queue};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Put(usize),
    PutMany(Vec<usize>),
    Get,
    GetMany(usize),
    Drain,
}

/// Mostly short messages, some that need many blocks.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 0_usize..300,
        3 => 1000_usize..20_000,
        1 => 100_000_usize..1_000_000,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => length().prop_map(Step::Put),
        2 => prop::collection::vec(length(), 0..20).prop_map(Step::PutMany),
        6 => Just(Step::Get),
        2 => (0_usize..20).prop_map(Step::GetMany),
        1 => Just(Step::Drain),
    ]
}

/// Tells each message from every other one of its length.
fn message(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| (number.wrapping_mul(31) + at / 8) as u8)
        .collect()
}

fn check(
    queue: &Queue<Vec<u8>, Bytes>,
    bound: usize,
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let mut model = VecDeque::new();
    let mut number = 0;
    let mut next = |len| {
        number += 1;
        message(number, len)
    };
    for step in steps {
        match step {
            Step::Put(len) => {
                let message = next(len);
                match queue.try_put(message.clone()) {
                    Ok(()) => {
                        prop_assert!(model.len() < bound);
                        model.push_back(message);
                    }
                    Err(PutError::Full(back)) => {
                        prop_assert_eq!(model.len(), bound);
                        prop_assert!(back == message);
                    }
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
            }
            Step::PutMany(lengths) => {
                let room = bound - model.len();
                let messages: Vec<_> = lengths.into_iter().take(room).map(&mut next).collect();
                queue.put_many(&messages).expect("room");
                model.extend(messages);
            }
            Step::Get => match (queue.get_timeout(Duration::ZERO), model.pop_front()) {
                (Ok(got), Some(expected)) => prop_assert!(got == expected),
                (Err(GetError::Empty), None) => {}
                (got, expected) => {
                    let got = got.map(|message| message.len());
                    return Err(TestCaseError::fail(format!(
                        "{got:?} for {:?}",
                        expected.map(|m| m.len())
                    )));
                }
            },
            Step::GetMany(max) if !model.is_empty() => {
                let batch = queue.get_many(max).expect("messages");
                prop_assert!((1..=max.max(1)).contains(&batch.len()));
                for got in batch {
                    prop_assert!(Some(got.expect("bytes")) == model.pop_front());
                }
            }
            Step::GetMany(_) => {}
            Step::Drain => {
                while let Some(expected) = model.pop_front() {
                    prop_assert!(queue.try_get().expect("a message") == expected);
                }
            }
        }
        prop_assert_eq!(queue.len(), model.len());
        prop_assert_eq!(queue.is_full(), model.len() == bound);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_unbounded_queue_is_a_deque(steps in prop::collection::vec(step(), 1..200)) {
        check(&Queue::bytes().expect("a queue"), usize::MAX, steps)?;
    }

    #[test]
    fn a_bounded_queue_is_a_bounded_deque(bound in 1_usize..40, steps in prop::collection::vec(step(), 1..200)) {
        check(&Queue::bytes_bounded(bound).expect("a queue"), bound, steps)?;
    }
}

/// Bytes that a message takes: a header of 8, and as many as it has, padded to 8.
fn record(len: usize) -> usize {
    8 + len.next_multiple_of(8)
}

/// A number from a small generator, below `below`.
fn random(state: &mut u64, below: usize) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    (*state >> 33) as usize % below
}

/// Puts and gets at random, more puts than gets, until a put is refused; five times, each time
/// after getting a part of what is there. Whenever one is refused nine tenths of the room are full,
/// or would be with it.
fn expect_usable(name: &str, room: usize, mut len: impl FnMut(&mut u64) -> usize) {
    let queue = Queue::<Vec<u8>, Bytes>::builder().room(room).create();
    let queue = queue.expect("a queue");
    let mut model = VecDeque::new();
    let (mut used, mut number, mut state) = (0, 0_u64, 7);
    let bytes = vec![0xa5; room];
    let mut got = Vec::new();
    for part in 1..=5 {
        let refused = loop {
            let len = len(&mut state);
            number += 1;
            let tagged = [
                &number.to_le_bytes()[..len.min(8)],
                &bytes[..len.saturating_sub(8)],
            ]
            .concat();
            match queue.put_bytes(&tagged) {
                Ok(()) => {
                    used += record(len);
                    model.push_back((number, len));
                }
                Err(PutError::Failed((), _)) => break len,
                Err(error) => panic!("{name}: {error}"),
            }
            for _ in 0..random(&mut state, 100) / 60 {
                let Some((number, len)) = model.pop_front() else {
                    break;
                };
                queue.get_bytes_into(&mut got).expect("a message");
                assert!(
                    got.len() == len && got.starts_with(&number.to_le_bytes()[..len.min(8)]),
                    "{name}"
                );
                used -= record(len);
            }
        };
        let full = (used + record(refused)) * 100 / room;
        println!(
            "{name}: {} % full, {full} % with the next",
            used * 100 / room
        );
        assert!(full >= 90, "{name}: {full} % of {room}, part {part}");
        for _ in 0..model.len() * part / 5 {
            let (_, len) = model.pop_front().expect("a message");
            queue.get_bytes_into(&mut got).expect("a message");
            assert_eq!(got.len(), len);
            used -= record(len);
        }
    }
}

#[test]
fn nine_tenths_of_the_room_are_usable_whatever_the_lengths() {
    const SMALL: usize = 256 << 10;
    const MIDDLE: usize = 16 << 20;
    expect_usable("empty ones", SMALL, |_| 0);
    expect_usable("8 bytes", SMALL, |_| 8);
    expect_usable("0 to 300 bytes", 1 << 20, |state| random(state, 300));
    expect_usable("1000 bytes", MIDDLE, |_| 1000);
    expect_usable("9000 bytes", SMALL, |_| 9000);
    expect_usable("16 369 bytes, more than a block", MIDDLE, |_| 16_369);
    expect_usable("to 100 KiB", MIDDLE, |state| random(state, 100 << 10));
    expect_usable("40 KiB", 1 << 20, |_| 40 << 10);
    expect_usable("short and long", MIDDLE, |state| match random(state, 10) {
        0 => 200_000,
        _ => 50,
    });
    expect_usable("to half the room", MIDDLE, |state| {
        random(state, MIDDLE / 2)
    });
}
