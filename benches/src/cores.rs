//! Where processes and threads run.

use std::fmt;
use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Which cores the members of a measurement are pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Members take turns between the first two cores that this program may use.
    TwoCores,
    /// All members share the first core.
    OneCore,
}

impl Placement {
    /// Both, in the order of the tables.
    pub const ALL: [Self; 2] = [Self::TwoCores, Self::OneCore];

    /// Whether this machine has so many cores for us.
    pub fn is_available(self) -> bool {
        self == Self::OneCore || allowed().len() > 1
    }

    /// The cores that members take turns between.
    pub fn cores(self) -> &'static [usize] {
        let cores = allowed();
        let count = match self {
            Self::TwoCores => 2.min(cores.len()),
            Self::OneCore => 1,
        };
        &cores[..count]
    }

    /// Pins the calling thread to the core of member `member`.
    pub fn pin(self, member: usize) {
        let cores = self.cores();
        set_affinity(&[cores[member % cores.len()]]);
    }

    /// Lets the calling thread, and what it starts, run on any core of the placement.
    pub fn spread(self) {
        set_affinity(self.cores());
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TwoCores => "two cores",
            Self::OneCore => "one core",
        })
    }
}

/// The cores this program may use, as they were at the first call, which
/// [`Bench::start`](crate::Bench::start) makes.
pub(crate) fn allowed() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(None).expect("Linux tells its affinity");
        (0..CpuSet::MAX_CPU)
            .filter(|core| set.is_set(*core))
            .collect()
    })
}

fn set_affinity(cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set).expect("these cores were allowed at the start");
}
