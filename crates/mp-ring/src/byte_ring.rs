//! Single-producer single-consumer ring of records of any length, each contiguous ("bip buffer"
//! with skip marks).
//!
//! # Source
//!
//! The ring of [`Ring`](crate::Ring) over bytes, with records that never wrap: one that does not
//! fit before the end starts at the beginning, after a mark that says so. Changed from the usual:
//! head and tail carry the number of records beside the position, in one word, so that one store
//! publishes both.
//!
//! # Layout
//!
//! ```text
//! 0       128    256    384
//! | shape | tail | head | data: 2^n bytes |
//!
//! record, at a multiple of 8:     end of the ring, too short for the next record:
//! | len u32 | tag u32 | len bytes, then padding to 8 |   | 0xffff_ffff u32 | 0 u32 | unused |
//! ```
//!
//! A position counts units of 8 bytes, modulo 2^32, while the data has at most 2^31 of them. Beside
//! head and tail, each side notes how far it has seen the other (`cached`), for the next process
//! that has its role.
//!
//! # Invariants
//!
//! - I1: `tail - head` is at most the data's units, at least one unit for each record between them,
//!   and moves only with a record. A side that reads anything else answers
//!   [`Corrupt`](crate::Corrupt).
//! - I2: the bytes of `head..tail` are the consumer's; all others are the producer's.
//! - I3: `tail` and its `cached` are written by the producer alone, `head` and its `cached` by the
//!   consumer alone. A role belongs to one handle at a time: by its claim, or by a lock that guards
//!   it.
//! - I4: `cached` is a value that the other side's word had, at most one ring behind the own word.
//!
//! # Orderings
//!
//! - The producer's Release store of `tail` and the consumer's Acquire load: records are written
//!   before they are read.
//! - The consumer's Release store of `head` and the producer's Acquire load: they are read before
//!   they are overwritten.
//! - `cached` is stored with Release and loaded with Acquire: what its writer had acquired, its
//!   reader acquires.
//!
//! # Progress
//!
//! Wait-free: no operation has a loop other than over the records and bytes it copies.
//!
//! # If a process dies
//!
//! The store to `tail` is what pushes, the store to `head` is what pops; bytes beyond `tail` mean
//! nothing, whatever a dead producer left there. The other side notices nothing, and a successor
//! continues from the words.

use core::num::NonZeroU64;

use mp_layout::atomic::Ordering;
use mp_layout::{Error, ErrorKind, Region};

use crate::byte_ring_words::{ByteRingWords, DATA};
use crate::cursor::{Cursor, Distance, MAX_UNITS, UNIT};
use crate::payload::Payload;
use crate::record_header::{HEADER, SKIP};
use crate::{ANONYMOUS, ByteConsumer, ByteProducer, ClaimError, Corrupt, Freed, Role};

/// A ring of byte records placed in shared memory, of which the two roles are claimed.
///
/// It is a view and is copied freely; [`ByteProducer`] and [`ByteConsumer`] are not. Its `capacity`
/// is in bytes, rounded up to a power of two; each record takes 8 more than its length, rounded up
/// to 8. The longest record is half the capacity less 8 bytes, so that there is room for it
/// wherever an empty ring happens to be.
///
/// ```
/// use mp_ring::ByteRing;
///
/// let mut memory = vec![0; ByteRing::words_for(100)?];
/// let ring = ByteRing::new(&mut memory, 100, None)?;
/// let (mut producer, mut consumer) = ring.split()?;
/// producer.push(b"first")?;
/// producer.push(b"the second")?;
/// assert_eq!((ring.capacity(), ring.max_record(), ring.len()), (128, 56, 2));
/// assert_eq!(consumer.peek()?.bytes(), b"first");
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ByteRing<'a> {
    pub(crate) words: &'a ByteRingWords,
    pub(crate) data: Payload<'a>,
    /// Read from shared memory once and checked; what peers do to the words later changes nothing
    /// here.
    pub(crate) units: u32,
    pub(crate) max_records: u32,
}

impl<'a> ByteRing<'a> {
    /// Bytes that a ring of `capacity` bytes takes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if `capacity` is 0 or above 16 GiB.
    pub fn size_for(capacity: usize) -> mp_layout::Result<usize> {
        let rounded = capacity
            .checked_next_power_of_two()
            .map(|rounded| rounded.max(2 * UNIT))
            .filter(|rounded| (rounded / UNIT) as u64 <= MAX_UNITS);
        match rounded {
            Some(rounded) if capacity > 0 => Ok(DATA + rounded),
            _ => Err(Error::mismatch(
                ErrorKind::InvalidInput,
                "make",
                "a byte ring",
                format_args!("a capacity of {capacity}"),
                "1 byte to 16 GiB",
            )),
        }
    }

