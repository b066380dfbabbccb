//! What a queue does, in one process.

use std::time::{Duration, Instant};

use mp_layout::{Error, ErrorKind};
use mp_object::transfer;
use mp_queue::{Bytes, Deadline, GetError, Plain, PutError, Queue, Wait};
use mp_testkit::{UniqueName, Watchdog};

const LIMIT: Duration = Duration::from_secs(300);

/// Bytes of memory behind the queue's segment.
fn memory_of<T, C: mp_queue::Codec<T>>(queue: &Queue<T, C>) -> u64 {
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::fs::MetadataExt;
    let descriptor = queue.object().as_fd().as_raw_fd();
    let file =
        std::fs::metadata(format!("/proc/self/fd/{descriptor}")).expect("an open descriptor");
    file.blocks() * 512
}

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
fn a_long_queue_grows_and_comes_back() {
    let queue = Queue::bytes().expect("a queue");
    let message = |n: u32| {
        let mut bytes = vec![n as u8; 1000 + n as usize % 500];
        bytes[..4].copy_from_slice(&n.to_le_bytes());
        bytes
    };
    let empty = memory_of(&queue);
    let (mut put, mut got) = (0, 0);
    // Grows to 20 MB by two steps forward and one back, then shrinks to nothing, three times.
    for _ in 0..3 {
        for step in 0..30_000 {
            queue.put_bytes(&message(put)).expect("room");
            put += 1;
            if step % 2 == 1 {
                assert_eq!(queue.get().expect("a message"), message(got));
                got += 1;
            }
        }
        assert_eq!(queue.len(), (put - got) as usize);
        assert!(memory_of(&queue) > 15 << 20);
        while got < put {
            assert_eq!(queue.get().expect("a message"), message(got));
            got += 1;
        }
        assert!(queue.is_empty());
        let left = memory_of(&queue);
        assert!(left <= empty + (2 << 20), "{left} bytes are still taken");
    }
}

#[test]
fn a_short_queue_stays_in_little_memory() {
    let queue = Queue::<[u64; 8], Plain>::plain().expect("a queue");
    for n in 0..200_000 {
        queue.put([n; 8]).expect("room");
        assert_eq!(queue.get().expect("a message"), [n; 8]);
    }
    assert!(memory_of(&queue) < 400 << 10, "{} bytes", memory_of(&queue));
}

#[test]
fn a_queue_that_never_empties_gives_memory_back() {
    let queue = Queue::<[u64; 16], Plain>::plain().expect("a queue");
    let (mut put, mut got) = (0, 0);
    while put < 100_000 {
        queue.put([put; 16]).expect("room");
        put += 1;
    }
    let grown = memory_of(&queue);
    // From here on there are always 10 messages, and no consumer ever finds the queue empty.
    while got < put - 10 {
        assert_eq!(queue.get().expect("a message"), [got; 16]);
        got += 1;
    }
    for _ in 0..20_000 {
        queue.put([put; 16]).expect("room");
        put += 1;
        assert_eq!(queue.get().expect("a message"), [got; 16]);
        got += 1;
    }
    let settled = memory_of(&queue);
    assert!(
        settled < grown && settled < 3 << 20,
        "{settled} bytes of {grown}"
    );
}

#[test]
fn a_message_of_256_mebibytes_passes_and_its_memory_is_given_back() {
    let _watchdog = Watchdog::new(LIMIT);
    let queue = Queue::bytes().expect("a queue");
    let mut long: Vec<u8> = vec![0xa5; 256 << 20];
    long.iter_mut()
        .step_by(4093)
        .zip((0..=255).cycle())
        .for_each(|(byte, n)| *byte = n);
    queue.put_bytes(&long).expect("room");
    queue.put_bytes(b"short").expect("room");
    assert!(memory_of(&queue) >= 256 << 20);
    assert!(queue.get().expect("a message") == long, "torn");
    assert_eq!(queue.get().expect("a message"), b"short");
    assert!(memory_of(&queue) < 3 << 20, "{} bytes", memory_of(&queue));
}

