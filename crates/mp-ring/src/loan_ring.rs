//! Queue of values in place, for many producers and many consumers: a pool of slots, and a bounded
//! ring that says which of them are published.
//!
//! # Source
//!
//! D. Vyukov, "Bounded MPMC queue" (2010), for the ring: cells, each of which says which position
//! it is about. The slots are a pool with owners, as the chunks of Eclipse iceoryx. Changed, for
//! any process may be killed at any instruction:
//!
//! - A producer fills a slot that is its own and publishes it by one compare-and-swap of a cell. So
//!   no cell is ever claimed and not written, and no order is given up: consumers take in the order
//!   of publication.
//! - A consumer takes a slot by a compare-and-swap of the slot, which names its seat. The cell
//!   still shows the slot until it is emptied, by the consumer or any other that sees the slot
//!   taken. So at each instant the slot, the cell or both say where a value is.
//! - What a dead consumer had taken is published again, with one redelivery more.
//!
//! # Layout
//!
//! ```text
//! 0        128    256    384
//! | shape  | tail | head | seats | cells | slots | values |
//! ```
//!
//! A seat is an owner word, a cell a word, and a slot a word in a line of its own. Values start at
//! multiples of 64. There are at least as many cells as slots.
//!
//! # Invariants
//!
//! - I1: words change only as the tables of `loan_word.rs` say; a cell's position never goes back,
//!   and no word is in one place twice.
//! - I2: a position is published only by who knows all before it to be published, and a slot is
//!   taken only by who knows all positions before its own to be taken. All before `tail` are
//!   published, all before `head` taken; both may be behind, never ahead.
//! - I3: a slot is in at most one cell. Where it leaves "taken", its cell was emptied before.
//! - I4: a value is written only by the seat that has loaned its slot and not published it, and
//!   read only by the seat that has taken it.
//! - I5: the values of `capacity` cells are not all there while a slot is yet to be published. So
//!   there is always room to publish, at the latest after a taken cell was emptied.
//! - I6: one process sweeps at a time. A seat is freed after all its slots, but for those that were
//!   leaked ([`mem::forget`](core::mem::forget)), which no sweep finds then.
//!
//! # Orderings
//!
//! - The Release of the compare-and-swap that publishes, and a consumer's Acquire load of the cell:
//!   the value is written before it is read, and what the producer knew of other cells (I2) is
//!   known.
//! - The Release store of a freed slot and the Acquire of the next loan: the value is read, and the
//!   cell emptied, before the slot is filled again.
//! - A consumer loads the slot (Acquire) between two loads of its cell. If both show the same word,
//!   the slot's word is one that it had while it was published there: had it been freed since, that
//!   Release says that the cell was emptied.
//! - Hints are stored with Release and loaded with Acquire (I2).
//!
//! # Progress
//!
//! Lock-free: an attempt that fails has met the success of another. A loan looks at each slot once.
//! Of several sweeps at a time one sweeps and the others are refused.
//!
//! # If a process dies
//!
//! - With a loan, at any instant before its commit: a sweep gives the slot back. After the commit
//!   the value is there, whether its producer lives or not.
//! - With a value taken, at any instant before the end of its release: a sweep publishes it again,
//!   at the tail, with one redelivery more. So it may have been used already, which only its user
//!   can know.
//! - In a sweep: the next one goes on.
//! - No death keeps another process from a loan, a commit or a take, but for the slots that the
//!   dead had.
//! - A process that calls `exec` ends its other threads. What they had stays theirs until the new
//!   program ends, and so does the turn to sweep, unless the identities tell programs apart.
//!
//! # If a process stops
//!
//! What it has loaned and taken is out of use until it goes on. Stopped in a sweep, it keeps the
//! turn: no other process sweeps until then.

mod publish;
mod sweep;
mod take;

use core::marker::PhantomData;
use core::num::NonZeroU64;

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{Error, ErrorKind, OwnerWord, PlainSlice, Region};

use crate::claim::Claim;
use crate::loan_word::{CellWord, MAX_SLOTS, STEP, SWEEPER, SlotWord, is_after, position_of};
use crate::loan_words::{LoanCellWord, LoanSlot, LoanWords, Parts, SEATS};
use crate::payload::{LINE, Payload};
use crate::{Corrupt, LoanSeat};

/// A ring of `T` of any size that are written and read where they lie, for any number of producers
/// and consumers, in threads and processes.
///
/// It is a view and is copied freely. To loan and to take is for a [`LoanSeat`].
///
/// ```
/// use mp_ring::{ANONYMOUS, LoanRing};
///
/// type Frame = [[u8; 64]; 48];
///
/// let mut memory = vec![0; LoanRing::<Frame>::words_for(4, 2)?];
/// let ring = LoanRing::<Frame>::new(&mut memory, 4, 2)?;
/// let (camera, viewer) = (ring.claim_seat(ANONYMOUS)?, ring.claim_seat(ANONYMOUS)?);
/// let mut frame = camera.loan()?;
/// frame[10][5] = 255;
/// frame.commit()?;
/// let frame = viewer.take()?;
/// assert_eq!((frame[10][5], frame.redeliveries()), (255, 0));
/// frame.release();
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LoanRing<'a, T> {
    words: &'a LoanWords,
    seats: &'a [OwnerWord],
    cells: &'a [LoanCellWord],
    slots: &'a [LoanSlot],
    values: Payload<'a>,
    element: PhantomData<T>,
}

