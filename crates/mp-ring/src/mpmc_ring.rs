//! Bounded queue of small values for many producers and many consumers, after Vyukov.
//!
//! # Source
//!
//! D. Vyukov, "Bounded MPMC queue" (2010): a ring of cells, of which each says in a word of its own
//! which position it is ready for. Changed, because a producer or consumer may be killed at any
//! instruction:
//!
//! - A side takes a position by a compare-and-swap of the cell, not of a counter: the claim is the
//!   record. Head and tail are hints of where to look first.
//! - A claimed cell names the seat of its producer. After the producer's death a sweep gives the
//!   cell back; until then consumers pass it over.
//! - A consumer copies the value first and takes it afterwards, by one compare-and-swap. So it owns
//!   nothing that could be left behind, and needs no seat.
//!
//! # Layout
//!
//! ```text
//! 0        128    256    384
//! | shape  | tail | head | seat 0 | ... | cell 0 | cell 1 | ... | cell capacity - 1 |
//! ```
//!
//! A seat is an owner word; the cells start at the next multiple of 128. A cell is its word,
//! followed by the words of the value, of 8, 16, 32 or 64 bytes together: a cell never lies in two
//! lines.
//!
//! # Invariants
//!
//! - I1: a cell's word changes only as its table says, so the positions it states never go back,
//!   and no word is there twice.
//! - I2: a position is claimed only by a producer that knows all before it to be claimed. "Done" is
//!   a position whose cell was given back, by a pop, a sweep or its own producer; as position `p`
//!   waits for the cell of `p` one lap before, a claimed `p` says that all up to one lap before it
//!   are done.
//! - I3: all positions before `tail` are claimed; all before `head` are done. Both may be any
//!   number of positions behind, never ahead.
//! - I4: the words of a value are written only by the producer that has claimed the cell.
//! - I5: a seat is freed after all cells that it claims, or by its owner while it writes none: what
//!   a free seat claims still, by a grant that was leaked, nobody writes.
//! - I6: for who has loaded `skip` and then finds a position claimed, all between that position and
//!   `skip`, if that is later, are done. The writer of `skip` knew two things: the first position
//!   that it passed over, before which all was done; and that from there to `skip` all was done.
//!   So what is claimed now was the first, or lies after `skip`; had it been before the first, who
//!   has loaded `skip` would find it done.
//!
//! # Orderings
//!
//! - The Release store of a full word and a consumer's Acquire load: the value is written before it
//!   is read.
//! - The Release of a consumer's compare-and-swap and the Acquire of the next producer's: the value
//!   is read before it is overwritten. A consumer whose compare-and-swap fails may have read a
//!   mixture and drops it.
//! - A claim is Release, too, and every load of a word or hint is Acquire: what its writer knew of
//!   other cells (I2, I3), its reader knows.
//!
//! # Progress
//!
//! Lock-free: an attempt that fails has met the success of another. A consumer does not wait for a
//! producer that has claimed and not yet written: it takes the next value, after it has seen that
//! the one before was still not there. Values whose pushes did not overlap come in their order. A
//! producer does not wait either, but the ring is full for it when the next cell is still claimed
//! from one lap before.
//!
//! # If a process dies
//!
//! - A producer, before its claim: nothing has happened. Between the claim and the store of the
//!   full word: the value was not pushed. Consumers pass the cell over. Producers find the ring
//!   full when they come to it, at most one lap later; [`MpmcRing::unfinished`] names the owner
//!   then, and [`MpmcRing::sweep`] frees the cell. After the store: the value is pushed.
//! - A consumer, before its compare-and-swap: nothing has happened. After it: the value is popped,
//!   and what the consumer had not passed on yet died with it. No value is given twice.
//! - A sweeper: each cell is freed or not, and the seat after them; the next sweep goes on.
//! - A process that calls `exec` ends its other threads, one of them perhaps in a push: the cell
//!   stays claimed until the new program ends, unless the identity in the seat tells programs
//!   apart.
//!
//! # If a process stops
//!
//! A push that is not finished, dead or stopped, costs each pop a few looks more. As long as two
//! are not, each pop looks twice at each cell from the second to the value that it takes: to pop
//! the `n` values behind it costs about `n * n` looks. So in a large ring consumers ask for
//! `unfinished`, too, when pops become slow.

mod pop;
mod push;
mod sweep;

use core::marker::PhantomData;
use core::num::NonZeroU64;

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{Error, ErrorKind, OwnerWord, Plain, Region};

use crate::cell_word::{Cell, CellWord, Laps, MAX_SEATS, POSITIONS, is_after};
use crate::claim::Claim;
use crate::mpmc_words::{MpmcWords, SEATS, VALUE_WORDS, cells_at};
use crate::{Corrupt, MpmcProducer};

