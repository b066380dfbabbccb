//! Who sleeps is woken, and does not just look again after a while.
//!
//! The kill checks prove it at every instruction; these say so in a debug build, in a tenth of a
//! second.

use std::thread;
use std::time::{Duration, Instant};

use mp_layout::ErrorKind;
use mp_object::Event;
use mp_queue::{Bytes, GetError, Plain, PutError, Queue, Wait, channel};
use mp_testkit::{Forked, Watchdog, leave_descriptors};

const LIMIT: Duration = Duration::from_secs(300);

/// Less than any sleeper's recheck, of which the shortest, without `futex_waitv`, comes after 50
/// ms.
const BEFORE_ANY_RECHECK: Duration = Duration::from_millis(45);

/// Rounds until one is quick enough. Where a wake is missing none is, however long one tries: the
/// time counts from before the sleep. On a busy machine many are slow.
const ROUNDS: usize = 100;

/// Whether a thread is in a futex call.
fn is_asleep(thread: libc::pid_t) -> bool {
    let call = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall"));
    let call = call.expect("a thread of this process");
    let number = call
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok());
    matches!(number, Some(libc::SYS_futex | libc::SYS_futex_waitv))
}

/// A round gives the sleepers, and the wake that runs when all are asleep; what the wake returns is
/// dropped after they have ended. Asserts that in one round they were woken before they looked
/// again by themselves.
#[track_caller]
fn assert_wakes<S: Send, K, W: FnOnce() -> K>(round: impl Fn() -> (Vec<S>, W), sleep: fn(S)) {
    let _watchdog = Watchdog::new(LIMIT);
    let mut quickest = Duration::MAX;
    for _ in 0..ROUNDS {
        let (sleepers, wake) = round();
        let start = Instant::now();
        let kept = thread::scope(|scope| {
            for sleeper in sleepers {
                let (told, hears) = std::sync::mpsc::channel();
                scope.spawn(move || {
                    // SAFETY: asks for a number and nothing else.
                    told.send(unsafe { libc::gettid() }).expect("the test");
                    sleep(sleeper);
                });
                let thread = hears.recv().expect("the thread");
                while !is_asleep(thread) {
                    thread::yield_now();
                }
            }
            wake()
        });
        quickest = quickest.min(start.elapsed());
        drop(kept);
        if quickest < BEFORE_ANY_RECHECK {
            return;
        }
    }
    panic!("the quickest of {ROUNDS} rounds took {quickest:?}");
}

type Numbers = Queue<u64, Plain>;

fn unbounded() -> Numbers {
    Queue::plain().expect("a queue").with_wait(Wait::Sleep)
}

/// With as many messages as it may have.
fn full() -> Numbers {
    let queue = Queue::plain_bounded(2).expect("a queue");
    queue.put_many(&[1, 2]).expect("room");
    queue.with_wait(Wait::Sleep)
}

fn twice(queue: &Numbers) -> Vec<Numbers> {
    vec![queue.clone(), queue.clone()]
}

#[test]
fn a_put_wakes_a_consumer_each() {
    let round = || {
        let queue = unbounded();
        let sleepers = twice(&queue);
        let wake = move || (0..2).for_each(|n| queue.put(n).expect("room"));
        (sleepers, wake)
    };
    assert_wakes(round, |queue| assert!(queue.get().is_ok()));
}

#[test]
fn a_get_wakes_a_producer_each() {
    let round = || {
        let queue = full();
        let sleepers = twice(&queue);
        let wake = move || (0..2).for_each(|n| assert_eq!(queue.get().expect("a message"), n + 1));
        (sleepers, wake)
    };
    assert_wakes(round, |queue| queue.put(3).expect("room"));
}

#[test]
fn a_batch_wakes_as_many_as_it_is_for() {
    let round = || {
        let queue = unbounded();
        let sleepers = twice(&queue);
        let wake = move || queue.put_many(&[1, 2]).expect("room");
        (sleepers, wake)
    };
    assert_wakes(round, |queue| assert!(queue.get().is_ok()));
    let round = || {
        let queue = full();
        let sleepers = twice(&queue);
        let wake = move || assert_eq!(queue.get_many(2).expect("messages").len(), 2);
        (sleepers, wake)
    };
    assert_wakes(round, |queue| queue.put(3).expect("room"));
}

