//! An array divided among processes.

use core::fmt;
use core::ops::Range;

use mp_layout::{Error, ErrorKind, PlainSlice, Result};
use mp_object::ProcessIdentity;
use mp_object::owner::this_process;
use mp_os::clock::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::array_control::{max_chunks, poisoned};
use crate::array_memory::ArrayMemory;
use crate::partition::Attempt;
use crate::{Array, Chunk, NdArray};

/// An [`Array`](crate::Array) seen as chunks of equal length that processes claim, each to write on
/// its own.
///
/// A chunk belongs to the process that claims it, until the [`Chunk`] is dropped or that process is
/// proven dead. All processes that have chunks at the same time have chunks of the same length: a
/// claim of another length is refused with [`ErrorKind::Claimed`] until the last chunk is given
/// back. Access to the array as a whole waits until then.
///
/// ```
/// use mp_value::{Array, Claim};
///
/// let array = Array::<u32>::new(10)?;
/// let rows = array.chunks(4)?;
/// assert_eq!((rows.count(), rows.range(2)), (3, 8..10));
///
/// let Claim::Claimed(mut row) = rows.claim(1)? else { panic!("no other process is here") };
/// row.fill(7);
/// assert!(matches!(rows.claim(1)?, Claim::Taken(owner) if owner.pid() == std::process::id()));
/// assert!(array.try_lock().is_err(), "the array is not whole while a chunk is claimed");
/// drop(row);
/// assert_eq!(array.to_vec()?, [0, 0, 0, 0, 7, 7, 7, 7, 0, 0]);
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// The division travels to other processes, as its array does; a pool's `for_each` gives its
/// workers each chunk once. To do that by hand, let the workers count:
/// `rows.claim(next.fetch_add(1))` with a [`RawValue<u64>`](crate::RawValue) that they share. The
/// process that finishes calls [`sweep`](Self::sweep), and repeats what the dead had.
pub struct Chunks<T> {
    memory: ArrayMemory<T>,
    chunk_len: usize,
    /// The array that this divides, if its elements lie apart: what travels with it.
    blocks_of: Option<NdArray<T>>,
}

/// How an attempt to claim a chunk ended.
#[derive(Debug)]
#[must_use = "a claimed chunk is given back when it is dropped"]
pub enum Claim<T: PlainSlice> {
    /// The chunk is this process's now.
    Claimed(Chunk<T>),
    /// This process has it, perhaps this one; it was alive a moment ago.
    Taken(ProcessIdentity),
}

impl<T: PlainSlice> Claim<T> {
    /// The chunk, if it was claimed.
    pub fn claimed(self) -> Option<Chunk<T>> {
        match self {
            Self::Claimed(chunk) => Some(chunk),
            Self::Taken(_) => None,
        }
    }
}

impl<T: PlainSlice> Chunks<T> {
    pub(crate) fn new(memory: ArrayMemory<T>, chunk_len: usize) -> Result<Self> {
        let len = memory.len();
        let refuse = |reason| {
            let error = Error::new(ErrorKind::InvalidInput, "divide", "array");
            Err(error.with_detail(reason))
        };
        if chunk_len == 0 {
            return refuse("a chunk has at least one element".to_owned());
        }
        let (count, most) = (len.div_ceil(chunk_len), max_chunks(len));
        if count > most {
            return refuse(format!(
                "{len} elements in chunks of {chunk_len} are {count} chunks, {most} are possible; from chunks of {} on",
                len.div_ceil(most)
            ));
        }
        Ok(Self {
            memory,
            chunk_len,
            blocks_of: None,
        })
    }

    /// The division of `array` into blocks of `chunk_len` elements.
    pub(crate) fn of_blocks(array: NdArray<T>, chunk_len: usize) -> Result<Self> {
        let chunks = array.flat().chunks(chunk_len)?;
        let blocks_of = Some(array);
        Ok(Self {
            blocks_of,
            ..chunks
        })
    }

    /// Number of chunks.
    pub fn count(&self) -> usize {
        self.memory.len().div_ceil(self.chunk_len)
    }

    /// Elements of each chunk but perhaps the last.
    pub fn chunk_len(&self) -> usize {
        self.chunk_len
    }

    /// The elements of chunk `index`; empty after the last chunk.
    pub fn range(&self, index: usize) -> Range<usize> {
        let len = self.memory.len();
        let start = index.saturating_mul(self.chunk_len).min(len);
        start..start.saturating_add(self.chunk_len).min(len)
    }

    /// Claims chunk `index` for this process, without waiting for its owner.
    ///
    /// A chunk whose owner died is taken over; then [`Chunk::abandoned_by`] names the dead. This
    /// and the other claims wait for the array's lock, which every claim has for some
    /// microseconds, and an [`Array::lock`](crate::Array::lock) for as long as its guard lives.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is no such chunk, [`ErrorKind::Claimed`] while another
    /// process has chunks of another length, [`ErrorKind::Recursive`] under this thread's own
    /// lock guard, [`ErrorKind::OwnerDied`] if a process died while it had locked the array and
    /// none recovered it, [`ErrorKind::InvalidState`] if the array is frozen.
    pub fn claim(&self, index: usize) -> Result<Claim<T>> {
        self.claim_deadline(index, Deadline::NEVER)
    }

    /// [`claim`](Self::claim), waiting up to `timeout` for the array's lock.
    ///
    /// # Errors
    ///
    /// Those of [`claim`](Self::claim), and [`ErrorKind::TimedOut`], whose message names the
    /// holder.
    pub fn claim_timeout(&self, index: usize, timeout: impl Into<Deadline>) -> Result<Claim<T>> {
        self.claim_deadline(index, timeout.into())
    }

