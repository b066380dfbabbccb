//! Killed at every instruction of an operation, with nobody else there and with others asleep.
#![cfg(target_arch = "x86_64")]

#[path = "kill/channel.rs"]
mod channel;
#[path = "kill/joinable_queue.rs"]
mod joinable_queue;
#[path = "kill/objects.rs"]
mod objects;
#[path = "kill/pipe.rs"]
mod pipe;
#[path = "kill/pipe_drop.rs"]
mod pipe_drop;
#[path = "kill/poll.rs"]
mod poll;

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use killcheck::{Check, SharedArea};
use mp_layout::{Place, Region};
use mp_os::clock::Deadline;
use mp_queue::{Bytes, Plain, Queue, Wait};
use mp_ring::ByteRing;
use mp_sync::EventCount;
use mp_testkit::Watchdog;

const LIMIT: Duration = Duration::from_secs(900);

/// Every instruction in a release build; a debug build has ten times as many.
const STRIDE: usize = if cfg!(debug_assertions) { 7 } else { 1 };

/// Why a death may go unheard: a thread has one pending slot for the kernel to look at.
const ONE_SLOT: &str = "the pending slot names the lock, or the bell of the other side, and the recheck comes at most 250 ms \
                        later";

/// Why one store of a notification is not always executed.
const WHICH_PROCESSOR: &str = "who wakes notes its processor if the last one was on another";

/// Allows `most` kills to go unheard, out of those at each instruction; a debug build has ten times
/// as many, of which it tries a seventh.
const fn unheard(most: usize) -> usize {
    if cfg!(debug_assertions) {
        most * 3
    } else {
        most
    }
}

/// Begins a test. What libraries look up once in a process's life is looked up now: else the tests
/// beside this one would do it between a trace and the kills.
fn begin() -> (Watchdog, RwLockReadGuard<'static, ()>) {
    prepare();
    let beside = FORKS.read().unwrap_or_else(PoisonError::into_inner);
    (Watchdog::new(LIMIT), beside)
}

/// Begins a test in which a descriptor must be closed when its only process dies: no other test
/// forks meanwhile, whose processes would have copies of it.
fn begin_alone() -> (Watchdog, RwLockWriteGuard<'static, ()>) {
    prepare();
    let alone = FORKS.write().unwrap_or_else(PoisonError::into_inner);
    (Watchdog::new(LIMIT), alone)
}

static FORKS: RwLock<()> = RwLock::new(());

fn prepare() {
    std::hint::black_box(Deadline::after(Duration::ZERO));
    std::hint::black_box(mp_os::cpu::current_cpu());
}

/// What a thread does before its first operation under a bell, it does once in its life.
fn announce_first_bell() {
    EventCount::zeroed().under_bell(|| ());
}

type Numbers = Queue<[u64; 4], Plain>;

fn number(n: u64) -> [u64; 4] {
    [n, !n, n << 32, n * 3]
}

fn unbounded() -> Numbers {
    Queue::plain().expect("a queue").with_wait(Wait::Sleep)
}

fn bounded(messages: usize) -> Numbers {
    Queue::plain_bounded(messages)
        .expect("a queue")
        .with_wait(Wait::Sleep)
}

/// Empties the queue and puts `start` into it, whoever died in it before.
fn restart(queue: &Numbers, start: &[u64]) {
    while queue.try_get().is_ok() {}
    for &n in start {
        queue.put(number(n)).expect("room");
    }
}

