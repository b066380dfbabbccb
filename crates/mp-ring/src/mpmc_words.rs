//! The words of an MPMC ring.

use mp_layout::atomic::AtomicU64;
use mp_layout::{CACHE_LINE, Padded, shared_struct};

/// Where the seats start.
pub(crate) const SEATS: usize = 384;

/// Words of the largest value.
pub(crate) const VALUE_WORDS: usize = 7;

shared_struct! {
    /// What `create` writes once.
    #[derive(Debug)]
    pub(crate) struct MpmcShape as "MpmcRing: shape": 24 bytes {
        pub(crate) capacity: AtomicU64 = "the most values there can be, and the number of cells",
        pub(crate) item_size: AtomicU64 = "bytes of a value",
        pub(crate) seats: AtomicU64 = "the most producers there can be",
    }
}

shared_struct! {
    /// The words before the seats.
    #[derive(Debug)]
    pub(crate) struct MpmcWords as "MpmcRing": 384 bytes {
        pub(crate) shape: Padded<MpmcShape> = "what the creator writes once",
        pub(crate) tail: Padded<AtomicU64> = "a position up to which all are claimed; written by producers",
        pub(crate) head: AtomicU64 = "a position up to which all are popped or swept; written by consumers",
        pub(crate) skip: AtomicU64 = "a position up to which all are popped or swept, from the last one before it that is claimed; written by consumers",
        reserved: [AtomicU64; 14] = "0. The seats follow, and the cells",
    }
}

shared_struct! {
    /// A cell of the largest size.
    #[derive(Debug)]
    pub(crate) struct MpmcCell as "MpmcRing: cell": 64 bytes {
        word: AtomicU64 = "position in the low 52 bits, then 10 bits of a seat, then 2 of a state: 0 empty, 1 claimed by the seat, 2 full",
        value: [AtomicU64; VALUE_WORDS] = "the value, padded to 8 bytes; the cell of a smaller one has 8, 16 or 32 bytes",
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<MpmcWords>() == SEATS);

/// Bytes before the cells.
pub(crate) const fn cells_at(seats: usize) -> usize {
    (SEATS + seats * size_of_seat()).next_multiple_of(CACHE_LINE)
}

/// Bytes of an owner word; under loom it has more.
const fn size_of_seat() -> usize {
    8
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<mp_layout::OwnerWord>() == size_of_seat());
