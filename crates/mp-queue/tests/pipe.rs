//! Pipes within one process: what is sent, what is refused, and when a side is gone.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_object::transfer;
use mp_queue::{
    Connection, GetError, Nothing, PutError, Wait, pipe, pipe_bounded, pipe_one_way,
    pipe_one_way_bounded,
};
use mp_testkit::{PATIENCE, Watchdog};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const MOMENT: Duration = Duration::from_millis(10);

fn watchdog() -> Watchdog {
    Watchdog::new(PATIENCE * 2)
}

/// What a process gets that a connection is passed to.
fn passed<C: Serialize, D: DeserializeOwned>(connection: &C) -> Result<D, postcard::Error> {
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(connection));
    transfer::incoming(descriptors, || {
        postcard::from_bytes(&bytes.expect("a handle"))
    })
}

#[test]
fn messages_pass_both_ways_in_their_order() {
    let _watchdog = watchdog();
    let (left, right) = pipe::<u64, String>().unwrap();
    let other = thread::spawn(move || {
        while let Ok(number) = right.recv() {
            right.send(format!("{number}")).unwrap();
        }
    });
    for number in 0..1000 {
        left.send(number).unwrap();
    }
    for number in 0..1000 {
        assert_eq!(left.recv().unwrap(), number.to_string());
    }
    drop(left);
    other.join().unwrap();
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
enum Mixed {
    End,
    Pair(i32, Option<bool>),
    Text { text: String },
}

#[test]
fn a_message_is_of_any_type() {
    let (left, right) = pipe::<Mixed, ()>().unwrap();
    let text = || Mixed::Text {
        text: "hello".to_owned(),
    };
    left.send(text()).unwrap();
    left.send(Mixed::Pair(-42, None)).unwrap();
    left.send(Mixed::End).unwrap();
    assert_eq!(right.recv().unwrap(), text());
    assert_eq!(right.recv().unwrap(), Mixed::Pair(-42, None));
    assert_eq!(right.recv().unwrap(), Mixed::End);
}

#[test]
fn the_side_is_there_until_its_last_connection_is_dropped() {
    let _watchdog = watchdog();
    let (left, right) = pipe::<u32, u32>().unwrap();
    let copy = left.clone();
    let elsewhere: Connection<u32> = passed(&left).unwrap();
    drop(left);
    assert!(matches!(right.try_recv(), Err(GetError::Empty)));
    drop(copy);
    right.send(1).unwrap();
    assert!(matches!(right.recv_timeout(MOMENT), Err(GetError::Empty)));
    assert_eq!(elsewhere.recv().unwrap(), 1);
    elsewhere.send(2).unwrap();
    drop(elsewhere);
    assert_eq!(right.recv().unwrap(), 2, "what was sent is received first");
    assert!(matches!(right.recv(), Err(GetError::Closed)));
    assert!(matches!(right.try_recv(), Err(GetError::Closed)));
    match right.send(3) {
        Err(PutError::Closed(3)) => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(right.try_send(3), Err(PutError::Closed(3))));
    assert!(matches!(right.send_bytes(&[3]), Err(PutError::Closed(()))));
}

#[test]
fn a_connection_on_its_way_keeps_its_side() {
    let (left, right) = pipe::<u32, u32>().unwrap();
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(&left));
    drop(left);
    right.send(1).unwrap();
    assert!(matches!(right.recv_timeout(MOMENT), Err(GetError::Empty)));
    let bytes = bytes.unwrap();
    let arrived: Connection<u32> =
        transfer::incoming(descriptors, || postcard::from_bytes(&bytes)).unwrap();
    assert_eq!(arrived.recv().unwrap(), 1);
    drop(arrived);
    assert!(matches!(right.recv(), Err(GetError::Closed)));
}

/// The side's own copies say nothing about the other side.
#[test]
fn a_side_does_not_keep_the_other() {
    let (left, right) = pipe::<u32, u32>().unwrap();
    let elsewhere: Connection<u32> = passed(&right).unwrap();
    drop(left);
    assert!(matches!(right.recv(), Err(GetError::Closed)));
    assert!(matches!(elsewhere.recv(), Err(GetError::Closed)));
    assert!(matches!(elsewhere.send(1), Err(PutError::Closed(1))));
}