    fn claim_deadline(&self, index: usize, deadline: Deadline) -> Result<Claim<T>> {
        if index >= self.count() {
            return Err(Error::mismatch(
                ErrorKind::InvalidInput,
                "claim",
                format!("chunk {index}"),
                format_args!("{} chunks", self.count()),
                "a smaller index",
            ));
        }
        let me = this_process()?;
        self.under_lock(deadline, || {
            match self.memory.partition().claim(self.chunk_len, index, me)? {
                Attempt::Taken(owner) => Ok(Claim::Taken(owner)),
                attempt => Ok(Claim::Claimed(self.chunk(index, me, attempt))),
            }
        })
    }

    /// Claims the first chunk that no living process has; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Those of [`claim`](Self::claim) but `InvalidInput`.
    pub fn claim_next(&self) -> Result<Option<Chunk<T>>> {
        self.claim_from(0)
    }

    /// [`claim_next`](Self::claim_next), waiting up to `timeout` for the array's lock.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`claim`](Self::claim)
    /// but `InvalidInput`.
    pub fn claim_next_timeout(&self, timeout: impl Into<Deadline>) -> Result<Option<Chunk<T>>> {
        self.claim_from_timeout(0, timeout)
    }

    /// Claims the first chunk from `index` on that no living process has; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Those of [`claim`](Self::claim) but `InvalidInput`.
    pub fn claim_from(&self, index: usize) -> Result<Option<Chunk<T>>> {
        self.claim_from_deadline(index, Deadline::NEVER)
    }

    /// [`claim_from`](Self::claim_from), waiting up to `timeout` for the array's lock.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`claim`](Self::claim)
    /// but `InvalidInput`.
    pub fn claim_from_timeout(
        &self,
        index: usize,
        timeout: impl Into<Deadline>,
    ) -> Result<Option<Chunk<T>>> {
        self.claim_from_deadline(index, timeout.into())
    }

    fn claim_from_deadline(&self, index: usize, deadline: Deadline) -> Result<Option<Chunk<T>>> {
        let me = this_process()?;
        self.under_lock(deadline, || {
            let claimed = self
                .memory
                .partition()
                .claim_first(self.chunk_len, index, me)?;
            Ok(claimed.map(|(index, attempt)| self.chunk(index, me, attempt)))
        })
    }

    /// Gives back the chunks of processes that died, and names both: those chunks may be half
    /// written.
    ///
    /// A chunk that was claimed in another length is named by all chunks that it touches.
    ///
    /// # Errors
    ///
    /// Those of [`claim`](Self::claim) but `InvalidInput`.
    pub fn sweep(&self) -> Result<Vec<(usize, ProcessIdentity)>> {
        self.sweep_deadline(Deadline::NEVER)
    }

    /// [`sweep`](Self::sweep), waiting up to `timeout` for the array's lock.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], whose message names the holder, and those of [`claim`](Self::claim)
    /// but `InvalidInput`.
    pub fn sweep_timeout(
        &self,
        timeout: impl Into<Deadline>,
    ) -> Result<Vec<(usize, ProcessIdentity)>> {
        self.sweep_deadline(timeout.into())
    }

    fn sweep_deadline(&self, deadline: Deadline) -> Result<Vec<(usize, ProcessIdentity)>> {
        self.under_lock(deadline, || self.memory.partition().sweep(self.chunk_len))
    }

    /// The process that has chunk `index`, dead or alive; it may be given back already when this
    /// returns.
    ///
    /// Meant for showing who works where: only a [`claim`](Self::claim) decides.
    pub fn owner(&self, index: usize) -> Option<ProcessIdentity> {
        self.memory.partition().owner(self.chunk_len, index)
    }

    fn under_lock<R>(&self, deadline: Deadline, claim: impl FnOnce() -> Result<R>) -> Result<R> {
        let control = self.memory.control();
        let held = control.enter(deadline)?;
        control.expect_writable()?;
        if let Some(dead) = held.poisoned_by {
            return Err(poisoned("claim chunks of", dead));
        }
        claim()
    }

    fn chunk(&self, index: usize, me: ProcessIdentity, attempt: Attempt) -> Chunk<T> {
        let abandoned_by = match attempt {
            Attempt::Inherited(dead) => Some(dead),
            _ => None,
        };
        Chunk::new(
            self.memory.clone(),
            index,
            self.range(index),
            me,
            abandoned_by,
        )
    }
}

impl<T> Clone for Chunks<T> {
    fn clone(&self) -> Self {
        Self {
            memory: self.memory.clone(),
            chunk_len: self.chunk_len,
            blocks_of: self.blocks_of.clone(),
        }
    }
}

impl<T: PlainSlice> Serialize for Chunks<T> {
    /// Writes the handle of the array, see [`mp_object::transfer`], and how it is divided.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let array = match self.blocks_of {
            None => Some(Array::of_memory(self.memory.clone())),
            Some(_) => None,
        };
        (array, &self.blocks_of, self.chunk_len as u64).serialize(serializer)
    }
}

impl<'de, T: PlainSlice> Deserialize<'de> for Chunks<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (array, blocks_of, chunk_len) =
            <(Option<Array<T>>, Option<NdArray<T>>, u64)>::deserialize(deserializer)?;
        let chunk_len = usize::try_from(chunk_len).map_err(de::Error::custom)?;
        let chunks = match (array, blocks_of) {
            (Some(array), None) => array.chunks(chunk_len),
            (None, Some(array)) => Self::of_blocks(array, chunk_len),
            _ => return Err(de::Error::custom("chunks are those of one array")),
        };
        chunks.map_err(de::Error::custom)
    }
}

impl<T: PlainSlice> fmt::Debug for Chunks<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Chunks")
            .field("count", &self.count())
            .field("chunk_len", &self.chunk_len)
            .finish_non_exhaustive()
    }
}
