//! The words before a byte ring's data. What they mean and who writes which is told at
//! [`ByteRing`](crate::ByteRing)'s module.

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{Padded, shared_struct};

use crate::claim::Roles;
use crate::cursor::Cursor;

/// Where the data starts in the region.
pub(crate) const DATA: usize = 384;

shared_struct! {
    /// What `create` writes once, and who has which role.
    #[derive(Debug)]
    pub(crate) struct ByteShape as "ByteRing: shape": 32 bytes {
        pub(crate) capacity: AtomicU64 = "bytes of the data",
        pub(crate) max_records: AtomicU64 = "the most records there can be",
        pub(crate) roles: Roles = "who is the producer and who the consumer",
    }
}

shared_struct! {
    /// The words that one side writes.
    #[derive(Debug)]
    pub(crate) struct Side as "ByteRing: side": 16 bytes {
        cursor: AtomicU64 = "position u32 in units of 8 bytes, records so far u32",
        cached: AtomicU64 = "the other side's cursor when it was last looked at",
    }
}

shared_struct! {
    /// The words before the data.
    #[derive(Debug)]
    pub(crate) struct ByteRingWords as "ByteRing": 384 bytes {
        pub(crate) shape: Padded<ByteShape> = "what the creator writes once, and who has which role",
        pub(crate) tail: Padded<Side> = "what the producer writes: what it pushed, the head it saw",
        pub(crate) head: Padded<Side> = "what the consumer writes: what it popped, the tail it saw. The data follows",
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<ByteRingWords>() == DATA);

impl Side {
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor::from_word(self.cursor.load(Ordering::Acquire))
    }

    pub(crate) fn cached(&self) -> Cursor {
        Cursor::from_word(self.cached.load(Ordering::Acquire))
    }

    pub(crate) fn store_cached(&self, cursor: Cursor) {
        self.cached.store(cursor.to_word(), Ordering::Release);
    }

    /// The commit.
    pub(crate) fn publish(&self, cursor: Cursor, ordering: Ordering) {
        self.cursor.store(cursor.to_word(), ordering);
    }
}
