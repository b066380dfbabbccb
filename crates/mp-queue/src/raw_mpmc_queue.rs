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
//! - I1: who puts has a seat of the ring, in the name of its program: what `exec` ends is over.
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
//! `try_` operations are lock-free, but for one system call if the other side sleeps, and some more
//! where a place that is needed is unfinished. A process that is stopped in an operation stops no
//! other, until the ring has come around to the place where it is putting. The others block.
//!
//! # If a process dies
//!
//! In a put, the value was put or not, by one exchange. Before it, the place stays claimed: gets
//! pass it over, and a put that comes to it a lap later proves that its program is over and sweeps.
//! A program is over by death or by `exec`, which ends a put of another thread. In a get, the value
//! was taken or not, by one compare-and-swap. The bells wake one of the other side in each case; it
//! looks and, if a place is left claimed, sweeps: immediately, as a process that is being killed is
//! known by that, or some milliseconds later where it has threads that do not know it yet.
//!
//! A put that waits for the very place of a put that dies hears no bell: it looks at its recheck,
//! after 250 ms at most. So does each that waits for a process that dies while it writes a core
//! file: the bell rings when that is written, and the process is proven over before.
//!
//! A thread that ends within a put without its process, by a raw `exit` system call or by
//! `pthread_cancel`, leaves its place claimed for as long as the program runs. Puts go on up to
//! that place, and gets of the queue wait once it is closed.
//!
//! The eventcount's **known gap** stands here, for a few instructions: what was woken for room
//! announces the bell of the consumers while it commits, and what was woken for a value that of the
//! producers while it takes it. A kill there is not heard by others that sleep for the same; they
//! find the room or the value at the next put or get, or at their recheck after 250 ms. What was
//! woken for room claims its place under the bell of the producers: if the queue is closed
//! meanwhile and it is killed between the claim and the commit, gets look at their recheck.

use core::cell::Cell;
use core::mem::ManuallyDrop;
use core::num::NonZeroU64;
use std::sync::OnceLock;

use mp_layout::atomic::{AtomicU32, Ordering, fence};
use mp_layout::{Error, ErrorKind, Kind, Padded, Plain, Region, Result, TypeTag, shared_struct};
use mp_object::owner::{self, this_process, this_program};
use mp_object::{InMemory, Object, Placed, Plan, ProcessIdentity};
use mp_os::clock::Deadline;
use mp_ring::{MpmcProducer, MpmcRing, NoRoom, PopError};
use mp_sync::{EventCount, Wait};

use crate::{GetError, PutError};

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

/// A queue as this process has it mapped.
pub(crate) struct RawMpmcQueue<T: Plain> {
    /// Dropped before the mapping.
    seats: OnceLock<Box<Seat<T>>>,
    /// No copy leaves this crate.
    pub(crate) ring: MpmcRing<'static, T>,
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

/// Why a value was not put.
enum NotPut {
    /// There is no room, perhaps because this program has not finished a put.
    NoRoom(Option<NonZeroU64>),
    Failed(PutError<()>),
}

impl<T: Plain> RawMpmcQueue<T> {
    /// # Safety
    ///
    /// The object is such a queue, of this `T`, as its header says.
    pub(crate) unsafe fn attach(object: Object) -> Result<Self> {
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
        Ok(Self {
            seats: OnceLock::new(),
            ring,
            words,
        })
    }

    pub(crate) fn object(&self) -> &Object {
        self.words.object()
    }

