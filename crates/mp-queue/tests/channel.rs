//! What a channel does, in one process and across two.

use std::time::{Duration, Instant};

use mp_layout::{Error, ErrorKind};
use mp_object::transfer;
use mp_queue::{GetError, PutError, Receiver, Sender, Wait, channel};
use mp_testkit::{Forked, Watchdog, stay};

const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn values_come_in_order_however_one_waits() {
    let _watchdog = Watchdog::new(LIMIT);
    for wait in [Wait::Adaptive, Wait::Sleep, Wait::Spin] {
        let (sender, receiver) = channel::<u64>(3).expect("a channel");
        let (mut sender, mut receiver) = (sender.with_wait(wait), receiver.with_wait(wait));
        std::thread::scope(|scope| {
            scope.spawn(move || (0..5000).for_each(|n| sender.send(n).expect("a receiver")));
            for n in 0..5000 {
                assert_eq!(receiver.recv().expect("a value"), n);
            }
            let error = receiver.recv().expect_err("the sender is gone");
            assert!(matches!(error, GetError::Closed), "{error:?}");
        });
    }
}

#[test]
fn full_and_empty_are_told_with_the_value() {
    let (mut sender, mut receiver) = channel::<i32>(2).expect("a channel");
    assert!(matches!(receiver.try_recv(), Err(GetError::Empty)));
    assert!(matches!(
        receiver.recv_timeout(Duration::from_millis(5)),
        Err(GetError::Empty)
    ));
    sender.try_send(1).expect("room");
    sender.send_timeout(2, Duration::MAX).expect("room");
    assert!(matches!(sender.try_send(3), Err(PutError::Full(3))));
    assert!(matches!(
        sender.send_timeout(3, Duration::from_millis(5)),
        Err(PutError::Full(3))
    ));
    assert_eq!((sender.len(), receiver.len(), sender.capacity()), (2, 2, 2));
    assert_eq!(receiver.recv_timeout(Duration::MAX).expect("a value"), 1);
}

#[test]
fn a_dropped_receiver_closes() {
    let _watchdog = Watchdog::new(LIMIT);
    let (mut sender, receiver) = channel::<i32>(1).expect("a channel");
    sender.send(1).expect("room");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || sender.with_wait(Wait::Sleep).send(2));
        drop(receiver);
        assert!(matches!(
            waiting.join().expect("no panic"),
            Err(PutError::Closed(2))
        ));
    });
}

#[test]
fn batches_pass() {
    let _watchdog = Watchdog::new(LIMIT);
    let (mut sender, mut receiver) = channel::<u32>(100).expect("a channel");
    let numbers: Vec<u32> = (0..10_000).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send_many(&numbers).expect("a receiver"));
        let (mut got, mut part) = (Vec::new(), [0; 64]);
        while got.len() < numbers.len() {
            let count = receiver.recv_many(&mut part).expect("values");
            got.extend_from_slice(&part[..count]);
        }
        assert_eq!(got, numbers);
    });
    assert_eq!(receiver.recv_many(&mut []).expect("nothing asked for"), 0);
}

#[test]
fn batches_wait_no_longer_than_they_are_told() {
    let (mut sender, mut receiver) = channel::<u32>(3).expect("a channel");
    let mut values = [0; 8];
    let span = Duration::from_millis(20);
    for nothing in [
        receiver.try_recv_many(&mut values),
        receiver.recv_many_timeout(&mut values, Duration::ZERO),
        receiver.recv_many_timeout(&mut values, Instant::now() + span),
    ] {
        assert!(matches!(nothing, Err(GetError::Empty)), "{nothing:?}");
    }
    let start = Instant::now();
    let error = sender
        .send_many_timeout(&[1, 2, 3, 4], span)
        .expect_err("room for three");
    assert!(start.elapsed() >= span);
    assert!(matches!(error.error, PutError::Full(())), "{error}");
    assert_eq!((error.put, receiver.try_recv().expect("a value")), (3, 1));
    let error = sender.try_send_many(&[5, 6]).expect_err("room for one");
    assert_eq!((error.put, Error::from(error).kind()), (1, ErrorKind::Full));
    assert_eq!(receiver.try_recv_many(&mut values).expect("values"), 3);
    assert_eq!(values[..3], [2, 3, 5]);
    drop(receiver);
    let error = sender.try_send_many(&[7]).expect_err("no receiver");
    assert_eq!(
        (error.put, Error::from(error).kind()),
        (0, ErrorKind::Closed)
    );
}

