//! A queue of byte records between any number of processes: blocks in a list, two robust locks, two
//! eventcounts.
//!
//! # Source
//!
//! The two-lock queue of Michael and Scott (1996), whose nodes are blocks of 16 KiB that hold many
//! records, as the blocks of crossbeam's `SegQueue` do. Changed: the locks are robust; one store
//! commits what was put and one what was got, so the next owner of a dead owner's lock just goes
//! on; a record may go on in the next block, wherever that lies; and blocks that were read are used
//! again, the last one first. The stack of free blocks whose height is not stored (I3) is ours.
//!
//! # Layout
//!
//! ```text
//! 0         1024              4096            20480             4096 + n * 16 KiB
//! | Control | stack, 768 places | block 0 16 KiB | block 1 | ... | stack, other places |      sparse
//!
//! block:   | next u32, number u32 | records ... |
//! record:  | len u32, tag u32 | len bytes, then padding to 8 |
//!
//! in the queue's order:   oldest -> ... -> head's block -> ... -> tail's block
//!                         | was read     | holds the messages            |
//!
//! stack:   0 .. taken       taken .. backed     backed .. n
//!          | means nothing | free, with memory | free, without |
//! ```
//!
//! A cursor says where a record ended and how many there were up to it. Records follow one another
//! in a block, and go on in the next one. So nothing is left unused but what was read of the head's
//! block, whatever the lengths. A producer that comes to the end of the tail's block takes the
//! block on top of the stack, and puts those that were read since on it before: a short queue stays
//! in two or three blocks, which the processors' caches have.
//!
//! # Invariants
//!
//! - I1: the records between the head's and the tail's cursor are whole and follow one another. A
//!   cursor names a block of the queue and a unit in it; whoever reads anything else, a block that
//!   does not exist, or a record beyond the tail, answers [`Corrupt`](ErrorKind::Corrupt) and
//!   changes nothing.
//! - I2: the units between head and tail are the holder's of the consumers' lock, all others the
//!   holder's of the producers'. `tail`, the stack and the links are written by the holder of the
//!   producers' lock alone, `head` by that of the consumers' alone. A block's link stays as it is
//!   while the block is not the tail's and not free.
//! - I3: the blocks from `oldest` to the tail's are not in the stack. They are `taken =
//!   number(tail) - number(oldest) + 1`, and the stack is its places from `taken` on, which have
//!   each other block once. So the store of `tail` that commits a record takes the blocks that it
//!   needed off the stack, and the store of `oldest` that goes on by one puts one on it. A draft
//!   takes no block before and puts none back after its first: the places would shift under it.
//! - I4: the blocks that are not in the stack, and those of its places below `backed`, have memory.
//!   `backed` is raised after memory was reserved and lowered before it is given back. The stack's
//!   places below `backed` have memory themselves.
//! - I5: no record is written, and no block linked, where I4 does not say that memory is there.
//! - I6: `closed` is set under the producers' lock, which a put holds when it looks at it: nothing
//!   is put after it.
//! - I7: no thread sleeps holding either lock, or takes one while it has the other; but a producer
//!   that finds the lane of descriptors full, and one that asks to be rung, try the consumers' lock
//!   under the producers'.
//! - I8: once one has polled, the lane is readable while there is a message, or the queue is
//!   closed. `ring` is written under the producers' lock. `RUNG`: a ring is in the lane, and
//!   no message of a record comes after it, so that neither [`find`](Lane::find) nor
//!   [`discard`](Lane::discard) takes it out; a producer that sends such a message says `ASKED`
//!   before. `ASKED`: the newest record has a message in the lane, or there is no record; a put
//!   without objects rings before it commits, or is refused. Only one that polls takes the last
//!   ring out, with both locks, where the queue is empty and open. A closed queue's consumers may
//!   set `RUNG`.
//!
//! # Orderings
//!
//! - The Release store of `tail` and a consumer's Acquire load: records and links are written
//!   before they are read. `seen` beside the head is stored with Release and loaded with Acquire:
//!   what its writer had acquired, its reader acquires.
//! - The Release store of `head` and a producer's Acquire load: a block is read before it is taken
//!   again.
//! - The Release store of `closed` and the Acquire load of a consumer, who looks for messages once
//!   more after it.
//! - Sleeping: [`EventCount`], with its fence: a commit is a plain Release store, so
//!   `notify_committed` would not do.
//!
//! # Progress
//!
//! Blocking. Producers and consumers do not block each other as long as there are messages and
//! room. A process that is stopped while it holds a lock stops its side. A consumer that has
//! emptied the queue looks again immediately or, where messages come in a stream, after a moment
//! (`BatchBackoff`). Where a block ends, a put takes as many steps as blocks were read
//! since the last time.
//!
//! # If a process dies
//!
//! There is nothing to recover: what is not committed means nothing, and what is derived from what
//! is committed.
//!
//! - Putting: before the store of `tail` nothing is in the queue, no block was taken, and the next
//!   holder of the lock overwrites records and links; after it the messages are. The bell is begun
//!   before that store and ends after the notification, so a sleeping consumer is woken in either
//!   case.
//! - Getting: before the store of `head` the message stays for the next consumer; after it, it is
//!   gone with the process that took it. A woken consumer that dies before rings the bell for the
//!   next one.
//! - Putting a block back on the stack: before the store of `oldest` the place that was written
//!   means nothing, after it the block is free.
//! - Between reserving memory and recording it: the memory is there and no process relies on it; it
//!   is reserved again, which costs nothing. Between recording that memory goes and giving it back
//!   (4 MiB at most): as before, it is there and no process relies on it, until these blocks are
//!   used again. Never does `backed` promise what is not there.
//! - With handles in a message: see [`Lane`], whose messages are sent before the store of `tail`
//!   and discarded after that of `head`.
//! - Ringing for one that polls: before the commit, under the producers' lock, which the one that
//!   polls takes before it asks again. So it finds what was committed, or its asking stands. A
//!   consumer takes nothing out of the lane that it would have to put in again (I8).
//! - Closing: the store closes; the bell wakes one of those that sleep, and each that sees it wakes
//!   all others.
//!
//! The eventcount's **known gap** stands here: while a woken consumer acquires the consumers' lock,
//! and in a bounded queue while it commits under the producers' bell, a kill is not heard by other
//! sleeping consumers. The message it was woken for then waits for the next put or get (a consumer
//! that takes one and sees more wakes the next), at most for the recheck of 250 ms.