    /// Makes an empty ring in `region`, whatever is there now. It touches only the words before the
    /// data.
    ///
    /// With `max_records` it is full with as many records, whatever room is left.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] as [`size_for`](Self::size_for) or if `max_records` is 0;
    /// [`ErrorKind::WrongSize`] if the region is too small or not aligned to 128 bytes.
    ///
    /// # Safety
    ///
    /// - For `'a`, all that reaches the region's bytes, in any process, does so as a byte ring. The
    ///   header of the object that the region belongs to is what proves it to an attacher.
    /// - No other code uses it before this returns.
    ///
    /// `'a` is as good as what keeps the region mapped. A structure that owns the mapping may hold
    /// a `ByteProducer<'static>` beside it, if the handle is dropped before the mapping and
    /// never leaves the structure.
    pub unsafe fn create(
        region: Region<'a>,
        capacity: usize,
        max_records: Option<u32>,
    ) -> mp_layout::Result<Self> {
        let size = Self::size_for(capacity)?;
        let max_records = max_records.unwrap_or(u32::MAX);
        if max_records == 0 {
            return Err(Error::mismatch(
                ErrorKind::InvalidInput,
                "make",
                "a byte ring",
                "at most 0 records",
                "at least 1",
            ));
        }
        let ring = Self::over(region, size - DATA, max_records)?;
        let ByteRingWords { shape, tail, head } = ring.words;
        for side in [tail, head] {
            side.store_cached(Cursor::from_word(0));
            side.publish(Cursor::from_word(0), Ordering::Relaxed);
        }
        shape
            .max_records
            .store(u64::from(max_records), Ordering::Relaxed);
        shape.roles.free_both();
        // pairs with `attach`'s load, in case the owner of the region does not publish it
        // afterwards
        shape
            .capacity
            .store((size - DATA) as u64, Ordering::Release);
        Ok(ring)
    }

    /// Overlays the ring that [`create`](Self::create) made in `region`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotReady`] if there is none yet; [`ErrorKind::WrongSize`] if it does not fit
    /// into the region; [`ErrorKind::Corrupt`] if its capacity or limit cannot be one.
    ///
    /// # Safety
    ///
    /// The first condition of [`create`](Self::create).
    pub unsafe fn attach(region: Region<'a>) -> mp_layout::Result<Self> {
        let words = region.place::<ByteRingWords>(0)?;
        let capacity = words.shape.capacity.load(Ordering::Acquire);
        if capacity == 0 {
            return Err(Error::new(ErrorKind::NotReady, "attach", "a byte ring"));
        }
        let max_records = words.shape.max_records.load(Ordering::Relaxed);
        let data = usize::try_from(capacity).unwrap_or(usize::MAX);
        let possible = Self::size_for(data).is_ok_and(|size| size == DATA + data);
        match u32::try_from(max_records) {
            Ok(max_records @ 1..) if possible => Self::over(region, data, max_records),
            _ => Err(Error::mismatch(
                ErrorKind::Corrupt,
                "attach",
                "a byte ring",
                format_args!("{capacity} bytes for at most {max_records} records"),
                "a power of two from 16, and 1 to 2^32 - 1 records",
            )),
        }
    }

    /// Makes a ring in memory of this process, for threads and tests.
    /// [`words_for`](Self::words_for) says how much it needs.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    #[cfg(not(loom))]
    pub fn new(
        memory: &'a mut [u64],
        capacity: usize,
        max_records: Option<u32>,
    ) -> mp_layout::Result<Self> {
        let region = crate::payload::aligned(memory)?;
        // SAFETY: the memory is borrowed exclusively, so whoever reaches it does so through the
        // ring that this returns.
        unsafe { Self::create(region, capacity, max_records) }
    }

    /// Words that [`new`](Self::new) needs for `capacity` bytes, wherever they start.
    ///
    /// # Errors
    ///
    /// As [`size_for`](Self::size_for).
    #[cfg(not(loom))]
    pub fn words_for(capacity: usize) -> mp_layout::Result<usize> {
        Ok(crate::payload::words_for(Self::size_for(capacity)?))
    }

    /// `size` is one that `size_for` gives.
    fn over(region: Region<'a>, size: usize, max_records: u32) -> mp_layout::Result<Self> {
        Ok(Self {
            words: region.place(0)?,
            data: Payload::new(region, DATA, size)?,
            units: (size / UNIT) as u32,
            max_records,
        })
    }

