//! A queue of byte records between any number of processes: rings in a chain, two robust locks, two eventcounts.
//!
//! # Source
//!
//! The two-lock queue of Michael and Scott (1996) over [`ByteRing`]s instead of linked nodes. Changed: the locks are
//! robust, and because a ring's own word commits, the next owner of a dead owner's lock just goes on. The chain of rings of
//! growing size is ours.
//!
//! # Layout
//!
//! ```text
//! 0          1024     4096            4096 + 260 KiB
//! | Control  | unused | ring 0 256 KiB | ring 1 512 KiB | ring 2 1 MiB | ...      sparse
//! ```
//!
//! A *generation* is one stay of the queue in one ring. Producers write the ring of generation `write`, consumers read that
//! of generation `read`; `order` says which ring a generation is on. When the written ring is full, producers start the next
//! generation in a free ring, larger if possible. When the read ring is empty and producers have left it, consumers go on to
//! the next generation. Rings of the generations `read..=write` are in use; the others are free. So a queue that is kept
//! short stays in ring 0 and in the processors' caches, and a long one has as much room as all rings together.
//!
//! # Invariants
//!
//! - I1: `write - read` is less than the number of rings, and no two generations of `read..=write` are on one ring.
//! - I2: `write`, `order` and `backed` are written by the holder of the producers' lock alone, `read` by the holder of the
//!   consumers' lock alone.
//! - I3: a ring in use belongs to the lock holders by the ring's own protocol; a free ring belongs to the holder of the
//!   producers' lock, who makes it again before its next generation. So each generation starts at its ring's first byte.
//! - I4: the first `backed[r]` bytes of ring `r`'s region have memory. It is raised after memory was reserved and lowered
//!   before memory is given back, and never below a page, where the ring's words are.
//! - I5: no record is written where I4 does not say that memory is there. After each record there is memory for the mark
//!   that skips the rest of its ring: where no more is to be had, the next record goes to the ring's start.
//! - I6: `closed` is set under the producers' lock, which a put holds when it looks at it: nothing is put after it.
//! - I7: no thread sleeps holding either lock. One that takes both takes the producers' first and only tries the consumers'.
//!
//! # Orderings
//!
//! - The Release store of `write` and the Acquire load of a consumer: the new ring is made, and all records of the old one
//!   are pushed, before consumers may leave the old one. They load `write` before they look whether the ring is empty.
//! - The Release store of `read` and the Acquire load of a producer: the records are read before their ring is free.
//! - The Release store of `closed` and the Acquire load of a consumer, who looks for messages once more after it.
//! - Sleeping: [`EventCount`], with its fence: rings commit by a plain Release store, so
//!   `notify_committed` would not do.
//!
//! # Progress
//!
//! Blocking. Producers and consumers do not block each other as long as there are messages and room. A process that is
//! stopped while it holds a lock stops its side. A consumer that has emptied the queue looks again immediately or, where
//! messages come in a stream, after a moment (`BatchBackoff`).
//!
//! # If a process dies
//!
//! - Putting: before the ring's commit store nothing is in the queue, and the next holder of the lock overwrites what was
//!   written; after it the message is. The bell is begun before that store and ends after the notification, so a sleeping
//!   consumer is woken in either case.
//! - Getting: before the ring's commit store the message stays for the next consumer; after it, it is gone with the
//!   process that took it. A woken consumer that dies before rings the bell for the next one.
//! - Between reserving memory and recording it: the memory is there and no process relies on it; it is reserved again, which
//!   costs nothing. Between recording that memory goes and giving it back: as before, it is there and no process relies on it,
//!   until this ring is trimmed the next time. Never does `backed` promise what is not there.
//! - Making a free ring again: it stays free, and is made once more.
//! - Starting a generation is one store, of `write` or of `read`; before it nothing has changed for others.
//! - Closing: the store closes; the bell wakes one of those that sleep, and each that sees it wakes all others.
//!
//! The eventcount's **known gap** stands here: while a woken consumer acquires the consumers' lock, and in a bounded queue
//! while it commits under the producers' bell, a kill is not heard by other sleeping consumers. The message it was
//! woken for then waits for the next put or get (a consumer that takes one and sees more wakes the next), at most for the recheck
//! of 250 ms.

use std::ptr::NonNull;
use std::sync::OnceLock;
use std::time::Duration;

