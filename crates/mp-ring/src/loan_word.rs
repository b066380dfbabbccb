//! The words of a ring of loans that change: of a cell, and of a slot.

/// Bits of a slot's number; the position has the others, and after them starts again. [`is_after`]
/// tells apart half of them: at ten million values in a second a process may stop for 160 days
/// between the load and the store of a hint.
const SLOT_BITS: u32 = 16;

/// From one position to the next. Positions are kept as in a cell's word: the low bits are 0.
pub(crate) const STEP: u64 = 1 << SLOT_BITS;

const NO_SLOT: u64 = STEP - 1;

/// The most slots.
pub(crate) const MAX_SLOTS: usize = NO_SLOT as usize;

/// The position that a word of shared memory states.
pub(crate) const fn position_of(word: u64) -> u64 {
    word & !NO_SLOT
}

/// Whether `position` is later than `other`, both within half of what positions count.
pub(crate) const fn is_after(position: u64, other: u64) -> bool {
    position.wrapping_sub(other) as i64 > 0
}

/// Which slot is published at which position.
///
/// | bits | meaning |
/// |---|---|
/// | 0..16 | full: the slot; empty: all ones |
/// | 16..64 | the position that the cell is about |
///
/// | from | to | by |
/// |---|---|---|
/// | empty at p | full at p | a compare-and-swap of who publishes the slot |
/// | full at p | empty at p, one lap on | a compare-and-swap of who took the slot, or of any other that has seen it taken |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellWord(pub(crate) u64);

impl CellWord {
    pub(crate) const fn empty(position: u64) -> Self {
        Self(position | NO_SLOT)
    }

    pub(crate) const fn full(position: u64, slot: usize) -> Self {
        Self(position | slot as u64)
    }

    pub(crate) const fn position(self) -> u64 {
        position_of(self.0)
    }

    pub(crate) const fn slot(self) -> Option<usize> {
        match self.0 & NO_SLOT {
            NO_SLOT => None,
            slot => Some(slot as usize),
        }
    }
}

/// After so many loans and returns of one slot its generations start again: 30 hours at ten million
/// a second. A compare-and-swap takes an old word for the slot's only if the thread stopped before
/// it for exactly that many, and seat, state and redeliveries are the same.
const GENERATION_BITS: u32 = 40;
const GENERATIONS: u64 = (1 << GENERATION_BITS) - 1;
const REDELIVERY_BITS: u32 = 12;
const SEAT_SHIFT: u32 = GENERATION_BITS + REDELIVERY_BITS;
const STATE_SHIFT: u32 = 62;

/// As many redeliveries are counted; more count as this.
pub(crate) const MAX_REDELIVERIES: u32 = (1 << REDELIVERY_BITS) - 1;

/// The seat of who sweeps; all smaller ones are for handles.
pub(crate) const SWEEPER: usize = (1 << (STATE_SHIFT - SEAT_SHIFT)) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    Loaned,
    Taken,
    Returned,
}

/// Whose a slot is.
///
/// | bits | meaning |
/// |---|---|
/// | 0..40 | the generation: how often the slot was loaned or returned |
/// | 40..52 | how often its value was returned |
/// | 52..62 | the seat whose it is |
/// | 62..64 | 0 free; 1 loaned; 2 taken; 3 returned |
///
/// Loaned and returned say both "not published yet" and "published": a cell tells which, so that
/// one compare-and-swap publishes.
///
/// | from | to | by |
/// |---|---|---|
/// | free | loaned, the next generation | a compare-and-swap of a producer |
/// | loaned, published | taken | a compare-and-swap of a consumer: the decision who has it |
/// | loaned, not published | free | that producer, which drops the loan, or a sweep after its death |
/// | taken | free | that consumer: it is done with the value |
/// | taken | returned, the next generation | that consumer, or a sweep after its death: the value is delivered again |
/// | returned, published | taken | as of loaned |
/// | returned, not published | returned, by the sweeper | a sweep after the death of who returned it |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotWord(pub(crate) u64);

impl SlotWord {
    const fn new(state: State, seat: usize, redeliveries: u32, generation: u64) -> Self {
        Self(
            (state as u64) << STATE_SHIFT
                | (seat as u64) << SEAT_SHIFT
                | (redeliveries as u64) << GENERATION_BITS
                | generation & GENERATIONS,
        )
    }

    pub(crate) const fn state(self) -> State {
        match self.0 >> STATE_SHIFT {
            0 => State::Free,
            1 => State::Loaned,
            2 => State::Taken,
            _ => State::Returned,
        }
    }

    pub(crate) const fn seat(self) -> usize {
        (self.0 >> SEAT_SHIFT) as usize & SWEEPER
    }

    pub(crate) const fn redeliveries(self) -> u32 {
        (self.0 >> GENERATION_BITS) as u32 & MAX_REDELIVERIES
    }

    const fn generation(self) -> u64 {
        self.0 & GENERATIONS
    }

    /// Whether a consumer may take it, if it is published.
    pub(crate) const fn is_untaken(self) -> bool {
        matches!(self.state(), State::Loaned | State::Returned)
    }

    pub(crate) const fn freed(self) -> Self {
        Self::new(State::Free, 0, 0, self.generation())
    }

    pub(crate) const fn loaned(self, seat: usize) -> Self {
        Self::new(State::Loaned, seat, 0, self.generation() + 1)
    }

    pub(crate) const fn taken(self, seat: usize) -> Self {
        Self::new(State::Taken, seat, self.redeliveries(), self.generation())
    }

    pub(crate) const fn returned(self, seat: usize) -> Self {
        let redeliveries = self.redeliveries();
        let redeliveries = redeliveries + (redeliveries < MAX_REDELIVERIES) as u32;
        Self::new(State::Returned, seat, redeliveries, self.generation() + 1)
    }

    /// Returned as before, but to be published by who sits in `seat`.
    pub(crate) const fn adopted(self, seat: usize) -> Self {
        Self::new(
            State::Returned,
            seat,
            self.redeliveries(),
            self.generation(),
        )
    }
}
