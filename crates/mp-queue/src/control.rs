//! The words of a queue that lie before its rings.

use mp_layout::atomic::{AtomicU8, AtomicU32, AtomicU64};
use mp_layout::{Padded, shared_struct};
use mp_sync::{EventCount, RawMutex};

use crate::geometry::{CONTROL_SIZE, MAX_RINGS};

/// Places for the order of generations: a power of two, and more than there are rings.
pub(crate) const ORDER_LEN: usize = 32;

shared_struct! {
    /// What the creator writes once, and whether the queue is closed.
    pub(crate) struct Shape as "Queue: shape": 24 bytes {
        pub(crate) bound: AtomicU64 = "most messages; all ones if unbounded",
        pub(crate) rings: AtomicU32 = "number of rings",
        pub(crate) codec: AtomicU32 = "how messages are written: 1 serde, 2 plain, 3 bytes",
        pub(crate) closed: AtomicU32 = "1 once the queue is closed",
        reserved: AtomicU32 = "0",
    }
}

shared_struct! {
    /// Which ring is written, which is read, and which come between. Written only when that changes.
    pub(crate) struct Generations as "Queue: generations": 40 bytes {
        pub(crate) write: AtomicU32 = "generation being written",
        pub(crate) read: AtomicU32 = "generation being read",
        pub(crate) order: [AtomicU8; ORDER_LEN] = "ring of each generation, modulo 32",
    }
}

shared_struct! {
    /// The words before the rings, each writer's on lines of their own.
    pub(crate) struct Control as "Queue": 1024 bytes {
        pub(crate) shape: Padded<Shape> = "what the creator writes once, and whether the queue is closed",
        pub(crate) generations: Padded<Generations> = "which ring is written, which is read, and which come between",
        pub(crate) producers: Padded<RawMutex> = "the producers' mutex",
        pub(crate) consumers: Padded<RawMutex> = "the consumers' mutex",
        pub(crate) not_empty: Padded<EventCount> = "what consumers sleep on",
        pub(crate) not_full: Padded<EventCount> = "what producers of a bounded queue sleep on",
        pub(crate) backed: Padded<[AtomicU64; MAX_RINGS]> = "bytes of each ring's region, from its start, that have memory; written under the producers' lock. The rings follow at byte 4096",
    }
}

const _: () = {
    assert!(size_of::<Control>() <= CONTROL_SIZE);
    assert!(ORDER_LEN.is_power_of_two() && ORDER_LEN > MAX_RINGS);
};
