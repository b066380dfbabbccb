//! What a queue does, in one process.

use std::time::{Duration, Instant};

use mp_layout::{Error, ErrorKind};
use mp_object::transfer;
use mp_queue::{Bytes, Deadline, GetError, Plain, PutError, Queue, Wait};
use mp_testkit::{UniqueName, Watchdog};

const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn messages_come_in_order() {
    let queue = Queue::new().expect("a queue");
    for number in 0..1000_u32 {
        queue.put((number, number.to_string())).expect("room");
    }
    assert_eq!(
        (queue.len(), queue.is_full(), queue.capacity()),
        (1000, false, None)
    );
    for number in 0..1000_u32 {
        assert_eq!(
            queue.get().expect("a message"),
            (number, number.to_string())
        );
    }
    assert!(queue.is_empty());
}

#[test]
fn a_full_queue_gives_the_value_back() {
    let queue = Queue::bounded(2).expect("a queue");
    queue.put("a".to_owned()).expect("room");
    queue.put("b".to_owned()).expect("room");
    assert!(queue.is_full());
    for refused in [
        queue.try_put("c".to_owned()),
        queue.put_timeout("c".to_owned(), Duration::ZERO),
        queue.put_timeout("c".to_owned(), Duration::from_millis(20)),
    ] {
        let error = refused.expect_err("no room");
        assert!(
            matches!(&error, PutError::Full(value) if value == "c"),
            "{error:?}"
        );
        assert_eq!(Error::from(error).kind(), ErrorKind::Full);
    }
    assert_eq!(queue.get().expect("a message"), "a");
    queue
        .put_timeout("c".to_owned(), Duration::MAX)
        .expect("room");
    assert_eq!((queue.len(), queue.capacity()), (2, Some(2)));
}

#[test]
fn an_empty_queue_says_so() {
    let queue = Queue::<String>::new().expect("a queue");
    for nothing in [
        queue.try_get(),
        queue.get_timeout(Duration::ZERO),
        queue.get_timeout(Duration::from_millis(20)),
    ] {
        let error = nothing.expect_err("nothing to get");
        assert!(matches!(error, GetError::Empty), "{error:?}");
        assert_eq!(Error::from(error).kind(), ErrorKind::Empty);
    }
}

#[test]
fn a_time_is_a_span_or_a_moment_or_a_deadline() {
    let queue = Queue::bytes_bounded(1).expect("a queue");
    let span = Duration::from_millis(20);
    let moment = Instant::now() + span;
    queue.get_timeout(moment).expect_err("nothing to get");
    assert!(Instant::now() >= moment);
    let deadline = Deadline::after(span);
    let mut bytes = vec![7];
    for nothing in [
        queue.try_get_bytes_into(&mut bytes),
        queue.get_bytes_into_timeout(&mut bytes, deadline),
    ] {
        assert!(matches!(nothing, Err(GetError::Empty)), "{nothing:?}");
    }
    assert!(deadline.is_expired() && bytes == [7]);
    queue.try_put_bytes(b"first").expect("room");
    for full in [
        queue.try_put_bytes(b"second"),
        queue.put_bytes_timeout(b"second", span),
        queue.put_bytes_timeout(b"second", Deadline::PASSED),
    ] {
        assert!(matches!(full, Err(PutError::Full(()))), "{full:?}");
    }
    assert_eq!(queue.get_timeout(Deadline::NEVER).expect("it"), b"first");
}

#[test]
fn a_timeout_is_not_cut_short() {
    let queue = Queue::<u8>::bounded(1).expect("a queue");
    let span = Duration::from_millis(40);
    let start = Instant::now();
    queue.get_timeout(span).expect_err("nothing to get");
    assert!(start.elapsed() >= span);
    queue.put(1).expect("room");
    let start = Instant::now();
    queue.put_timeout(2, span).expect_err("no room");
    assert!(start.elapsed() >= span);
}

#[test]
fn impossible_bounds_are_refused_and_huge_ones_are_not() {
    let error = Queue::<u8>::bounded(0).expect_err("no room for anything");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for bound in [usize::MAX - 1, usize::MAX, u32::MAX as usize, 1 << 32] {
        let queue = Queue::bounded(bound).expect("a queue");
        queue.put(7_u8).expect("room");
        assert_eq!((queue.len(), queue.get().expect("a message")), (1, 7));
    }
}

