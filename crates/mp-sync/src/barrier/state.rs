//! The word that says how far a round is, and how it ended.

/// A word that names no process says another reason than a death.
pub(super) const ABORTED: u64 = 1 << 22;
pub(super) const TIMED_OUT: u64 = 2 << 22;
pub(super) const PANICKED: u64 = 3 << 22;
pub(super) const RESET: u64 = 4 << 22;

/// The word `state`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct State(pub(super) u64);

impl State {
    const BROKEN: u64 = 1;
    const ARRIVAL: u64 = 1 << 1;
    const ROUND: u64 = 1 << 17;

    pub(super) fn is_broken(self) -> bool {
        self.0 & Self::BROKEN != 0
    }

    pub(super) fn arrived(self) -> usize {
        ((self.0 % Self::ROUND) / Self::ARRIVAL) as usize
    }

    pub(super) fn round(self) -> u64 {
        self.0 / Self::ROUND
    }

    pub(super) fn with_another_arrival(self) -> Self {
        Self(self.0.wrapping_add(Self::ARRIVAL))
    }

    pub(super) fn broken(self) -> Self {
        Self(self.0 | Self::BROKEN)
    }

    pub(super) fn next_round(self) -> Self {
        Self(self.round().wrapping_add(1).wrapping_mul(Self::ROUND))
    }
}

/// How a round ended for one that had arrived in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    Broken,
}
