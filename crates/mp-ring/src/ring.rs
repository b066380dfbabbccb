//! Bounded single-producer single-consumer ring of values of one size, after Lamport.
//!
//! # Source
//!
//! L. Lamport, "Specifying Concurrent Program Modules" (1983), with each side's cached copy of the
//! other's index, after FastForward and MCRingBuffer. Changed: it lies in shared memory, so what
//! the peer wrote is checked before use; a role is claimed in an owner word that outlives its
//! process; a small value pushed alone lies in the tail's line too, so that a waiting consumer
//! needs one line from the other core and not two; and each side's core fetches lines of slots
//! before it needs them.
//!
//! # Layout
//!
//! ```text
//! 0        128    256    384
//! | shape  | tail | head | slot 0 | slot 1 | ... | slot 2^n - 1 |
//! ```
//!
//! `tail` counts the values pushed so far, `head` those popped; value `i` lies in slot `i mod 2^n`.
//! There are as many slots as the next power of two, but never more values than `capacity`. Beside
//! `tail` are copies of values of up to 24 bytes that were pushed alone: of value `i`, in copy `i
//! mod 2`.
//!
//! # Invariants
//!
//! - I1: `0 <= tail - head <= capacity`. A side that reads anything else answers
//!   [`Corrupt`](crate::Corrupt).
//! - I2: the slots of `head..tail` are the consumer's; all others are the producer's.
//! - I3: `tail` and the copies are written by the claimed producer alone, `head` by the claimed
//!   consumer alone.
//! - I4: while `tail` is `i + 1`, and was `i` before, copy `i mod 2` is value `i`: the next push
//!   alone writes the other copy. A consumer uses it only if it saw `tail` at `i`, then at `i + 1`,
//!   and at `i + 1` again after it read the copy.
//!
//! # Orderings
//!
//! - The producer's Release store of `tail` and the consumer's Acquire load: the values are written
//!   before they are read.
//! - Each word of a copy is stored with Release and loaded with Acquire: who sees a later value's
//!   word sees the `tail` before it when it looks again.
//! - The consumer's Release store of `head` and the producer's Acquire load: they are read before
//!   they are overwritten.
//!
//! # Progress
//!
//! Wait-free: no operation has a loop other than over the values it copies.
//!
//! # If a process dies
//!
//! The store to `tail` is what pushes, the store to `head` is what pops. A producer killed before
//! its store leaves slots that I2 says are its own: the next producer overwrites them. A consumer
//! killed before its store leaves the values for the next consumer. The other side notices nothing.

use core::marker::PhantomData;
use core::num::NonZeroU64;

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{Error, ErrorKind, Padded, Plain, Region, shared_struct};

use crate::claim::Roles;
use crate::inline_value::Tail;
use crate::payload::Payload;
use crate::{ANONYMOUS, ClaimError, Consumer, Corrupt, Freed, Producer, Role};

const SLOTS: usize = 384;

shared_struct! {
    /// What `create` writes once, and who has which role.
    #[derive(Debug)]
    pub(crate) struct Shape as "Ring: shape": 32 bytes {
        capacity: AtomicU64 = "the most values there can be",
        item_size: AtomicU64 = "bytes of a value",
        roles: Roles = "who is the producer and who the consumer",
    }
}

shared_struct! {
    /// The words before the slots.
    #[derive(Debug)]
    pub(crate) struct RingWords as "Ring": 384 bytes {
        shape: Padded<Shape> = "what the creator writes once, and who has which role",
        pub(crate) tail: Padded<Tail> = "what the producer writes",
        pub(crate) head: Padded<AtomicU64> = "values popped so far; written by the consumer. The slots follow",
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<RingWords>() == SLOTS);

/// A ring of `T` placed in shared memory, of which the two roles are claimed.
///
/// It is a view and is copied freely; [`Producer`] and [`Consumer`] are not.
///
/// ```
/// use mp_ring::Ring;
///
/// let mut memory = vec![0; Ring::<u32>::words_for(3)?];
/// let ring = Ring::<u32>::new(&mut memory, 3)?;
/// let (mut producer, mut consumer) = ring.split()?;
/// assert_eq!(producer.push_slice(&[1, 2, 3, 4])?, 3);
/// assert_eq!((consumer.pop()?, ring.len(), ring.capacity()), (1, 2, 3));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a, T> {
    pub(crate) words: &'a RingWords,
    pub(crate) slots: Payload<'a>,
    /// Read from shared memory once and checked; what peers do to the words later changes nothing
    /// here.
    pub(crate) capacity: u64,
    pub(crate) mask: u64,
    element: PhantomData<T>,
}

