//! The words of a queue that lie before its blocks, and the one at the start of each.

use mp_layout::atomic::{AtomicU32, AtomicU64};
use mp_layout::{Padded, shared_struct};
use mp_sync::{EventCount, RawMutex};

use crate::geometry::STACK;

shared_struct! {
    /// What the creator writes once, and whether the queue is closed.
    pub(crate) struct Shape as "Queue: shape": 24 bytes {
        pub(crate) bound: AtomicU64 = "most messages; all ones if unbounded",
        pub(crate) blocks: AtomicU32 = "number of blocks",
        pub(crate) codec: AtomicU32 = "how messages are written: 1 serde, 2 plain, 3 bytes",
        pub(crate) closed: AtomicU32 = "1 once the queue is closed",
        reserved: AtomicU32 = "0",
    }
}

shared_struct! {
    /// What producers write under their lock.
    pub(crate) struct Tail as "Queue: tail": 40 bytes {
        pub(crate) cursor: AtomicU64 = "end of the newest record: its unit in the block in bits 0..12, the block in 12..32, records so far in 32..64",
        pub(crate) seen: AtomicU64 = "the head's cursor when a producer last looked",
        pub(crate) oldest: AtomicU32 = "the oldest block that is not in the stack of free blocks",
        pub(crate) backed: AtomicU32 = "blocks that have memory: those that are not in the stack, and those next to be taken from it",
        pub(crate) sent: AtomicU64 = "number of the last message that was sent over the lane of descriptors",
        pub(crate) ring: AtomicU32 = "for those that poll the lane: 0 if none ever did; 1 if the next message without objects, or the close, rings; 2 if a ring is in the lane after the messages of all records",
        reserved: AtomicU32 = "0",
    }
}

shared_struct! {
    /// What consumers write under their lock.
    pub(crate) struct Head as "Queue: head": 16 bytes {
        pub(crate) cursor: AtomicU64 = "end of the newest record that was got, as the tail's",
        pub(crate) seen: AtomicU64 = "the tail's cursor when a consumer last looked",
    }
}

shared_struct! {
    /// The words before the blocks, each writer's on lines of their own.
    pub(crate) struct Control as "Queue": 896 bytes {
        pub(crate) shape: Padded<Shape> = "what the creator writes once, and whether the queue is closed",
        pub(crate) tail: Padded<Tail> = "what producers write under their lock",
        pub(crate) head: Padded<Head> = "what consumers write under their lock",
        pub(crate) producers: Padded<RawMutex> = "the producers' mutex",
        pub(crate) consumers: Padded<RawMutex> = "the consumers' mutex",
        pub(crate) not_empty: Padded<EventCount> = "what consumers sleep on",
        pub(crate) not_full: Padded<EventCount> = "what producers of a bounded queue sleep on. At byte 1024 the first 768 places of the stack of free blocks: 4 bytes each, a block plus one, or 0 for the block of the place's own number. At byte 4096 block 0; after the last block the other places",
    }
}

shared_struct! {
    /// The first unit of each block.
    pub(crate) struct Link as "Queue: link": 8 bytes {
        pub(crate) next: AtomicU32 = "the block that follows in the queue's order, if one does",
        pub(crate) number: AtomicU32 = "how many came before it in that order, modulo 2^32. Records follow",
    }
}

const _: () = assert!(size_of::<Control>() <= STACK);
