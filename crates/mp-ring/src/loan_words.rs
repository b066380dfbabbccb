//! The words of a ring of loans.

use mp_layout::atomic::AtomicU64;
use mp_layout::{CACHE_LINE, OwnerWord, Padded, shared_struct};

use crate::payload::LINE;

/// Where the seats start.
pub(crate) const SEATS: usize = 384;

shared_struct! {
    /// What `create` writes once, and who sweeps.
    #[derive(Debug)]
    pub(crate) struct LoanShape as "LoanRing: shape": 32 bytes {
        pub(crate) capacity: AtomicU64 = "slots: the most values there can be, with those that are written and read",
        pub(crate) item_size: AtomicU64 = "bytes of a value",
        pub(crate) seats: AtomicU64 = "the most handles there can be",
        pub(crate) sweeper: OwnerWord = "who sweeps",
    }
}

shared_struct! {
    /// The words before the seats.
    #[derive(Debug)]
    pub(crate) struct LoanWords as "LoanRing": 384 bytes {
        pub(crate) shape: Padded<LoanShape> = "what the creator writes once, and who sweeps",
        pub(crate) tail: Padded<AtomicU64> = "a position up to which all are published, times 65536; written by producers",
        pub(crate) head: Padded<AtomicU64> = "a position up to which all are taken, times 65536; written by consumers. The seats follow, the cells, the slots and their values",
    }
}

shared_struct! {
    /// A cell, of which there is the power of two that is at least the number of slots.
    #[derive(Debug)]
    pub(crate) struct LoanCellWord as "LoanRing: cell": 8 bytes {
        pub(crate) word: AtomicU64 = "a slot in the low 16 bits, all ones for none, and the position in the others",
    }
}

shared_struct! {
    /// The state of a slot, in a line of its own.
    #[derive(Debug)]
    pub(crate) struct LoanSlot as "LoanRing: slot": 64 bytes {
        pub(crate) word: AtomicU64 = "generation in the low 40 bits, then 12 bits of redeliveries, 10 of a seat, and 2 of a state: 0 free, 1 loaned by the seat, 2 taken by the seat, 3 returned by the seat",
        reserved: [AtomicU64; 7] = "0",
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<LoanWords>() == SEATS);

/// Bytes of an owner word, a cell and a slot; under loom they have more.
const SEAT: usize = 8;
const CELL: usize = 8;
const SLOT: usize = LINE;

#[cfg(not(loom))]
const _: () = assert!(
    size_of::<OwnerWord>() == SEAT
        && size_of::<LoanCellWord>() == CELL
        && size_of::<LoanSlot>() == SLOT
);

/// Where the parts of a ring lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) cells: usize,
    pub(crate) slots: usize,
    pub(crate) values: usize,
}

impl Parts {
    pub(crate) const fn new(capacity: usize, seats: usize) -> Self {
        let cells = (SEATS + seats * SEAT).next_multiple_of(CACHE_LINE);
        let end = cells + capacity.next_power_of_two() * CELL;
        let slots = end.next_multiple_of(CACHE_LINE);
        let values = (slots + capacity * SLOT).next_multiple_of(CACHE_LINE);
        Self {
            cells,
            slots,
            values,
        }
    }
}