    #[inline]
    pub(crate) fn put(
        &self,
        producer: &MpmcProducer<'static, T>,
        value: T,
        wait: Wait,
        deadline: Deadline,
    ) -> Result<(), PutError<()>> {
        let not_empty = &self.words.not_empty;
        match not_empty.under_bell(|| self.push(producer, value)) {
            Ok(()) => Ok(()),
            Err(NotPut::Failed(error)) => Err(error),
            Err(NotPut::NoRoom(None)) if deadline == Deadline::PASSED => Err(PutError::Full(())),
            Err(NotPut::NoRoom(_)) => self.put_when_there_is_room(producer, value, wait, deadline),
        }
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
        let found_running = Cell::new(None);
        let attempt = || {
            let put = loop {
                match self.push(producer, value) {
                    Ok(()) => break Ok(()),
                    Err(NotPut::Failed(error)) => break Err(error),
                    Err(NotPut::NoRoom(Some(owner))) if self.is_swept(owner, &found_running) => {}
                    Err(NotPut::NoRoom(owner)) => {
                        found_running.set(owner);
                        return None;
                    }
                }
            };
            // Rule (b): who made room for several may have died after its first wake-up.
            if not_full.has_sleepers() && self.ring.has_room() {
                not_full.notify(1);
            }
            Some(put)
        };
        let on_suspect = || {
            if let Some(owner) = found_running.get() {
                self.sweep_if_over(owner);
            }
        };
        not_full
            .wait_until_or_suspect(wait, deadline, attempt, on_suspect)
            .unwrap_or(Err(PutError::Full(())))
    }

    #[inline]
    fn push(&self, producer: &MpmcProducer<'static, T>, value: T) -> Result<(), NotPut> {
        // First, so that no get of a closed queue waits for puts that only begin.
        if self.is_closed() {
            return Err(self.refuse_closed());
        }
        let grant = producer.reserve().map_err(|why| match why {
            NoRoom::Unfinished(owner) => NotPut::NoRoom(Some(owner)),
            NoRoom::Corrupt(corrupt) => NotPut::Failed(Error::from(corrupt).into()),
            _ => NotPut::NoRoom(None),
        })?;
        let not_empty = &self.words.not_empty;
        // Rule (a) of the eventcount.
        not_empty.under_bell(|| {
            // After the claim (I2).
            if self.is_closed() {
                drop(grant);
                return Err(self.refuse_closed());
            }
            grant.commit(value);
            not_empty.notify_committed(1);
            Ok(())
        })
    }

    /// Wakes all, who would see it themselves: who closed may have died before, and a get may wait
    /// for what became of a place (rule c).
    #[cold]
    fn refuse_closed(&self) -> NotPut {
        self.words.not_empty.notify_all();
        self.words.not_full.pass_on_to_all();
        NotPut::Failed(PutError::Closed(()))
    }

    #[inline]
    pub(crate) fn get(&self, wait: Wait, deadline: Deadline) -> Result<T, GetError> {
        let taken = self.take();
        if let Some(taken) = taken {
            return taken;
        }
        if deadline == Deadline::PASSED && !self.is_closed() {
            return Err(GetError::Empty);
        }
        self.get_when_there_is_one(wait, deadline)
    }

    #[cold]
    fn get_when_there_is_one(&self, wait: Wait, deadline: Deadline) -> Result<T, GetError> {
        let not_empty = &self.words.not_empty;
        let found_running = Cell::new(None);
        let attempt = || {
            let mut taken = self.take();
            if taken.is_none() && self.is_closed() {
                taken = self.take_last(&found_running);
            }
            // Rule (b). The next one to wake finds that the queue is closed, and wakes all.
            if taken.is_some() && not_empty.has_sleepers() && self.is_ready() {
                not_empty.notify(1);
            }
            taken
        };
        not_empty
            .wait_until_or_suspect(wait, deadline, attempt, || self.suspect())
            .unwrap_or(Err(GetError::Empty))
    }

