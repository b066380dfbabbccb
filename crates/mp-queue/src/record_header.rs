//! What stands before a record's bytes.

use crate::geometry::UNIT;

/// The header of a record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordHeader {
    pub(crate) len: u32,
    pub(crate) tag: u32,
}

impl RecordHeader {
    /// The tag of a message that is nothing but its bytes.
    pub(crate) const BYTES: u32 = 0;
}

const _: () = assert!(size_of::<RecordHeader>() == UNIT);

pub(crate) const TABLE: mp_layout::Table = mp_layout::layout!(
    "Queue: record",
    RecordHeader {
        len: "bytes that follow, padded to 8; where a block ends they go on after the next one's link",
        tag: "what goes with the message: 0 nothing; else it has handles: 1 that open their objects by name or, in a queue with a lane, the low half of the number of its descriptors there",
    }
);