#[test]
fn a_sleeping_receiver_and_a_sleeping_sender_hear_of_the_end() {
    let _watchdog = watchdog();
    let (left, right) = pipe_bounded::<u32, u32>(1).unwrap();
    let right = right.with_wait(Wait::Sleep);
    right.send(1).unwrap();
    let together = Barrier::new(3);
    thread::scope(|scope| {
        scope.spawn(|| {
            together.wait();
            assert!(matches!(right.recv(), Err(GetError::Closed)));
        });
        scope.spawn(|| {
            together.wait();
            assert!(matches!(right.send(2), Err(PutError::Closed(2))));
        });
        together.wait();
        drop(left);
    });
}

#[test]
fn a_pipe_of_one_way_goes_one_way() {
    let (reader, writer): (Connection<Nothing, u32>, Connection<u32, Nothing>) =
        pipe_one_way().unwrap();
    writer.send(7).unwrap();
    assert_eq!(reader.recv().unwrap(), 7);
    let reader: Connection<Nothing, u32> = passed(&reader).unwrap();
    drop(writer);
    assert!(matches!(reader.recv(), Err(GetError::Closed)));

    let (reader, writer) = pipe_one_way_bounded::<u32>(1).unwrap();
    writer.send(1).unwrap();
    assert!(matches!(writer.try_send(2), Err(PutError::Full(2))));
    drop(reader);
    assert!(matches!(writer.send(2), Err(PutError::Closed(2))));
}

#[test]
fn a_bounded_pipe_gives_back_what_has_no_room() {
    let _watchdog = watchdog();
    let (left, right) = pipe_bounded::<String, ()>(2).unwrap();
    for text in ["a", "b"] {
        left.send(text.to_owned()).unwrap();
    }
    let error = left.send_timeout("c".to_owned(), MOMENT).unwrap_err();
    assert!(matches!(error, PutError::Full(_)));
    thread::scope(|scope| {
        let sent = scope.spawn(|| left.send(error.into_inner()));
        assert_eq!(right.recv().unwrap(), "a");
        sent.join().unwrap().unwrap();
    });
    assert_eq!(right.recv().unwrap(), "b");
    assert_eq!(right.recv().unwrap(), "c");
    let refused = pipe_bounded::<(), ()>(0).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

#[test]
fn bytes_of_any_length_pass() {
    let _watchdog = watchdog();
    let (left, right) = pipe::<(), ()>().unwrap();
    let large: Vec<u8> = (0..16 << 20).map(|n: u32| (n % 251) as u8).collect();
    for bytes in [&[][..], &[1], &large, &[], &[2; 100]] {
        left.send_bytes(bytes).unwrap();
    }
    let mut buffer = vec![0; large.len()];
    assert_eq!(right.recv_bytes_into(&mut []).unwrap(), 0);
    assert_eq!(right.recv_bytes().unwrap(), [1]);
    assert_eq!(right.recv_bytes_into(&mut buffer).unwrap(), large.len());
    assert!(buffer == large);
    assert_eq!(right.recv_bytes().unwrap(), []);
    assert_eq!(right.try_recv_bytes().unwrap(), [2; 100]);
    assert!(matches!(right.try_recv_bytes(), Err(GetError::Empty)));
    assert!(matches!(
        right.recv_bytes_timeout(MOMENT),
        Err(GetError::Empty)
    ));
}

#[test]
fn a_message_that_does_not_fit_the_buffer_stays() {
    let (left, right) = pipe::<(), ()>().unwrap();
    left.send_bytes(b"four").unwrap();
    let mut buffer = [9; 3];
    for _ in 0..2 {
        let error = right.recv_bytes_into(&mut buffer).unwrap_err();
        assert!(matches!(error, GetError::TooLong { len: 4, most: 3 }));
        assert_eq!(error.kind(), ErrorKind::WrongSize);
    }
    assert_eq!(buffer, [9; 3]);
    let mut buffer = [9; 5];
    assert_eq!(right.try_recv_bytes_into(&mut buffer).unwrap(), 4);
    assert_eq!(&buffer, b"four\x09");
    let empty = right.recv_bytes_into_timeout(&mut buffer, MOMENT);
    assert!(matches!(empty, Err(GetError::Empty)));
}

#[test]
fn a_message_that_does_not_decode_is_an_error_for_it_alone() {
    let (left, right) = pipe::<Vec<u32>, String>().unwrap();
    right.send_bytes(&[5, b'a']).unwrap();
    right.send("next".to_owned()).unwrap();
    assert!(matches!(left.recv(), Err(GetError::Decode(_))));
    assert_eq!(left.recv().unwrap(), "next");
}

#[test]
fn the_messages_end_with_the_other_side() {
    let _watchdog = watchdog();
    let (reader, writer) = pipe_one_way::<String>().unwrap();
    for text in ["a", "b"] {
        writer.send(text.to_owned()).unwrap();
    }
    writer.send_bytes(&[9]).unwrap();
    writer.send("c".to_owned()).unwrap();
    drop(writer);
    let mut messages = reader.iter();
    assert_eq!(messages.next().unwrap().unwrap(), "a");
    assert_eq!(messages.next().unwrap().unwrap(), "b");
    assert!(matches!(messages.next(), Some(Err(GetError::Decode(_)))));
    assert_eq!(messages.next().unwrap().unwrap(), "c");
    assert!(messages.next().is_none() && messages.next().is_none());
}

#[test]
fn poll_tells_of_a_message_and_of_the_end() {
    let _watchdog = watchdog();
    let (left, right) = pipe::<u32, u32>().unwrap();
    assert!(!right.poll(Duration::ZERO).unwrap());
    assert!(!right.poll(MOMENT).unwrap());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| right.poll(PATIENCE));
        left.send(1).unwrap();
        assert!(waiting.join().unwrap().unwrap());
    });
    assert_eq!(right.recv().unwrap(), 1);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| right.poll(PATIENCE));
        drop(left);
        assert!(waiting.join().unwrap().unwrap());
    });
    assert!(right.poll(Duration::ZERO).unwrap());
    assert!(matches!(right.recv(), Err(GetError::Closed)));
}

