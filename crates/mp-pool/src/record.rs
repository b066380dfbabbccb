//! What a worker pushes into its ring.

/// The tags of records.
pub(crate) mod tag {
    /// A piece of an outcome, of which more follows.
    pub(crate) const PIECE: u32 = 0;
    /// The last piece of an outcome: the task is done.
    pub(crate) const OUTCOME: u32 = 1;
    /// The worker waits for the packet on its socket.
    pub(crate) const ASK: u32 = 2;
    /// The worker waits for the context of the packet on its socket.
    pub(crate) const ASK_CONTEXT: u32 = 6;
    /// The worker has run its initializer.
    pub(crate) const READY: u32 = 3;
    /// The last piece of the reason why the initializer failed; the worker ends.
    pub(crate) const NOT_READY: u32 = 4;
    /// The worker has run as many tasks as it may, and ends.
    pub(crate) const RETIRED: u32 = 5;
}

/// What each record begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) generation: u64,
    pub(crate) packet: u32,
    /// Which task of the packet.
    pub(crate) item: u32,
    /// Descriptors of the outcome, which the worker's socket holds, [`OBJECTS_PER_MESSAGE`] in each
    /// message.
    pub(crate) descriptors: u32,
}

/// Each message holds all of them or is not sent: below the kernel's 253.
pub(crate) const OBJECTS_PER_MESSAGE: usize = 200;

const SIZE: usize = 20;

impl Head {
    pub(crate) fn to_bytes(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&self.generation.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.packet.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.item.to_le_bytes());
        bytes[16..].copy_from_slice(&self.descriptors.to_le_bytes());
        bytes
    }

    /// The head of a record, and what follows it; `None` if it is too short.
    pub(crate) fn split(record: &[u8]) -> Option<(Self, &[u8])> {
        let (generation, rest) = record.split_first_chunk::<8>()?;
        let (packet, rest) = rest.split_first_chunk::<4>()?;
        let (item, rest) = rest.split_first_chunk::<4>()?;
        let (descriptors, rest) = rest.split_first_chunk::<4>()?;
        let head = Self {
            generation: u64::from_le_bytes(*generation),
            packet: u32::from_le_bytes(*packet),
            item: u32::from_le_bytes(*item),
            descriptors: u32::from_le_bytes(*descriptors),
        };
        Some((head, rest))
    }
}
