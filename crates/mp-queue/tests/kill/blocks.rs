//! The blocks that messages lie in: taken, put back, with memory and without.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

use killcheck::Check;
use mp_queue::{Bytes, Queue, Wait};

use super::{BACKED, BLOCK, BLOCKS, WHICH_PROCESSOR, begin, contents, copy, load, word};

/// Offsets in the payload: control words, the stack of free blocks, the blocks.
const TAIL: usize = 128;
const OLDEST: usize = 144;
const HEAD: usize = 256;
const STACK: usize = 1024;

/// The units of 8 bytes up to which cursors count, of which a block has one less.
const UNITS: u32 = 2048;

type Blobs = Queue<Vec<u8>, Bytes>;

/// A byte that no message here is made of, nor its length.
const POISON: u64 = u64::from_ne_bytes([0xee; 8]);

/// As it was made, but for the memory that it has: head and tail at the start of block 0. What was
/// written to the blocks is written over: a message that is committed before it is copied would
/// else be whole, since the trace or another victim copied it there before.
fn rewind(queue: &Blobs) {
    // SAFETY: bare words, reached by no other code with a reference to more.
    let payload = unsafe { queue.object().payload() };
    for block in 0..load(queue, BACKED) as usize {
        // After the block's link.
        let units = payload.place_slice::<AtomicU64>(BLOCKS + block * BLOCK + 8, BLOCK / 8 - 1);
        let units = units.expect("within the payload").iter();
        units.for_each(|unit| unit.store(POISON, Ordering::Relaxed));
    }
    for cursor in [TAIL, TAIL + 8, HEAD, HEAD + 8] {
        word(queue, cursor).store(1, Ordering::Relaxed);
        word(queue, cursor + 4).store(0, Ordering::Relaxed);
    }
    word(queue, OLDEST).store(0, Ordering::Relaxed);
    word(queue, BLOCKS + 4).store(0, Ordering::Relaxed);
    for place in 0..768 {
        word(queue, STACK + 4 * place).store(0, Ordering::Relaxed);
    }
}

/// That each block is in the queue's order or on the stack of free ones, and none twice (I3).
fn expect_whole(queue: &Blobs) -> Result<(), String> {
    let (oldest, newest) = (load(queue, OLDEST), load(queue, TAIL) >> 12);
    let mut seen = vec![oldest];
    while seen.last() != Some(&newest) {
        let last = *seen.last().expect("the oldest") as usize;
        seen.push(load(queue, BLOCKS + last * BLOCK));
        if seen.len() > 768 {
            return Err(format!("{newest} does not follow {oldest}"));
        }
    }
    if !seen.contains(&(load(queue, HEAD) >> 12)) {
        return Err(format!("the head is in none of {seen:?}"));
    }
    if load(queue, BACKED) < seen.len() as u32 {
        return Err(format!("{} blocks in use have no memory", seen.len()));
    }
    // The first place is that of the first free block. A queue under test has 768 places at least,
    // or all of them.
    let all = load(queue, 8).min(768);
    for place in seen.len() as u32..all {
        seen.push(match load(queue, STACK + 4 * place as usize) {
            0 => place,
            noted => noted - 1,
        });
    }
    let mut once = seen.clone();
    once.sort_unstable();
    once.dedup();
    if once.len() == seen.len() {
        Ok(())
    } else {
        Err(format!("twice: {seen:?}"))
    }
}