#[test]
fn impossible_capacities_are_refused() {
    for capacity in [0, usize::MAX, usize::MAX / 8] {
        let error = channel::<u64>(capacity).expect_err("no such channel");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{capacity}");
    }
}

#[test]
fn an_end_is_passed_on_once() {
    let (mut sender, mut receiver) = channel::<u8>(4).expect("a channel");
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(&sender));
    let bytes = bytes.expect("a handle");
    let spent = sender.send(1).expect_err("passed on");
    assert_eq!(Error::from(spent).kind(), ErrorKind::InvalidState);
    let (again, _) = transfer::outgoing(|| postcard::to_stdvec(&sender));
    again.expect_err("passed on already");
    drop(sender);
    let copies = descriptors
        .iter()
        .map(|one| one.try_clone().expect("a descriptor"))
        .collect();
    let mut there: Sender<u8> =
        transfer::incoming(descriptors, || postcard::from_bytes(&bytes)).expect("the sender");
    let second: Result<Sender<u8>, _> = transfer::incoming(copies, || postcard::from_bytes(&bytes));
    second.expect_err("claimed");
    there.send(7).expect("a receiver");
    assert_eq!(receiver.recv().expect("a value"), 7);
    drop(there);
    assert!(matches!(receiver.recv(), Err(GetError::Closed)));
}

#[test]
fn a_killed_sender_closes_after_what_it_sent() {
    let _watchdog = Watchdog::new(LIMIT);
    let (sender, mut receiver) = channel::<u64>(10).expect("a channel");
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(&sender));
    let bytes = bytes.expect("a handle");
    drop(sender);
    let child = Forked::new(|| {
        let mut sender: Sender<u64> =
            transfer::incoming(descriptors, || postcard::from_bytes(&bytes)).expect("the sender");
        sender.send(1).expect("a receiver");
        sender.send(2).expect("a receiver");
        stay()
    });
    assert_eq!(receiver.recv().expect("a value"), 1);
    assert_eq!(receiver.recv().expect("a value"), 2);
    assert!(
        matches!(
            receiver.recv_timeout(Duration::from_millis(300)),
            Err(GetError::Empty)
        ),
        "it lives"
    );
    child.kill_and_reap();
    assert!(matches!(receiver.recv(), Err(GetError::Closed)));
}

#[test]
fn a_killed_receiver_closes_when_there_is_no_room() {
    let _watchdog = Watchdog::new(LIMIT);
    let (mut sender, receiver) = channel::<u64>(2).expect("a channel");
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(&receiver));
    let bytes = bytes.expect("a handle");
    drop(receiver);
    let child = Forked::new(|| {
        let mut receiver: Receiver<u64> =
            transfer::incoming(descriptors, || postcard::from_bytes(&bytes)).expect("the receiver");
        assert_eq!(receiver.recv().expect("a value"), 1);
        stay()
    });
    sender.send(1).expect("room");
    sender.send(2).expect("room");
    sender.send(3).expect("room once the child has received");
    child.kill_and_reap();
    assert!(matches!(sender.send(4), Err(PutError::Closed(4))));
}

#[test]
fn a_forked_copy_does_not_end_the_channel() {
    let (mut sender, mut receiver) = channel::<u8>(2).expect("a channel");
    let mut copy = Some(&mut sender);
    let child = Forked::new(|| {
        // What the child has is a copy in its own memory; dropping it must not speak for the
        // parent.
        if let Some(sender) = copy.take() {
            // SAFETY: the child leaves by _exit, so nobody drops it a second time.
            drop(unsafe { std::ptr::read(sender) });
        }
        true
    });
    assert!(child.succeeds());
    sender.send(5).expect("still open");
    assert_eq!(receiver.recv().expect("a value"), 5);
}