/// What is in the queue, whole.
fn drain(queue: &Numbers) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    loop {
        match queue.try_get() {
            Ok(message) if message == number(message[0]) => numbers.push(message[0]),
            Ok(message) => return Err(format!("torn: {message:x?}")),
            Err(mp_queue::GetError::Empty) => return Ok(numbers),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn expect_one_of(got: Vec<u64>, possible: &[&[u64]]) -> Result<(), String> {
    if possible.contains(&&got[..]) {
        Ok(())
    } else {
        Err(format!("{got:?} is none of {possible:?}"))
    }
}

#[test]
fn a_put() {
    let _watchdog = begin();
    for queue in [unbounded(), bounded(8)] {
        let report = Check::new("put")
            .setup(|queue: &Numbers| restart(queue, &[1]))
            .victim(|queue| queue.put(number(2)).expect("room"))
            .survivor(|queue| {
                queue.put(number(3)).map_err(|error| error.to_string())?;
                expect_one_of(drain(queue)?, &[&[1, 3], &[1, 2, 3]])
            })
            .without_timeouts()
            .stride(STRIDE)
            .run(&queue)
            .expect("the check runs");
        println!("{report}");
        report.assert_safe();
    }
}

#[test]
fn a_get() {
    let _watchdog = begin();
    for queue in [unbounded(), bounded(8)] {
        let report = Check::new("get")
            .setup(|queue: &Numbers| restart(queue, &[1, 2]))
            .victim(|queue| assert_eq!(queue.get().expect("a message"), number(1)))
            .survivor(|queue| {
                queue.put(number(3)).map_err(|error| error.to_string())?;
                expect_one_of(drain(queue)?, &[&[1, 2, 3], &[2, 3]])
            })
            .without_timeouts()
            .stride(STRIDE)
            .run(&queue)
            .expect("the check runs");
        println!("{report}");
        report.assert_safe();
    }
}

#[test]
fn a_put_while_a_consumer_sleeps() {
    let _watchdog = begin();
    let report = Check::new("put, a consumer asleep")
        .setup(|queue: &Numbers| restart(queue, &[]))
        .victim(|queue| queue.put(number(2)).expect("room"))
        .sleeper(|queue| assert!([2, 3].contains(&queue.get().expect("a message")[0])))
        .must_wake(|queue| !queue.is_empty())
        .survivor(|queue| queue.put(number(3)).map_err(|error| error.to_string()))
        .without_timeouts()
        .allow_missed(0.01, WHICH_PROCESSOR)
        .stride(STRIDE)
        .run(&unbounded())
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

#[test]
fn a_get_while_a_producer_sleeps() {
    let _watchdog = begin();
    let report = Check::new("get, a producer asleep")
        .setup(|queue: &Numbers| restart(queue, &[1, 2]))
        .victim(|queue| assert_eq!(queue.get().expect("a message"), number(1)))
        .sleeper(|queue| queue.put(number(5)).expect("open"))
        .must_wake(|queue| !queue.is_full())
        .survivor(|queue| queue.get().map(|_| ()).map_err(|error| error.to_string()))
        .without_timeouts()
        .allow_missed(0.01, WHICH_PROCESSOR)
        .stride(STRIDE)
        .run(&bounded(2))
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

/// Asks whether the bell that lies in a page at `bell` stays silent when a thread dies that has
/// announced something else to the kernel. One that has announced nothing should have announced
/// the bell. Each process may have mapped the page elsewhere.
fn is_unheard(bell: usize, pending: usize) -> bool {
    const PAGE: usize = 4096;
    pending != 0 && (pending % PAGE).wrapping_sub(bell % PAGE) >= size_of::<EventCount>()
}

/// The bell wakes the other consumer but for two stretches. Where the victim acquires the
/// consumers' lock, its slot names the lock. Where it commits in a bounded queue, before the store
/// that takes the message is executed, its slot names the producers' bell.
#[test]
fn a_woken_consumer_while_another_sleeps() {
    let _watchdog = begin();
    for queue in [unbounded(), bounded(8)] {
        let report = Check::new("get, woken, another consumer asleep")
            .setup(|queue: &Numbers| restart(queue, &[]))
            .victim(|queue| assert_eq!(queue.get().expect("a message"), number(2)))
            .sleeper(|queue| assert!([2, 3].contains(&queue.get().expect("a message")[0])))
            .waker(|queue| queue.put(number(2)).expect("room"))
            .must_wake(|queue| !queue.is_empty())
            .survivor(|queue| queue.put(number(3)).map_err(|error| error.to_string()))
            .allow_rescues_if(
                |queue, pending| is_unheard(at(queue, NOT_EMPTY), pending),
                ONE_SLOT,
            )
            .allow_missed(0.01, WHICH_PROCESSOR)
            .stride(STRIDE)
            .run(&queue)
            .expect("the check runs");
        println!("{report}");
        report.assert_safe();
    }
}

/// As for consumers. A put writes the message under the consumers' bell.
#[test]
fn a_woken_producer_while_another_sleeps() {
    let _watchdog = begin();
    let report = Check::new("put, woken, another producer asleep")
        .setup(|queue: &Numbers| restart(queue, &[1, 2]))
        .victim(|queue| queue.put(number(3)).expect("open"))
        .sleeper(|queue| queue.put(number(4)).expect("open"))
        .waker(|queue| assert_eq!(queue.get().expect("a message"), number(1)))
        .must_wake(|queue| !queue.is_full())
        .survivor(|queue| queue.get().map(|_| ()).map_err(|error| error.to_string()))
        .allow_rescues_if(
            |queue, pending| is_unheard(at(queue, NOT_FULL), pending),
            ONE_SLOT,
        )
        .allow_missed(0.01, WHICH_PROCESSOR)
        .stride(STRIDE)
        .run(&bounded(2))
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

/// A death between the commit and the notification rings for one: who is woken by it wakes the
/// other.
#[test]
fn a_batch_put_while_two_consumers_sleep() {
    let _watchdog = begin();
    let report = Check::new("put_many, two consumers asleep")
        .setup(|queue: &Numbers| restart(queue, &[]))
        .victim(|queue| queue.put_many(&[number(2), number(3)]).expect("room"))
        .sleepers(2, |queue| {
            let got = queue.get().expect("a message")[0];
            assert!((2..=5).contains(&got), "{got}");
        })
        .must_wake_count(Queue::len)
        .survivor(|queue| {
            let put = queue.put_many(&[number(4), number(5)]);
            put.map_err(|error| error.to_string())
        })
        .without_timeouts()
        .allow_missed(0.01, WHICH_PROCESSOR)
        .stride(STRIDE)
        .run(&unbounded())
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

#[test]
fn a_batch_get_while_two_producers_sleep() {
    let _watchdog = begin();
    let report = Check::new("get_many, two producers asleep")
        .setup(|queue: &Numbers| restart(queue, &[1, 2]))
        .victim(|queue| assert_eq!(queue.get_many(2).expect("messages").len(), 2))
        .sleepers(2, |queue| queue.put(number(5)).expect("open"))
        .must_wake_count(|queue| 2 - queue.len())
        .survivor(|queue| {
            let got = queue.get_many(2);
            got.map(|_| ()).map_err(|error| error.to_string())
        })
        .without_timeouts()
        .allow_missed(0.01, WHICH_PROCESSOR)
        .stride(STRIDE)
        .run(&bounded(2))
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

#[test]
fn a_close_while_two_sleep() {
    let _watchdog = begin();
    let close = |name| {
        Check::new(name)
            .victim(|queue: &Numbers| queue.close().expect("a lock"))
            .must_wake(Queue::is_closed)
            .survivor(|queue| queue.close().map_err(|error| error.to_string()))
            .without_timeouts()
            .allow_missed(0.01, WHICH_PROCESSOR)
            .stride(STRIDE)
    };
    let report = close("close, two consumers asleep")
        .setup(|queue: &Numbers| {
            reopen(queue);
            restart(queue, &[]);
        })
        .sleepers(2, |queue| drop(queue.get().expect_err("closed")))
        .run(&unbounded())
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
    let report = close("close, two producers asleep")
        .setup(|queue: &Numbers| {
            reopen(queue);
            restart(queue, &[1]);
        })
        .sleepers(2, |queue| drop(queue.put(number(2)).expect_err("closed")))
        .run(&bounded(1))
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

#[test]
fn a_close_while_a_consumer_sleeps() {
    let _watchdog = begin();
    let report = Check::new("close, a consumer asleep")
        .setup(|queue: &Numbers| {
            reopen(queue);
            restart(queue, &[]);
        })
        .victim(|queue| queue.close().expect("a lock"))
        .sleeper(|queue| drop(queue.get().expect_err("closed")))
        .must_wake(Queue::is_closed)
        .survivor(|queue| queue.close().map_err(|error| error.to_string()))
        .without_timeouts()
        .allow_missed(0.01, WHICH_PROCESSOR)
        .stride(STRIDE)
        .run(&unbounded())
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

fn word<T, C: mp_queue::Codec<T>>(queue: &Queue<T, C>, offset: usize) -> &AtomicU32 {
    // SAFETY: bare words, reached by nobody with a reference to more.
    unsafe { queue.object().payload() }
        .place(offset)
        .expect("a word")
}

/// Offsets in the payload: control words, the stack of free blocks, the blocks.
const CLOSED: usize = 16;
const TAIL: usize = 128;
const OLDEST: usize = 144;
const BACKED: usize = 148;
const HEAD: usize = 256;
const NOT_EMPTY: usize = 640;
const NOT_FULL: usize = 768;
const STACK: usize = 1024;
const BLOCKS: usize = 4096;

/// Bytes of a block, and the units of 8 bytes up to which cursors count.
const BLOCK: usize = 16 << 10;
const UNITS: u32 = 2048;

fn at<T, C: mp_queue::Codec<T>>(queue: &Queue<T, C>, offset: usize) -> usize {
    word(queue, offset).as_ptr().addr()
}

fn load<T, C: mp_queue::Codec<T>>(queue: &Queue<T, C>, offset: usize) -> u32 {
    word(queue, offset).load(Ordering::Relaxed)
}

/// No operation does that.
fn reopen<T, C: mp_queue::Codec<T>>(queue: &Queue<T, C>) {
    word(queue, CLOSED).store(0, Ordering::Relaxed);
}

type Blobs = Queue<Vec<u8>, Bytes>;

/// As it was made, but for the memory that it has: head and tail at the start of block 0.
fn rewind(queue: &Blobs) {
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
}

#[test]
fn a_put_that_takes_a_block() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue");
    let report = put_into_next_block("put into the next block")
        .setup(fill_first_block)
        .stride(STRIDE)
        .run(&queue)
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

#[test]
fn a_put_that_reserves_memory() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue");
    let report = put_into_next_block("put into the next block, which has no memory yet")
        .setup(|queue| {
            fill_first_block(queue);
            word(queue, BACKED).store(1, Ordering::Relaxed);
        })
        .max_points(60)
        .allow_missed(0.2, "what /proc tells of memory is never the same twice")
        .run(&queue)
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
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
}

#[test]
fn a_put_that_puts_blocks_back_and_takes_one() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue");
    let report = put_that_puts_blocks_back("put that puts blocks back on the stack")
        .stride(STRIDE)
        .run(&queue)
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

/// Whoever comes after the first death dies in the same stretch.
#[test]
fn a_put_after_a_death_in_a_put_that_puts_blocks_back() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue");
    let report = put_that_puts_blocks_back("put that puts blocks back; another dies in the same")
        .recoverer(|queue| queue.put(blob(53)).expect("room"))
        .max_points(3000)
        .run(&queue)
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

/// A message over three blocks, and one after it, committed together.
#[test]
fn a_put_over_several_blocks() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue");
    let batch = [blob(40_000), blob(41)];
    let report = Check::new("put of a long message and a short one")
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
        .max_points(if cfg!(debug_assertions) { 50 } else { 200 })
        .allow_missed(0.1, "libc copies in loops whose way depends on addresses")
        .run(&queue)
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

#[test]
fn a_put_that_takes_a_block_while_consumers_sleep() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue").with_wait(Wait::Sleep);
    for sleepers in [1, 2] {
        let report = Check::new("put of two into the next block, consumers asleep")
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
            .allow_missed(0.01, WHICH_PROCESSOR)
            .stride(STRIDE)
            .run(&queue)
            .expect("the check runs");
        println!("{report}");
        report.assert_safe();
    }
}

#[test]
fn a_get_from_the_next_block() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue");
    // At its start, and where the message begins in the block before.
    for left in [0, 24] {
        let report = Check::new("get from the next block")
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
            .stride(STRIDE)
            .run(&queue)
            .expect("the check runs");
        println!("{report}");
        report.assert_safe();
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
        let report = Check::new("get that leaves a block, producers asleep")
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
            .allow_missed(0.01, WHICH_PROCESSOR)
            .stride(STRIDE)
            .run(&queue)
            .expect("the check runs");
        println!("{report}");
        report.assert_safe();
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

/// I4: a page that was given back and is still promised would kill whoever writes there when memory
/// is exhausted.
#[test]
fn a_get_that_gives_memory_back_never_promises_what_is_gone() {
    let _watchdog = begin();
    let queue = Queue::bytes().expect("a queue");
    let fill = |queue: &Blobs| {
        while queue.try_get().is_ok() {}
        queue.put(blob(3_000_000)).expect("room");
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
    let report = Check::new("get that leaves the last block but one of a long queue")
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
                .put(blob(3_000_004))
                .map_err(|error| error.to_string())?;
            queue.put(blob(42)).map_err(|error| error.to_string())?;
            expect_whole(queue)?;
            match &lengths(queue)?[..] {
                [41, _, 41, _, 3_000_004, 42] | [_, 41, _, 3_000_004, 42] => expect_whole(queue),
                other => Err(format!("{other:?}")),
            }
        })
        .without_timeouts()
        .stride(if cfg!(debug_assertions) { 61 } else { 11 })
        .allow_missed(0.05, "arithmetic on the time")
        .run(&queue)
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
    while queue.try_get().is_ok() {}
    assert!(promised(&queue) < 2 << 20, "it was given back");
}

/// A ring behind a lock that does not know its owner.
struct PlainlyLocked {
    lock: AtomicU32,
    memory: [AtomicU64; 256],
}

impl PlainlyLocked {
    fn put(&self, bytes: &[u8]) {
        while self.lock.swap(1, Ordering::Acquire) != 0 {
            std::thread::yield_now();
        }
        self.ring(|ring| {
            // SAFETY: under the lock.
            let mut producer = unsafe { ring.locked_producer() }.expect("a ring");
            producer.push(bytes).expect("room");
        });
        self.lock.store(0, Ordering::Release);
    }

    fn ring(&self, with: impl FnOnce(ByteRing<'_>)) {
        let start = self.memory.as_ptr().cast_mut().cast::<u8>();
        let skipped = start.align_offset(128);
        let start = std::ptr::NonNull::new(start.wrapping_add(skipped)).expect("an address");
        // SAFETY: part of the memory, which is reached as a ring only.
        let region = unsafe { Region::new(start, size_of_val(&self.memory) - 128) };
        // SAFETY: as above.
        match unsafe { ByteRing::attach(region) } {
            Ok(ring) => with(ring),
            // SAFETY: as above; the set-up comes here first.
            Err(_) => with(unsafe { ByteRing::create(region, 1024, None) }.expect("it fits")),
        }
    }
}

#[test]
fn a_lock_that_does_not_know_its_owner_is_caught() {
    // SAFETY: atomics only, for which zero is valid.
    let area = unsafe { SharedArea::<PlainlyLocked>::zeroed() }.expect("a page");
    let report = Check::new("put under a plain lock")
        .setup(|queue: &SharedArea<PlainlyLocked>| {
            queue.reset();
            queue.ring(|_| ());
        })
        .victim(|queue| queue.put(b"victim"))
        .survivor(|queue| {
            queue.put(b"survivor");
            Ok(())
        })
        .stop_after(3)
        .run(&area)
        .expect("the check runs");
    report.assert_caught();
}

/// A word to wait for, whose setter does not begin the bell.
struct Bell {
    count: EventCount,
    word: AtomicU32,
}

#[test]
fn a_commit_without_the_bell_is_caught() {
    // SAFETY: atomics only, for which zero is valid.
    let area = unsafe { SharedArea::<Bell>::zeroed() }.expect("a page");
    let deadline = Deadline::NEVER;
    let report = Check::new("commit and notify without the bell")
        .setup(|bell: &SharedArea<Bell>| bell.reset())
        .victim(|bell| {
            bell.word.store(1, Ordering::Release);
            bell.count.notify(1);
        })
        .sleeper(|bell| {
            let is_set = || (bell.word.load(Ordering::Acquire) == 1).then_some(());
            bell.count.wait_until(Wait::Sleep, deadline, is_set);
        })
        .must_wake(|bell| bell.word.load(Ordering::Acquire) == 1)
        .survivor(|bell| {
            bell.word.store(1, Ordering::Release);
            bell.count.notify(1);
            Ok(())
        })
        .without_timeouts()
        .stop_after(1)
        .run(&area)
        .expect("the check runs");
    report.assert_caught();
}
