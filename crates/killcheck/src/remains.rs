//! Which points of an operation leave the same behind, so that one kill, and one trace of what
//! recovers from it, stands for all of them.
//!
//! # Invariants
//!
//! - I1: what is left of a dead process is the memory that it shared, what its system calls have
//!   changed in the kernel, and what the kernel does with its thread's robust list. So two points
//!   between which none of the three has changed are followed by the same.
//! - I2: a kill stands for a state only if the victim was in it. A point is an address and how
//!   often it was executed, by which a victim that takes another way may come in another state. So
//!   the [`Shape`] of what it has changed is compared with the traced one's, if both began with the
//!   same bytes; of a set-up that leaves others each time nothing is compared.

use crate::Error;
use crate::tracee::{RobustList, Tracee};

/// A copy of the shared memory that victim and recoverer write.
pub(crate) type Snapshot<'a, M> = Box<dyn Fn(&M) -> Vec<u64> + 'a>;

/// How far a process has come: how many words of the memory differ from what the set-up left, and
/// how many from those at the start of the process's operation, and whether a pending lock is
/// announced.
///
/// Neither their values nor their places are compared: numbers of processes and times are others in
/// each run, and where a process has several places to choose from, it may go by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    changed: [usize; 2],
    is_pending: bool,
}

impl Shape {
    fn of(before: [&[u64]; 2], now: &[u64], list: RobustList) -> Self {
        let [_, _, _, pending] = list;
        let differs = |before: &[u64]| {
            let pairs = before.iter().zip(now);
            pairs.filter(|(before, now)| before != now).count()
        };
        Self {
            changed: before.map(differs),
            is_pending: pending != 0,
        }
    }
}

/// What a traced process would have left behind before each of its instructions.
#[derive(Debug, Default)]
pub(crate) struct States {
    /// The memory as the set-up left it.
    first: Vec<u64>,
    /// The number of the state before each instruction; empty if that is not known.
    numbers: Vec<usize>,
    /// Of each state.
    shapes: Vec<Shape>,
}

impl States {
    /// Returns the number of the state before an instruction; `None` if that is not known.
    pub(crate) fn number(&self, instruction: usize) -> Option<usize> {
        self.numbers.get(instruction).copied()
    }

    /// Returns what a process that stands before its operation is expected to come to, where the
    /// set-up left the memory of `first` and it is that of `start` now. `None` if the set-up of the
    /// traced process left another.
    pub(crate) fn expect(
        &self,
        state: usize,
        first: &[u64],
        start: Vec<u64>,
    ) -> Option<Expected<'_>> {
        let first = (self.first == first).then_some(&*self.first)?;
        let shape = *self.shapes.get(state)?;
        Some(Expected {
            first,
            start,
            shape,
        })
    }
}

/// The state in which a process is to be killed.
pub(crate) struct Expected<'s> {
    first: &'s [u64],
    start: Vec<u64>,
    shape: Shape,
}

impl Expected<'_> {
    /// Whether it is that of `one`, which has made `now` of the memory.
    pub(crate) fn is_of(&self, one: &Tracee, now: &[u64]) -> Result<bool, Error> {
        let before = [self.first, &self.start];
        Ok(Shape::of(before, now, one.robust_list()?) == self.shape)
    }
}

/// Finds the states while a process is traced.
pub(crate) struct Remains<'s> {
    memory: &'s dyn Fn() -> Vec<u64>,
    start: Vec<u64>,
    last: Option<(Vec<u64>, RobustList)>,
    states: States,
}

impl<'s> Remains<'s> {
    /// For a process that stands before its operation, where the set-up left the memory of `first`.
    pub(crate) fn new(memory: &'s dyn Fn() -> Vec<u64>, first: Vec<u64>) -> Self {
        Self {
            memory,
            start: memory(),
            last: None,
            states: States {
                first,
                ..States::default()
            },
        }
    }

    /// Notes what `one` would leave behind before its next instruction; the last one was a system
    /// call or not.
    pub(crate) fn note(&mut self, one: &Tracee, was_a_call: bool) -> Result<(), Error> {
        let (memory, list) = ((self.memory)(), one.robust_list()?);
        let States {
            first,
            numbers,
            shapes,
        } = &mut self.states;
        let is_as_before = matches!(&self.last, Some((m, l)) if *m == memory && *l == list);
        if was_a_call || !is_as_before {
            shapes.push(Shape::of([first, &self.start], &memory, list));
        }
        numbers.push(shapes.len() - 1);
        self.last = Some((memory, list));
        Ok(())
    }

    pub(crate) fn into_states(self) -> States {
        self.states
    }
}
