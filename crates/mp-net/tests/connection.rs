//! What is sent is received whole, or is an error.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_net::Connection;
use mp_object::{Event, Lock, message, transfer};
use mp_os::clock::Deadline;
use mp_testkit::{PATIENCE, UniqueName, Watchdog};
use serde::{Deserialize, Serialize};

/// Two connections with each other.
fn both() -> (Connection, Connection) {
    let (one, other) = UnixStream::pair().unwrap();
    (
        Connection::without_key(one).unwrap(),
        Connection::without_key(other).unwrap(),
    )
}

/// A connection, and a socket whose bytes the test writes.
fn with_raw() -> (Connection, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    (Connection::without_key(one).unwrap(), other)
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    Nothing,
    Words(Vec<String>),
    Number { value: f64 },
}

#[test]
fn messages_of_any_type_come_in_order() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (mut one, mut other) = both();
    let words = Message::Words(vec!["hello".to_owned(), String::new()]);
    one.send(&words).unwrap();
    one.send(&Message::Number { value: 0.5 }).unwrap();
    one.send(&Message::Nothing).unwrap();
    one.send_bytes(b"").unwrap();
    one.send_bytes(&[7; 1000]).unwrap();
    assert_eq!(other.recv::<Message>().unwrap(), words);
    assert_eq!(
        other.recv::<Message>().unwrap(),
        Message::Number { value: 0.5 }
    );
    assert_eq!(other.recv::<Message>().unwrap(), Message::Nothing);
    assert_eq!(other.recv_bytes().unwrap(), b"");
    assert_eq!(other.recv_bytes().unwrap(), [7; 1000]);
}

#[test]
fn a_message_larger_than_the_socket_goes_both_ways() {
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let (mut one, mut other) = both();
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let echo = thread::spawn(move || {
        let bytes = other.recv_bytes()?;
        other.send_bytes(&bytes)
    });
    one.send_bytes(&large).unwrap();
    assert!(one.recv_bytes().unwrap() == large);
    echo.join().unwrap().unwrap();
}

#[test]
fn two_threads_send_and_receive_at_the_same_time() {
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let (one, other) = both();
    let large = vec![1_u8; 2_000_000];
    let run = |(mut sender, mut receiver): (mp_net::Sender, mp_net::Receiver)| {
        let large = large.clone();
        let sending = thread::spawn(move || sender.send_bytes(&large));
        let receiving = thread::spawn(move || receiver.recv_bytes().map(|bytes| bytes.len()));
        [
            sending.join().unwrap().map(|()| 0),
            receiving.join().unwrap(),
        ]
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| run(one.into_split()));
        let second = scope.spawn(|| run(other.into_split()));
        for [sent, received] in [first.join().unwrap(), second.join().unwrap()] {
            sent.unwrap();
            assert_eq!(received.unwrap(), 2_000_000);
        }
    });
}