#[test]
fn a_message_beyond_the_room_is_refused_with_both_figures() {
    let queue = Queue::<Vec<u8>, Bytes>::builder()
        .room(1 << 20)
        .create()
        .expect("a queue");
    let max = queue.max_message();
    queue.put(vec![1; max]).expect("the longest");
    let error = queue.put(vec![2; max + 1]).expect_err("too large");
    let text = error.to_string();
    assert!(
        text.contains(&max.to_string()) && text.contains(&(max + 1).to_string()),
        "{text}"
    );
    assert!(matches!(&error, PutError::TooLarge { value, .. } if value.len() == max + 1));
    assert_eq!(Error::from(error).kind(), ErrorKind::InvalidInput);
    assert_eq!(queue.get().expect("a message").len(), max);
}

#[test]
fn a_message_goes_on_where_a_block_ends() {
    let queue = Queue::bytes().expect("a queue");
    let message = |len: usize| -> Vec<u8> { (0..len).map(|at| (at / 7 + len) as u8).collect() };
    // The first fills the block up to each of its last units, and beyond.
    for first in (16_384 - 8 - 8 - 40)..=(16_384 - 8 - 8) {
        for len in [0, 1, 8, 9, 16_368, 16_376, 16_377, 32_752, 50_000] {
            queue.put(message(first)).expect("room");
            queue.put(message(len)).expect("room");
            queue.put(message(3)).expect("room");
            for len in [first, len, 3] {
                assert!(
                    queue.get().expect("a message") == message(len),
                    "{first}, {len}"
                );
            }
            // To the start of a block again.
            let unit = word_of_tail(&queue) & 0xfff;
            let rest = (2048 - unit as usize) * 8;
            if rest > 0 {
                queue.put(vec![0; rest - 8]).expect("room");
                queue.get().expect("a message");
            }
        }
    }
}

/// The place of the queue's tail.
fn word_of_tail<T, C: mp_queue::Codec<T>>(queue: &Queue<T, C>) -> u32 {
    use mp_layout::atomic::{AtomicU32, Ordering};
    // SAFETY: bare words, reached by nobody with a reference to more.
    let payload = unsafe { queue.object().payload() };
    let word: &AtomicU32 = payload.place(128).expect("a word");
    word.load(Ordering::Relaxed)
}

#[test]
fn a_plain_value_that_goes_on_in_the_next_block_is_whole() {
    let queue = Queue::<[u64; 3], Plain>::plain().expect("a queue");
    for round in 0..10_000 {
        queue.put([round, !round, round << 20]).expect("room");
        assert_eq!(queue.get().expect("a value"), [round, !round, round << 20]);
    }
}

#[test]
fn a_message_of_half_the_room_fits_beside_as_many_others() {
    let queue = Queue::<Vec<u8>, Bytes>::builder()
        .room(1 << 20)
        .create()
        .expect("a queue");
    for round in 0..50_u8 {
        // Each time from another place.
        queue
            .put(vec![round; 10_000 * (1 + usize::from(round) % 7)])
            .expect("room");
        queue.put(vec![round; 512 << 10]).expect("room for half");
        for n in 0..38 {
            queue
                .put(vec![n; 9_000])
                .expect("room for a third beside it");
        }
        queue.get().expect("a message");
        assert!(queue.get().expect("a message") == vec![round; 512 << 10]);
        for n in 0..38 {
            assert_eq!(queue.get().expect("a message"), vec![n; 9_000]);
        }
    }
}

#[test]
fn an_unbounded_queue_that_has_no_room_left_refuses_and_goes_on() {
    let queue = Queue::<Vec<u8>, Bytes>::builder()
        .room(1 << 20)
        .create()
        .expect("a queue");
    let mut count = 0_u32;
    let refused = loop {
        match queue.put(vec![count as u8; 5000]) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, PutError::Failed(value, _) if value.len() == 5000));
    assert_eq!(Error::from(refused).kind(), ErrorKind::NotEnoughMemory);
    assert!(
        (208..210).contains(&count),
        "{count} messages of 5000 bytes in 1 MiB"
    );
    for n in 0..count {
        assert_eq!(queue.get().expect("a message"), vec![n as u8; 5000]);
    }
    queue.put(vec![9; 5000]).expect("room again");
    assert_eq!(queue.get().expect("a message"), [9; 5000]);
}

