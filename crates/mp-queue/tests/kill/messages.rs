//! Messages of one block, put and got with nobody else there and with others asleep.

use std::sync::atomic::Ordering;

use killcheck::Check;
use mp_queue::{Plain, Queue, Wait};

use super::{ONE_SLOT, WHICH_PROCESSOR, begin, contents, expect_one_of, is_unheard, number, word};

/// Offsets in the payload.
const CLOSED: usize = 16;
const NOT_EMPTY: usize = 640;
const NOT_FULL: usize = 768;

fn at<T, C: mp_queue::Codec<T>>(queue: &Queue<T, C>, offset: usize) -> usize {
    word(queue, offset).as_ptr().addr()
}

/// No operation does that.
fn reopen<T, C: mp_queue::Codec<T>>(queue: &Queue<T, C>) {
    word(queue, CLOSED).store(0, Ordering::Relaxed);
}

type Numbers = Queue<[u64; 4], Plain>;

fn unbounded() -> Numbers {
    Queue::plain().expect("a queue").with_wait(Wait::Sleep)
}

fn bounded(messages: usize) -> Numbers {
    Queue::plain_bounded(messages)
        .expect("a queue")
        .with_wait(Wait::Sleep)
}

/// Empties the queue and puts `start` into it, whoever died in it before.
fn restart(queue: &Numbers, start: &[u64]) {
    while queue.try_get().is_ok() {}
    for &n in start {
        queue.put(number(n)).expect("room");
    }
}