    /// `None` if there is nothing.
    #[inline]
    pub(crate) fn take(&self) -> Option<Result<T, GetError>> {
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
    fn take_last(&self, found_running: &Cell<Option<NonZeroU64>>) -> Option<Result<T, GetError>> {
        while let Some(owner) = self.unfinished_of_closed() {
            if !self.is_swept(owner, found_running) {
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

    /// Who has claimed a place and not finished, for one who has seen that the queue is closed.
    fn unfinished_of_closed(&self) -> Option<NonZeroU64> {
        // Pairs with the claim of a put that then found the queue open.
        fence(Ordering::SeqCst);
        self.ring.unfinished()
    }

    /// Sweeps what `owner` has claimed if it is proven over, and returns whether it is. Asked for
    /// one that was `found_running` it looks no more: what waits asks at each of its looks.
    fn is_swept(&self, owner: NonZeroU64, found_running: &Cell<Option<NonZeroU64>>) -> bool {
        found_running.replace(Some(owner)) != Some(owner) && self.sweep_if_over(owner)
    }

    /// Frees what `owner` has claimed if it is proven over. Returns whether it is.
    #[cold]
    fn sweep_if_over(&self, owner: NonZeroU64) -> bool {
        let is_over = owner::is_proven_over(owner);
        if is_over {
            // SAFETY: exactly the owner that was just proven over.
            unsafe { self.sweep(|dead| dead == owner) };
        }
        is_over
    }

    /// Frees what those have claimed that are over, and wakes who waits for that.
    ///
    /// # Safety
    ///
    /// `is_over` says so only of programs that will never run again.
    unsafe fn sweep(&self, is_over: impl Fn(NonZeroU64) -> bool) {
        self.words.not_full.under_bell(|| {
            // SAFETY: the caller's promise.
            let _seats = unsafe { self.ring.sweep(is_over) };
            self.words.not_full.notify_all();
            // After the fence of `notify_all`: a get that still found the place claimed and the
            // queue closed is seen asleep here.
            if self.is_closed() {
                self.words.not_empty.pass_on_to_all();
            }
        });
    }

    pub(crate) fn close(&self) {
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
    pub(crate) fn is_closed(&self) -> bool {
        // SeqCst: in a put after the claim (I2). Acquire: what was put before it is seen.
        self.words.closed.load(Ordering::SeqCst) != 0
    }

    /// This process's right to put, which it claims with its first put.
    #[inline]
    pub(crate) fn producer(&self) -> Result<&MpmcProducer<'static, T>> {
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
        let program = this_program()?.into();
        let claim = || self.ring.claim_producer(program);
        let producer = claim().or_else(|_| {
            // SAFETY: of those that are proven over.
            unsafe { self.sweep(owner::is_proven_over) };
            claim()
        })?;
        Ok(Seat {
            producer: ManuallyDrop::new(producer),
            owner: me,
            next: OnceLock::new(),
        })
    }
}

impl<T: Plain> InMemory for RawMpmcQueue<T> {
    /// Whether a get would not wait.
    fn is_ready(&self) -> bool {
        self.ring.has_value() || (self.is_closed() && self.unfinished_of_closed().is_none())
    }

    fn suspect(&self) {
        // What is ready is not looked through.
        if !self.ring.has_value()
            && let Some(owner) = self.ring.unfinished()
        {
            self.sweep_if_over(owner);
        }
    }

    fn event_count(&self) -> &EventCount {
        &self.words.not_empty
    }
}

pub(crate) fn plan<T: Plain>(capacity: usize) -> Result<Plan> {
    let size = MpmcRing::<T>::size_for(capacity, SEATS)?;
    let size = size.checked_add(RING).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "make", "a bounded queue")
            .with_detail(format!("a capacity of {capacity} is more than addresses"))
    })?;
    Ok(Plan::new(Kind::MpmcQueue, TypeTag::of::<T>(), size).page_aligned())
}

/// The smallest queue of any type.
pub(crate) fn any<T: Plain>() -> Plan {
    let least = MpmcRing::<T>::size_for(1, SEATS).unwrap_or(usize::MAX - RING);
    Plan::new(Kind::MpmcQueue, TypeTag::of::<T>(), RING + least).page_aligned()
}

/// # Safety
///
/// No other process reaches the payload yet, and all that will find a header that says this kind
/// and type.
pub(crate) unsafe fn initialise<T: Plain>(payload: Region<'_>, capacity: usize) -> Result<()> {
    let ring = payload.subregion(RING, payload.len() - RING)?;
    // SAFETY: the caller's promise.
    unsafe { MpmcRing::<T>::create(ring, capacity, SEATS) }?;
    Ok(())
}