/// A ring of `T` of up to 56 bytes placed in shared memory, for any number of consumers and up to a
/// stated number of producers, in threads and processes.
///
/// It is a view and is copied freely. Any holder may pop; to push is for a
/// [`MpmcProducer`](crate::MpmcProducer), which has a seat.
///
/// ```
/// use std::thread;
/// use mp_ring::{ANONYMOUS, MpmcRing, PopError};
///
/// let mut memory = vec![0; MpmcRing::<u32>::words_for(100, 2)?];
/// let ring = MpmcRing::<u32>::new(&mut memory, 100, 2)?;
/// let producers = [ring.claim_producer(ANONYMOUS)?, ring.claim_producer(ANONYMOUS)?];
/// thread::scope(|scope| {
///     for producer in &producers {
///         scope.spawn(|| (1..=10).for_each(|value| producer.push(value).expect("room")));
///     }
/// });
/// assert_eq!(ring.len(), 20);
/// assert_eq!(std::iter::from_fn(|| ring.pop().ok()).sum::<u32>(), 110);
/// assert_eq!(ring.pop(), Err(PopError::Empty));
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// A larger value does not compile:
///
/// ```compile_fail
/// let mut memory = vec![0; 1000];
/// let ring = mp_ring::MpmcRing::<[u64; 8]>::new(&mut memory, 4, 1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MpmcRing<'a, T> {
    words: &'a MpmcWords,
    seats: &'a [OwnerWord],
    cells: &'a [AtomicU64],
    laps: Laps,
    element: PhantomData<T>,
}

/// A cell as its words: the first says what it is for.
pub(crate) type CellWords<'a> = &'a [AtomicU64];

impl<'a, T: Plain> MpmcRing<'a, T> {
    /// Words of a cell: a power of two, so that none lies in two lines.
    const CELL: usize = {
        assert!(
            size_of::<T>() <= VALUE_WORDS * 8,
            "a value in the cell of an MPMC ring has at most 56 bytes"
        );
        (1 + size_of::<T>().div_ceil(8)).next_power_of_two()
    };