/// One that polls is woken like one that receives, but takes nothing.
#[test]
fn a_poll_does_not_keep_the_message_from_a_receiver() {
    let _watchdog = watchdog();
    let (left, right) = pipe::<u32, u32>().unwrap();
    let right = right.with_wait(Wait::Sleep);
    for number in 0..100 {
        thread::scope(|scope| {
            let polling = scope.spawn(|| right.poll(PATIENCE));
            let receiving = scope.spawn(|| right.recv());
            left.send(number).unwrap();
            assert_eq!(receiving.join().unwrap().unwrap(), number);
            // Ends the poll, if the receiver was faster.
            left.send(number).unwrap();
            assert!(polling.join().unwrap().unwrap());
        });
        assert_eq!(right.recv().unwrap(), number);
    }
}

#[test]
fn threads_of_a_side_share_its_messages() {
    const EACH: u64 = 2000;
    let _watchdog = watchdog();
    let (left, right) = pipe_bounded::<u64, Nothing>(16).unwrap();
    let sum: u64 = thread::scope(|scope| {
        for sender in 0..3 {
            let left = left.clone();
            scope.spawn(move || (0..EACH).try_for_each(|n| left.send(sender * EACH + n)));
        }
        drop(left);
        let receive = || {
            let mut sum = 0;
            while let Ok(number) = right.recv() {
                sum += number;
            }
            sum
        };
        let receivers: Vec<_> = (0..3).map(|_| scope.spawn(receive)).collect();
        receivers.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(sum, 3 * EACH * (3 * EACH - 1) / 2);
}

#[test]
fn a_connection_arrives_with_its_types_only() {
    let (left, right) = pipe::<u32, String>().unwrap();
    assert!(passed::<_, Connection<u32, String>>(&left).is_ok());
    assert!(passed::<_, Connection<String, u32>>(&right).is_ok());
    assert!(passed::<_, Connection<String, u32>>(&left).is_err());
    assert!(passed::<_, Connection<u32, String>>(&right).is_err());
    assert!(postcard::to_stdvec(&left).is_err(), "bytes cannot carry it");
}

#[test]
fn a_damaged_handle_is_refused() {
    let (left, _right) = pipe::<u32, u32>().unwrap();
    let (bytes, _) = transfer::outgoing(|| postcard::to_stdvec(&left));
    let bytes = bytes.unwrap();
    for place in 0..bytes.len() {
        for value in [0, 1, 2, 7, 255] {
            let mut damaged = bytes.clone();
            damaged[place] = value;
            let (_, descriptors) = transfer::outgoing(|| postcard::to_stdvec(&left));
            let read: Result<Connection<u32>, _> =
                transfer::incoming(descriptors, || postcard::from_bytes(&damaged));
            // Two bytes may be changed without harm: the side, and what is as it was.
            assert!(read.is_err() || place == 0 && value < 2 || damaged == bytes);
        }
    }
}
