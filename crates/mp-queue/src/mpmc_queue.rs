//! A bounded queue of small plain values for many producers and many consumers: a lock-free ring
//! with two eventcounts.
//!
//! # Source
//!
//! [`mp_ring::MpmcRing`], with [`EventCount`]s for what it cannot do: wait. `closed` is ours.
//!
//! # Layout
//!
//! ```text
//! 0        128         256        384
//! | closed | not_empty | not_full | the ring: its words, 1024 seats of 8 bytes, then the cells |
//! ```
//!
//! # Invariants
//!
//! - I1: who puts has a seat of the ring, under its process's identity.
//! - I2: `closed` is set once and stays. A put looks at it before it claims its place and again
//!   after it, and gives the place back if it is set.
//! - I3: who says that the queue is closed and empty has found, after `closed` was set, first that
//!   no place is claimed and not written, and then that there is no value.
//!
//! # Orderings
//!
//! - The claim of a place and the look at `closed` are SeqCst, and so is the store that closes. A
//!   get has a SeqCst fence between its look at `closed` and the one for places that are claimed.
//!   So a put that found the queue open has its place seen there (I3), and what it puts is got.
//! - A put commits by a SeqCst exchange and a get by a SeqCst compare-and-swap, which
//!   [`EventCount::notify_committed`] wants.
//!
//! # Progress
//!
//! `try_` operations are lock-free, but for one system call if the other side sleeps. A process
//! that is stopped in an operation stops no other, until the ring has come around to the place
//! where it is putting. The others block.
//!
//! # If a process dies
//!
//! In a put, the value was put or not, by one exchange. Before it, the place stays claimed: gets
//! pass it over, and a put that comes to it a lap later proves its owner dead and sweeps. In a get,
//! the value was taken or not, by one compare-and-swap. The bells wake one of the other side in
//! each case; it looks and, if a place is left claimed, sweeps as soon as its owner is proven dead:
//! a process that is being killed is not yet, and then it is at the recheck after 250 ms.
//!
//! The eventcount's **known gap** stands here, for a few instructions: what was woken for room
//! announces the bell of the consumers while it commits, and what was woken for a value that of the
//! producers while it takes it. A kill there is not heard by others that sleep for the same; they
//! find the room or the value at the next put or get, or at their recheck after 250 ms.

use core::fmt;
use core::mem::ManuallyDrop;
use core::num::NonZeroU64;
use std::sync::{Arc, OnceLock};

use mp_layout::atomic::{AtomicU32, Ordering, fence};
use mp_layout::{
    Error, ErrorKind, Kind, Padded, Plain, PlainSlice, Region, Result, TypeTag, shared_struct,
};
use mp_object::owner::{self, this_process};
use mp_object::{InMemory, Object, ObjectType, Placed, Plan, ProcessIdentity, Waitable, Watch};
use mp_os::clock::Deadline;
use mp_ring::{MpmcProducer, MpmcRing, NoRoom, PopError};
use mp_sync::{EventCount, Wait};

use crate::{GetError, PutError, PutManyError};

/// Where the ring lies in the payload.
const RING: usize = 384;

/// Handles that may put at a time: as many as a ring can have.
const SEATS: usize = 1024;

shared_struct! {
    /// The words before the ring.
    pub(crate) struct MpmcWords as "MpmcQueue": 384 bytes {
        closed: Padded<AtomicU32> = "1 once it was closed",
        not_empty: Padded<EventCount> = "what gets sleep on",
        not_full: Padded<EventCount> = "what puts sleep on. The ring follows",
    }
}

const _: () = assert!(size_of::<MpmcWords>() == RING);