fn lengths(queue: &Blobs) -> Result<Vec<usize>, String> {
    let mut lengths = Vec::new();
    loop {
        match queue.try_get() {
            Ok(blob) if blob.iter().all(|&byte| byte == blob.len() as u8) => {
                lengths.push(blob.len());
            }
            Ok(blob) => return Err(format!("{} bytes, torn", blob.len())),
            Err(mp_queue::GetError::Empty) => return Ok(lengths),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Those that are put and got by a victim have less than 64 bytes: libc copies more in loops, whose
/// way depends on where the allocator puts them.
fn blob(len: usize) -> Vec<u8> {
    vec![len as u8; len]
}

/// Puts so many bytes that `left` are left of the block that the tail is in.
fn fill_block(queue: &Blobs, left: usize) {
    let unit = (load(queue, TAIL) & 0xfff) % UNITS;
    let rest = (UNITS - unit.max(1)) as usize * 8;
    queue.put(blob(rest - left - 8)).expect("room");
}

/// The tail at 24 bytes from the end of block 0, the head at its start.
fn fill_first_block(queue: &Blobs) {
    rewind(queue);
    fill_block(queue, 24);
}

const FILLED: usize = (UNITS as usize - 1) * 8 - 24 - 8;

fn put_into_next_block(name: &'static str) -> Check<'static, Blobs> {
    Check::new(name)
        .victim(|queue: &Blobs| queue.put(blob(53)).expect("room"))
        .survivor(|queue| {
            queue.put(blob(54)).map_err(|error| error.to_string())?;
            expect_whole(queue)?;
            match &lengths(queue)?[..] {
                [FILLED, 54] | [FILLED, 53, 54] => expect_whole(queue),
                other => Err(format!("{other:?}")),
            }
        })
        .without_timeouts()
        .shares_only(contents)
}

#[test]
fn a_put_that_takes_a_block() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue");
    put_into_next_block("put into the next block")
        .setup(fill_first_block)
        .assert_safe(&queue);
}

#[test]
fn a_put_that_reserves_memory() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue");
    put_into_next_block("put into the next block, which has no memory yet")
        .setup(|queue| {
            fill_first_block(queue);
            word(queue, BACKED).store(1, Ordering::Relaxed);
        })
        .max_points(60)
        .allow_missed(0.2, "what /proc tells of memory is never the same twice")
        .assert_safe(&queue);
}

/// Blocks 0 to 3 were read, and nothing of them is on the stack yet. The tail is at 24 bytes from
/// the end of block 4.
fn leave_blocks_behind(queue: &Blobs) {
    rewind(queue);
    for _ in 0..4 {
        fill_block(queue, 0);
        queue.put(blob(40)).expect("room");
    }
    fill_block(queue, 24);
    for _ in 0..8 {
        queue.get().expect("a message");
    }
}

fn put_that_puts_blocks_back(name: &'static str) -> Check<'static, Blobs> {
    Check::new(name)
        .setup(leave_blocks_behind)
        .victim(|queue: &Blobs| queue.put(blob(53)).expect("room"))
        .survivor(|queue| {
            queue.put(blob(54)).map_err(|error| error.to_string())?;
            expect_whole(queue)?;
            // Once more through all blocks that were put back.
            for len in [20_000, 30_000, 20_000] {
                queue.put(blob(len)).map_err(|error| error.to_string())?;
            }
            expect_whole(queue)?;
            match &lengths(queue)?[1..] {
                [rest @ .., 54, 20_000, 30_000, 20_000] if rest.iter().all(|len| *len == 53) => {
                    expect_whole(queue)
                }
                other => Err(format!("{other:?}")),
            }
        })
        .without_timeouts()
        .shares_only(contents)
}

#[test]
fn a_put_that_puts_blocks_back_and_takes_one() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue");
    put_that_puts_blocks_back("put that puts blocks back on the stack").assert_safe(&queue);
}

/// Whoever comes after the first death dies in the same stretch.
#[test]
fn a_put_after_a_death_in_a_put_that_puts_blocks_back() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue");
    put_that_puts_blocks_back("put that puts blocks back; another dies in the same")
        .recoverer(|queue| queue.put(blob(53)).expect("room"))
        .max_points(3000)
        .assert_safe(&queue);
}

/// A copy of the control words and of the blocks' links: what is copied of a long message is one
/// state.
fn without_messages(queue: &Blobs) -> Vec<u64> {
    // SAFETY: bare words, reached by no other code with a reference to more.
    let payload = unsafe { queue.object().payload() };
    let links = (0..load(queue, BACKED) as usize).map(|block| BLOCKS + block * BLOCK);
    let links = links.flat_map(|link| copy(payload, link, 8));
    copy(payload, 0, BLOCKS).into_iter().chain(links).collect()
}

/// A message over three blocks, and one after it, committed together.
#[test]
fn a_put_over_several_blocks() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue");
    let batch = [blob(40_000), blob(41)];
    Check::new("put of a long message and a short one")
        .setup(fill_first_block)
        .victim(|queue: &Blobs| queue.put_many(&batch).expect("room"))
        .survivor(|queue| {
            queue.put(blob(54)).map_err(|error| error.to_string())?;
            expect_whole(queue)?;
            match &lengths(queue)?[..] {
                [FILLED, 54] | [FILLED, 40_000, 41, 54] => expect_whole(queue),
                other => Err(format!("{other:?}")),
            }
        })
        .without_timeouts()
        .shares_only(without_messages)
        .max_points(if cfg!(debug_assertions) { 50 } else { 200 })
        .allow_missed(0.1, "libc copies in loops whose way depends on addresses")
        .assert_safe(&queue);
}

#[test]
fn a_put_that_takes_a_block_while_consumers_sleep() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue").with_wait(Wait::Sleep);
    for sleepers in [1, 2] {
        Check::new("put of two into the next block, consumers asleep")
            .setup(|queue: &Blobs| {
                fill_first_block(queue);
                while queue.try_get().is_ok() {}
            })
            .victim(|queue| queue.put_many(&[blob(53), blob(53)]).expect("room"))
            .sleepers(sleepers, |queue| {
                let got = queue.get().expect("a message").len();
                assert!([53, 54].contains(&got), "{got}");
            })
            .must_wake_count(Queue::len)
            .survivor(|queue| {
                let put = queue.put_many(&[blob(54), blob(54)]);
                put.map_err(|error| error.to_string())
            })
            .invariant(expect_whole)
            .without_timeouts()
            .shares_only(contents)
            .allow_missed(0.01, WHICH_PROCESSOR)
            .assert_safe(&queue);
    }
}

