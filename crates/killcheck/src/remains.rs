//! Which of the victim's points leave the same to the recoverer, so that one trace of its way does.
//!
//! # Invariants
//!
//! - I1: what a recoverer finds is the shared area, what system calls have changed in the kernel,
//!   and what the kernel does with the dead thread's robust list. So two points between which none
//!   of the three has changed are followed by the same recovery.

use crate::Error;
use crate::tracee::{RobustList, Tracee};

/// The bytes of the shared area, as words.
pub(crate) type Snapshot<'a, M> = Box<dyn Fn(&M) -> Vec<u64> + 'a>;

/// Counts how often what the victim would leave behind has changed, while it is traced.
pub(crate) struct Remains<'s> {
    area: &'s dyn Fn() -> Vec<u64>,
    last: Option<(Vec<u64>, RobustList)>,
    changes: usize,
    /// The changes before each instruction.
    before: Vec<usize>,
}

impl<'s> Remains<'s> {
    pub(crate) fn new(area: &'s dyn Fn() -> Vec<u64>) -> Self {
        Self {
            area,
            last: None,
            changes: 0,
            before: Vec::new(),
        }
    }

    /// Notes what the victim would leave behind before its next instruction; the last one was a
    /// system call or not.
    pub(crate) fn note(&mut self, victim: &Tracee, was_a_call: bool) -> Result<(), Error> {
        let now = Some(((self.area)(), victim.robust_list()?));
        if was_a_call || self.last != now {
            self.changes += 1;
        }
        self.last = now;
        self.before.push(self.changes);
        Ok(())
    }

    pub(crate) fn into_changes(self) -> Vec<usize> {
        self.before
    }
}
