//! The shared memory of a pool: a board of packets that workers claim, and a ring of results per
//! worker.
//!
//! # Source
//!
//! A bulletin board whose claim is its record: a packet's state word changes from ready to taken by
//! one compare-and-swap that writes the worker's number into it. A queue of tasks would have a
//! window between the pop and a note of who popped, in which a death loses the task.
//!
//! # Layout
//!
//! ```text
//! | BoardWords | PacketWords x packets | WorkerWords x workers | line x packets | ByteRing x workers |
//! ```
//!
//! A packet's tasks lie in its line; those of a packet that does not fit, or has descriptors, are
//! asked for. The first packets have long lines, the others short ones, so that there are many for
//! tasks that come one by one.
//!
//! # Invariants
//!
//! - I1: the parent alone changes a packet from free to ready and back to free, and writes its
//!   words and its line while it is free; it may free one that is ready. A worker alone changes it
//!   from ready to taken, once per generation. Both are compare-and-swaps, so only one of them
//!   succeeds.
//! - I2: the words and the line of a packet do not change from ready until the parent frees it,
//!   which it does when the outcome of each of its tasks has arrived, or when the worker that took
//!   it has died.
//! - I3: worker `w` is the only producer of ring `w`, the parent its only consumer. The parent
//!   makes the ring again when no process is worker `w`.
//! - I4: a worker pushes the outcomes of a packet's tasks in order, and writes `current` before
//!   each task begins.
//! - I5: a worker that looks for a packet without sleeping says so, and looks once more after it
//!   has said that it does not.
//! - I6: the parent counts the packets that it makes ready, and those that it passes over since
//!   they are not free; the count modulo their number is the next one. No packet before `hint` is
//!   ready: a worker moves it past what it found not ready, or claimed, of what was counted before.
//!   So a look costs nothing where nothing was counted since the last one. A look after a sleep
//!   does not rely on `hint`, and after every eighth sleep on neither: so a process that damages
//!   them delays packets, and loses none.
//!
//! # Orderings
//!
//! - Ready is stored with Release and claimed with Acquire: words and line are written before they
//!   are read.
//! - `published` is stored with Release after that, and loaded with Acquire: what it counts and is
//!   not found ready was claimed or withdrawn. `hint` likewise: it is never ahead of `published`.
//! - A push releases, the parent's pop acquires: see [`ByteRing`].
//! - `parent`: the parent stores the number of its sleep, then looks at the rings; a worker pushes,
//!   then looks at the number; both with a SeqCst fence in between, so that one sees the other.
//! - `looking`: the parent makes a packet ready, then looks who looks; a worker stores that it does
//!   not look, then looks for a packet; both with a SeqCst fence in between. So a packet for which
//!   no worker was woken is seen by the one that was counted on.
//! - `current` is read when the worker is dead; the kernel orders its stores before its end.
//!
//! # Progress
//!
//! A claim is lock-free: it fails only where another worker's claim succeeds. A worker waits for
//! tasks, and for room in its ring. The parent never waits for a worker.
//!
//! # If a process dies
//!
//! | a worker is killed | the parent finds |
//! |---|---|
//! | before the claim | the packet ready; another worker takes it. If it had been woken for it, its bell wakes another |
//! | after the claim, before `current` | the packet taken by a dead worker, nothing of it begun: all of it moves |
//! | after `current`, before the push | that task begun and without outcome: it fails, and the rest moves |
//! | while it pushes | a record beyond the ring's tail, which is not there: as above |
//! | after the push | the outcome; what follows it moves |
//! | while it looks, and is counted on | the packet ready; its bell wakes another, and so does the parent that finds it dead |
//! | between the push and the wake-up | its descriptor, for which the parent waits as well |
//!
//! The parent's death ends its workers.

#![expect(
    unsafe_code,
    reason = "rings and locks in shared memory are placed here"
)]

mod parent;
mod worker;

use std::os::fd::{AsFd, BorrowedFd};

use mp_layout::atomic::{AtomicU32, AtomicU64, Ordering};
use mp_layout::{Cells, Error, ErrorKind, Padded, Region, Result, shared_struct};
use mp_os::cpu;
use mp_ring::ByteRing;
use mp_shm::Segment;
use mp_sync::EventCount;

