//! Where the rings of a queue lie.

use mp_layout::{Error, ErrorKind, Result};
use mp_ring::ByteRing;

/// The unit in which memory is reserved and given back.
pub(crate) const PAGE: usize = 4096;

/// Bytes before the first ring, of which the control words take the first part.
pub(crate) const CONTROL_SIZE: usize = PAGE;

/// Data bytes of the smallest ring: it stays in the second-level cache of two cores, and holds thousands of messages.
pub(crate) const FIRST_RING: usize = 256 << 10;

/// The largest ring has 16 GiB of data, the most that a byte ring can have.
pub(crate) const MAX_RINGS: usize = 17;

/// Bytes of messages a queue has addresses for unless its builder says otherwise.
pub(crate) const DEFAULT_ROOM: usize = 4 << 30;

/// Rings of one size each, every one twice as large as the one before it.
///
/// ```text
/// | control 4 KiB | ring 0: 256 KiB | ring 1: 512 KiB | ring 2: 1 MiB | ...
/// ```
///
/// Each has a page more than its data, for the words before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    rings: usize,
}

impl Geometry {
    /// As many rings as fit into `room` bytes of messages, but one at least.
    pub(crate) fn for_room(room: usize) -> Self {
        let fitting = (1..=MAX_RINGS)
            .rev()
            .find(|rings| FIRST_RING * ((1 << rings) - 1) <= room);
        Self {
            rings: fitting.unwrap_or(1),
        }
    }

    /// What a queue's control words say, checked.
    pub(crate) fn found(rings: u32, payload_size: usize) -> Result<Self> {
        let found = Self {
            rings: rings as usize,
        };
        if (1..=MAX_RINGS).contains(&found.rings) && found.payload_size() <= payload_size {
            return Ok(found);
        }
        Err(Error::mismatch(
            ErrorKind::Corrupt,
            "attach",
            "a queue",
            format_args!("{rings} rings in {payload_size} bytes"),
            format_args!("1 to {MAX_RINGS} that fit"),
        ))
    }

    pub(crate) const fn rings(self) -> usize {
        self.rings
    }

    /// Bytes of the whole payload.
    pub(crate) const fn payload_size(self) -> usize {
        offset(self.rings)
    }

    /// Bytes for messages, with their record headers.
    pub(crate) const fn room(self) -> usize {
        FIRST_RING * ((1 << self.rings) - 1)
    }

    /// Bytes of the longest message.
    pub(crate) const fn max_message(self) -> usize {
        max_record(self.rings - 1)
    }
}

/// Where ring `index` starts in the payload.
pub(crate) const fn offset(index: usize) -> usize {
    CONTROL_SIZE + FIRST_RING * ((1 << index) - 1) + index * PAGE
}

/// Bytes of the region of ring `index`.
pub(crate) const fn region_size(index: usize) -> usize {
    capacity(index) + PAGE
}

/// Data bytes of ring `index`.
pub(crate) const fn capacity(index: usize) -> usize {
    FIRST_RING << index
}

/// Bytes of the longest record of ring `index`, as [`ByteRing::max_record`] has it.
pub(crate) const fn max_record(index: usize) -> usize {
    let half = capacity(index) / 2 - 8;
    if half < u32::MAX as usize - 1 {
        half
    } else {
        u32::MAX as usize - 1
    }
}

/// Checks that a ring is the one of its index.
pub(crate) fn check(ring: ByteRing<'_>, index: usize) -> Result<()> {
    if ring.capacity() == capacity(index) {
        return Ok(());
    }
    Err(Error::mismatch(
        ErrorKind::Corrupt,
        "use",
        "a queue",
        format_args!("a ring of {} bytes", ring.capacity()),
        format_args!("one of {}", capacity(index)),
    ))
}

#[cfg(test)]
mod tests {
    use super::{
        DEFAULT_ROOM, Geometry, MAX_RINGS, PAGE, capacity, max_record, offset, region_size,
    };
    use mp_ring::ByteRing;

    #[test]
    fn rings_lie_side_by_side() {
        for index in 0..MAX_RINGS {
            assert_eq!(offset(index) + region_size(index), offset(index + 1));
            assert_eq!(offset(index) % PAGE, 0);
            let needed = ByteRing::size_for(capacity(index)).expect("a possible capacity");
            assert!(needed <= region_size(index), "index {index}");
        }
    }

    #[test]
    fn the_default_is_four_gibibytes() {
        let geometry = Geometry::for_room(DEFAULT_ROOM);
        assert_eq!(geometry.rings(), 14);
        assert_eq!(capacity(13), 2 << 30);
        assert_eq!(geometry.max_message(), (1 << 30) - 8);
        assert!(geometry.room() <= DEFAULT_ROOM);
    }

    #[test]
    fn tiny_and_huge_rooms_have_a_geometry() {
        assert_eq!(Geometry::for_room(0).rings(), 1);
        assert_eq!(Geometry::for_room(usize::MAX).rings(), MAX_RINGS);
        assert!(max_record(MAX_RINGS - 1) < u32::MAX as usize);
        assert!(Geometry::found(0, usize::MAX).is_err());
        assert!(Geometry::found(18, usize::MAX).is_err());
        assert!(Geometry::found(3, offset(3) - 1).is_err());
        assert!(Geometry::found(3, offset(3)).is_ok());
    }
}