/// A bounded queue of plain values of up to 56 bytes, for any number of producers and consumers in
/// any number of processes, without a lock.
///
/// Where a [`Queue`](crate::Queue) has locks it has none. A process that is stopped in a get holds
/// up nobody; one that is stopped in a put holds up those puts that have come round to its place
/// again, and the gets of a queue that was closed meanwhile. The price: bound and memory are fixed
/// when it is made; a value is plain and small; values of puts that overlap may come in either
/// order, where a `Queue` has one order for all; and there are no batches in one step, no
/// descriptor to poll and no ends.
///
/// Clones are the same queue. A handle goes to another process as an argument or in a message;
/// separately started programs open a queue by name. A handle claims one of 1024 seats with its
/// first put, which its clones in this process share.
///
/// A larger value does not compile.
///
/// # If a process dies
///
/// A value is in the queue or not, whole, whenever its producer dies. A value that a consumer has
/// taken before it died is gone with it. The others go on; a put that was cut short takes one place
/// of the queue until another process needs it, and sweeps. A put that was cut short by `exec` in
/// another thread is one that is stopped, for as long as the new program runs.
///
/// # Examples
///
/// ```
/// use mp_queue::MpmcQueue;
///
/// let queue = MpmcQueue::new(100)?;
/// let same = queue.clone(); // in any thread or process
/// std::thread::spawn(move || {
///     (1..=1000_u64).try_for_each(|n| same.put(n)).expect("open");
///     same.close();
/// });
/// assert_eq!(queue.iter().sum::<Result<u64, _>>()?, 500_500);
/// assert!(queue.try_get().is_err(), "closed and empty");
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[doc(alias = "ArrayQueue")]
pub struct MpmcQueue<T: Plain> {
    shared: Arc<Shared<T>>,
    wait: Wait,
}

/// A queue as this process has it mapped.
struct Shared<T: Plain> {
    /// Dropped before the mapping.
    seats: OnceLock<Box<Seat<T>>>,
    /// No copy leaves this structure.
    ring: MpmcRing<'static, T>,
    /// Keeps the mapping, so it is dropped last.
    words: Placed<MpmcWords>,
}

/// The right to put, of the process that claimed it. In a forked child it is the parent's still,
/// and the child's own follows.
struct Seat<T: Plain> {
    producer: ManuallyDrop<MpmcProducer<'static, T>>,
    owner: ProcessIdentity,
    next: OnceLock<Box<Self>>,
}

impl<T: Plain> Drop for Seat<T> {
    fn drop(&mut self) {
        // A forked child is another process: the seat is its parent's.
        if this_process().is_ok_and(|process| process == self.owner) {
            // SAFETY: here only, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.producer) };
        }
    }
}

impl<T: Plain> MpmcQueue<T> {
    /// Makes a queue of at most `capacity` values.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a capacity of 0 or more than addresses, and those of
    /// [`Object::create`].
    pub fn new(capacity: usize) -> Result<Self> {
        Self::create(capacity)
    }

    /// Makes a queue of at most `capacity` values under `name`.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new) and of [`Object::create_named`].
    pub fn create_named(name: &str, capacity: usize) -> Result<Self> {
        ObjectType::create_named(name, capacity)
    }

    /// Opens the queue under `name`, whatever its capacity, or makes it.
    ///
    /// # Errors
    ///
    /// Those of [`create_named`](Self::create_named) but `AlreadyExists`, and those of
    /// [`Object::open`] but `NotFound`.
    pub fn open_or_create(name: &str, capacity: usize) -> Result<Self> {
        ObjectType::open_or_create(name, capacity)
    }