use std::time::Duration;

use mp_layout::atomic::Ordering;
use mp_layout::{Error, ErrorKind, Kind, Region, Result, TypeTag};
use mp_object::{Lane, LaneError, Object, Placed, Plan};
use mp_os::clock::Deadline;
use mp_ring::BatchBackoff;
use mp_sync::{EventCount, Guard, LockError, RawLockError, RawMutex};

use crate::blocks::Blocks;
use crate::codec;
use crate::control::Control;
use crate::cursor::{Cursor, count_of};
use crate::geometry::{FIRST_BACKED, Geometry, block_offset};

mod draft;
mod get;
mod memory;
mod message;
mod objects;
mod poll;
mod put;
mod reader;

pub(crate) use message::Message;

/// How long an operation that should not wait waits all the same for the lock of another that runs:
/// they hold it for less than a microsecond, or while they copy a large message.
const PATIENCE: Duration = Duration::from_millis(100);

/// The bound of a queue that has none.
const UNBOUNDED: u64 = u64::MAX;

/// What the maker of a queue decides.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub(crate) bound: Option<usize>,
    pub(crate) room: usize,
}

/// A queue of bytes, mapped as long as this lives.
#[derive(Debug)]
pub(crate) struct RawQueue {
    /// No copy leaves this structure, which unmaps them last.
    blocks: Blocks,
    geometry: Geometry,
    /// Where it starts in the object's payload.
    start: usize,
    bound: u64,
    backoff: BatchBackoff,
    /// Where the descriptors of messages wait; `None` if their handles travel by name.
    lane: Option<Lane>,
    /// Keeps the mapping, so it is dropped last.
    control: Placed<Control>,
}

impl Settings {
    /// What every queue has at least.
    pub(crate) const LEAST: Self = Self {
        bound: None,
        room: 0,
    };

    /// Bytes of it that are reserved before it is made: the control words and the first blocks.
    pub(crate) const RESERVED: usize = block_offset(FIRST_BACKED);

