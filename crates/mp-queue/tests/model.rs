//! Random operations against a `VecDeque`.

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

/// Mostly short messages, some that need a ring of their own.
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