    /// The same queue with another way to wait; other handles keep theirs.
    #[must_use]
    pub fn with_wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    /// Puts a value; blocks while the queue is full.
    ///
    /// # Errors
    ///
    /// Each gives the value back.
    ///
    /// - [`PutError::Closed`] if the queue is closed.
    /// - [`PutError::Failed`] if the shared bytes are corrupt, or if all 1024 seats are taken by
    ///   processes that live ([`ErrorKind::Claimed`]).
    #[inline]
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_timeout(value, Deadline::NEVER)
    }

    /// Puts a value if there is room now.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), and [`PutError::Full`].
    #[doc(alias = "put_nowait")]
    #[inline]
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_timeout(value, Deadline::PASSED)
    }

    /// Puts a value; waits up to `timeout` while the queue is full.
    /// [`Queue::put_timeout`](crate::Queue::put_timeout) says what a `timeout` can be.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), and [`PutError::Full`] if it timed out.
    #[inline]
    pub fn put_timeout(&self, value: T, timeout: impl Into<Deadline>) -> Result<(), PutError<T>> {
        let shared = &*self.shared;
        let put = match shared.producer() {
            Ok(producer) => shared.put(producer, value, self.wait, timeout.into()),
            Err(error) => Err(error.into()),
        };
        put.map_err(|error| error.with_value(value))
    }

    /// Puts values in their order, one after another; blocks while the queue is full. Values of
    /// other producers may come between.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), for the first value that was not put, with how many were.
    pub fn put_many(&self, values: &[T]) -> Result<(), PutManyError> {
        self.put_many_timeout(values, Deadline::NEVER)
    }

    /// Puts values as [`put_many`](Self::put_many) does, those for which there is room now.
    ///
    /// # Errors
    ///
    /// Those of [`put_many`](Self::put_many), and [`PutError::Full`] for the first value that has
    /// no room.
    pub fn try_put_many(&self, values: &[T]) -> Result<(), PutManyError> {
        self.put_many_timeout(values, Deadline::PASSED)
    }

    /// Puts values as [`put_many`](Self::put_many) does; waits up to `timeout` for all of them
    /// together.
    ///
    /// # Errors
    ///
    /// Those of [`put_many`](Self::put_many), and [`PutError::Full`] if it timed out.
    pub fn put_many_timeout(
        &self,
        values: &[T],
        timeout: impl Into<Deadline>,
    ) -> Result<(), PutManyError> {
        let deadline = timeout.into();
        let failed = |put| move |error| PutManyError { put, error };
        let producer = self.shared.producer().map_err(PutError::from);
        let producer = producer.map_err(failed(0))?;
        for (put, value) in values.iter().enumerate() {
            self.shared
                .put(producer, *value, self.wait, deadline)
                .map_err(failed(put))?;
        }
        Ok(())
    }

    /// Gets the oldest value that is there; blocks until there is one.
    ///
    /// # Errors
    ///
    /// - [`GetError::Closed`] if the queue is closed and empty.
    /// - [`GetError::Decode`] if the value's bytes are not a `T`. It was taken; the next get
    ///   returns the one after it.
    /// - [`GetError::Failed`] if the shared bytes are corrupt.
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        self.get_timeout(Deadline::NEVER)
    }

    /// Gets the oldest value if there is one now.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`GetError::Empty`].
    #[doc(alias = "get_nowait")]
    #[inline]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_timeout(Deadline::PASSED)
    }

    /// Gets the oldest value that is there; waits up to `timeout` for one.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`GetError::Empty`] if it timed out.
    #[inline]
    pub fn get_timeout(&self, timeout: impl Into<Deadline>) -> Result<T, GetError> {
        self.shared.get(self.wait, timeout.into())
    }

    /// Gets values into `values`, one after another, and returns how many: at least one, for which
    /// it blocks, and those that follow it now.
    ///
    /// For no `values` it returns 0 immediately.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get) for the first value.
    pub fn get_many(&self, values: &mut [T]) -> Result<usize, GetError>
    where
        T: PlainSlice,
    {
        self.get_many_timeout(values, Deadline::NEVER)
    }

    /// Gets the values that there are now, as [`get_many`](Self::get_many) does.
    ///
    /// # Errors
    ///
    /// Those of [`get_many`](Self::get_many), and [`GetError::Empty`].
    pub fn try_get_many(&self, values: &mut [T]) -> Result<usize, GetError>
    where
        T: PlainSlice,
    {
        self.get_many_timeout(values, Deadline::PASSED)
    }

    /// Gets values as [`get_many`](Self::get_many) does; waits up to `timeout` for the first.
    ///
    /// # Errors
    ///
    /// Those of [`get_many`](Self::get_many), and [`GetError::Empty`] if it timed out.
    pub fn get_many_timeout(
        &self,
        values: &mut [T],
        timeout: impl Into<Deadline>,
    ) -> Result<usize, GetError>
    where
        T: PlainSlice,
    {
        let mut places = values.iter_mut();
        let Some(first) = places.next() else {
            return Ok(0);
        };
        *first = self.shared.get(self.wait, timeout.into())?;
        let mut got = 1;
        for place in places {
            // What an error says, the next get reports.
            let Some(Ok(value)) = self.shared.take() else {
                break;
            };
            *place = value;
            got += 1;
        }
        Ok(got)
    }

    /// The values as they come, until the queue is closed and empty, or after an error other than
    /// of one value.
    pub fn iter(&self) -> impl Iterator<Item = Result<T, GetError>> + '_ {
        let mut ended = false;
        core::iter::from_fn(move || {
            let next = (!ended).then(|| self.get())?;
            ended = !matches!(next, Ok(_) | Err(GetError::Decode(_)));
            (!matches!(next, Err(GetError::Closed))).then_some(next)
        })
    }

    /// Closes the queue, for all: puts fail from now on, gets take what is left and then fail.
    ///
    /// A put that has begun is in the queue or fails; gets wait until that is known.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether the queue was closed. True stays true.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// About how many values there are, as [`MpmcRing::len`] says it.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.shared.ring.len()
    }

    /// Whether there was nothing to get at some time during the call.
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        !self.shared.ring.has_value()
    }

    /// Whether a put would have had to wait at some time during the call.
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        !self.shared.ring.has_room()
    }

    /// The most values there can be.
    pub fn capacity(&self) -> usize {
        self.shared.ring.capacity()
    }
}