    /// Bytes of a queue of these settings.
    pub(crate) fn size(&self) -> usize {
        Geometry::for_room(self.room).size()
    }

    /// The plan of a queue of any settings.
    pub(crate) fn any(tag: TypeTag) -> Plan {
        Self::LEAST.plan_as(tag)
    }

    /// The plan of a queue, by which one of any settings may be opened.
    pub(crate) fn plan(&self, tag: TypeTag) -> Plan {
        self.plan_as(tag).accepting(*Self::any(tag).expected())
    }

    fn plan_as(&self, tag: TypeTag) -> Plan {
        Plan::new(Kind::Queue, tag, self.size())
            .page_aligned()
            .sparse(Self::RESERVED)
    }

    pub(crate) fn initialise(&self, payload: Region<'_>, codec: u32) -> Result<()> {
        let bound = self.bound.map_or(UNBOUNDED, |bound| bound as u64);
        if bound == 0 {
            return Err(Error::mismatch(
                ErrorKind::InvalidInput,
                "make",
                "a queue",
                "at most 0 messages",
                "at least 1",
            ));
        }
        let geometry = Geometry::for_room(self.room);
        // SAFETY: a queue starts with its control, and nothing else reaches those bytes.
        let control = unsafe { payload.place_guarded::<Control>(0) }?;
        let Control {
            shape, tail, head, ..
        } = control;
        shape.bound.store(bound, Ordering::Relaxed);
        shape.codec.store(codec, Ordering::Relaxed);
        shape.blocks.store(geometry.blocks(), Ordering::Relaxed);
        // Block 0 is taken, whose link is right with zeros.
        tail.backed.store(FIRST_BACKED, Ordering::Relaxed);
        for word in [&tail.cursor, &tail.seen, &head.cursor, &head.seen] {
            word.store(Cursor::START.to_word(), Ordering::Relaxed);
        }
        Ok(())
    }
}

impl RawQueue {
    /// Finds the parts of a queue whose messages are written by this codec.
    ///
    /// # Safety
    ///
    /// The header of `object` was checked to say that it is a queue.
    pub(crate) unsafe fn attach(object: Object, codec: u32) -> Result<Self> {
        let lane = object.lane().cloned();
        // SAFETY: the caller's promise.
        unsafe { Self::attach_at(object, 0, codec, lane) }
    }

    /// Finds the parts of a queue that starts `start` bytes, a multiple of a page, into the
    /// payload, and whose messages' descriptors are in `lane`.
    ///
    /// # Safety
    ///
    /// The header of `object` was checked to say that it has a queue there.
    pub(crate) unsafe fn attach_at(
        object: Object,
        start: usize,
        codec: u32,
        lane: Option<Lane>,
    ) -> Result<Self> {
        // SAFETY: a queue starts with its control, and nothing else reaches those bytes.
        let control = unsafe { Placed::<Control>::new_at(object, start) }?;
        let found = control.shape.codec.load(Ordering::Relaxed);
        if found != codec {
            return Err(Error::mismatch(
                ErrorKind::WrongType,
                "attach",
                "a queue",
                codec::name(found),
                codec::name(codec),
            ));
        }
        let blocks = control.shape.blocks.load(Ordering::Relaxed);
        // SAFETY: after the control lie stack and blocks, which are reached by the queue's protocol
        // only.
        let payload = unsafe { control.object().payload() };
        let part = payload.subregion(start, payload.len() - start)?;
        let geometry = Geometry::found(blocks, part.len())?;
        Ok(Self {
            // SAFETY: as above; the bytes stay mapped as long as `control`, which is dropped after
            // `blocks`.
            blocks: unsafe { Blocks::new(part, geometry) }?,
            bound: control.shape.bound.load(Ordering::Relaxed).max(1),
            control,
            geometry,
            start,
            lane,
            backoff: BatchBackoff::default(),
        })
    }

    /// The lane of its messages' descriptors.
    #[inline]
    pub(crate) fn lane(&self) -> Option<&Lane> {
        self.lane.as_ref()
    }

    /// Closes this process's ends of the lane; nothing is put or got any more.
    pub(crate) fn close_lane(&mut self) {
        self.lane = None;
    }

