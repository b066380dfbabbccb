//! The two ends of a queue within one process: what is put and got, and when an end is gone.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_object::transfer;
use mp_queue::{GetError, PutError, Queue, QueueReceiver, QueueSender, Wait};
use mp_testkit::{PATIENCE, Watchdog};
use serde::Serialize;
use serde::de::DeserializeOwned;

const MOMENT: Duration = Duration::from_millis(10);

fn watchdog() -> Watchdog {
    Watchdog::new(PATIENCE * 2)
}

/// What a process gets that an end is passed to.
fn passed<E: Serialize + DeserializeOwned>(end: &E) -> E {
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(end));
    let bytes = bytes.expect("an end");
    transfer::incoming(descriptors, || postcard::from_bytes(&bytes)).expect("the same end")
}

#[test]
fn what_was_put_is_got_before_the_senders_are_gone() {
    let (sender, receiver) = Queue::ends().expect("a queue");
    for number in 0..1000_u32 {
        sender.put((number, number.to_string())).expect("room");
    }
    assert_eq!((receiver.len(), receiver.is_empty()), (1000, false));
    drop(sender);
    for number in 0..1000_u32 {
        let got = receiver.get().expect("it was put");
        assert_eq!(got, (number, number.to_string()));
    }
    assert!(matches!(receiver.get(), Err(GetError::Closed)));
    assert!(matches!(receiver.try_get(), Err(GetError::Closed)));
    assert!(matches!(
        receiver.get_timeout(Duration::MAX),
        Err(GetError::Closed)
    ));
}

#[test]
fn an_end_is_there_until_its_last_copy_is_dropped() {
    let _watchdog = watchdog();
    let (sender, receiver) = Queue::<u32>::ends().expect("a queue");
    let (copy, elsewhere) = (sender.clone(), passed(&sender));
    drop(sender);
    assert!(matches!(receiver.try_get(), Err(GetError::Empty)));
    drop(copy);
    assert!(matches!(receiver.get_timeout(MOMENT), Err(GetError::Empty)));
    elsewhere.put(1).expect("room");
    drop(elsewhere);
    assert_eq!(
        receiver.iter().collect::<Result<Vec<_>, _>>().expect("it"),
        [1]
    );

    let (sender, receiver) = Queue::ends().expect("a queue");
    let elsewhere: QueueReceiver<u32> = passed(&receiver);
    drop(receiver);
    sender.put(2).expect("a receiver is there");
    assert_eq!(elsewhere.get().expect("it was put"), 2);
    drop(elsewhere);
    assert!(matches!(sender.put(3), Err(PutError::Closed(3))));
}

#[test]
fn a_sender_in_a_message_counts_as_there() {
    let _watchdog = watchdog();
    let (sender, receiver) = Queue::<u32>::ends().expect("a queue");
    let carrier = Queue::<QueueSender<u32>>::new().expect("a queue");
    carrier.put(sender).expect("room");
    assert!(matches!(receiver.get_timeout(MOMENT), Err(GetError::Empty)));
    let arrived = carrier.get().expect("it was put");
    arrived.put(7).expect("room");
    drop(arrived);
    assert_eq!(receiver.get().expect("it was put"), 7);
    assert!(matches!(receiver.get(), Err(GetError::Closed)));
}

#[test]
fn a_sender_in_a_message_that_is_never_got_ends_with_the_message() {
    let _watchdog = watchdog();
    let (sender, receiver) = Queue::<u32>::ends().expect("a queue");
    let carrier = Queue::<QueueSender<u32>>::new().expect("a queue");
    carrier.put(sender).expect("room");
    drop(carrier);
    assert!(matches!(receiver.get(), Err(GetError::Closed)));
}

#[test]
fn those_that_sleep_hear_that_the_other_end_is_gone() {
    let _watchdog = watchdog();
    let (sender, receiver) = Queue::<u8>::ends().expect("a queue");
    let (full, taken_by) = Queue::builder().bounded(1).ends().expect("a queue");
    full.put(0_u8).expect("room");
    let together = Barrier::new(3);
    thread::scope(|scope| {
        scope.spawn(|| {
            let receiver = receiver.clone().with_wait(Wait::Sleep);
            together.wait();
            assert!(matches!(receiver.get(), Err(GetError::Closed)));
        });
        scope.spawn(|| {
            let full = full.clone().with_wait(Wait::Sleep);
            together.wait();
            assert!(matches!(full.put(1), Err(PutError::Closed(1))));
        });
        together.wait();
        drop((sender, taken_by));
    });
}

#[test]
fn a_full_queue_gives_the_value_back() {
    let (sender, receiver) = Queue::builder().bounded(1).ends().expect("a queue");
    sender.put("a".to_owned()).expect("room");
    for refused in [
        sender.try_put("b".to_owned()),
        sender.put_timeout("b".to_owned(), MOMENT),
    ] {
        assert!(matches!(refused, Err(PutError::Full(value)) if value == "b"));
    }
    assert_eq!(receiver.get().expect("it was put"), "a");
    sender.put("b".to_owned()).expect("room");
    let error = Queue::<u8>::builder().bounded(0).ends();
    let error = error.expect_err("no room for anything");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn the_room_of_a_queue_with_ends_is_the_builders() {
    let (sender, _receiver) = Queue::builder().room(256 << 10).ends().expect("a queue");
    let error = sender.put("x".repeat(1 << 20)).expect_err("too long");
    assert!(matches!(error, PutError::TooLarge { .. }), "{error:?}");
}

#[test]
fn a_receiver_is_waited_for_with_others() {
    let (sender, receiver) = Queue::ends().expect("a queue");
    let (_other_sender, other) = Queue::<u8>::ends().expect("a queue");
    let ready = || mp_object::wait(&[&other, &receiver], Duration::ZERO).expect("a wait");
    assert!(ready().is_empty());
    sender.put(1_u8).expect("room");
    assert_eq!(ready(), [1]);
    receiver.get().expect("it was put");
    drop(sender);
    assert_eq!(ready(), [1], "the senders are gone");
}