impl<'a, T: PlainSlice> LoanRing<'a, T> {
    /// Bytes from one value to the next: no two share a line.
    const STRIDE: usize = {
        assert!(
            align_of::<T>() <= LINE,
            "a value in a ring of loans is aligned to at most 64 bytes"
        );
        size_of::<T>().next_multiple_of(LINE)
    };

    /// Bytes that a ring of `capacity` values for `seats` handles takes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if `capacity` is 0, more than 65 535 or more than memory can
    /// have, or if `seats` is 0 or more than 1023.
    pub fn size_for(capacity: usize, seats: usize) -> mp_layout::Result<usize> {
        let refused = |found: String, most: usize| {
            Error::mismatch(
                ErrorKind::InvalidInput,
                "make",
                "a ring of loans",
                found,
                format_args!("between 1 and {most}"),
            )
        };
        if seats == 0 || seats > SWEEPER {
            return Err(refused(format!("{seats} seats"), SWEEPER));
        }
        if capacity == 0 || capacity > MAX_SLOTS {
            return Err(refused(format!("a capacity of {capacity}"), MAX_SLOTS));
        }
        let before = Parts::new(capacity, seats).values;
        let most = (isize::MAX as usize - before) / Self::STRIDE.max(1);
        if capacity > most {
            let size = size_of::<T>();
            return Err(refused(format!("{capacity} values of {size} bytes"), most));
        }
        Ok(before + capacity * Self::STRIDE)
    }

    /// Makes an empty ring in `region`, whatever is there now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] as [`size_for`](Self::size_for); [`ErrorKind::WrongSize`] if the
    /// region is too small or not aligned to 128 bytes.
    ///
    /// # Safety
    ///
    /// - For `'a`, all that reaches the region's bytes, in any process, does so as a ring of this
    ///   very `T`. The header of the object that the region belongs to is what proves it to an
    ///   attacher.
    /// - No other process or thread uses it before this returns.
    /// - A forked child neither uses nor drops its copies of a [`LoanSeat`] and of what it lends:
    ///   they are the parent's.
    pub unsafe fn create(
        region: Region<'a>,
        capacity: usize,
        seats: usize,
    ) -> mp_layout::Result<Self> {
        let ring = Self::over(region, capacity, seats)?;
        let shape = &ring.words.shape;
        let (item_size, seats) = (size_of::<T>() as u64, seats as u64);
        shape.item_size.store(item_size, Ordering::Relaxed);
        shape.seats.store(seats, Ordering::Relaxed);
        shape.sweeper.set(None);
        ring.words.tail.store(0, Ordering::Relaxed);
        ring.words.head.store(0, Ordering::Relaxed);
        for seat in ring.seats {
            seat.set(None);
        }
        for (number, cell) in (0..).zip(ring.cells) {
            let empty = CellWord::empty(number * STEP);
            cell.word.store(empty.0, Ordering::Relaxed);
        }
        for slot in ring.slots {
            slot.word.store(0, Ordering::Relaxed);
        }
        // Release: pairs with the load in `attach`, in case the owner of the region does not
        // publish it afterwards.
        shape.capacity.store(capacity as u64, Ordering::Release);
        Ok(ring)
    }

    /// Overlays the ring that [`create`](Self::create) made in `region`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotReady`] if there is none yet; [`ErrorKind::WrongType`] if its values have
    /// another size; [`ErrorKind::WrongSize`] if it does not fit into the region, and
    /// [`ErrorKind::InvalidInput`] if no ring has its numbers.
    ///
    /// # Safety
    ///
    /// The first and the last condition of [`create`](Self::create).
    pub unsafe fn attach(region: Region<'a>) -> mp_layout::Result<Self> {
        let shape = &region.place::<LoanWords>(0)?.shape;
        // Acquire: pairs with the last store of `create`.
        let capacity = shape.capacity.load(Ordering::Acquire);
        if capacity == 0 {
            return Err(Error::new(ErrorKind::NotReady, "attach", "a ring of loans"));
        }
        let item_size = shape.item_size.load(Ordering::Relaxed);
        if item_size != size_of::<T>() as u64 {
            return Err(Error::mismatch(
                ErrorKind::WrongType,
                "attach",
                "a ring of loans",
                format_args!("values of {item_size} bytes"),
                format_args!("{} bytes", size_of::<T>()),
            ));
        }
        let seats = shape.seats.load(Ordering::Relaxed);
        Self::over(region, capacity as usize, seats as usize)
    }

