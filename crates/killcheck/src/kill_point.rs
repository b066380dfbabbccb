//! One instant at which the victim is killed.

use std::fmt;

/// How the victim stands to its instruction when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The instruction has not been executed, all before it have.
    Before,
    /// The instruction is a system call, and the victim sleeps in it.
    Asleep,
    /// The operation has just returned.
    Returned,
}

/// One instant at which the victim is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KillPoint {
    /// How many instructions of the operation the victim has executed.
    pub index: usize,
    /// The address of the instruction it did not execute, or sleeps in.
    pub address: u64,
    /// How the victim stands to that instruction.
    pub moment: Moment,
}

/// The deaths after which the others go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) victim: KillPoint,
    pub(crate) recoverer: Option<KillPoint>,
}

impl fmt::Display for KillPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = match self.moment {
            Moment::Before => "before",
            Moment::Asleep => "asleep in",
            Moment::Returned => "after the end at",
        };
        write!(f, "{:6} {moment} {:#x}", self.index, self.address)
    }
}
