//! One claimed chunk.

use core::fmt;
use core::ops::{Deref, DerefMut, Range};

use mp_layout::PlainSlice;
use mp_object::ProcessIdentity;
use mp_object::owner::this_process;

use crate::array_memory::ArrayMemory;

/// A chunk of an [`Array`](crate::Array) that this process has claimed: a slice that no other
/// thread or process reaches. Dropping it gives the chunk back.
///
/// It may move to another thread, and outlive the handles of its array. If it is leaked, the chunk
/// is this process's until the process ends. In a forked child the parent's chunk gives nothing
/// back, and must not be used to reach the elements.
///
/// # If a process dies
///
/// The chunk stays claimed until another process claims it or [sweeps](crate::Chunks::sweep); both
/// learn who died.
#[must_use = "the chunk is given back when it is dropped"]
pub struct Chunk<T: PlainSlice> {
    memory: ArrayMemory<T>,
    index: usize,
    range: Range<usize>,
    owner: ProcessIdentity,
    abandoned_by: Option<ProcessIdentity>,
}

impl<T: PlainSlice> Chunk<T> {
    /// The chunk that `owner`, which is this process, has just claimed.
    pub(crate) fn new(
        memory: ArrayMemory<T>,
        index: usize,
        range: Range<usize>,
        owner: ProcessIdentity,
        abandoned_by: Option<ProcessIdentity>,
    ) -> Self {
        Self {
            memory,
            index,
            range,
            owner,
            abandoned_by,
        }
    }

    /// Its number among the chunks.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its elements' places in the array.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The process that had it and died, so that its elements may be half written.
    #[must_use]
    pub fn abandoned_by(&self) -> Option<ProcessIdentity> {
        self.abandoned_by
    }
}

impl<T: PlainSlice> Deref for Chunk<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the owner word keeps all others away from these elements until `drop` (I2, I4 of
        // partition), also other threads of this process, since a claim is refused to its
        // owner; `&mut [T]` is only given by `&mut self`.
        unsafe { self.memory.slice(self.range.clone()) }
    }
}

impl<T: PlainSlice> DerefMut for Chunk<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` is the only way to it.
        unsafe { self.memory.slice_mut(self.range.clone()) }
    }
}

impl<T: PlainSlice> Drop for Chunk<T> {
    fn drop(&mut self) {
        // A forked child is another process: the chunk is its parent's.
        if this_process().is_ok_and(|process| process == self.owner) {
            let control = self.memory.control();
            control.give_back(self.memory.partition(), self.index, self.owner);
        }
    }
}

impl<T: PlainSlice> fmt::Debug for Chunk<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Chunk")
            .field("index", &self.index)
            .field("range", &self.range)
            .field("abandoned_by", &self.abandoned_by)
            .finish_non_exhaustive()
    }
}
