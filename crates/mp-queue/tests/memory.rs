//! The room and the memory of a queue: what it takes, keeps and gives back.

use std::time::Duration;

use mp_layout::{Error, ErrorKind};
use mp_queue::{Bytes, Plain, PutError, Queue};
use mp_testkit::Watchdog;

const LIMIT: Duration = Duration::from_secs(300);

/// Room of which 1.75 MiB, as of any that is smaller, keep their memory.
const LITTLE_ROOM: usize = 64 << 20;

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
fn a_long_queue_grows_and_comes_back() {
    let queue = Queue::builder().room(LITTLE_ROOM).create();
    let queue: Queue<Vec<u8>, Bytes> = queue.expect("a queue");
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
    let queue = Queue::<[u64; 16], Plain>::builder()
        .room(LITTLE_ROOM)
        .create();
    let queue = queue.expect("a queue");
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

/// New memory costs a message of 64 KiB much more than its copies.
#[test]
fn a_queue_that_is_long_and_empty_in_turns_keeps_its_memory() {
    let queue = Queue::bytes().expect("a queue");
    let message = vec![7; 64 << 10];
    let mut taken = Vec::new();
    for _ in 0..3 {
        for _ in 0..100 {
            queue.put_bytes(&message).expect("room");
        }
        for _ in 0..100 {
            assert_eq!(queue.get().expect("a message"), message);
        }
        taken.push(memory_of(&queue));
    }
    assert!(taken[0] >= 100 * (64 << 10), "{taken:?}");
    assert_eq!(taken, [taken[0]; 3]);
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
    assert!(memory_of(&queue) < 17 << 20, "{} bytes", memory_of(&queue));
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
