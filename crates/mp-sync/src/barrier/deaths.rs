//! The look for the dead among those that wait or take part.

use mp_layout::atomic::Ordering;

use super::{Barrier, MOST, State};
use crate::participant;

impl Barrier {
    /// Breaks the barrier if one that has arrived, or a member, is dead.
    pub(super) fn sweep(&self) {
        let seen = self.state();
        if seen.is_broken() {
            return;
        }
        // The proofs are system calls: without the lock, so that others can arrive.
        let Some(dead) = self.find_dead(seen) else {
            return;
        };
        // A busy lock leaves it to the next look.
        let Ok(mut guard) = self.raw.try_lock() else {
            return;
        };
        guard.recover();
        // The dead of a round that was completed broke nothing.
        if self.state().round() == seen.round() {
            self.break_round(dead);
            self.forget_dead_members();
        }
    }

    fn find_dead(&self, state: State) -> Option<u64> {
        let arrived = &self.arrived[..state.arrived().min(MOST)];
        let arrived = arrived.iter().map(|word| word.load(Ordering::Relaxed));
        let members = self
            .used_members()
            .iter()
            .map(|word| word.load(Ordering::Relaxed));
        // 0 is of no process: the words were overwritten (I2).
        let is_gone = |&word: &u64| word == 0 || participant::is_gone(word);
        arrived
            .chain(members.filter(|&word| word != 0))
            .find(is_gone)
    }
}