/// Bytes of a packet's line, of the first packets.
pub const LINE: usize = 16 << 10;

/// Bytes of the lines of the others: the name of a function and a few arguments.
pub(crate) const SHORT_LINE: usize = 256;

/// As many packets that two workers which run short tasks do not wait for the next one.
const PACKETS_MIN: usize = 512;

/// As many of them with long lines.
const LINES_MIN: usize = 64;

/// Packets, and long lines, for each worker where there are many: the next one is there when the
/// last one is done.
const PACKETS_PER_WORKER: usize = 2;

/// Bytes of a worker's ring. Outcomes that do not fit travel in pieces of [`PIECE`].
const RING: usize = 128 << 10;

/// Bytes of an outcome in one record: two records and what they skip fit into a ring.
pub const PIECE: usize = 32 << 10;

/// The most workers: their numbers have 14 bits, of which 0 is none.
pub const MAX_WORKERS: usize = 4096;

/// The most tasks of one packet: their numbers, counted from 1, have 16 bits.
pub const MAX_ITEMS: usize = 4096;

/// The size of a packet that has to be asked for.
const ASK: u32 = u32::MAX;

const FREE: u64 = 0;
const READY: u64 = 1;
const TAKEN: u64 = 2;
const TAG: u64 = 3;
const WORKER_SHIFT: u32 = 2;
const WORKER_MASK: u64 = (1 << 14) - 1;
const GENERATION_SHIFT: u32 = 16;
const ITEM_MASK: u64 = (1 << 16) - 1;

/// As many outcomes as the parent can wake for; its sleep's number follows.
pub(crate) const LEAST_MAX: usize = (1 << LEAST_SHIFT) - 1;
const LEAST_SHIFT: u32 = 16;

shared_struct! {
    /// What the parent writes once, and whether the workers are to end.
    pub(crate) struct Shape as "Pool: shape": 20 bytes {
        packets: AtomicU32 = "how many packets there are",
        workers: AtomicU32 = "how many workers there can be",
        stop: AtomicU32 = "1 when a worker that finds no packet is to end",
        submitter: AtomicU32 = "processor of the thread that submitted last, plus one",
        lines: AtomicU32 = "how many of the packets, the first ones, have a long line",
    }
}

shared_struct! {
    /// The words before the packets.
    pub(crate) struct BoardWords as "Pool": 640 bytes {
        shape: Padded<Shape> = "what the parent writes once, and whether the workers are to end",
        tasks: Padded<EventCount> = "what workers without a packet sleep on",
        published: Padded<AtomicU64> = "how many packets were made ready or passed over; modulo their number, the next one",
        hint: Padded<AtomicU64> = "how many of these are known not to be ready any more: where a claim looks first",
        parent: Padded<AtomicU64> = "bits 0 to 15: for how many outcomes in a worker's ring it wakes, of a packet that does not hurry; the rest: the number of the parent's sleep; 0 while it is awake",
    }
}

shared_struct! {
    /// A packet of tasks. Its line is elsewhere.
    pub(crate) struct PacketWords as "Pool: packet": 64 bytes {
        state: AtomicU64 = "bits 0 and 1: 0 free, 1 ready, 2 taken; bits 2 to 15: worker that took it, counted from 1; the rest: generation",
        size: AtomicU32 = "bytes of its line in use; all ones if the worker has to ask for it",
        items: AtomicU32 = "how many tasks it has",
        hurry: AtomicU32 = "1 if the parent is told of each outcome, 2 of the last, 0 of none before it asks",
        pad: AtomicU32 = "0",
        reserved: [AtomicU64; 5] = "0",
    }
}

shared_struct! {
    /// What a worker writes about the task that it runs.
    pub(crate) struct Current as "Pool: current task": 24 bytes {
        task: AtomicU64 = "bits 0 to 15: which task of the packet, counted from 1; the rest: the packet's generation",
        since: AtomicU64 = "when it began, in milliseconds of the monotonic clock",
        looking: AtomicU64 = "1 while the worker looks for a packet without sleeping",
    }
}

shared_struct! {
    /// The words of a worker.
    pub(crate) struct WorkerWords as "Pool: worker": 256 bytes {
        current: Padded<Current> = "what the worker writes about the task that it runs",
        room: Padded<EventCount> = "what the worker sleeps on while its ring is full",
    }
}