use mp_layout::atomic::Ordering;
use mp_layout::{Error, ErrorKind, Kind, Region, Result, TypeTag};
use mp_object::{Object, Placed, Plan};
use mp_os::clock::Deadline;
use mp_ring::{BatchBackoff, ByteRing};
use mp_sync::{EventCount, Guard, LockError, RawLockError, RawMutex};

use crate::codec;
use crate::control::{Control, ORDER_LEN};
use crate::geometry::{self, CONTROL_SIZE, Geometry, MAX_RINGS, PAGE, offset, region_size};

mod get;
mod put;
mod shrink;

/// Bytes of ring 0 that are backed from the start.
const FIRST_BACKED: usize = 64 << 10;

/// How long an operation that should not wait waits all the same for the lock of another that runs: they hold it for less
/// than a microsecond, or while they copy a large message.
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
    /// Each ring's place, from when it is first used here. They do not leave this structure, which unmaps them last.
    rings: [OnceLock<ByteRing<'static>>; MAX_RINGS],
    geometry: Geometry,
    /// Where it starts in the object's payload.
    start: usize,
    bound: u64,
    backoff: BatchBackoff,
    /// Keeps the mapping, so it is dropped last.
    control: Placed<Control>,
}

impl Settings {
    /// What every queue has at least.
    pub(crate) const LEAST: Self = Self {
        bound: None,
        room: 0,
    };

    /// Bytes of it that are reserved before it is made.
    pub(crate) const RESERVED: usize = CONTROL_SIZE + FIRST_BACKED;

    /// Bytes of a queue of these settings.
    pub(crate) fn size(&self) -> usize {
        Geometry::for_room(self.room).payload_size()
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
        let shape = &control.shape;
        shape.bound.store(bound, Ordering::Relaxed);
        shape.codec.store(codec, Ordering::Relaxed);
        shape
            .rings
            .store(geometry.rings() as u32, Ordering::Relaxed);
        control.backed[0].store(FIRST_BACKED as u64, Ordering::Relaxed);
        // SAFETY: nobody else reaches the payload before this returns; whoever attaches finds a header that says queue.
        unsafe { make_ring(payload, 0, bound) }?;
        Ok(())
    }
}

/// Makes ring `index` again, empty and at its start.
///
/// # Safety
///
/// As for [`ByteRing::create`]; `'a` must not outlive the mapping's use as a queue.
unsafe fn make_ring(payload: Region<'_>, index: usize, bound: u64) -> Result<()> {
    let region = payload.subregion(offset(index), region_size(index))?;
    // SAFETY: passed on to the caller.
    unsafe { ByteRing::create(region, geometry::capacity(index), u32::try_from(bound).ok()) }?;
    Ok(())
}

impl RawQueue {
    /// Finds the parts of a queue whose messages are written by this codec.
    ///
    /// # Safety
    ///
    /// The header of `object` was checked to say that it is a queue.
    pub(crate) unsafe fn attach(object: Object, codec: u32) -> Result<Self> {
        // SAFETY: the caller's promise.
        unsafe { Self::attach_at(object, 0, codec) }
    }

    /// Finds the parts of a queue that starts `start` bytes, a multiple of a page, into the payload.
    ///
    /// # Safety
    ///
    /// The header of `object` was checked to say that it has a queue there.
    pub(crate) unsafe fn attach_at(object: Object, start: usize, codec: u32) -> Result<Self> {
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
        let rings = control.shape.rings.load(Ordering::Relaxed);
        let size = control.object().header().payload_size() - start;
        let geometry = Geometry::found(rings, size)?;
        Ok(Self {
            bound: control.shape.bound.load(Ordering::Relaxed).max(1),
            control,
            rings: [const { OnceLock::new() }; MAX_RINGS],
            geometry,
            start,
            backoff: BatchBackoff::default(),
        })
    }

    #[inline]
    fn control(&self) -> &Control {
        &self.control
    }

    pub(crate) fn object(&self) -> &Object {
        self.control.object()
    }

