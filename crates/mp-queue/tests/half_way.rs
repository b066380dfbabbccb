//! What ends half-way: a message that fails while it is written, and a receiver that goes while one
//! is sent.
#![cfg(not(miri))]

use std::thread;

use mp_layout::ErrorKind;
use mp_object::Event;
use mp_queue::{JoinableQueue, PutError, Queue, pipe, pipe_one_way, pipe_one_way_bounded};
use mp_testkit::{Forked, PATIENCE, Watchdog};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

/// Some bytes, an object, and then what may refuse to be written.
#[derive(Debug, Deserialize, Serialize)]
struct Parts {
    before: Vec<u64>,
    object: Event,
    last: Last,
}

#[derive(Debug, Deserialize, PartialEq)]
enum Last {
    Fits,
    Refuses,
}

impl Serialize for Last {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fits => serializer.serialize_unit_variant("Last", 0, "Fits"),
            Self::Refuses => Err(S::Error::custom("it refuses")),
        }
    }
}

fn parts(last: Last) -> Parts {
    Parts {
        before: vec![7; 10_000],
        object: Event::new().expect("an event"),
        last,
    }
}

#[track_caller]
fn assert_comes_back(put: Result<(), PutError<Parts>>) {
    let error = put.expect_err("it refuses");
    assert!(matches!(error, PutError::Encode(..)), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Encode);
    let value = error.into_inner();
    assert_eq!((value.before.len(), value.last), (10_000, Last::Refuses));
    value.object.set();
}

fn open_descriptors() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").expect("/proc is mounted");
    open.count()
}

#[test]
fn a_message_that_fails_half_way_is_not_sent_and_comes_back() {
    // Alone, so that descriptors can be counted.
    let child = Forked::new(|| {
        let queue = Queue::new().expect("a queue");
        let tasks = JoinableQueue::new().expect("a queue");
        let (sender, receiver) = Queue::ends().expect("a queue");
        let (left, right) = pipe::<Parts, Parts>().expect("a pipe");
        let before = open_descriptors();
        for _ in 0..3 {
            assert_comes_back(queue.put(parts(Last::Refuses)));
            assert_comes_back(tasks.put(parts(Last::Refuses)));
            assert_comes_back(sender.put(parts(Last::Refuses)));
            assert_comes_back(left.send(parts(Last::Refuses)));
            assert!(queue.is_empty() && tasks.is_empty() && receiver.is_empty());
            assert_eq!(tasks.unfinished(), 0);
        }
        assert_eq!(
            open_descriptors(),
            before,
            "those of the refused objects are closed"
        );
        let object_of = |got: Parts| {
            assert_eq!(got.last, Last::Fits);
            got.object
        };
        let message = parts(Last::Fits);
        let object = message.object.clone();
        queue.put(message).expect("it fits");
        let same = object_of(queue.get().expect("the one that fits"));
        assert!(
            same.object().is_same(object.object()),
            "not a refused one's"
        );
        tasks.put(parts(Last::Fits)).expect("it fits");
        object_of(tasks.get().expect("the one that fits"));
        sender.put(parts(Last::Fits)).expect("it fits");
        object_of(receiver.get().expect("the one that fits"));
        left.send(parts(Last::Fits)).expect("it fits");
        object_of(right.recv().expect("the one that fits"));
        true
    });
    assert!(child.succeeds());
}

#[test]
fn a_batch_ends_before_the_message_that_fails_half_way() {
    let queue = Queue::new().expect("a queue");
    let batch = [Last::Fits, Last::Fits, Last::Refuses, Last::Fits].map(parts);
    let error = queue.put_many(&batch).expect_err("the third refuses");
    assert_eq!((error.put, queue.len()), (2, 2));
    assert!(matches!(error.error, PutError::Encode(..)), "{error:?}");
    for message in &batch[..2] {
        let got = queue.get().expect("it was put");
        assert!(got.object.object().is_same(message.object.object()));
    }
}

/// The receiver goes at any instant of a send: the sender's next error has its whole message.
#[test]
fn a_receiver_that_goes_in_the_middle_of_a_message_ends_the_sender() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    for size in [1, 5000, 300_000, 4 << 20] {
        for is_bounded in [true, false] {
            let (reader, writer) = match is_bounded {
                true => pipe_one_way_bounded::<Vec<u64>>(2).expect("a pipe"),
                // Nothing else slows the sender down, until its reader is gone.
                false if size > 5000 => continue,
                false => pipe_one_way::<Vec<u64>>().expect("a pipe"),
            };
            let sender = thread::spawn(move || {
                let mut message = vec![0; size / 8 + 1];
                for number in 0.. {
                    message.fill(number);
                    match writer.send(message) {
                        Ok(()) => message = vec![0; size / 8 + 1],
                        Err(PutError::Closed(back)) => return (back, number),
                        Err(error) => panic!("{error}"),
                    }
                }
                unreachable!("numbers do not end")
            });
            let first = reader.recv().expect("the first message");
            assert!(first.iter().all(|&number| number == 0) && first.len() == size / 8 + 1);
            drop(reader);
            let (back, number) = sender.join().expect("no panic");
            assert!(back.len() == size / 8 + 1 && back.iter().all(|&n| n == number));
        }
    }
}