#[test]
fn a_bounded_queue_without_room_is_full() {
    let queue = Queue::<Vec<u8>, Bytes>::builder()
        .room(0)
        .bounded(1000)
        .create()
        .expect("a queue");
    let mut count = 0;
    while queue.try_put(vec![0; 5000]).is_ok() {
        count += 1;
    }
    assert_eq!(count, 52, "in 256 KiB");
    assert!(matches!(
        queue.try_put(vec![0; 5000]),
        Err(PutError::Full(_))
    ));
    // A block of 16 KiB is free when the messages in it were got.
    for _ in 0..4 {
        queue.get().expect("a message");
    }
    queue.try_put(vec![0; 5000]).expect("room again");
}

#[test]
fn a_bound_counts_messages_in_all_blocks() {
    let queue = Queue::<Vec<u8>, Bytes>::bytes_bounded(100).expect("a queue");
    for n in 0..100 {
        queue.put(vec![n; 20_000]).expect("room");
    }
    assert!(matches!(queue.try_put(vec![]), Err(PutError::Full(_))));
    assert_eq!(queue.len(), 100);
    queue.get().expect("a message");
    queue.put(vec![100]).expect("room for one");
    assert!(matches!(queue.try_put(vec![]), Err(PutError::Full(_))));
    for n in 1..=100 {
        assert_eq!(queue.get().expect("a message").first(), Some(&n));
    }
}

#[test]
fn what_does_not_decode_is_an_error_for_that_message_alone() {
    let name = UniqueName::new("decode");
    let texts = Queue::<String>::create_named(&name).expect("a queue");
    texts.put("good".to_owned()).expect("room");
    // A peer that writes other bytes into the same queue: the tag of the type is the same, its
    // values are not.
    let bad = Queue::<mask::String>::open(&name);
    assert_eq!(bad.expect_err("another type").kind(), ErrorKind::WrongType);
    let flags = Queue::<bool, Plain>::plain().expect("a queue");
    flags.put(true).expect("room");
    flip_last_byte_of_first_message(&flags);
    flags.put(false).expect("room");
    let error = flags.get().expect_err("2 is not a bool");
    assert!(matches!(error, GetError::Decode(_)), "{error:?}");
    assert_eq!(Error::from(error).kind(), ErrorKind::Decode);
    assert!(!flags.get().expect("the next one"));
}

mod mask {
    /// Has another path than the standard library's.
    pub(crate) type String = Vec<char>;
}

/// Writes 2 where the first message of a new queue has its first byte: after the control page, the
/// block's link and the record's header.
fn flip_last_byte_of_first_message<T, C: mp_queue::Codec<T>>(queue: &Queue<T, C>) {
    use mp_layout::atomic::{AtomicU8, Ordering};
    // SAFETY: nobody is at work on the queue.
    let payload = unsafe { queue.object().payload() };
    let byte: &AtomicU8 = payload.place(4096 + 8 + 8).expect("in block 0");
    byte.store(2, Ordering::Relaxed);
}

#[test]
fn bad_text_is_an_error_for_that_message_alone() {
    let queue = Queue::<String>::new().expect("a queue");
    queue.put("a".to_owned()).expect("room");
    queue.put("b".to_owned()).expect("room");
    queue.put("c".to_owned()).expect("room");
    // Its length becomes 2, where one byte follows.
    flip_last_byte_of_first_message(&queue);
    let items: Vec<_> = {
        let batch = queue.get_many(2).expect("two messages");
        batch.collect()
    };
    assert!(matches!(items[0], Err(GetError::Decode(_))), "{items:?}");
    assert!(matches!(&items[1], Ok(text) if text == "b"), "{items:?}");
    assert_eq!(queue.get().expect("the next one"), "c");
}