/// The tables of this module's structures in `docs/memory-layout.md`.
pub(crate) const TABLES: &[mp_layout::Table] = &[
    BoardWords::TABLE,
    Shape::TABLE,
    PacketWords::TABLE,
    WorkerWords::TABLE,
    Current::TABLE,
];

/// The shared memory of a pool, in the parent or in a worker.
#[derive(Debug)]
pub struct Board {
    segment: Segment,
    packets: usize,
    /// Of the first packets, which have long ones.
    lines: usize,
    workers: usize,
    /// What the parent has counted (I6); `published` is for workers, of which one may damage it.
    counted: AtomicU64,
}

/// When the parent is told of a packet's outcomes, if it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hurry {
    /// After each.
    Each,
    /// After the last.
    AtEnd,
    /// When it has a use for them, see [`Board::may_sleep`].
    No,
}

impl Hurry {
    fn from_word(word: u32) -> Self {
        match word {
            0 => Self::No,
            1 => Self::Each,
            _ => Self::AtEnd,
        }
    }

    fn to_word(self) -> u32 {
        match self {
            Self::No => 0,
            Self::Each => 1,
            Self::AtEnd => 2,
        }
    }
}

/// A packet that a worker has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which packet of the board.
    pub packet: usize,
    /// Which use of the packet.
    pub generation: u64,
    /// Bytes in its line; `None` if they have to be asked for.
    pub size: Option<usize>,
    /// How many tasks it has.
    pub items: usize,
    /// When the parent is told of them.
    pub hurry: Hurry,
}

/// What a worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Runs the tasks of a packet that it has taken.
    Run(Claim),
    /// Ends.
    Stop,
}

impl Board {
    /// Makes the memory of a pool, its pages committed, all packets free.
    ///
    /// # Errors
    ///
    /// Those of [`Segment::anonymous`]; [`ErrorKind::InvalidInput`] for no worker, or more than
    /// [`MAX_WORKERS`].
    pub fn new(workers: usize) -> Result<Self> {
        if workers == 0 || workers > MAX_WORKERS {
            return Err(Error::mismatch(
                ErrorKind::InvalidInput,
                "make",
                "a pool",
                format_args!("{workers} workers"),
                format_args!("1 to {MAX_WORKERS}"),
            ));
        }
        let many = (PACKETS_PER_WORKER * workers).next_power_of_two();
        let (packets, lines) = (many.max(PACKETS_MIN), many.max(LINES_MIN));
        let size = rings_at(packets, lines, workers) + workers * ring_size()?;
        let board = Self {
            segment: Segment::anonymous("pool", size)?,
            packets,
            lines,
            workers,
            counted: AtomicU64::new(0),
        };
        let shape = &board.words()?.shape;
        shape.packets.store(packets as u32, Ordering::Relaxed);
        shape.lines.store(lines as u32, Ordering::Relaxed);
        shape.workers.store(workers as u32, Ordering::Relaxed);
        (0..workers).try_for_each(|worker| board.reset_worker(worker))?;
        Ok(board)
    }

    /// Uses the memory of a pool that its parent passed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if the memory does not have the size that its words say.
    pub fn attach(segment: Segment) -> Result<Self> {
        let words: &BoardWords = segment.region().place(0)?;
        let packets = words.shape.packets.load(Ordering::Relaxed) as usize;
        let lines = words.shape.lines.load(Ordering::Relaxed) as usize;
        let workers = words.shape.workers.load(Ordering::Relaxed) as usize;
        let fits = (1..=MAX_WORKERS).contains(&workers)
            && (1..=16 * MAX_WORKERS).contains(&packets)
            && lines <= packets;
        if !fits || segment.len() != rings_at(packets, lines, workers) + workers * ring_size()? {
            return Err(
                Error::new(ErrorKind::WrongSize, "attach", "a pool").with_detail(format!(
                    "{} bytes are not those of {packets} packets and {workers} workers",
                    segment.len()
                )),
            );
        }
        Ok(Self {
            segment,
            packets,
            lines,
            workers,
            counted: AtomicU64::new(0),
        })
    }

    /// How many packets it has.
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// Bytes of a packet's line.
    pub fn room(&self, packet: usize) -> usize {
        if packet < self.lines {
            LINE
        } else {
            SHORT_LINE
        }
    }

