//! The words before a byte ring's data. What they mean and who writes which is told at [`ByteRing`](crate::ByteRing)'s
//! module.

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{Padded, Place};

use crate::claim::Roles;
use crate::mark::Mark;

/// Where the data starts in the region.
pub(crate) const DATA: usize = 384;

/// What `create` writes once, and who has which role.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct ByteShape {
    pub(crate) capacity: AtomicU64,
    pub(crate) max_records: AtomicU64,
    pub(crate) roles: Roles,
}

// SAFETY: `repr(C)`, nothing but atomics and places, zero is "not created", no destructor.
unsafe impl Place for ByteShape {
    fn zeroed() -> Self {
        Self {
            capacity: AtomicU64::zeroed(),
            max_records: AtomicU64::zeroed(),
            roles: Roles::zeroed(),
        }
    }
}

/// The words that one side writes.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Side {
    mark: AtomicU64,
    seen: AtomicU64,
}

// SAFETY: `repr(C)`, nothing but atomics, zero is the start of both, no destructor.
unsafe impl Place for Side {
    fn zeroed() -> Self {
        Self {
            mark: AtomicU64::zeroed(),
            seen: AtomicU64::zeroed(),
        }
    }
}

impl Side {
    pub(crate) fn mark(&self) -> Mark {
        Mark::from_word(self.mark.load(Ordering::Acquire))
    }

    pub(crate) fn seen(&self) -> Mark {
        Mark::from_word(self.seen.load(Ordering::Acquire))
    }

    pub(crate) fn note_seen(&self, seen: Mark) {
        self.seen.store(seen.to_word(), Ordering::Release);
    }

    /// The commit.
    pub(crate) fn publish(&self, mark: Mark, ordering: Ordering) {
        self.mark.store(mark.to_word(), ordering);
    }
}

/// All of them.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct ByteRingWords {
    pub(crate) shape: Padded<ByteShape>,
    pub(crate) tail: Padded<Side>,
    pub(crate) head: Padded<Side>,
}

// SAFETY: `repr(C)`, nothing but places, no destructor.
unsafe impl Place for ByteRingWords {
    fn zeroed() -> Self {
        Self {
            shape: Padded::zeroed(),
            tail: Padded::zeroed(),
            head: Padded::zeroed(),
        }
    }
}

#[cfg(not(loom))]
const _: () = assert!(
    size_of::<ByteRingWords>() == DATA
        && core::mem::offset_of!(ByteRingWords, tail) == 128
        && core::mem::offset_of!(ByteRingWords, head) == 256
        && size_of::<ByteShape>() == 32
        && size_of::<Side>() == 16
);

#[cfg(not(loom))]
pub(crate) const TABLE: mp_layout::Table = mp_layout::layout!(
    "ByteRing",
    ByteRingWords {
        shape: "data bytes u64, most records u64, producer's identity u64, consumer's identity u64; then padding",
        tail: "position u32 in units of 8 bytes, records pushed so far u32, the head last seen u64; then padding",
        head: "position u32 in units of 8 bytes, records popped so far u32, the tail last seen u64; then padding. The data follows",
    }
);