#[test]
fn gets_drain_a_closed_queue() {
    let queue = Queue::new().expect("a queue");
    queue.put(1).expect("room");
    queue.put(2).expect("room");
    queue.close().expect("a lock");
    queue.close().expect("closing twice is closing");
    let error = queue.put(3).expect_err("closed");
    assert!(matches!(error, PutError::Closed(3)), "{error:?}");
    let rest: Vec<i32> = queue.iter().collect::<Result<_, _>>().expect("messages");
    assert_eq!(rest, [1, 2]);
    for ended in [
        queue.get(),
        queue.try_get(),
        queue.get_timeout(Duration::MAX),
    ] {
        let error = ended.expect_err("closed");
        assert!(matches!(error, GetError::Closed), "{error:?}");
    }
    assert!(queue.is_closed());
}

#[test]
fn closing_wakes_everybody() {
    let _watchdog = Watchdog::new(LIMIT);
    let (empty, full) = (
        Queue::<u8>::new().expect("a queue"),
        Queue::<u8>::bounded(1).expect("a queue"),
    );
    full.put(0).expect("room");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let getter = empty.clone().with_wait(Wait::Sleep);
            scope.spawn(move || assert!(matches!(getter.get(), Err(GetError::Closed))));
            let putter = full.clone().with_wait(Wait::Sleep);
            scope.spawn(move || assert!(matches!(putter.put(9), Err(PutError::Closed(9)))));
        }
        empty.close().expect("a lock");
        full.close().expect("a lock");
    });
}

#[test]
fn a_put_waits_for_room_and_a_get_for_a_message() {
    let _watchdog = Watchdog::new(LIMIT);
    for wait in [Wait::Adaptive, Wait::Sleep, Wait::Spin] {
        let queue = Queue::bounded(1).expect("a queue").with_wait(wait);
        std::thread::scope(|scope| {
            let sender = queue.clone();
            scope.spawn(move || (0..2000).for_each(|number| sender.put(number).expect("open")));
            for number in 0..2000 {
                assert_eq!(queue.get().expect("a message"), number);
            }
        });
    }
}

#[test]
fn each_producers_messages_stay_in_order() {
    const PRODUCERS: u64 = 3;
    const EACH: u64 = 20_000;
    let _watchdog = Watchdog::new(LIMIT);
    let queue = Queue::<[u64; 2], Plain>::plain_bounded(64).expect("a queue");
    let take_all =
        || -> Vec<[u64; 2]> { queue.iter().map(|got| got.expect("a message")).collect() };
    std::thread::scope(|scope| {
        let consumers = [scope.spawn(take_all), scope.spawn(take_all)];
        let put_all = |producer| (0..EACH).for_each(|n| queue.put([producer, n]).expect("open"));
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| scope.spawn(move || put_all(producer)))
            .collect();
        for producer in producers {
            producer.join().expect("no panic");
        }
        queue.close().expect("a lock");
        let mut count = [0; PRODUCERS as usize];
        for consumer in consumers {
            let mut last = [None; PRODUCERS as usize];
            for [producer, n] in consumer.join().expect("no panic") {
                assert!(last[producer as usize] < Some(n), "out of order");
                last[producer as usize] = Some(n);
                count[producer as usize] += 1;
            }
        }
        assert_eq!(count, [EACH; PRODUCERS as usize]);
    });
}

#[test]
fn batches_keep_order_and_count() {
    let _watchdog = Watchdog::new(LIMIT);
    let queue = Queue::new().expect("a queue");
    let words: Vec<String> = (0..5000).map(|n| "x".repeat(n % 90)).collect();
    queue.put_many(&words).expect("room");
    assert_eq!(queue.len(), 5000);
    let mut got = Vec::new();
    while got.len() < 5000 {
        let batch = queue.get_many(700).expect("messages");
        assert!((1..=700).contains(&batch.len()));
        got.extend(batch.map(|word| word.expect("a word")));
    }
    assert_eq!(got, words);
}

#[test]
fn a_batch_waits_for_room() {
    let _watchdog = Watchdog::new(LIMIT);
    let queue = Queue::<u32, Plain>::plain_bounded(7).expect("a queue");
    let numbers: Vec<u32> = (0..1000).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| queue.put_many(&numbers).expect("open"));
        let mut got = Vec::new();
        while got.len() < 1000 {
            got.extend(
                queue
                    .get_many(3)
                    .expect("messages")
                    .map(|n| n.expect("a number")),
            );
        }
        assert_eq!(got, numbers);
    });
}