    fn words(&self) -> Result<&BoardWords> {
        self.segment.region().place(0)
    }

    fn all_packets(&self) -> Result<&[PacketWords]> {
        let region = self.segment.region();
        region.place_slice(size_of::<BoardWords>(), self.packets)
    }

    fn packet(&self, packet: usize) -> Result<&PacketWords> {
        let region = self.segment.region();
        region.place(size_of::<BoardWords>() + packet * size_of::<PacketWords>())
    }

    fn worker(&self, worker: usize) -> Result<&WorkerWords> {
        let place = workers_at(self.packets) + worker * size_of::<WorkerWords>();
        self.segment.region().place(place)
    }

    fn line(&self, packet: usize) -> Result<Cells<'_, u64>> {
        let short = packet.saturating_sub(self.lines);
        let place = lines_at(self.packets, self.workers)
            + packet.min(self.lines) * LINE
            + short * SHORT_LINE;
        Cells::new(self.segment.region().subregion(place, self.room(packet))?)
    }

    fn write_line(&self, packet: usize, bytes: &[u8]) -> Result<()> {
        let line = self.line(packet)?.try_slice(..bytes.len().div_ceil(8))?;
        let (words, rest) = bytes.as_chunks();
        for (place, word) in words.iter().enumerate() {
            line.set(place, u64::from_ne_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            line.set(words.len(), u64::from_ne_bytes(word));
        }
        Ok(())
    }

    fn ring_region(&self, worker: usize) -> Result<Region<'_>> {
        let size = ring_size()?;
        let place = rings_at(self.packets, self.lines, self.workers) + worker * size;
        self.segment.region().subregion(place, size)
    }

    fn ring(&self, worker: usize) -> Result<ByteRing<'_>> {
        // SAFETY: these bytes are used as this ring only, by the offsets of this module.
        unsafe { ByteRing::attach(self.ring_region(worker)?) }
    }
}

impl AsFd for Board {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.segment.as_fd()
    }
}

/// This processor's number plus one.
fn here() -> u32 {
    u32::try_from(cpu::current_cpu()).map_or(0, |cpu| cpu.wrapping_add(1))
}

fn workers_at(packets: usize) -> usize {
    size_of::<BoardWords>() + packets * size_of::<PacketWords>()
}

fn lines_at(packets: usize, workers: usize) -> usize {
    workers_at(packets) + workers * size_of::<WorkerWords>()
}

fn rings_at(packets: usize, lines: usize, workers: usize) -> usize {
    lines_at(packets, workers) + lines * LINE + (packets - lines) * SHORT_LINE
}

/// A multiple of 128, as every offset before it is.
fn ring_size() -> Result<usize> {
    ByteRing::size_for(RING)
}

#[cfg(test)]
mod tests {
    use mp_layout::atomic::Ordering;
    use mp_os::clock::Deadline;
    use mp_sync::{Sleep, Ticket};

    use super::{Board, Hurry};

    /// Whether a sleeper with this ticket would be woken.
    fn is_woken(board: &Board, ticket: Ticket) -> bool {
        let tasks = &board.words().unwrap().tasks;
        tasks.sleep(ticket, Deadline::PASSED) == Sleep::Woken
    }

    #[test]
    fn a_packet_wakes_no_sleeper_while_another_worker_looks_unless_that_one_dies() {
        let board = Board::new(2).unwrap();
        let looking = &board.worker(0).unwrap().current.looking;
        looking.store(1, Ordering::Relaxed);
        let ticket = board.words().unwrap().tasks.prepare();
        board.publish(0, 1, None, 1, Hurry::Each).unwrap();
        board.wake_workers(1).unwrap();
        assert!(!is_woken(&board, ticket));
        board.reset_worker(0).unwrap();
        board.wake_for_ready().unwrap();
        assert!(is_woken(&board, ticket));
    }

    #[test]
    fn two_packets_wake_a_sleeper_while_another_worker_looks() {
        let board = Board::new(2).unwrap();
        let looking = &board.worker(0).unwrap().current.looking;
        looking.store(1, Ordering::Relaxed);
        let ticket = board.words().unwrap().tasks.prepare();
        board.wake_workers(2).unwrap();
        assert!(is_woken(&board, ticket));
    }
}