#[test]
fn corrupt_words_are_errors() {
    use mp_layout::atomic::{AtomicU32, Ordering};
    let room = 1 << 20;
    let expect_corrupt = |offset: usize, value: u32, what: &str| {
        let queue = Queue::<u64, Plain>::builder().room(room).create();
        let queue = queue.expect("a queue");
        // To the end of block 0 and on, and all got but one message.
        for n in 0..5000 {
            queue.put(n).expect("room");
        }
        for n in 0..4999 {
            assert_eq!(queue.get().expect("a message"), n);
        }
        // SAFETY: bare words, reached by nobody with a reference to more.
        let word: &AtomicU32 = unsafe { queue.object().payload() }
            .place(offset)
            .expect("a word");
        word.store(value, Ordering::Relaxed);
        // To the end of the block after it: where a block ends, all words are looked at.
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let put = queue.try_put_many(&[5; 12_000]).map_err(Error::from);
            kinds.extend(put.err().map(|error| error.kind()));
            for _ in 0..12_000 {
                match queue.try_get() {
                    Ok(_) => {}
                    Err(GetError::Empty) => break,
                    Err(error) => {
                        kinds.push(Error::from(error).kind());
                        break;
                    }
                }
            }
        }
        assert!(kinds.contains(&ErrorKind::Corrupt), "{what}: {kinds:?}");
        assert!(queue.len() <= room / 8, "{what}: {}", queue.len());
    };
    let block = |block: usize| 4096 + (block << 14);
    for (offset, value, what) in [
        (128, 0, "tail in no unit"),
        (128, 64 << 12 | 1, "tail in a block that does not exist"),
        (128, 20 << 12 | 1, "tail in a block that is free"),
        (144, 64, "oldest block"),
        (256, 0, "head in no unit"),
        (256, 64 << 12 | 1, "head in a block that does not exist"),
        (256, 20 << 12 | 1, "head in a block that is free"),
        (264, 64 << 12 | 1, "tail as seen"),
        (block(4) + 4, 1000, "number of a block"),
        (1024 + 4 * 8, 1000, "place of the stack"),
    ] {
        expect_corrupt(offset, value, what);
    }
}

#[test]
fn a_count_that_the_records_do_not_have_is_an_error() {
    use mp_layout::atomic::{AtomicU32, Ordering};
    for count in [0, u32::MAX] {
        let queue = Queue::<u64, Plain>::plain().expect("a queue");
        queue.put(1).expect("room");
        // SAFETY: bare words, reached by nobody with a reference to more.
        let tails_count: &AtomicU32 = unsafe { queue.object().payload() }
            .place(128 + 4)
            .expect("a word");
        tails_count.store(count, Ordering::Relaxed);
        let error = Error::from(queue.try_get().expect_err("no such count"));
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{count}: {error}");
    }
}

#[test]
fn a_record_beyond_the_tail_is_an_error() {
    use mp_layout::atomic::{AtomicU32, Ordering};
    for (len, what) in [
        (100, "in the block"),
        (100_000, "in the next"),
        (u32::MAX, "nowhere"),
    ] {
        let queue = Queue::<u64, Plain>::plain().expect("a queue");
        queue.put(1).expect("room");
        // SAFETY: bare words, reached by nobody with a reference to more.
        let word: &AtomicU32 = unsafe { queue.object().payload() }
            .place(4096 + 8)
            .expect("a word");
        word.store(len, Ordering::Relaxed);
        let error = Error::from(queue.try_get().expect_err(what));
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        assert!(error.to_string().contains(&len.to_string()), "{error}");
    }
}

#[test]
fn more_memory_than_there_can_be_is_not_believed() {
    use mp_layout::atomic::{AtomicU32, Ordering};
    let queue = Queue::<u64, Plain>::builder()
        .room(0)
        .create()
        .expect("a queue");
    queue.put(1).expect("room");
    // SAFETY: bare words, reached by nobody with a reference to more.
    let backed: &AtomicU32 = unsafe { queue.object().payload() }
        .place(148)
        .expect("a word");
    assert_eq!(backed.swap(u32::MAX, Ordering::Relaxed), 4);
    assert_eq!(queue.get().expect("the memory is there all the same"), 1);
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