    /// The queue's part of the payload, of which the rings are reached.
    fn part(&self) -> Result<Region<'_>> {
        // SAFETY: behind the control lie the rings, which are reached by their own protocol only.
        let payload = unsafe { self.object().payload() };
        payload.subregion(self.start, self.geometry.payload_size())
    }

    /// Where ring `index` starts in the segment.
    fn offset_in_segment(&self, index: usize) -> usize {
        self.object().payload_offset() + self.start + offset(index)
    }

    pub(crate) fn capacity(&self) -> Option<usize> {
        let bound = Some(self.bound).filter(|bound| *bound != UNBOUNDED);
        bound.map(|bound| usize::try_from(bound).unwrap_or(usize::MAX))
    }

    fn is_bounded(&self) -> bool {
        self.bound != UNBOUNDED
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.control().shape.closed.load(Ordering::Acquire) != 0
    }

    /// Messages at some time during the call, as far as it can be told while others put and get.
    pub(crate) fn len(&self) -> usize {
        let generations = &self.control().generations;
        loop {
            let Ok((read, write)) = self.generations() else {
                return 0;
            };
            let len = self.sum(read, write, |ring| ring.len());
            let unchanged = generations.read.load(Ordering::Acquire) == read
                && generations.write.load(Ordering::Acquire) == write;
            if unchanged {
                return len;
            }
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
        match self.generations() {
            Ok((read, write)) if read == write => self
                .ring_of(read)
                .map_or(true, |(_, ring)| !ring.is_empty()),
            // On different generations there is something to do; what is corrupt is for the attempt to say.
            _ => true,
        }
    }

    fn sum(&self, read: u32, write: u32, count: impl Fn(&ByteRing<'static>) -> usize) -> usize {
        let generations = (0..=write.wrapping_sub(read)).map(|past| read.wrapping_add(past));
        generations
            .filter_map(|generation| self.ring_of(generation).ok())
            .map(|(_, ring)| count(&ring))
            .sum()
    }

    /// The generations being read and written, checked (I1).
    #[inline]
    fn generations(&self) -> Result<(u32, u32)> {
        let generations = &self.control().generations;
        // the read generation first: the write generation is never behind it
        let read = generations.read.load(Ordering::Acquire);
        let write = generations.write.load(Ordering::Acquire);
        if (write.wrapping_sub(read) as usize) < MAX_RINGS {
            return Ok((read, write));
        }
        // Both may have moved on between the two loads, but not by a whole lap of generations.
        let read = generations.read.load(Ordering::Acquire);
        if (write.wrapping_sub(read) as usize) < MAX_RINGS {
            Ok((read, write))
        } else {
            Err(bad_generations(read, write))
        }
    }

    /// The index and the ring that a generation in use is on.
    #[inline]
    fn ring_of(&self, generation: u32) -> Result<(usize, ByteRing<'static>)> {
        let index = self.index_of(generation);
        if index >= self.geometry.rings() {
            return Err(bad_index(index));
        }
        match self.rings[index].get() {
            Some(ring) => Ok((index, *ring)),
            None => Ok((index, self.attach_ring(index)?)),
        }
    }

    #[inline]
    fn index_of(&self, generation: u32) -> usize {
        let place = generation as usize % ORDER_LEN;
        usize::from(self.control().generations.order[place].load(Ordering::Relaxed))
    }

    #[cold]
    fn attach_ring(&self, index: usize) -> Result<ByteRing<'static>> {
        let region = self.part()?.subregion(offset(index), region_size(index))?;
        let start = NonNull::new(region.as_ptr()).ok_or_else(|| bad_index(index))?;
        // SAFETY: the bytes stay mapped as long as `control`, which is dropped after `rings`, from where no copy leaves
        // this structure's methods.
        let region = unsafe { Region::<'static>::new(start, region.len()) };
        // SAFETY: the header says that this is a queue, whose users all use this part as a ring (I3).
        let ring = unsafe { ByteRing::attach(region) }?;
        geometry::check(ring, index)?;
        Ok(*self.rings[index].get_or_init(|| ring))
    }

    /// Whether ring `index` is free (I1). Stays true while the caller has the producers' lock; false may change.
    fn is_free(&self, index: usize, read: u32, write: u32) -> bool {
        (0..=write.wrapping_sub(read)).all(|past| self.index_of(read.wrapping_add(past)) != index)
    }

    /// Bytes of ring `index` that have memory behind them (I4).
    #[inline]
    fn backed(&self, index: usize) -> usize {
        let backed = self.control().backed[index].load(Ordering::Relaxed);
        (backed as usize).min(region_size(index))
    }

    /// Sees to it that the first `needed` bytes of ring `index` have memory behind them. Under the producers' lock.
    #[inline]
    fn ensure_backed(&self, index: usize, needed: usize) -> Result<()> {
        let backed = self.backed(index);
        if needed <= backed {
            return Ok(());
        }
        self.reserve_more(index, backed, needed)
    }

    /// Reserves in growing steps, so that a queue takes little more than it uses and asks the kernel seldom.
    #[cold]
    fn reserve_more(&self, index: usize, backed: usize, needed: usize) -> Result<()> {
        const LEAST: usize = 64 << 10;
        const MOST: usize = 4 << 20;
        let needed = needed.next_multiple_of(PAGE).min(region_size(index));
        let ample = (backed + backed.clamp(LEAST, MOST))
            .next_multiple_of(PAGE)
            .clamp(needed, region_size(index));
        let start = self.offset_in_segment(index);
        let reserve = |end: usize| {
            self.object()
                .reserve(start + backed, end - backed)
                .map(|()| end)
        };
        let reserved = reserve(ample).or_else(|error| {
            // What the attempt got before it failed is not needed.
            // SAFETY: the bytes after `backed` are not in use (I4).
            let given_back = unsafe { self.object().give_back(start + backed, ample - backed) };
            let least = if needed < ample {
                reserve(needed)
            } else {
                Err(error)
            };
            // Pages that were not given back do no harm: they are reserved again, or given back with the ring's others.
            least.map_err(|error| not_reserved(error, given_back))
        })?;
        // I4: recorded after it was reserved. Release: not before the system call, whatever the compiler sees of it.
        self.control().backed[index].store(reserved as u64, Ordering::Release);
        Ok(())
    }

    /// Starts the next generation, on the free ring `index`. Under the producers' lock.
    fn start_generation(&self, index: usize, write: u32) -> Result<u32> {
        let generations = &self.control().generations;
        self.ensure_backed(index, PAGE)?;
        // SAFETY: the ring is free, so it is the lock holder's (I3).
        unsafe { make_ring(self.part()?, index, self.bound) }?;
        let next = write.wrapping_add(1);
        generations.order[next as usize % ORDER_LEN].store(index as u8, Ordering::Relaxed);
        // The one store that begins it.
        generations.write.store(next, Ordering::Release);
        Ok(next)
    }

    /// Closes the queue and wakes all that sleep.
    pub(crate) fn close(&self) -> Result<()> {
        let control = self.control();
        let guard = lock(&control.producers, Deadline::NEVER)?;
        // Only the inner bell would ring: it is that of the side that sleeps, where each that wakes wakes all others.
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

    /// Wakes all others that sleep on a closed queue: the process that closed it may have died before (rule c).
    #[cold]
    fn wake_all_closed(&self) {
        let control = self.control();
        for count in [&control.not_empty, &control.not_full] {
            if count.has_sleepers() {
                count.notify_all();
            }
        }
    }
}

/// Locks, also for operations that should not wait: another one that runs ends soon. A dead owner's lock is as good as
/// any, because what it guards is whole after every store.
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
        RawLockError::TimedOut(_) => {
            // Part of an operation that has begun: no hook ends it.
            let deadline = deadline.max(Deadline::after(PATIENCE)).uninterruptible();
            mutex.lock_timeout(deadline)
        }
        error => Err(error),
    };
    locked.map_err(|error| LockError::<()>::from(error).into())
}

/// The error of a put that could not reserve memory, and then perhaps could not give back what it had got of it. Its kind
/// is that of the reservation: where memory is exhausted, puts go on in what there is.
#[cold]
fn not_reserved(error: Error, given_back: Result<()>) -> Error {
    let detail = match given_back {
        Ok(()) if error.kind() != ErrorKind::NotEnoughMemory => return error,
        Ok(()) => error.to_string(),
        Err(kept) => format!("{error}; and then: {kept}"),
    };
    Error::new(error.kind(), "put to", "a queue").with_detail(detail)
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

#[cold]
fn bad_generations(read: u32, write: u32) -> Error {
    Error::mismatch(
        ErrorKind::Corrupt,
        "use",
        "a queue",
        format_args!("generation {read} being read and generation {write} being written"),
        format_args!("a distance below {MAX_RINGS}"),
    )
}

#[cold]
fn bad_index(index: usize) -> Error {
    Error::new(ErrorKind::Corrupt, "use", "a queue").with_detail(format!(
        "its messages are said to be in ring {index}, which it does not have"
    ))
}