impl<T: Plain> Shared<T> {
    #[inline]
    fn put(
        &self,
        producer: &MpmcProducer<'static, T>,
        value: T,
        wait: Wait,
        deadline: Deadline,
    ) -> Result<(), PutError<()>> {
        let first = self
            .words
            .not_empty
            .under_bell(|| self.push(producer, value));
        if let Some(put) = first {
            return put;
        }
        if deadline == Deadline::PASSED {
            return Err(PutError::Full(()));
        }
        self.put_when_there_is_room(producer, value, wait, deadline)
    }

    #[cold]
    fn put_when_there_is_room(
        &self,
        producer: &MpmcProducer<'static, T>,
        value: T,
        wait: Wait,
        deadline: Deadline,
    ) -> Result<(), PutError<()>> {
        let not_full = &self.words.not_full;
        let attempt = || {
            let put = self.push(producer, value)?;
            // Rule (b): who made room for several may have died after its first wake-up.
            if not_full.has_sleepers() && self.ring.has_room() {
                not_full.notify(1);
            }
            Some(put)
        };
        not_full
            .wait_until(wait, deadline, attempt)
            .unwrap_or(Err(PutError::Full(())))
    }

    /// `None` if there is no room.
    #[inline]
    fn push(
        &self,
        producer: &MpmcProducer<'static, T>,
        value: T,
    ) -> Option<Result<(), PutError<()>>> {
        // First, so that no get of a closed queue waits for puts that only begin.
        if self.is_closed() {
            return Some(Err(self.refuse_closed()));
        }
        let grant = loop {
            match producer.reserve() {
                Ok(grant) => break grant,
                Err(NoRoom::Unfinished(owner)) if self.sweep_if_dead(owner) => {}
                Err(NoRoom::Corrupt(corrupt)) => return Some(Err(Error::from(corrupt).into())),
                Err(_) => return None,
            }
        };
        let not_empty = &self.words.not_empty;
        // Rule (a) of the eventcount.
        not_empty.under_bell(|| {
            // After the claim (I2).
            if self.is_closed() {
                drop(grant);
                return Some(Err(self.refuse_closed()));
            }
            grant.commit(value);
            not_empty.notify_committed(1);
            Some(Ok(()))
        })
    }

    /// Wakes all, who would see it themselves: who closed may have died before, and a get may wait
    /// for what became of a place (rule c).
    #[cold]
    fn refuse_closed(&self) -> PutError<()> {
        self.words.not_empty.notify_all();
        self.words.not_full.pass_on_to_all();
        PutError::Closed(())
    }