    /// Claims both roles for this process, for its threads.
    ///
    /// # Errors
    ///
    /// As [`claim_producer`](Self::claim_producer).
    pub fn split(self) -> Result<(ByteProducer<'a>, ByteConsumer<'a>), ClaimError> {
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
    /// [`ClaimError::Claimed`] if there is one, also if it is dead and not swept yet;
    /// [`ClaimError::Corrupt`] if the words are impossible.
    pub fn claim_producer(self, me: NonZeroU64) -> Result<ByteProducer<'a>, ClaimError> {
        let claim = self.words.shape.roles.claim(Role::Producer, me)?;
        Ok(ByteProducer::new(self, Some(claim))?)
    }

    /// Becomes the consumer, under an identity that other processes can tell the death of.
    ///
    /// It continues where the last consumer's last completed operation ended.
    ///
    /// # Errors
    ///
    /// As [`claim_producer`](Self::claim_producer).
    pub fn claim_consumer(self, me: NonZeroU64) -> Result<ByteConsumer<'a>, ClaimError> {
        let claim = self.words.shape.roles.claim(Role::Consumer, me)?;
        Ok(ByteConsumer::new(self, Some(claim))?)
    }

    /// A producer without a claim, for many producers that take turns under a lock. Cheap: it reads
    /// one line, which belongs to the producers.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the words are impossible.
    ///
    /// # Safety
    ///
    /// Until it is dropped there is no other producer, in any process: each takes the same lock
    /// first, makes its handle again and drops it before it unlocks. Counter-example: keeping
    /// the handle from one locked time to the next.
    #[inline]
    pub unsafe fn locked_producer(self) -> Result<ByteProducer<'a>, Corrupt> {
        ByteProducer::new(self, None)
    }

    /// A consumer without a claim, for many consumers that take turns under a lock.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the words are impossible.
    ///
    /// # Safety
    ///
    /// As [`locked_producer`](Self::locked_producer), with a lock that every consumer takes.
    #[inline]
    pub unsafe fn locked_consumer(self) -> Result<ByteConsumer<'a>, Corrupt> {
        ByteConsumer::new(self, None)
    }

    /// Frees the roles whose owners `is_dead` knows to be dead. Any number of processes may sweep
    /// at once.
    ///
    /// # Safety
    ///
    /// `is_dead` says so only of owners that will never run again: two living producers would write
    /// the same bytes.
    pub unsafe fn sweep(&self, is_dead: impl Fn(NonZeroU64) -> bool) -> Freed {
        self.words.shape.roles.sweep(is_dead)
    }

    /// The identity that `role` is claimed with, if it is.
    pub fn owner(&self, role: Role) -> Option<NonZeroU64> {
        self.words.shape.roles.owner(role)
    }

    /// Bytes for records and their headers.
    pub fn capacity(&self) -> usize {
        self.units as usize * UNIT
    }

    /// Bytes of the longest record.
    pub fn max_record(&self) -> usize {
        (self.capacity() / 2 - HEADER).min(SKIP as usize - 1)
    }

    /// The most records there can be, if that was limited.
    pub fn max_records(&self) -> Option<u32> {
        Some(self.max_records).filter(|limit| *limit != u32::MAX)
    }

    /// Records in the ring at some time during the call, or more, up to what it can hold, while
    /// both sides move.
    ///
    /// A handle knows better: [`ByteProducer::len`] and [`ByteConsumer::len`].
    pub fn len(&self) -> usize {
        self.distance()
            .records
            .min(self.units)
            .min(self.max_records) as usize
    }

    /// Bytes that records and skipped ends take, as exact as [`len`](Self::len).
    pub fn used(&self) -> usize {
        self.distance().units.min(self.units) as usize * UNIT
    }

    /// Whether there was nothing to pop at some time during the call.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn distance(&self) -> Distance {
        // the head first: records popped between the two loads make the result larger, never
        // negative
        let head = self.words.head.cursor();
        self.words.tail.cursor().since(head)
    }

    /// Whether one more record fits, `units` with what is skipped before it.
    pub(crate) fn has_room(&self, used: Distance, units: u64) -> bool {
        u64::from(used.units) + units <= u64::from(self.units) && used.records < self.max_records
    }

    /// Units to skip before a record of `len` bytes pushed at `tail`, and its own.
    pub(crate) fn units_for(&self, tail: Cursor, len: usize) -> (u64, u64) {
        let units = 1 + len.div_ceil(UNIT) as u64;
        let to_end = u64::from(self.units - self.unit_at(tail.position()));
        (if units > to_end { to_end } else { 0 }, units)
    }

    /// Where in the data a position lies, in units.
    pub(crate) fn unit_at(&self, position: u32) -> u32 {
        position & (self.units - 1)
    }
}