#[test]
fn batches_wait_no_longer_than_they_are_told() {
    let queue = Queue::<u32, Plain>::plain_bounded(7).expect("a queue");
    let span = Duration::from_millis(20);
    for nothing in [queue.try_get_many(5), queue.get_many_timeout(5, span)] {
        assert!(matches!(nothing, Err(GetError::Empty)));
    }
    let numbers: Vec<u32> = (0..10).collect();
    let error = queue.try_put_many(&numbers).expect_err("room for seven");
    assert!(matches!(error.error, PutError::Full(())));
    assert_eq!((error.put, queue.len()), (7, 7));
    let start = Instant::now();
    let error = queue.put_many_timeout(&numbers[7..], span);
    assert_eq!(error.expect_err("no room").put, 0);
    assert!(start.elapsed() >= span);
    let batch = queue.try_get_many(100).expect("messages");
    let got: Vec<u32> = batch.map(|n| n.expect("a number")).collect();
    assert_eq!(got, numbers[..7]);
    queue.close().expect("a lock");
    assert!(matches!(queue.try_get_many(5), Err(GetError::Closed)));
}

#[test]
fn a_batch_that_fails_says_how_far_it_came() {
    let queue = Queue::<Vec<u8>, Bytes>::builder()
        .room(0)
        .create()
        .expect("a queue");
    let messages = [vec![1], vec![2; 10], vec![3; 250 << 10], vec![4]];
    let error = queue.put_many(&messages).expect_err("too large");
    assert_eq!(error.put, 2);
    assert!(matches!(
        error.error,
        PutError::TooLarge {
            len: 256_000,
            max: 245_632,
            ..
        }
    ));
    assert_eq!(queue.len(), 2);
}

#[test]
fn handles_travel_and_names_open() {
    let queue = Queue::new().expect("a queue");
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(&queue));
    let bytes = bytes.expect("a handle");
    let same: Queue<String> =
        transfer::incoming(descriptors, || postcard::from_bytes(&bytes)).expect("a queue");
    queue.put("across".to_owned()).expect("room");
    assert_eq!(same.get().expect("a message"), "across");

    let name = UniqueName::new("queue");
    let made = Queue::<i64, Plain>::builder()
        .room(1 << 20)
        .bounded(3)
        .create_named(&name)
        .expect("new");
    let error = Queue::<i64, Plain>::create_named(&name).expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let opened = Queue::<i64, Plain>::open(&name).expect("there");
    let again = Queue::<i64, Plain>::open_or_create(&name).expect("there");
    made.put(-1).expect("room");
    assert_eq!(
        (
            opened.capacity(),
            again.len(),
            opened.get().expect("a message")
        ),
        (Some(3), 1, -1)
    );
    for (wrong, what) in [
        (Queue::<i32, Plain>::open(&name).err(), "another type"),
        (Queue::<i64>::open(&name).err(), "another codec and type"),
    ] {
        assert_eq!(wrong.expect(what).kind(), ErrorKind::WrongType, "{what}");
    }
    Queue::<i64, Plain>::unlink(&name).expect("there");
    assert_eq!(
        Queue::<i64, Plain>::open(&name).expect_err("gone").kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn another_codec_of_the_same_type_does_not_open() {
    let name = UniqueName::new("codec");
    let _bytes = Queue::<Vec<u8>, Bytes>::create_named(&name).expect("a queue");
    let error = Queue::<u8, Plain>::open(&name).expect_err("bytes are no plain values");
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert!(error.to_string().contains("bytes"), "{error}");
}

#[test]
fn what_cannot_be_encoded_comes_back() {
    use std::os::unix::ffi::OsStringExt;
    let queue = Queue::<std::path::PathBuf>::new().expect("a queue");
    let path = std::ffi::OsString::from_vec(vec![b'a', 255]);
    let error = queue.put(path.clone().into()).expect_err("no text");
    assert!(matches!(error, PutError::Encode(..)), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert_eq!(error.into_inner(), path);
    assert!(queue.is_empty());
}

#[test]
fn a_serde_message_of_a_megabyte_passes() {
    let queue = Queue::new().expect("a queue");
    let message = ("é".repeat(500_000), vec![u64::MAX; 1000]);
    queue.put(message.clone()).expect("room");
    assert!(queue.get().expect("a message") == message, "torn");
}

#[test]
fn put_never_waits_without_a_bound() {
    // A producer that is joined before anybody gets.
    let _watchdog = Watchdog::new(LIMIT);
    let queue = Queue::new().expect("a queue");
    let sender = queue.clone();
    std::thread::spawn(move || {
        for n in 0..200_u32 {
            sender.put(vec![n; 20_000]).expect("room");
        }
    })
    .join()
    .expect("no panic");
    assert_eq!(queue.len(), 200);
    assert_eq!(queue.get().expect("a message"), [0; 20_000]);
}
