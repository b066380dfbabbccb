//! Killed in every state that an operation leaves behind, with nobody else there and with others
//! asleep.
//!
//! In release builds: `cargo test -p mp-queue --release --test kill`. Sampled even there: the put
//! that reserves memory, the long operations of a `JoinableQueue`, and what has more than
//! `max_points` states. A debug build has more states, and more of it is sampled.
#![cfg(target_arch = "x86_64")]

#[path = "kill/blocks.rs"]
mod blocks;
#[path = "kill/channel.rs"]
mod channel;
#[path = "kill/controls.rs"]
mod controls;
#[path = "kill/joinable_queue.rs"]
mod joinable_queue;
#[path = "kill/messages.rs"]
mod messages;
#[path = "kill/mpmc_queue.rs"]
mod mpmc_queue;
#[path = "kill/objects.rs"]
mod objects;
#[path = "kill/pipe.rs"]
mod pipe;
#[path = "kill/pipe_drop.rs"]
mod pipe_drop;
#[path = "kill/poll.rs"]
mod poll;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use mp_layout::{Place, Region};
use mp_os::clock::Deadline;
use mp_queue::Queue;
use mp_sync::EventCount;
use mp_testkit::Watchdog;

const LIMIT: Duration = Duration::from_secs(900);

/// Where each instruction is tried, not each state: a debug build has ten times as many.
const STRIDE: usize = if cfg!(debug_assertions) { 7 } else { 1 };

/// Why a death may go unheard: a thread has one pending slot for the kernel to look at.
const ONE_SLOT: &str = "the pending slot names the lock, or the bell of the other side, and the recheck comes at most 250 ms \
                        later";

/// Why one store of a notification is not always executed.
const WHICH_PROCESSOR: &str = "who wakes notes its processor if the last one was on another";

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

/// Asks whether the bell that lies in a page at `bell` stays silent when a thread dies that has
/// announced something else to the kernel. One that has announced nothing should have announced
/// the bell. Each process may have mapped the page elsewhere.
fn is_unheard(bell: usize, pending: usize) -> bool {
    const PAGE: usize = 4096;
    pending != 0 && (pending % PAGE).wrapping_sub(bell % PAGE) >= size_of::<EventCount>()
}

fn number(n: u64) -> [u64; 4] {
    [n, !n, n << 32, n * 3]
}

fn expect_one_of(got: Vec<u64>, possible: &[&[u64]]) -> Result<(), String> {
    if possible.contains(&&got[..]) {
        Ok(())
    } else {
        Err(format!("{got:?} is none of {possible:?}"))
    }
}

fn word<T, C: mp_queue::Codec<T>>(queue: &Queue<T, C>, offset: usize) -> &AtomicU32 {
    // SAFETY: bare words, reached by nobody with a reference to more.
    unsafe { queue.object().payload() }
        .place(offset)
        .expect("a word")
}

/// Offsets in the payload of the number of blocks that have memory, and of block 0.
const BACKED: usize = 148;
const BLOCKS: usize = 4096;
const BLOCK: usize = 16 << 10;

/// A copy of what the processes of a queue share.
fn contents<T, C: mp_queue::Codec<T>>(queue: &Queue<T, C>) -> Vec<u64> {
    // SAFETY: bare words, reached by no other code with a reference to more.
    contents_at(unsafe { queue.object().payload() }, 0)
}

/// The same of a queue that starts there: its control words, and the blocks that have memory, which
/// are the first ones unless memory was given back.
fn contents_at(payload: Region<'_>, start: usize) -> Vec<u64> {
    let backed: &AtomicU32 = payload.place(start + BACKED).expect("a word");
    let backed = backed.load(Ordering::Relaxed) as usize;
    copy(payload, start, BLOCKS + backed * BLOCK)
}

fn copy(payload: Region<'_>, start: usize, size: usize) -> Vec<u64> {
    let words = payload.place_slice::<AtomicU64>(start, size / 8);
    let words = words.expect("within the payload").iter();
    words.map(|word| word.load(Ordering::Relaxed)).collect()
}

fn load<T, C: mp_queue::Codec<T>>(queue: &Queue<T, C>, offset: usize) -> u32 {
    word(queue, offset).load(Ordering::Relaxed)
}