    #[inline]
    fn get(&self, wait: Wait, deadline: Deadline) -> Result<T, GetError> {
        if let Some(got) = self.take_or_end() {
            return got;
        }
        if deadline == Deadline::PASSED {
            return Err(GetError::Empty);
        }
        self.get_when_there_is_one(wait, deadline)
    }

    #[cold]
    fn get_when_there_is_one(&self, wait: Wait, deadline: Deadline) -> Result<T, GetError> {
        let not_empty = &self.words.not_empty;
        let attempt = || {
            let got = self.take_or_end()?;
            // Rule (b). The next one to wake finds that the queue is closed, and wakes all.
            if not_empty.has_sleepers() && self.is_ready() {
                not_empty.notify(1);
            }
            Some(got)
        };
        let on_suspect = || {
            if let Some(owner) = self.ring.unfinished() {
                self.sweep_if_dead(owner);
            }
        };
        not_empty
            .wait_until_or_suspect(wait, deadline, attempt, on_suspect)
            .unwrap_or(Err(GetError::Empty))
    }

    /// `None` if there is nothing, but may be later.
    #[inline]
    fn take_or_end(&self) -> Option<Result<T, GetError>> {
        let taken = self.take();
        if taken.is_some() || !self.is_closed() {
            return taken;
        }
        self.take_last()
    }

    /// `None` if there is nothing.
    #[inline]
    fn take(&self) -> Option<Result<T, GetError>> {
        let not_full = &self.words.not_full;
        // Rule (a)
        not_full.under_bell(|| {
            let taken = match self.ring.pop() {
                Err(PopError::Empty) => return None,
                Ok(value) => Ok(value),
                Err(error @ PopError::Invalid) => Err(GetError::Decode(error.into())),
                Err(error) => return Some(Err(GetError::Failed(error.into()))),
            };
            not_full.notify_committed(1);
            Some(taken)
        })
    }

    /// For a closed queue: `None` while a put that found it open may still commit.
    #[cold]
    fn take_last(&self) -> Option<Result<T, GetError>> {
        // Pairs with the claim of a put that then found the queue open.
        fence(Ordering::SeqCst);
        while let Some(owner) = self.ring.unfinished() {
            if !self.sweep_if_dead(owner) {
                return None;
            }
        }
        let last = self.take();
        if last.is_none() {
            // Rule (c)
            self.words.not_empty.pass_on_to_all();
            self.words.not_full.pass_on_to_all();
        }
        Some(last.unwrap_or(Err(GetError::Closed)))
    }

    /// Frees what `owner` has claimed if it is proven dead, and wakes who waits for that. Returns
    /// whether it is.
    #[cold]
    fn sweep_if_dead(&self, owner: NonZeroU64) -> bool {
        if !owner::is_proven_dead(owner) {
            return false;
        }
        self.words.not_full.under_bell(|| {
            // SAFETY: exactly the owner that was just proven dead.
            let _seats = unsafe { self.ring.sweep(|dead| dead == owner) };
            self.words.not_full.notify_all();
        });
        true
    }

    fn close(&self) {
        let words = &*self.words;
        // Only the inner bell would ring: it is that of the side that sleeps, where each that wakes
        // wakes all others. A killed sleeper leaves `has_sleepers`, but none sleeps for room where
        // there is no value.
        let (inner, outer) = if words.not_full.has_sleepers() && self.ring.has_value() {
            (&words.not_full, &words.not_empty)
        } else {
            (&words.not_empty, &words.not_full)
        };
        outer.under_bell(|| {
            inner.under_bell(|| {
                words.closed.store(1, Ordering::SeqCst);
                inner.notify_all();
            });
            outer.notify_all();
        });
    }

    #[inline]
    fn is_closed(&self) -> bool {
        // SeqCst: in a put after the claim (I2). Acquire: what was put before it is seen.
        self.words.closed.load(Ordering::SeqCst) != 0
    }