#[test]
fn a_close_wakes_all() {
    let round = |queue: fn() -> Numbers| {
        let queue = queue();
        let sleepers = twice(&queue);
        let wake = move || queue.close().expect("a lock");
        (sleepers, wake)
    };
    assert_wakes(
        || round(unbounded),
        |queue| assert!(matches!(queue.get(), Err(GetError::Closed))),
    );
    assert_wakes(
        || round(full),
        |queue| assert!(matches!(queue.put(3), Err(PutError::Closed(3)))),
    );
}

#[test]
fn an_end_that_is_dropped_wakes_the_other() {
    let round = || {
        let (sender, receiver) = channel::<u64>(1).expect("a channel");
        let sleepers = vec![receiver.with_wait(Wait::Sleep)];
        (sleepers, move || drop(sender))
    };
    assert_wakes(round, |mut receiver| {
        assert!(matches!(receiver.recv(), Err(GetError::Closed)));
    });
    let round = || {
        let (mut sender, receiver) = channel::<u64>(1).expect("a channel");
        sender.send(1).expect("room");
        let sleepers = vec![sender.with_wait(Wait::Sleep)];
        (sleepers, move || drop(receiver))
    };
    assert_wakes(round, |mut sender| {
        assert!(matches!(sender.send(2), Err(PutError::Closed(2))));
    });
}

#[test]
fn a_value_wakes_the_other_end() {
    let round = || {
        let (mut sender, receiver) = channel::<u64>(1).expect("a channel");
        let sleepers = vec![receiver.with_wait(Wait::Sleep)];
        let wake = move || {
            sender.send(1).expect("room");
            sender
        };
        (sleepers, wake)
    };
    assert_wakes(round, |mut receiver| {
        assert_eq!(receiver.recv().expect("a value"), 1);
    });
    let round = || {
        let (mut sender, mut receiver) = channel::<u64>(1).expect("a channel");
        sender.send(1).expect("room");
        let sleepers = vec![sender.with_wait(Wait::Sleep)];
        let wake = move || {
            assert_eq!(receiver.recv().expect("a value"), 1);
            receiver
        };
        (sleepers, wake)
    };
    assert_wakes(round, |mut sender| sender.send(2).expect("room"));
}

#[test]
fn a_put_that_fails_passes_its_wake_on() {
    let round = || {
        let queue = Queue::<Vec<u8>, Bytes>::builder()
            .room(1 << 20)
            .bounded(1)
            .create()
            .expect("a queue")
            .with_wait(Wait::Sleep);
        queue.put(vec![1]).expect("room");
        let too_long = vec![2; queue.max_message() + 1];
        let sleepers = vec![(queue.clone(), too_long), (queue.clone(), vec![3])];
        let wake = move || drop(queue.get().expect("a message"));
        (sleepers, wake)
    };
    assert_wakes(round, |(queue, message)| match queue.put(message) {
        // Room for the other one, should it be woken later.
        Ok(()) => drop(queue.get().expect("a message")),
        Err(error) => assert!(matches!(error, PutError::TooLarge { .. })),
    });
}

/// All of them fail, but each looks.
#[test]
fn a_get_that_fails_passes_its_wake_on() {
    let events: Vec<_> = (0..40).map(|_| Event::new().expect("an event")).collect();
    let child = Forked::new(|| {
        leave_descriptors(20);
        let round = || {
            let queue = Queue::<Vec<Event>>::new().expect("a queue");
            let queue = queue.with_wait(Wait::Sleep);
            let sleepers = vec![queue.clone(), queue.clone()];
            let wake = || {
                queue.put(events.clone()).expect("room");
                queue
            };
            (sleepers, wake)
        };
        assert_wakes(round, |queue| {
            let error = queue.get().expect_err("too few descriptors");
            assert_eq!(error.kind(), ErrorKind::TooManyDescriptors);
        });
        true
    });
    assert!(child.succeeds());
}
