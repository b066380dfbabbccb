//! What stands before a record's bytes.

use crate::cursor::UNIT;
use crate::payload::Payload;

/// Bytes of a record's header.
pub(crate) const HEADER: usize = UNIT;

/// The length that marks the unused end of the ring.
pub(crate) const SKIP: u32 = u32::MAX;

/// The header of a record, or the mark of an unused end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordHeader {
    pub(crate) len: u32,
    pub(crate) tag: u32,
}

const _: () = assert!(size_of::<RecordHeader>() == HEADER);

#[cfg(not(loom))]
pub(crate) const TABLE: mp_layout::Table = mp_layout::layout!(
    "ByteRing record",
    RecordHeader {
        len: "bytes that follow, padded to 8; 0xffff_ffff: the rest of the ring is unused, the next record is at its start",
        tag: "the pusher's own number",
    }
);

impl RecordHeader {
    /// The mark of an unused end.
    pub(crate) const SKIPPED: Self = Self { len: SKIP, tag: 0 };

    pub(crate) const fn is_skip(self) -> bool {
        self.len == SKIP
    }

    /// Reads the header at `offset` of the data.
    ///
    /// # Safety
    ///
    /// `offset` is a multiple of 8 in the data, and the bytes are the caller's (I2 of the ring).
    pub(crate) unsafe fn read(data: Payload<'_>, offset: usize) -> Self {
        let mut header = Self { len: 0, tag: 0 };
        let target = (&raw mut header).cast();
        // SAFETY: a unit of the data, by the contract; any bytes are a header.
        unsafe { data.read(offset, target, HEADER) };
        header
    }

    /// Writes it at `offset` of the data.
    ///
    /// # Safety
    ///
    /// As [`read`](Self::read).
    pub(crate) unsafe fn write(self, data: Payload<'_>, offset: usize) {
        let source = (&raw const self).cast();
        // SAFETY: a unit of the data, by the contract.
        unsafe { data.write(offset, source, HEADER) };
    }
}