    /// This process's right to put, which it claims with its first put.
    #[inline]
    fn producer(&self) -> Result<&MpmcProducer<'static, T>> {
        let me = this_process()?;
        match self.seats.get() {
            Some(seat) if seat.owner == me => Ok(&seat.producer),
            _ => self.later_producer(me),
        }
    }

    #[cold]
    fn later_producer(&self, me: ProcessIdentity) -> Result<&MpmcProducer<'static, T>> {
        let mut place = &self.seats;
        loop {
            match place.get() {
                Some(seat) if seat.owner == me => return Ok(&seat.producer),
                Some(seat) => place = &seat.next,
                None => {
                    let seat = Box::new(self.claim_seat(me)?);
                    // Another thread may have been first; then this seat is free again.
                    drop(place.set(seat));
                }
            }
        }
    }

    fn claim_seat(&self, me: ProcessIdentity) -> Result<Seat<T>> {
        let claim = || self.ring.claim_producer(me.into());
        let producer = claim().or_else(|_| {
            // SAFETY: of those that are proven dead.
            let _seats = unsafe { self.ring.sweep(owner::is_proven_dead) };
            claim()
        })?;
        Ok(Seat {
            producer: ManuallyDrop::new(producer),
            owner: me,
            next: OnceLock::new(),
        })
    }
}

impl<T: Plain> InMemory for Shared<T> {
    fn is_ready(&self) -> bool {
        self.ring.has_value() || self.is_closed()
    }

    fn event_count(&self) -> &EventCount {
        &self.words.not_empty
    }
}

impl<T: Plain> Waitable for MpmcQueue<T> {
    fn watch(&self) -> Result<Watch<'_>> {
        Ok(Watch::Memory(&*self.shared))
    }
}

fn plan<T: Plain>(capacity: usize) -> Result<Plan> {
    let size = MpmcRing::<T>::size_for(capacity, SEATS)?;
    let size = size.checked_add(RING).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "make", "a bounded queue")
            .with_detail(format!("a capacity of {capacity} is more than addresses"))
    })?;
    Ok(Plan::new(Kind::MpmcQueue, TypeTag::of::<T>(), size).page_aligned())
}

impl<T: Plain> ObjectType for MpmcQueue<T> {
    type Settings<'s> = usize;

    fn plan(capacity: &usize) -> Result<Plan> {
        Ok(plan::<T>(*capacity)?.accepting(*Self::any().expected()))
    }

    fn any() -> Plan {
        let least = MpmcRing::<T>::size_for(1, SEATS).unwrap_or(usize::MAX - RING);
        Plan::new(Kind::MpmcQueue, TypeTag::of::<T>(), RING + least).page_aligned()
    }

    unsafe fn initialise(payload: Region<'_>, capacity: usize) -> Result<()> {
        let ring = payload.subregion(RING, payload.len() - RING)?;
        // SAFETY: no other process reaches the payload yet, and all that will find a header that
        // says this kind and type.
        unsafe { MpmcRing::<T>::create(ring, capacity, SEATS) }?;
        Ok(())
    }

    unsafe fn attach(object: Object) -> Result<Self> {
        // SAFETY: reached as what the header says.
        let payload = unsafe { object.payload() };
        let ring = payload.subregion(RING, payload.len() - RING)?;
        let start = ring.pointer_to::<u8>(0, ring.len())?;
        // SAFETY: mapped as long as `words`, which is dropped after all that is made of it.
        let region = unsafe { Region::<'static>::new(start, ring.len()) };
        // SAFETY: the header was checked: a ring of this `T` follows the words.
        let ring = unsafe { MpmcRing::attach(region) }?;
        // SAFETY: such a queue starts with these words, which are bare.
        let words = unsafe { Placed::new(object) }?;
        let shared = Shared {
            seats: OnceLock::new(),
            ring,
            words,
        };
        Ok(Self {
            shared: Arc::new(shared),
            wait: Wait::default(),
        })
    }

    fn object(&self) -> &Object {
        self.shared.words.object()
    }
}

mp_object::handle!([T: Plain] MpmcQueue<T>);

impl<T: Plain> Clone for MpmcQueue<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            ..*self
        }
    }
}

impl<T: Plain> fmt::Debug for MpmcQueue<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MpmcQueue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