impl<'a, T: Plain> Ring<'a, T> {
    /// Bytes that a ring of `capacity` values takes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if `capacity` is 0 or more than memory can have.
    pub fn size_for(capacity: usize) -> mp_layout::Result<usize> {
        let size = capacity
            .checked_next_power_of_two()
            .and_then(|slots| slots.checked_mul(size_of::<T>()))
            .and_then(|slots| slots.checked_add(SLOTS))
            .filter(|size| *size <= isize::MAX as usize);
        match size {
            Some(size) if capacity > 0 => Ok(size),
            _ => Err(bad_capacity(capacity, size_of::<T>())),
        }
    }

    /// Makes an empty ring in `region`, whatever is there now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] as [`size_for`](Self::size_for); [`ErrorKind::WrongSize`] if the
    /// region is too small or not aligned to 128 bytes or to `T`.
    ///
    /// # Safety
    ///
    /// - For `'a`, all that reaches the region's bytes, in any process, does so as a ring of this
    ///   very `T`. The header of the object that the region belongs to is what proves it to an
    ///   attacher.
    /// - No other code uses it before this returns.
    ///
    /// `'a` is as good as what keeps the region mapped. A structure that owns the mapping may hold
    /// a `Producer<'static>` beside it, if the handle is dropped before the mapping and never
    /// leaves the structure.
    pub unsafe fn create(region: Region<'a>, capacity: usize) -> mp_layout::Result<Self> {
        Self::size_for(capacity)?;
        let ring = Self::over(region, capacity as u64)?;
        let shape = &ring.words.shape;
        shape
            .item_size
            .store(size_of::<T>() as u64, Ordering::Relaxed);
        ring.words.tail.count.store(0, Ordering::Relaxed);
        ring.words.head.store(0, Ordering::Relaxed);
        shape.roles.free_both();
        // pairs with `attach`'s load, in case the owner of the region does not publish it
        // afterwards
        shape.capacity.store(capacity as u64, Ordering::Release);
        Ok(ring)
    }

    /// Overlays the ring that [`create`](Self::create) made in `region`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotReady`] if there is none yet; [`ErrorKind::WrongType`] if its values have
    /// another size; [`ErrorKind::WrongSize`] if it does not fit into the region.
    ///
    /// # Safety
    ///
    /// The first condition of [`create`](Self::create).
    pub unsafe fn attach(region: Region<'a>) -> mp_layout::Result<Self> {
        let words = region.place::<RingWords>(0)?;
        let capacity = words.shape.capacity.load(Ordering::Acquire);
        if capacity == 0 {
            return Err(Error::new(ErrorKind::NotReady, "attach", "a ring"));
        }
        let item_size = words.shape.item_size.load(Ordering::Relaxed);
        if item_size != size_of::<T>() as u64 {
            return Err(Error::mismatch(
                ErrorKind::WrongType,
                "attach",
                "a ring",
                format_args!("values of {item_size} bytes"),
                format_args!("{} bytes", size_of::<T>()),
            ));
        }
        Self::over(region, capacity)
    }

    /// Makes a ring in memory of this process, for threads and tests.
    /// [`words_for`](Self::words_for) says how much it needs.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    #[cfg(not(loom))]
    pub fn new(memory: &'a mut [u64], capacity: usize) -> mp_layout::Result<Self> {
        let region = crate::payload::aligned(memory)?;
        // SAFETY: the memory is borrowed exclusively, so whoever reaches it does so through the
        // ring that this returns.
        unsafe { Self::create(region, capacity) }
    }

    /// Words that [`new`](Self::new) needs for `capacity` values, wherever they start.
    ///
    /// # Errors
    ///
    /// As [`size_for`](Self::size_for).
    #[cfg(not(loom))]
    pub fn words_for(capacity: usize) -> mp_layout::Result<usize> {
        Ok(crate::payload::words_for(Self::size_for(capacity)?))
    }