    /// Bytes that a ring of `capacity` values for `producers` takes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if `capacity` is 0 or more than memory can have, or if
    /// `producers` is 0 or more than 1024.
    pub fn size_for(capacity: usize, producers: usize) -> mp_layout::Result<usize> {
        if producers == 0 || producers > MAX_SEATS {
            return Err(Error::mismatch(
                ErrorKind::InvalidInput,
                "make",
                "an MPMC ring",
                format_args!("{producers} producers"),
                format_args!("between 1 and {MAX_SEATS}"),
            ));
        }
        let size = capacity
            .checked_mul(Self::CELL * 8)
            .and_then(|cells| cells.checked_add(cells_at(producers)))
            .filter(|size| *size <= isize::MAX as usize);
        match size {
            Some(size) if capacity > 0 => Ok(size),
            _ => Err(Error::mismatch(
                ErrorKind::InvalidInput,
                "make",
                "an MPMC ring",
                format_args!("a capacity of {capacity}"),
                "at least 1, and no more than memory can have",
            )),
        }
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
    /// - A forked child neither uses nor drops its copy of a [`MpmcProducer`] or of a
    ///   [`MpmcGrant`](crate::MpmcGrant): it is the parent's.
    pub unsafe fn create(
        region: Region<'a>,
        capacity: usize,
        producers: usize,
    ) -> mp_layout::Result<Self> {
        let ring = Self::over(region, capacity, producers)?;
        let shape = &ring.words.shape;
        let (item_size, seats) = (size_of::<T>() as u64, producers as u64);
        shape.item_size.store(item_size, Ordering::Relaxed);
        shape.seats.store(seats, Ordering::Relaxed);
        ring.words.tail.store(0, Ordering::Relaxed);
        ring.words.head.store(0, Ordering::Relaxed);
        ring.words.skip.store(0, Ordering::Relaxed);
        for seat in ring.seats {
            seat.set(None);
        }
        for (position, cell) in (0..).zip(ring.cells.chunks(Self::CELL)) {
            cell[0].store(CellWord::empty(position).0, Ordering::Relaxed);
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
        let shape = &region.place::<MpmcWords>(0)?.shape;
        // Acquire: pairs with the last store of `create`.
        let capacity = shape.capacity.load(Ordering::Acquire);
        if capacity == 0 {
            return Err(Error::new(ErrorKind::NotReady, "attach", "an MPMC ring"));
        }
        let item_size = shape.item_size.load(Ordering::Relaxed);
        if item_size != size_of::<T>() as u64 {
            return Err(Error::mismatch(
                ErrorKind::WrongType,
                "attach",
                "an MPMC ring",
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
    pub fn new(
        memory: &'a mut [u64],
        capacity: usize,
        producers: usize,
    ) -> mp_layout::Result<Self> {
        let region = crate::payload::aligned(memory)?;
        // SAFETY: the memory is borrowed exclusively, so all that reaches it does so through the
        // ring that this returns.
        unsafe { Self::create(region, capacity, producers) }
    }

    /// Words that [`new`](Self::new) needs, wherever they start.
    ///
    /// # Errors
    ///
    /// As [`size_for`](Self::size_for).
    #[cfg(not(loom))]
    pub fn words_for(capacity: usize, producers: usize) -> mp_layout::Result<usize> {
        Ok(crate::payload::words_for(Self::size_for(
            capacity, producers,
        )?))
    }

    fn over(region: Region<'a>, capacity: usize, producers: usize) -> mp_layout::Result<Self> {
        Self::size_for(capacity, producers)?;
        Ok(Self {
            words: region.place(0)?,
            seats: region.place_slice(SEATS, producers)?,
            cells: region.place_slice(cells_at(producers), capacity * Self::CELL)?,
            laps: Laps::new(capacity as u64),
            element: PhantomData,
        })
    }

    /// Takes a seat to push from, under an identity that other processes can tell the death of.
    ///
    /// The threads of a process may share one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Claimed`] if all seats are taken, also by processes that are dead and not swept
    /// yet.
    pub fn claim_producer(self, me: NonZeroU64) -> mp_layout::Result<MpmcProducer<'a, T>> {
        for (seat, word) in self.seats.iter().enumerate() {
            if let Some(claim) = Claim::of_word(word, me) {
                return Ok(MpmcProducer::new(self, seat, claim));
            }
        }
        Err(no_seat(self.seats.len()))
    }

    /// The most values there can be.
    pub fn capacity(&self) -> usize {
        self.laps.capacity() as usize
    }

    /// The most producers there can be.
    pub fn max_producers(&self) -> usize {
        self.seats.len()
    }

    /// About how many values there are, with those that are being pushed; between 0 and the
    /// capacity.
    ///
    /// All values after a push that is not finished count, popped or not, until it is finished or
    /// swept and a pop follows: with a producer stopped in its push, a ring may say that it is full
    /// of nothing. And where many push or pop, the number may lag behind until the next push or
    /// pop.
    pub fn len(&self) -> usize {
        // the head first: values popped between the two loads make the result larger, never
        // negative
        let head = self.words.head.load(Ordering::Acquire) & POSITIONS;
        let tail = self.words.tail.load(Ordering::Acquire) & POSITIONS;
        self.laps.len(head, tail) as usize
    }

    /// Whether [`len`](Self::len) is 0. Only [`pop`](Self::pop) knows: a loop that pops ends when
    /// that says so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`len`](Self::len) is the capacity. Only a push knows.
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    #[inline]
    fn cell(&self, at: u64) -> Result<CellWords<'a>, Corrupt> {
        self.cell_at(at).ok_or_else(|| self.corrupt(at, 0))
    }

    /// The cell of `at`; a lap may have more positions than cells.
    #[inline]
    fn cell_at(&self, at: u64) -> Option<CellWords<'a>> {
        let first = self.laps.index(at) as usize * Self::CELL;
        self.cells.get(first..first + Self::CELL)
    }

    /// What a cell says, if it can be the cell of `at`, in a walk from `start`. A walk only goes
    /// forward; one that has come to before its start would go around for ever.
    fn checked_word(&self, start: u64, at: u64, word: u64) -> Result<Cell, Corrupt> {
        match CellWord(word).cell() {
            Some(Cell::Claimed { seat, .. }) if seat >= self.seats.len() => {
                Err(self.corrupt(at, word))
            }
            Some(cell)
                if self.laps.index(cell.position()) == self.laps.index(at)
                    && !is_after(start, at) =>
            {
                Ok(cell)
            }
            _ => Err(self.corrupt(at, word)),
        }
    }

    #[cold]
    fn corrupt(&self, position: u64, word: u64) -> Corrupt {
        Corrupt::Cell { position, word }
    }
}

fn value_words<T>(cell: CellWords<'_>) -> impl Iterator<Item = &AtomicU64> {
    cell.iter().skip(1).take(size_of::<T>().div_ceil(8))
}

/// Moves a hint to `position`, unless it is further already.
#[inline]
fn advance(hint: &AtomicU64, position: u64) {
    if is_after(position, hint.load(Ordering::Relaxed)) {
        // Release: what this one knows to be claimed or done (I3).
        hint.store(position, Ordering::Release);
    }
}

#[cold]
fn no_seat(seats: usize) -> Error {
    Error::new(ErrorKind::Claimed, "claim", "a producer's seat of a ring").with_detail(format!(
        "all {seats} are taken; sweep the ring if some of these processes are dead, or make it \
         for more producers"
    ))
}