#[test]
fn a_dropped_side_is_closed_after_what_it_sent() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (mut one, mut other) = both();
    one.send(&5).unwrap();
    drop(one);
    assert_eq!(other.recv::<i32>().unwrap(), 5);
    assert!(other.poll(Deadline::NEVER).unwrap());
    for _ in 0..2 {
        assert_eq!(other.recv::<i32>().unwrap_err().kind(), ErrorKind::Closed);
    }
    assert_eq!(mp_object::wait(&[&other], Duration::ZERO).unwrap(), [0]);
    assert_eq!(other.send(&5).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn half_a_message_is_never_received() {
    let _watchdog = Watchdog::new(PATIENCE);
    for half in [&b"\0\0"[..], b"\0\0\0\x08half", b"\xff\xff\xff\xff\0\0"] {
        let (mut one, mut raw) = with_raw();
        raw.write_all(half).unwrap();
        drop(raw);
        let error = one.recv_bytes().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
        let error = one.recv_bytes().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(!error.to_string().contains("was received"), "{error}");
    }
}

#[test]
fn a_length_that_is_none_ends_the_connection() {
    let _watchdog = Watchdog::new(PATIENCE);
    for (header, kind) in [
        (&[0x7f, 0xff, 0xff, 0xff][..], ErrorKind::WrongSize),
        (&[0xff; 12], ErrorKind::WrongSize),
        (b"\x80\0\0\0", ErrorKind::Corrupt),
    ] {
        let (mut one, mut raw) = with_raw();
        raw.write_all(header).unwrap();
        let error = one.recv_bytes().unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(one.recv_bytes().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(raw.read(&mut [0; 8]).unwrap(), 0, "the peer sees the end");
    }
}

#[test]
fn the_limit_holds_for_both_directions() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (one, other) = both();
    let (mut one, mut other) = (one.with_longest(10), other.with_longest(9));
    let error = one.send_bytes(&[0; 11]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.to_string().contains("11 bytes where 10 are the most"),
        "{error}"
    );
    one.send_bytes(&[0; 9]).unwrap();
    one.send_bytes(&[0; 10]).unwrap();
    assert_eq!(other.recv_bytes().unwrap(), [0; 9]);
    assert_eq!(other.recv_bytes().unwrap_err().kind(), ErrorKind::WrongSize);
}

#[test]
fn what_came_before_the_deadline_stays_for_the_next_call() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (mut one, mut raw) = with_raw();
    for (part, comes) in [
        (&b"\0\0\0"[..], false),
        (b"\x05he", false),
        (b"ll", false),
        (b"o", true),
    ] {
        raw.write_all(part).unwrap();
        assert_eq!(one.poll(Duration::ZERO).unwrap(), comes);
        if !comes {
            let error = one
                .recv_bytes_timeout(Duration::from_millis(1))
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
    }
    assert_eq!(one.recv_bytes().unwrap(), b"hello");
}

#[test]
fn a_message_that_poll_has_received_is_ready_for_wait() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (mut one, mut other) = both();
    one.send_bytes(b"hello").unwrap();
    assert_eq!(mp_object::wait(&[&other], Duration::ZERO).unwrap(), [0]);
    assert!(other.poll(Duration::ZERO).unwrap());
    let never = Event::new().unwrap();
    assert_eq!(
        mp_object::wait(&[&never, &other], Duration::MAX).unwrap(),
        [1]
    );
    assert_eq!(other.recv_bytes().unwrap(), b"hello");
    assert!(
        mp_object::wait(&[&never, &other], Duration::ZERO)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_message_that_does_not_fit_the_buffer_stays() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (mut one, mut other) = both();
    one.send_bytes(b"seven b").unwrap();
    let mut buffer = [0; 7];
    let error = other
        .recv_bytes_into_timeout(&mut buffer[..6], Duration::ZERO)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize);
    assert!(
        error.to_string().contains("7 bytes, the buffer only 6"),
        "{error}"
    );
    assert_eq!(
        other
            .recv_bytes_into_timeout(&mut buffer, Duration::ZERO)
            .unwrap(),
        7
    );
    assert_eq!(&buffer, b"seven b");
}

#[test]
fn a_full_socket_times_out_and_loses_nothing() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (mut one, mut other) = both();
    let mut sent = 0_u64;
    let late = loop {
        // Eight bytes go whole or not at all.
        match one.send_bytes_timeout(&sent.to_ne_bytes(), Duration::ZERO) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(late.kind(), ErrorKind::TimedOut, "{late}");
    for number in 0..sent {
        assert_eq!(other.recv_bytes().unwrap(), number.to_ne_bytes());
    }
    one.send_bytes(b"there is room again").unwrap();
    assert_eq!(other.recv_bytes().unwrap(), b"there is room again");
}

