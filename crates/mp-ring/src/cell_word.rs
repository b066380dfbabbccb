//! The first word of a cell of an MPMC ring, and the positions that it states.

/// Bits of a position; after them they start again. A lap of a capacity just above a power of two
/// skips almost as many as it uses, and [`is_after`] tells apart half of them: at fifty million
/// pushes in a second a process may stop for 260 days between the load and the store of a hint.
const POSITION_BITS: u32 = 52;

pub(crate) const POSITIONS: u64 = (1 << POSITION_BITS) - 1;

/// The most seats: what the bits between position and state can number.
pub(crate) const MAX_SEATS: usize = 1 << (STATE_SHIFT - POSITION_BITS);

const STATE_SHIFT: u32 = 62;

const EMPTY: u64 = 0;
const CLAIMED: u64 = 1;
const FULL: u64 = 2;

/// What a cell is for, and whose it is.
///
/// | bits | meaning |
/// |---|---|
/// | 0..52 | the position that the state is about |
/// | 52..62 | claimed: the seat of the producer that writes the value |
/// | 62..64 | 0 empty: the position may be claimed; 1 claimed; 2 full: the value is there |
///
/// | from | to | by |
/// |---|---|---|
/// | empty at p | claimed at p | a compare-and-swap of a producer |
/// | claimed at p | full at p | a store of that producer: the value is pushed |
/// | full at p | empty at p, one lap on | a compare-and-swap of a consumer: the value is popped |
/// | claimed at p | empty at p, one lap on | that producer, which gives it back unused, or a sweep after its death |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellWord(pub(crate) u64);

/// What a word says, spelt out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Empty(u64),
    Claimed { position: u64, seat: usize },
    Full(u64),
}

impl CellWord {
    pub(crate) const fn empty(position: u64) -> Self {
        Self(EMPTY << STATE_SHIFT | position)
    }

    pub(crate) const fn claimed(position: u64, seat: usize) -> Self {
        Self(CLAIMED << STATE_SHIFT | (seat as u64) << POSITION_BITS | position)
    }

    pub(crate) const fn full(position: u64) -> Self {
        Self(FULL << STATE_SHIFT | position)
    }

    /// What it says; `None` if no ring writes such a word.
    pub(crate) const fn cell(self) -> Option<Cell> {
        let position = self.0 & POSITIONS;
        let seat = (self.0 >> POSITION_BITS) as usize % MAX_SEATS;
        match (self.0 >> STATE_SHIFT, seat) {
            (EMPTY, 0) => Some(Cell::Empty(position)),
            (CLAIMED, _) => Some(Cell::Claimed { position, seat }),
            (FULL, 0) => Some(Cell::Full(position)),
            _ => None,
        }
    }
}

impl Cell {
    pub(crate) const fn position(self) -> u64 {
        match self {
            Self::Empty(position) | Self::Claimed { position, .. } | Self::Full(position) => {
                position
            }
        }
    }
}

/// How positions go around a ring: the low bits are the index of a cell, the others the lap.
///
/// A lap is a power of two of positions, of which the first `capacity` are used: no division finds
/// the cell, and the capacity may be any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Laps {
    capacity: u64,
    lap: u64,
}

impl Laps {
    pub(crate) const fn new(capacity: u64) -> Self {
        Self {
            capacity,
            lap: capacity.next_power_of_two(),
        }
    }

    pub(crate) const fn capacity(self) -> u64 {
        self.capacity
    }

    pub(crate) const fn index(self, position: u64) -> u64 {
        position & (self.lap - 1)
    }

    pub(crate) const fn next(self, position: u64) -> u64 {
        let index = self.index(position);
        if index + 1 < self.capacity {
            position + 1
        } else {
            self.lap_after(position - index)
        }
    }

    pub(crate) const fn lap_after(self, position: u64) -> u64 {
        position.wrapping_add(self.lap) & POSITIONS
    }

    pub(crate) const fn lap_before(self, position: u64) -> u64 {
        position.wrapping_sub(self.lap) & POSITIONS
    }

    /// Positions of cells from `first` to before `end`, between 0 and the capacity.
    pub(crate) const fn len(self, first: u64, end: u64) -> u64 {
        if !is_after(end, first) {
            return 0;
        }
        let laps = ((end - self.index(end)).wrapping_sub(first - self.index(first)) & POSITIONS)
            / self.lap;
        let cells = laps.saturating_mul(self.capacity);
        let len = cells.saturating_add(self.index(end));
        let len = len.saturating_sub(self.index(first));
        if len < self.capacity {
            len
        } else {
            self.capacity
        }
    }
}

/// Whether `position` is later than `other`, both within half of what positions count.
pub(crate) const fn is_after(position: u64, other: u64) -> bool {
    let distance = position.wrapping_sub(other) << (64 - POSITION_BITS);
    (distance as i64) > 0
}