    /// Makes a ring in memory of this process, for threads and tests.
    /// [`words_for`](Self::words_for) says how much it needs.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    #[cfg(not(loom))]
    pub fn new(memory: &'a mut [u64], capacity: usize, seats: usize) -> mp_layout::Result<Self> {
        let region = crate::payload::aligned(memory)?;
        // SAFETY: the memory is borrowed exclusively, so all that reaches it does so through the
        // ring that this returns.
        unsafe { Self::create(region, capacity, seats) }
    }

    /// Words that [`new`](Self::new) needs, wherever they start.
    ///
    /// # Errors
    ///
    /// As [`size_for`](Self::size_for).
    #[cfg(not(loom))]
    pub fn words_for(capacity: usize, seats: usize) -> mp_layout::Result<usize> {
        Ok(crate::payload::words_for(Self::size_for(capacity, seats)?))
    }

    fn over(region: Region<'a>, capacity: usize, seats: usize) -> mp_layout::Result<Self> {
        Self::size_for(capacity, seats)?;
        let parts = Parts::new(capacity, seats);
        Ok(Self {
            words: region.place(0)?,
            seats: region.place_slice(SEATS, seats)?,
            cells: region.place_slice(parts.cells, capacity.next_power_of_two())?,
            slots: region.place_slice(parts.slots, capacity)?,
            values: Payload::new(region, parts.values, capacity * Self::STRIDE)?,
            element: PhantomData,
        })
    }

    /// Takes a seat to loan and to take from, under an identity that other processes can tell the
    /// death of.
    ///
    /// The threads of a process may share one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Claimed`] if all seats are taken, also by processes that are dead and not swept
    /// yet.
    pub fn claim_seat(self, me: NonZeroU64) -> mp_layout::Result<LoanSeat<'a, T>> {
        for (seat, word) in self.seats.iter().enumerate() {
            if let Some(claim) = Claim::of_word(word, me) {
                return Ok(LoanSeat::new(self, seat, claim));
            }
        }
        let error = Error::new(ErrorKind::Claimed, "claim", "a seat of a ring of loans");
        Err(error.with_detail(format!(
            "all {} are taken; sweep the ring if some of these processes are dead, or make it for \
             more",
            self.seats.len()
        )))
    }

    /// The most values there can be, with those that are being written and read.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The most seats there can be.
    pub fn max_seats(&self) -> usize {
        self.seats.len()
    }

    /// About how many values wait to be taken; between 0 and the capacity. Where many push or take,
    /// the number may lag behind until the next push or take.
    pub fn len(&self) -> usize {
        // the head first: values taken between the two loads make the result larger, never negative
        let head = position_of(self.words.head.load(Ordering::Acquire));
        let tail = position_of(self.words.tail.load(Ordering::Acquire));
        if is_after(tail, head) {
            (tail.wrapping_sub(head) / STEP).min(self.capacity() as u64) as usize
        } else {
            0
        }
    }

    /// Whether [`len`](Self::len) is 0. Only [`take`](LoanSeat::take) knows: a loop that takes ends
    /// when that says so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frees a slot that the caller has loaned or taken.
    #[inline]
    pub(crate) fn free(&self, slot: usize, word: SlotWord) {
        // Release: pairs with the next loan; the caller is done with the value, and its cell is
        // empty (I3).
        self.slots[slot]
            .word
            .store(word.freed().0, Ordering::Release);
    }

    /// Where the value of a slot lies in the payload.
    #[inline]
    pub(crate) fn offset(slot: usize) -> usize {
        slot * Self::STRIDE
    }

    pub(crate) fn values(&self) -> &Payload<'a> {
        &self.values
    }

    #[inline]
    fn cell(&self, at: u64) -> &'a AtomicU64 {
        &self.cells[self.index(at)].word
    }

    #[inline]
    fn index(&self, at: u64) -> usize {
        (at / STEP) as usize & (self.cells.len() - 1)
    }

    /// From a position to the one of the same cell one lap on.
    #[inline]
    fn lap(&self) -> u64 {
        self.cells.len() as u64 * STEP
    }

    /// What a cell says, if it can be the cell of `at`, in a walk from `start`. A walk only goes
    /// forward; one that has come to before its start would go around for ever.
    #[inline]
    fn checked(&self, start: u64, at: u64, word: u64) -> Result<CellWord, Corrupt> {
        let cell = CellWord(word);
        let is_known = cell.slot().is_none_or(|slot| slot < self.slots.len());
        if is_known && self.index(cell.position()) == self.index(at) && !is_after(start, at) {
            Ok(cell)
        } else {
            Err(corrupt(at, word))
        }
    }
}

/// Moves a hint to `position`, unless it is further already.
#[inline]
fn advance(hint: &AtomicU64, position: u64) {
    if is_after(position, position_of(hint.load(Ordering::Relaxed))) {
        // Release: what this one knows to be published or taken (I2).
        hint.store(position, Ordering::Release);
    }
}

#[cold]
fn corrupt(position: u64, word: u64) -> Corrupt {
    let position = position / STEP;
    Corrupt::Cell { position, word }
}