    #[inline]
    fn control(&self) -> &Control {
        &self.control
    }

    pub(crate) fn object(&self) -> &Object {
        self.control.object()
    }

    /// Where the byte at `offset` of the queue lies in the segment.
    fn offset_in_segment(&self, offset: usize) -> usize {
        self.object().payload_offset() + self.start + offset
    }

    pub(crate) fn capacity(&self) -> Option<usize> {
        let bound = Some(self.bound).filter(|bound| *bound != UNBOUNDED);
        bound.map(|bound| usize::try_from(bound).unwrap_or(usize::MAX))
    }

    #[inline]
    fn is_bounded(&self) -> bool {
        self.bound != UNBOUNDED
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.control().shape.closed.load(Ordering::Acquire) != 0
    }

    #[inline]
    fn tail(&self, ordering: Ordering) -> Result<Cursor> {
        let word = self.control().tail.cursor.load(ordering);
        Cursor::from_word(word, self.blocks.count())
    }

    #[inline]
    fn head(&self, ordering: Ordering) -> Result<Cursor> {
        let word = self.control().head.cursor.load(ordering);
        Cursor::from_word(word, self.blocks.count())
    }

    /// Messages at some time during the call.
    pub(crate) fn len(&self) -> usize {
        let Control { head, tail, .. } = self.control();
        let mut before = head.cursor.load(Ordering::Acquire);
        loop {
            let newest = tail.cursor.load(Ordering::Acquire);
            let now = head.cursor.load(Ordering::Acquire);
            // Nothing was got between the two loads of the head, so both are of the time when the
            // tail was loaded.
            if now == before {
                let len = count_of(newest).wrapping_sub(count_of(now)) as usize;
                return len.min(self.geometry.max_records());
            }
            before = now;
        }
    }

    /// What consumers sleep on.
    #[inline]
    pub(crate) fn not_empty(&self) -> &EventCount {
        &self.control().not_empty
    }

    /// What producers of a bounded queue sleep on.
    #[inline]
    pub(crate) fn not_full(&self) -> &EventCount {
        &self.control().not_full
    }

    /// Whether there seems to be something to get: a cheap look before an attempt.
    #[inline]
    pub(crate) fn has_message(&self) -> bool {
        let Control { head, tail, .. } = self.control();
        head.cursor.load(Ordering::Relaxed) != tail.cursor.load(Ordering::Relaxed)
    }

    /// Whether there are as many messages as there may be, at some time during the call.
    pub(crate) fn is_full(&self) -> bool {
        self.is_bounded() && self.len() as u64 >= self.bound
    }

    /// Closes the queue and wakes all that sleep.
    pub(crate) fn close(&self, deadline: Deadline) -> Result<()> {
        let control = self.control();
        let guard = lock(&control.producers, deadline)?;
        match self.ring_if_asked(0) {
            // The consumer rings that makes room in the lane. Until then it is readable.
            Ok(()) | Err(LaneError::Full(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // Only the inner bell would ring: it is that of the side that sleeps, where each that wakes
        // wakes all others.
        let (inner, outer) = if control.not_full.has_sleepers() {
            (&control.not_full, &control.not_empty)
        } else {
            (&control.not_empty, &control.not_full)
        };
        outer.under_bell(|| {
            inner.under_bell(|| {
                control.shape.closed.store(1, Ordering::Release);
                inner.notify_all();
            });
            outer.notify_all();
        });
        drop(guard);
        Ok(())
    }

    /// Wakes all others that sleep on a closed queue: the process that closed it may have died
    /// before (rule c).
    #[cold]
    fn wake_all_closed(&self) {
        let control = self.control();
        control.not_empty.pass_on_to_all();
        control.not_full.pass_on_to_all();
    }
}

/// Locks, also for operations that should not wait: another one that runs ends soon. One that lasts
/// longer is waited for like room or a message, until the deadline or its hook ends it: nothing of
/// the caller's operation has begun. A dead owner's lock is as good as any, because what it guards
/// is whole after every store.
#[inline]
fn lock(mutex: &RawMutex, deadline: Deadline) -> Result<Guard<'_>> {
    let mut guard = match mutex.try_lock() {
        Ok(guard) => guard,
        Err(error) => lock_contended(mutex, deadline, error)?,
    };
    guard.recover();
    Ok(guard)
}

#[cold]
fn lock_contended(mutex: &RawMutex, deadline: Deadline, error: RawLockError) -> Result<Guard<'_>> {
    let locked = match error {
        RawLockError::TimedOut(_) => match mutex.lock_timeout(Deadline::after(PATIENCE)) {
            Err(RawLockError::TimedOut(_)) if !deadline.is_expired() => {
                mutex.lock_timeout(deadline)
            }
            locked => locked,
        },
        error => Err(error),
    };
    locked.map_err(|error| LockError::<()>::from(error).into())
}

/// Of a queue that is larger than this process may have: adds the way out that only a queue has.
#[cold]
pub(crate) fn suggest_less_room(error: Error) -> Error {
    let is_of_size = matches!(error.operation(), "create" | "map");
    if error.kind() != ErrorKind::NotEnoughMemory || !is_of_size {
        return error;
    }
    Error::new(error.kind(), "make", "a queue").with_detail(format!(
        "{error}; or make the queue with less room, by `Queue::builder().room(bytes)`"
    ))
}

#[cfg(all(test, not(miri)))]
mod tests {
    use core::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Instant;