/// What is in the queue, whole.
fn drain(queue: &Numbers) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    loop {
        match queue.try_get() {
            Ok(message) if message == number(message[0]) => numbers.push(message[0]),
            Ok(message) => return Err(format!("torn: {message:x?}")),
            Err(mp_queue::GetError::Empty) => return Ok(numbers),
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[test]
fn a_put() {
    let _watchdog = begin();
    for queue in [unbounded(), bounded(8)] {
        Check::new("put")
            .setup(|queue: &Numbers| restart(queue, &[1]))
            .victim(|queue| queue.put(number(2)).expect("room"))
            .survivor(|queue| {
                queue.put(number(3)).map_err(|error| error.to_string())?;
                expect_one_of(drain(queue)?, &[&[1, 3], &[1, 2, 3]])
            })
            .without_timeouts()
            .shares_only(contents)
            .assert_safe(&queue);
    }
}

#[test]
fn a_get() {
    let _watchdog = begin();
    for queue in [unbounded(), bounded(8)] {
        Check::new("get")
            .setup(|queue: &Numbers| restart(queue, &[1, 2]))
            .victim(|queue| assert_eq!(queue.get().expect("a message"), number(1)))
            .survivor(|queue| {
                queue.put(number(3)).map_err(|error| error.to_string())?;
                expect_one_of(drain(queue)?, &[&[1, 2, 3], &[2, 3]])
            })
            .without_timeouts()
            .shares_only(contents)
            .assert_safe(&queue);
    }
}

#[test]
fn a_put_while_a_consumer_sleeps() {
    let _watchdog = begin();
    Check::new("put, a consumer asleep")
        .setup(|queue: &Numbers| restart(queue, &[]))
        .victim(|queue| queue.put(number(2)).expect("room"))
        .sleeper(|queue| assert!([2, 3].contains(&queue.get().expect("a message")[0])))
        .must_wake(|queue| !queue.is_empty())
        .survivor(|queue| queue.put(number(3)).map_err(|error| error.to_string()))
        .without_timeouts()
        .shares_only(contents)
        .allow_missed(0.01, WHICH_PROCESSOR)
        .assert_safe(&unbounded());
}

#[test]
fn a_get_while_a_producer_sleeps() {
    let _watchdog = begin();
    Check::new("get, a producer asleep")
        .setup(|queue: &Numbers| restart(queue, &[1, 2]))
        .victim(|queue| assert_eq!(queue.get().expect("a message"), number(1)))
        .sleeper(|queue| queue.put(number(5)).expect("open"))
        .must_wake(|queue| !queue.is_full())
        .survivor(|queue| queue.get().map(|_| ()).map_err(|error| error.to_string()))
        .without_timeouts()
        .shares_only(contents)
        .allow_missed(0.01, WHICH_PROCESSOR)
        .assert_safe(&bounded(2));
}

/// The bell wakes the other consumer but for two stretches. Where the victim acquires the
/// consumers' lock, its slot names the lock. Where it commits in a bounded queue, before the store
/// that takes the message is executed, its slot names the producers' bell.
#[test]
fn a_woken_consumer_while_another_sleeps() {
    let _watchdog = begin();
    for queue in [unbounded(), bounded(8)] {
        Check::new("get, woken, another consumer asleep")
            .setup(|queue: &Numbers| restart(queue, &[]))
            .victim(|queue| assert_eq!(queue.get().expect("a message"), number(2)))
            .sleeper(|queue| assert!([2, 3].contains(&queue.get().expect("a message")[0])))
            .waker(|queue| queue.put(number(2)).expect("room"))
            .must_wake(|queue| !queue.is_empty())
            .survivor(|queue| queue.put(number(3)).map_err(|error| error.to_string()))
            .shares_only(contents)
            .allow_rescues_if(
                |queue, pending| is_unheard(at(queue, NOT_EMPTY), pending),
                ONE_SLOT,
            )
            .allow_missed(0.01, WHICH_PROCESSOR)
            .assert_safe(&queue);
    }
}

/// As for consumers. A put writes the message under the consumers' bell.
#[test]
fn a_woken_producer_while_another_sleeps() {
    let _watchdog = begin();
    Check::new("put, woken, another producer asleep")
        .setup(|queue: &Numbers| restart(queue, &[1, 2]))
        .victim(|queue| queue.put(number(3)).expect("open"))
        .sleeper(|queue| queue.put(number(4)).expect("open"))
        .waker(|queue| assert_eq!(queue.get().expect("a message"), number(1)))
        .must_wake(|queue| !queue.is_full())
        .survivor(|queue| queue.get().map(|_| ()).map_err(|error| error.to_string()))
        .shares_only(contents)
        .allow_rescues_if(
            |queue, pending| is_unheard(at(queue, NOT_FULL), pending),
            ONE_SLOT,
        )
        .allow_missed(0.01, WHICH_PROCESSOR)
        .assert_safe(&bounded(2));
}

/// A death between the commit and the notification rings for one: who is woken by it wakes the
/// other.
#[test]
fn a_batch_put_while_two_consumers_sleep() {
    let _watchdog = begin();
    Check::new("put_many, two consumers asleep")
        .setup(|queue: &Numbers| restart(queue, &[]))
        .victim(|queue| queue.put_many(&[number(2), number(3)]).expect("room"))
        .sleepers(2, |queue| {
            let got = queue.get().expect("a message")[0];
            assert!((2..=5).contains(&got), "{got}");
        })
        .must_wake_count(Queue::len)
        .survivor(|queue| {
            let put = queue.put_many(&[number(4), number(5)]);
            put.map_err(|error| error.to_string())
        })
        .without_timeouts()
        .shares_only(contents)
        .allow_missed(0.01, WHICH_PROCESSOR)
        .assert_safe(&unbounded());
}

#[test]
fn a_batch_get_while_two_producers_sleep() {
    let _watchdog = begin();
    Check::new("get_many, two producers asleep")
        .setup(|queue: &Numbers| restart(queue, &[1, 2]))
        .victim(|queue| assert_eq!(queue.get_many(2).expect("messages").len(), 2))
        .sleepers(2, |queue| queue.put(number(5)).expect("open"))
        .must_wake_count(|queue| 2 - queue.len())
        .survivor(|queue| {
            let got = queue.get_many(2);
            got.map(|_| ()).map_err(|error| error.to_string())
        })
        .without_timeouts()
        .shares_only(contents)
        .allow_missed(0.01, WHICH_PROCESSOR)
        .assert_safe(&bounded(2));
}

#[test]
fn a_close_while_two_sleep() {
    let _watchdog = begin();
    let close = |name| {
        Check::new(name)
            .victim(|queue: &Numbers| queue.close().expect("a lock"))
            .must_wake(Queue::is_closed)
            .survivor(|queue| queue.close().map_err(|error| error.to_string()))
            .without_timeouts()
            .shares_only(contents)
            .allow_missed(0.01, WHICH_PROCESSOR)
    };
    close("close, two consumers asleep")
        .setup(|queue: &Numbers| {
            reopen(queue);
            restart(queue, &[]);
        })
        .sleepers(2, |queue| drop(queue.get().expect_err("closed")))
        .assert_safe(&unbounded());
    close("close, two producers asleep")
        .setup(|queue: &Numbers| {
            reopen(queue);
            restart(queue, &[1]);
        })
        .sleepers(2, |queue| drop(queue.put(number(2)).expect_err("closed")))
        .assert_safe(&bounded(1));
}

#[test]
fn a_close_while_a_consumer_sleeps() {
    let _watchdog = begin();
    Check::new("close, a consumer asleep")
        .setup(|queue: &Numbers| {
            reopen(queue);
            restart(queue, &[]);
        })
        .victim(|queue| queue.close().expect("a lock"))
        .sleeper(|queue| drop(queue.get().expect_err("closed")))
        .must_wake(Queue::is_closed)
        .survivor(|queue| queue.close().map_err(|error| error.to_string()))
        .without_timeouts()
        .shares_only(contents)
        .allow_missed(0.01, WHICH_PROCESSOR)
        .assert_safe(&unbounded());
}
