//! Which points of an operation leave the same behind, so that one kill, and one trace of what
//! recovers from it, stands for all of them.
//!
//! # Invariants
//!
//! - I1: what is left of a dead process is the memory that it shared, what its system calls have
//!   changed in the kernel, and what the kernel does with its thread's robust list. So two points
//!   between which none of the three has changed are followed by the same.

use crate::Error;
use crate::tracee::{RobustList, Tracee};

/// A copy of the shared memory that victim and recoverer write.
pub(crate) type Snapshot<'a, M> = Box<dyn Fn(&M) -> Vec<u64> + 'a>;

/// Counts how often what a process would leave behind has changed, while it is traced.
pub(crate) struct Remains<'s> {
    memory: &'s dyn Fn() -> Vec<u64>,
    last: Option<(Vec<u64>, RobustList)>,
    changes: usize,
    /// The changes before each instruction.
    before: Vec<usize>,
}

impl<'s> Remains<'s> {
    pub(crate) fn new(memory: &'s dyn Fn() -> Vec<u64>) -> Self {
        Self {
            memory,
            last: None,
            changes: 0,
            before: Vec::new(),
        }
    }

    /// Notes what `one` would leave behind before its next instruction; the last one was a system
    /// call or not.
    pub(crate) fn note(&mut self, one: &Tracee, was_a_call: bool) -> Result<(), Error> {
        let now = Some(((self.memory)(), one.robust_list()?));
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
