//! The words of a queue that lie before its rings.

use mp_layout::atomic::{AtomicU8, AtomicU32, AtomicU64};
use mp_layout::{Padded, Place, Table, layout};
use mp_sync::{EventCount, RawMutex};

use crate::geometry::{CONTROL_SIZE, MAX_RINGS};

/// Places for the order of legs: a power of two, and more than there are rings.
pub(crate) const LEGS: usize = 32;

/// What the creator writes once, and whether the queue is closed.
#[repr(C)]
pub(crate) struct Shape {
    pub(crate) bound: AtomicU64,
    pub(crate) rings: AtomicU32,
    pub(crate) codec: AtomicU32,
    pub(crate) closed: AtomicU32,
    reserved: AtomicU32,
}

// SAFETY: `repr(C)`, nothing but atomics; any value is checked when it is read; no destructor.
unsafe impl Place for Shape {
    fn zeroed() -> Self {
        Self {
            bound: AtomicU64::new(0),
            rings: AtomicU32::new(0),
            codec: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            reserved: AtomicU32::new(0),
        }
    }
}

/// Which ring is written, which is read, and which come between. Written only when that changes.
#[repr(C)]
pub(crate) struct Legs {
    pub(crate) write: AtomicU32,
    pub(crate) read: AtomicU32,
    pub(crate) order: [AtomicU8; LEGS],
}

// SAFETY: `repr(C)`, nothing but atomics; any value is checked when it is read; zero is "leg 0, on ring 0"; no destructor.
unsafe impl Place for Legs {
    fn zeroed() -> Self {
        Self {
            write: AtomicU32::new(0),
            read: AtomicU32::new(0),
            order: [const { AtomicU8::new(0) }; LEGS],
        }
    }
}

/// How many bytes of each ring's region, from its start, have memory behind them. Written under the producers' lock.
#[repr(C)]
pub(crate) struct Backed(pub(crate) [AtomicU64; MAX_RINGS]);

// SAFETY: `repr(C)`, nothing but atomics; any value is checked when it is read; no destructor.
unsafe impl Place for Backed {
    fn zeroed() -> Self {
        Self([const { AtomicU64::new(0) }; MAX_RINGS])
    }
}

/// The words before the rings, each writer's on lines of their own.
#[repr(C)]
pub(crate) struct Control {
    pub(crate) shape: Padded<Shape>,
    pub(crate) legs: Padded<Legs>,
    pub(crate) producers: Padded<RawMutex>,
    pub(crate) consumers: Padded<RawMutex>,
    pub(crate) not_empty: Padded<EventCount>,
    pub(crate) not_full: Padded<EventCount>,
    pub(crate) backed: Padded<Backed>,
}

// SAFETY: `repr(C)`, nothing but places; no destructor.
unsafe impl Place for Control {
    const IS_BARE: bool = false;

    fn zeroed() -> Self {
        Self {
            shape: Padded::zeroed(),
            legs: Padded::zeroed(),
            producers: Padded::zeroed(),
            consumers: Padded::zeroed(),
            not_empty: Padded::zeroed(),
            not_full: Padded::zeroed(),
            backed: Padded::zeroed(),
        }
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Control>() == 1024 && size_of::<Control>() <= CONTROL_SIZE);
    assert!(offset_of!(Control, legs) == 128 && offset_of!(Control, producers) == 256);
    assert!(offset_of!(Control, consumers) == 384 && offset_of!(Control, not_empty) == 512);
    assert!(offset_of!(Control, not_full) == 640 && offset_of!(Control, backed) == 768);
    assert!(LEGS.is_power_of_two() && LEGS > MAX_RINGS);
};

pub(crate) const TABLE: Table = layout!(
    "Queue",
    Control {
        shape: "most messages u64 (all ones: unbounded), rings u32, codec u32 (1 serde, 2 plain, 3 bytes), closed u32, 0 u32; then padding",
        legs: "leg being written u32, leg being read u32, ring of each leg modulo 32, u8 each; then padding",
        producers: "the producers' mutex; then padding",
        consumers: "the consumers' mutex; then padding",
        not_empty: "what consumers sleep on; then padding",
        not_full: "what producers of a bounded queue sleep on; then padding",
        backed: "bytes of each ring's region that have memory, u64 each; then padding. The rings follow at byte 4096",
    }
);