#[test]
fn a_get_from_the_next_block() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue");
    // At its start, and where the message begins in the block before.
    for left in [0, 24] {
        Check::new("get from the next block")
            .setup(|queue: &Blobs| {
                rewind(queue);
                fill_block(queue, left);
                queue.put(blob(43)).expect("room");
                queue.get().expect("the first");
            })
            .victim(|queue| assert_eq!(queue.get().expect("a message"), blob(43)))
            .survivor(|queue| {
                queue.put(blob(44)).map_err(|error| error.to_string())?;
                match &lengths(queue)?[..] {
                    [43, 44] | [44] => expect_whole(queue),
                    other => Err(format!("{other:?}")),
                }
            })
            .without_timeouts()
            .shares_only(contents)
            .assert_safe(&queue);
    }
}

/// A consumer that leaves a block makes room, though the bound was not what kept the producer
/// waiting.
#[test]
fn a_get_that_leaves_a_block_while_producers_sleep() {
    let _watchdog = begin();
    let queue = Queue::builder().room(256 << 10).bounded(100).create();
    let queue: Blobs = queue.expect("a queue of 16 blocks");
    let queue = queue.with_wait(Wait::Sleep);
    for sleepers in [1, 2] {
        Check::new("get that leaves a block, producers asleep")
            .setup(|queue: &Blobs| {
                rewind(queue);
                for _ in 0..16 {
                    queue.put(blob(56)).expect("room");
                    fill_block(queue, 0);
                }
                queue.get().expect("what is short in block 0");
                queue.get().expect("what is long");
            })
            .victim(|queue| assert_eq!(queue.get().expect("a message"), blob(56)))
            .sleepers(sleepers, |queue| queue.put(blob(10_000)).expect("open"))
            // Block 0 is free, where one of them has room.
            .must_wake_count(|queue| usize::from(load(queue, HEAD) >> 12 != 0))
            .survivor(|queue| {
                for _ in 0..8 {
                    queue.get().map_err(|error| error.to_string())?;
                }
                Ok(())
            })
            .invariant(expect_whole)
            .without_timeouts()
            .shares_only(contents)
            .allow_missed(0.01, WHICH_PROCESSOR)
            .assert_safe(&queue);
    }
}

/// Bytes of memory that the queue's control words promise, with the pages before the blocks.
fn promised(queue: &Blobs) -> u64 {
    let before = queue.object().payload_offset() + BLOCKS;
    (before + load(queue, BACKED) as usize * BLOCK) as u64
}

/// Bytes of memory that there are.
fn memory(queue: &Blobs) -> u64 {
    let descriptor = queue.object().as_fd().as_raw_fd();
    let file = std::fs::metadata(format!("/proc/self/fd/{descriptor}"));
    file.expect("an open descriptor").blocks() * 512
}

/// Bytes of more blocks than a queue keeps memory for.
const LONG: usize = 3_000_000;

/// I4: a page that was given back and is still promised would kill whoever writes there when memory
/// is exhausted.
#[test]
fn a_get_that_gives_memory_back_never_promises_what_is_gone() {
    let _watchdog = begin();
    let queue: Blobs = Queue::builder().room(64 << 20).create().expect("a queue");
    let fill = |queue: &Blobs| {
        while queue.try_get().is_ok() {}
        queue.put(blob(LONG)).expect("room");
        fill_block(queue, 0);
        for _ in 0..3 {
            queue.put(blob(41)).expect("room");
            fill_block(queue, 0);
        }
        // It leaves nearly 200 blocks, whose memory is kept for a queue that is still in five,
        // four, three.
        for _ in 0..4 {
            queue.get().expect("a message");
        }
    };
    fill(&queue);
    assert_eq!(memory(&queue), promised(&queue), "all memory is recorded");
    Check::new("get that leaves the last block but one of a long queue")
        .setup(fill)
        .victim(|queue| assert_eq!(queue.get().expect("a message"), blob(41)))
        .observer(|queue, point| {
            let (memory, promised) = (memory(queue), promised(queue));
            assert!(
                memory >= promised,
                "{memory} of {promised} bytes at {point}"
            );
        })
        .survivor(|queue| {
            // In the same blocks again: what was given back must be reserved again.
            queue
                .put(blob(LONG + 4))
                .map_err(|error| error.to_string())?;
            queue.put(blob(42)).map_err(|error| error.to_string())?;
            expect_whole(queue)?;
            match &lengths(queue)?[..] {
                [41, _, 41, _, len, 42] | [_, 41, _, len, 42] if *len == LONG + 4 => {
                    expect_whole(queue)
                }
                other => Err(format!("{other:?}")),
            }
        })
        .without_timeouts()
        // A get writes no block.
        .shares_only(|queue: &Blobs| {
            // SAFETY: bare words, reached by no other code with a reference to more.
            copy(unsafe { queue.object().payload() }, 0, BLOCKS)
        })
        .allow_missed(0.05, "arithmetic on the time")
        .assert_safe(&queue);
    while queue.try_get().is_ok() {}
    assert!(promised(&queue) < 2 << 20, "it was given back");
}