    use mp_testkit::Watchdog;

    use super::*;
    use crate::{GetError, PutError, Queue};

    #[test]
    fn a_close_waits_no_longer_than_it_may_for_a_producer_that_is_stopped() {
        let _watchdog = Watchdog::new(mp_testkit::PATIENCE);
        let queue = Queue::<u8>::new().expect("a queue");
        let producers = queue.raw().control().producers.lock().expect("a lock");
        thread::scope(|scope| {
            let closed = scope.spawn(|| queue.close_timeout(Duration::from_millis(1)));
            let error = closed.join().expect("no panic").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        });
        assert!(!queue.is_closed());
        drop(producers);
        queue.close_timeout(Duration::ZERO).expect("a free lock");
        assert!(queue.is_closed());
    }

    /// As one does that is stopped in a put or a get: what waits for the lock it has would wait for
    /// ever.
    #[test]
    fn a_hook_ends_the_wait_for_a_lock_that_is_held_for_long() {
        static INTERRUPTED: AtomicBool = AtomicBool::new(false);
        let _watchdog = Watchdog::new(mp_testkit::PATIENCE);
        let queue = Queue::<u8>::new().expect("a queue");
        queue.put(1).expect("room");
        let never = Deadline::NEVER.interruptible_by(|| INTERRUPTED.load(Ordering::Relaxed));
        let control = queue.raw().control();
        let _producers = control.producers.lock().expect("a lock");
        let _consumers = control.consumers.lock().expect("a lock");
        thread::scope(|scope| {
            let puts = scope.spawn(|| queue.put_timeout(2, never));
            let gets = scope.spawn(|| queue.get_timeout(never));
            INTERRUPTED.store(true, Ordering::Relaxed);
            let put = puts.join().expect("no panic");
            assert!(matches!(put, Err(PutError::Failed(2, _))), "{put:?}");
            let got = gets.join().expect("no panic");
            assert!(matches!(got, Err(GetError::Failed(_))), "{got:?}");
        });
        assert_eq!(queue.len(), 1);
    }

    /// As one does that is stopped in a get: the descriptor shows the old ring for as long.
    #[test]
    fn one_that_polls_rests_while_a_consumer_is_stopped() {
        let _watchdog = Watchdog::new(mp_testkit::PATIENCE);
        let queue = Queue::<u8>::new().expect("a queue");
        queue.poll_fd().expect("a lane").expect("empty");
        queue.put(1).expect("room");
        queue.get().expect("a message");
        let consumers = queue.raw().control().consumers.lock().expect("a lock");
        thread::scope(|scope| {
            let polls = scope.spawn(|| {
                let start = Instant::now();
                assert!(queue.poll_fd().expect("a lane").is_some());
                start.elapsed()
            });
            assert!(polls.join().expect("no panic") >= PATIENCE);
        });
        drop(consumers);
        queue.poll_fd().expect("a lane").expect("empty");
        let lane = queue.raw().lane().expect("of serde messages");
        assert!(!lane.silence(), "the old ring was left");
    }
}