    fn over(region: Region<'a>, capacity: u64) -> mp_layout::Result<Self> {
        let count = usize::try_from(capacity).unwrap_or(usize::MAX);
        let size = Self::size_for(count)?;
        region.pointer_to::<T>(SLOTS, (size - SLOTS) / size_of::<T>().max(1))?;
        Ok(Self {
            words: region.place(0)?,
            slots: Payload::new(region, SLOTS, size - SLOTS)?,
            capacity,
            mask: count.next_power_of_two() as u64 - 1,
            element: PhantomData,
        })
    }

    /// Claims both roles for this process, for its threads.
    ///
    /// # Errors
    ///
    /// As [`claim_producer`](Self::claim_producer).
    pub fn split(self) -> Result<(Producer<'a, T>, Consumer<'a, T>), ClaimError> {
        Ok((
            self.claim_producer(ANONYMOUS)?,
            self.claim_consumer(ANONYMOUS)?,
        ))
    }

    /// Becomes the producer, under an identity that other processes can tell the death of.
    ///
    /// It continues where the last producer's last completed operation ended.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Claimed`] if there is one, also if it is dead and not swept yet.
    pub fn claim_producer(self, me: NonZeroU64) -> Result<Producer<'a, T>, ClaimError> {
        let claim = self.words.shape.roles.claim(Role::Producer, me)?;
        Ok(Producer::new(self, claim)?)
    }

    /// Becomes the consumer, under an identity that other processes can tell the death of.
    ///
    /// It continues where the last consumer's last completed operation ended.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Claimed`] if there is one, also if it is dead and not swept yet.
    pub fn claim_consumer(self, me: NonZeroU64) -> Result<Consumer<'a, T>, ClaimError> {
        let claim = self.words.shape.roles.claim(Role::Consumer, me)?;
        Ok(Consumer::new(self, claim)?)
    }

    /// Frees the roles whose owners `is_dead` knows to be dead. Any number of processes may sweep
    /// at once.
    ///
    /// # Safety
    ///
    /// `is_dead` says so only of owners that will never run again: two living producers would write
    /// the same slot.
    pub unsafe fn sweep(&self, is_dead: impl Fn(NonZeroU64) -> bool) -> Freed {
        self.words.shape.roles.sweep(is_dead)
    }

    /// The identity that `role` is claimed with, if it is.
    pub fn owner(&self, role: Role) -> Option<NonZeroU64> {
        self.words.shape.roles.owner(role)
    }

    /// The most values there can be.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Values in the ring at some time during the call, or `capacity` if the words are corrupt.
    ///
    /// Both sides may have moved since. Only the handles know more: [`Producer::len`] and
    /// [`Consumer::len`].
    pub fn len(&self) -> usize {
        // the head first: values popped between the two loads make the result larger, never
        // negative
        let head = self.words.head.load(Ordering::Acquire);
        let tail = self.words.tail.count.load(Ordering::Acquire);
        tail.wrapping_sub(head).min(self.capacity) as usize
    }

    /// Whether there was nothing to pop at some time during the call.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there was no room at some time during the call.
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// Values published between `head` and `tail`: I1.
    pub(crate) fn checked_len(&self, tail: u64, head: u64) -> Result<u64, Corrupt> {
        let len = tail.wrapping_sub(head);
        if len <= self.capacity {
            Ok(len)
        } else {
            Err(corrupt_cursors(tail, head, self.capacity))
        }
    }

    /// The `count` slots from position `at`: their first slot, how many lie before the ring's end,
    /// how many at its start.
    pub(crate) fn parts(&self, at: u64, count: usize) -> (usize, usize, usize) {
        let slot = (at & self.mask) as usize;
        let first = count.min(self.mask as usize + 1 - slot);
        (slot, first, count - first)
    }
}

#[cold]
fn corrupt_cursors(tail: u64, head: u64, capacity: u64) -> Corrupt {
    Corrupt::Positions {
        head,
        tail,
        capacity,
    }
}

#[cold]
fn bad_capacity(capacity: usize, item_size: usize) -> Error {
    Error::mismatch(
        ErrorKind::InvalidInput,
        "make",
        "a ring",
        format_args!("a capacity of {capacity}"),
        format_args!("at least 1 value of {item_size} bytes, and no more than memory can have"),
    )
}