#[test]
fn a_message_that_was_sent_in_part_ends_the_connection() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (mut one, mut other) = both();
    let error = one.send_bytes_timeout(&vec![0; 64 << 20], Duration::from_millis(5));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("of 67108864 bytes"), "{error}");
    assert_eq!(
        one.send_bytes(b"more").unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(other.recv_bytes().unwrap_err().kind(), ErrorKind::Truncated);
}

#[test]
fn shared_objects_stay_on_their_machine() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (mut one, mut other) = both();
    let name = UniqueName::new("net");
    let lock = Lock::new().unwrap();
    let named = Lock::create_named(&name).unwrap();
    for error in [
        one.send(&lock).unwrap_err(),
        one.send(&(1, named)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Encode);
        assert!(
            error.to_string().contains("stays on its machine"),
            "{error}"
        );
    }
    one.send(&1).unwrap();
    assert_eq!(
        other.recv::<i32>().unwrap(),
        1,
        "nothing of the others was sent"
    );
}

#[test]
fn made_up_bytes_open_no_shared_object_by_its_name() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (mut one, mut other) = both();
    let name = UniqueName::new("net-by-name");
    let named = Lock::create_named(&name).unwrap();
    let (bytes, _) = transfer::message(transfer::Way::Names, || message::write(&named));
    one.send_bytes(&bytes.unwrap()).unwrap();
    let error = other.recv::<Lock>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("by a name"), "{error}");
    one.send(&1).unwrap();
    assert_eq!(other.recv::<i32>().unwrap(), 1);
    Lock::unlink(&name).unwrap();
}

#[test]
fn a_message_of_another_type_is_taken_and_the_next_one_comes() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (mut one, mut other) = both();
    one.send(&"no number".to_owned()).unwrap();
    one.send(&3_u8).unwrap();
    let error = other.recv::<u8>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(
        error.to_string().contains("10 bytes is not a u8"),
        "{error}"
    );
    assert_eq!(other.recv::<u8>().unwrap(), 3);
}

/// A level takes two: the structure and its option.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nested(Option<Box<Nested>>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf(BTreeMap<String, (u8, char)>),
    Branches { left: Vec<Tree>, right: Box<Tree> },
}

#[test]
fn a_value_that_is_too_deep_is_an_error_and_not_the_end() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (mut one, mut other) = both();
    let nested = |levels: usize| [vec![1; levels], vec![0]].concat();
    for levels in [10_000, 250] {
        one.send_bytes(&nested(levels)).unwrap();
        let error = other.recv::<Nested>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(
            error.to_string().contains("more than 500 levels"),
            "{error}"
        );
    }
    one.send_bytes(&nested(249)).unwrap();
    let mut value = other.recv::<Nested>().unwrap();
    let mut levels = 0;
    while let Some(inside) = value.0 {
        value = *inside;
        levels += 1;
    }
    assert_eq!(levels, 249);
    let leaf = || Tree::Leaf([("one".to_owned(), (1, 'a')), (String::new(), (2, 'b'))].into());
    let tree = Tree::Branches {
        left: vec![leaf(), leaf()],
        right: Box::new(leaf()),
    };
    one.send(&tree).unwrap();
    assert_eq!(other.recv::<Tree>().unwrap(), tree);
}

#[test]
fn a_value_of_the_most_levels_arrives_and_a_deeper_one_is_not_sent() {
    let _watchdog = Watchdog::new(PATIENCE);
    let (mut one, mut other) = both();
    // Of 2 * count - 1 levels.
    let nested = |count: usize| {
        let next = |inside| Nested(Some(Box::new(inside)));
        (1..count).fold(Nested(None), |inside, _| next(inside))
    };
    let error = one.send(&nested(251)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode, "{error}");
    one.send(&vec![nested(250)]).unwrap();
    assert!(other.recv::<Vec<Nested>>().unwrap() == [nested(250)]);
}

#[test]
fn what_is_no_stream_is_refused() {
    let file = std::fs::File::open("/proc/self/stat").unwrap();
    let error = Connection::without_key(file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
