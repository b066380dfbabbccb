//! What an object is to be.

use mp_layout::{Expected, HEADER_SIZE, Kind, TypeTag};

/// The description from which an [`Object`](crate::Object) is made, and against which one is
/// checked when it is opened.
///
/// ```
/// use mp_layout::{Kind, TypeTag};
/// use mp_object::Plan;
///
/// let samples = Plan::new(Kind::RawArray, TypeTag::of::<f64>(), 800).item_count(100);
/// assert_eq!(samples.expected().payload_size, 800);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    expected: Expected,
    accepted: Option<Expected>,
    payload_offset: usize,
    committed: Option<usize>,
    has_lane: bool,
}

impl Plan {
    /// An object of this kind with a header and `payload_size` bytes after it.
    pub const fn new(kind: Kind, tag: TypeTag, payload_size: usize) -> Self {
        let expected = Expected {
            kind,
            tag,
            item_count: None,
            payload_size: payload_size as u64,
        };
        Self {
            expected,
            accepted: None,
            payload_offset: HEADER_SIZE,
            committed: None,
            has_lane: false,
        }
    }

    /// States the number of elements, and accepts no other number on opening.
    #[must_use]
    pub const fn item_count(mut self, count: usize) -> Self {
        self.expected.item_count = Some(count as u64);
        self
    }

    /// Starts the payload at a multiple of 4096 bytes instead of right after the header.
    #[must_use]
    pub const fn page_aligned(mut self) -> Self {
        self.payload_offset = 4096;
        self
    }

    /// Commits only the header and the first `committed` bytes of the payload; the object reserves
    /// the rest as it is used.
    #[must_use]
    pub const fn sparse(mut self, committed: usize) -> Self {
        self.committed = Some(committed);
        self
    }

    /// Gives an object that is made without a name a [`Lane`](crate::Lane), which takes two
    /// descriptors more.
    #[must_use]
    pub const fn with_lane(mut self) -> Self {
        self.has_lane = true;
        self
    }

    /// Accepts objects on opening that are what `accepted` says, instead of only those that are
    /// made by this plan.
    #[must_use]
    pub const fn accepting(mut self, accepted: Expected) -> Self {
        self.accepted = Some(accepted);
        self
    }

    /// What the header of an object made by this plan says.
    pub const fn expected(&self) -> &Expected {
        &self.expected
    }

    /// What the header of an object that is opened must say.
    pub(crate) fn accepted(&self) -> &Expected {
        self.accepted.as_ref().unwrap_or(&self.expected)
    }

    pub(crate) const fn has_lane(&self) -> bool {
        self.has_lane
    }

    pub(crate) const fn payload_offset(&self) -> usize {
        self.payload_offset
    }

    /// Bytes of the whole segment, if there are that many addresses.
    pub(crate) fn segment_size(&self) -> Option<usize> {
        let payload = usize::try_from(self.expected.payload_size).ok()?;
        payload
            .checked_add(self.payload_offset)
            .filter(|size| *size <= isize::MAX as usize)
    }

    /// Bytes of a segment of `size` bytes to commit on creation, if not all.
    pub(crate) fn committed_size(&self, size: usize) -> Option<usize> {
        self.committed
            .map(|committed| committed.saturating_add(self.payload_offset).min(size))
    }
}
