//! Bytes that are no messages, and control words that another program overwrote.

use mp_layout::{Error, ErrorKind};
use mp_queue::{GetError, Plain, Queue};
use mp_testkit::UniqueName;

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
