//! Queues where memory, addresses or files are short: errors that say what to do, and no message
//! lost.

use mp_layout::{Error, ErrorKind};
use mp_queue::{Bytes, PutError, Queue};
use mp_testkit::{Argument, Forked, own_dev_shm, refuse};

fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a valid structure.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

#[track_caller]
fn assert_says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::NotEnoughMemory, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing: {text}");
    }
}

#[test]
#[ignore = "needs the right to mount"]
fn a_full_dev_shm_refuses_a_put_and_loses_nothing() {
    let child = Forked::new(|| {
        own_dev_shm(1 << 20);
        let queue = Queue::<Vec<u8>, Bytes>::create_named("jobs").expect("its first pages");
        let mut count = 0_u32;
        let refused = loop {
            match queue.put(vec![count as u8; 5000]) {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(&refused, PutError::Failed(value, _) if value.len() == 5000));
        let words = [
            "put to a queue: ",
            "\"jobs\"",
            "/dev/shm has ",
            " were asked for",
            "--shm-size",
        ];
        assert_says(&refused.into(), &words);
        assert!(
            (190..210).contains(&count),
            "{count} messages of 5000 bytes in 1 MiB"
        );
        for n in 0..count {
            assert_eq!(queue.get().expect("a message"), vec![n as u8; 5000]);
        }
        // What memory it has is all that there is now.
        for round in 0..1000 {
            for n in 0..20 {
                queue
                    .put(vec![n; 5000])
                    .unwrap_or_else(|error| panic!("round {round}: {error}"));
            }
            for n in 0..20 {
                assert_eq!(queue.get().expect("a message"), vec![n; 5000]);
            }
        }
        true
    });
    assert!(child.succeeds());
}

/// Puts messages whose lengths `len` gives until one is refused, and returns how many are in.
fn fill(queue: &Queue<Vec<u8>, Bytes>, len: impl Fn(u8) -> usize) -> u8 {
    let mut count = 0;
    let refused = loop {
        match queue.put(vec![count; len(count)]) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert_says(&refused.into(), &["/dev/shm has ", " were asked for"]);
    count
}

/// The memory ends within what a put reserves ahead.
#[test]
#[ignore = "needs the right to mount"]
fn a_put_beyond_the_memory_is_refused_and_gets_make_room_again() {
    // 8 bytes come before the records of a block, 8 before each: in the second case one ends where
    // the first block does.
    for (first, others, least) in [(5000, 5000, 20), (4096 - 8 - 8, 4088, 25)] {
        let len = |n| if n == 0 { first } else { others };
        let child = Forked::new(|| {
            own_dev_shm(120 << 10);
            let queue = Queue::<Vec<u8>, Bytes>::create_named("jobs").expect("its first pages");
            let in_memory = fill(&queue, len);
            assert!((least..29).contains(&in_memory), "{in_memory} in 120 KiB");
            for round in 0..100 {
                let count = if round == 0 { in_memory } else { 5 };
                for n in 0..count {
                    let (got, len) = (queue.get().expect("a message"), len(n));
                    assert_eq!(got, vec![n; if round == 0 { len } else { 4088 }]);
                }
                for n in 0..5 {
                    let put = queue.put(vec![n; 4088]);
                    put.unwrap_or_else(|error| panic!("round {round}: {error}"));
                }
            }
            while queue.try_get().is_ok() {}
            let again = fill(&queue, |_| 4088);
            assert!(again + 4 >= in_memory, "{again} after {in_memory}");
            for n in 0..again {
                assert_eq!(queue.get().expect("a message"), vec![n; 4088]);
            }
            true
        });
        assert!(child.succeeds());
    }
}

/// The next block's place of the stack is the first that is not in the control page, and there is
/// no memory for it either.
#[test]
#[ignore = "needs the right to mount"]
fn a_put_is_refused_where_memory_ends_before_the_other_places() {
    let child = Forked::new(|| {
        // The header, the control page and 768 blocks of 16 KiB.
        own_dev_shm((12 << 20) + 8192);
        let queue = Queue::<Vec<u8>, Bytes>::create_named("jobs").expect("its first pages");
        for _ in 0..3 {
            let count = fill(&queue, |_| 160_000);
            assert!(count >= 77, "{count} in 12 MiB");
            for n in 0..count {
                assert!(queue.get().expect("a message") == vec![n; 160_000]);
            }
        }
        true
    });
    assert!(child.succeeds());
}

/// As above, where the memory file refuses those places alone.
#[test]
fn a_put_is_refused_where_the_other_places_have_no_memory() {
    let child = Forked::new(|| {
        let queue = Queue::<Vec<u8>, Bytes>::builder().room(16 << 20).create();
        let queue = queue.expect("its first pages");
        // SAFETY: the length alone is asked for.
        let len = unsafe { queue.object().payload() }.len() + queue.object().payload_offset();
        let places = Argument {
            index: 2,
            mask: u32::MAX,
            value: (len - 4096) as u32, // 1024 - 768 of them, in the last page
        };
        refuse(libc::SYS_fallocate, libc::ENOSPC, Some(places));
        let mut count = 0;
        while queue.put(vec![count; 160_000]).is_ok() {
            count += 1;
        }
        assert!((77..=78).contains(&count), "{count} in 768 blocks");
        for n in 0..count {
            assert!(queue.get().expect("a message") == vec![n; 160_000]);
        }
        true
    });
    assert!(child.succeeds());
}

/// Has the kernel answer `errno` to every `fallocate` of this mode.
fn refuse_fallocate(mode: libc::c_int, errno: i32) {
    let mode = Argument {
        index: 1,
        mask: u32::MAX,
        value: mode.unsigned_abs(),
    };
    refuse(libc::SYS_fallocate, errno, Some(mode));
}

/// Both the reservation and giving back what it may have got are refused: the put says so as one
/// that found no memory.
#[test]
fn a_refusal_to_give_memory_back_does_not_hide_that_there_is_none() {
    let child = Forked::new(|| {
        let queue = Queue::bytes().expect("its first pages");
        refuse_fallocate(libc::FALLOC_FL_KEEP_SIZE, libc::ENOSPC);
        refuse_fallocate(
            libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            libc::EIO,
        );
        let mut count = 0;
        let refused = loop {
            match queue.put(vec![count; 5000]) {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        let words = ["put to a queue: reserve memory for", "give back pages of"];
        assert_says(&refused.into(), &words);
        assert_eq!(count, 13, "messages of 5000 bytes in the first 64 KiB");
        // Gets make room again, a block of 16 KiB each time they come to its end.
        for _ in 0..5 {
            queue.get().expect("a message");
        }
        for n in 0..100 {
            queue.put(vec![n; 5000]).expect("room");
            assert_eq!(queue.get().expect("a message").len(), 5000);
        }
        queue.len() == 8
    });
    assert!(child.succeeds());
}

#[test]
#[ignore = "needs the right to mount"]
fn no_room_for_a_first_page_is_told() {
    let child = Forked::new(|| {
        own_dev_shm(4096);
        let refused = Queue::<u8>::create_named("jobs").expect_err("it needs more");
        assert_says(
            &refused,
            &["\"jobs\"", "/dev/shm has 4096 bytes left", "were asked for"],
        );
        true
    });
    assert!(child.succeeds());
}

#[test]
fn too_few_addresses_are_told_with_the_way_out() {
    let named = mp_testkit::UniqueName::new("addresses");
    drop(Queue::<u8>::create_named(&named).expect("a queue"));
    let child = Forked::new(|| {
        limit(libc::RLIMIT_AS, 1 << 30);
        for refused in [Queue::<u8>::new(), Queue::open(&named)] {
            let refused = refused.expect_err("4 GiB of addresses");
            assert_says(
                &refused,
                &["ulimit -v", " MiB left, 4097 MiB", "Queue::builder().room("],
            );
        }
        let small = Queue::<u8>::builder()
            .room(16 << 20)
            .create()
            .expect("as the error says");
        small.put(1).expect("room");
        small.get().expect("a message") == 1
    });
    assert!(child.succeeds());
}

#[test]
fn too_small_files_are_told_with_the_way_out() {
    let child = Forked::new(|| {
        limit(libc::RLIMIT_FSIZE, 64 << 20);
        let refused = Queue::<u8>::new().expect_err("a file of 4 GiB");
        assert_says(
            &refused,
            &["ulimit -f", "64 MiB, 4097 MiB", "Queue::builder().room("],
        );
        let small = Queue::<u8>::builder()
            .room(16 << 20)
            .create()
            .expect("as the error says");
        small.put(1).expect("room");
        small.get().expect("a message") == 1
    });
    assert!(child.succeeds());
}
