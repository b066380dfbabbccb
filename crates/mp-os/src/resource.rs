//! The limits of what a process may use (`ulimit`).

use std::fmt;
use std::io;

use rustix::process::{Resource as Raw, Rlimit, getrlimit, setrlimit};

/// No limit.
pub const UNLIMITED: u64 = u64::MAX;

/// What a process may use up to a limit.
///
/// The kernel enforces the soft limit; the process may move it up to the hard one.
///
/// # Examples
///
/// ```
/// use mp_os::resource::Resource;
///
/// # if cfg!(miri) { return }
/// let open_files = Resource::OpenFiles.limits();
/// assert!(open_files.soft <= open_files.hard);
/// assert_eq!(Resource::OpenFiles.to_string(), "RLIMIT_NOFILE (ulimit -n)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// Processor time in seconds: SIGXCPU at the soft limit, SIGKILL at the hard one.
    ProcessorTime,
    /// Bytes of a file that it writes or makes longer; more is SIGXFSZ. Objects in shared memory
    /// are files, and so are results of a task above 64 KiB; a queue is a file of some GiB, most of
    /// which has no memory.
    FileSize,
    /// Bytes of its heap and its writable private memory.
    DataSize,
    /// Bytes of its first thread's stack.
    StackSize,
    /// Bytes of a core dump.
    CoreSize,
    /// Processes and threads of its user, counted in all of them.
    Processes,
    /// One more than the greatest number of a descriptor.
    OpenFiles,
    /// Bytes of memory that are locked.
    LockedMemory,
    /// Bytes that are mapped, with what is only reserved.
    AddressSpace,
    /// Signals that wait.
    PendingSignals,
    /// 20 minus the lowest niceness.
    Nice,
    /// The greatest realtime priority.
    RealtimePriority,
}

/// A soft and a hard limit; [`UNLIMITED`] is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What the kernel enforces.
    pub soft: u64,
    /// Up to where the process may move the soft limit.
    pub hard: u64,
}

impl Resource {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 12] = [
        Self::ProcessorTime,
        Self::FileSize,
        Self::DataSize,
        Self::StackSize,
        Self::CoreSize,
        Self::Processes,
        Self::OpenFiles,
        Self::LockedMemory,
        Self::AddressSpace,
        Self::PendingSignals,
        Self::Nice,
        Self::RealtimePriority,
    ];

    /// This process's limits.
    #[must_use]
    pub fn limits(self) -> Limits {
        let Rlimit { current, maximum } = getrlimit(self.described().0);
        Limits {
            soft: current.unwrap_or(UNLIMITED),
            hard: maximum.unwrap_or(UNLIMITED),
        }
    }

    /// Sets this process's limits.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the soft limit is above the hard one, `EPERM` if this process may not raise the
    /// hard one so far.
    pub fn set_limits(self, limits: Limits) -> io::Result<()> {
        let limit = |value| Some(value).filter(|value| *value != UNLIMITED);
        let new = Rlimit {
            current: limit(limits.soft),
            maximum: limit(limits.hard),
        };
        Ok(setrlimit(self.described().0, new)?)
    }

    /// What the kernel, its manual and a shell call it.
    fn described(self) -> (Raw, &'static str, &'static str) {
        match self {
            Self::ProcessorTime => (Raw::Cpu, "RLIMIT_CPU", "t"),
            Self::FileSize => (Raw::Fsize, "RLIMIT_FSIZE", "f"),
            Self::DataSize => (Raw::Data, "RLIMIT_DATA", "d"),
            Self::StackSize => (Raw::Stack, "RLIMIT_STACK", "s"),
            Self::CoreSize => (Raw::Core, "RLIMIT_CORE", "c"),
            Self::Processes => (Raw::Nproc, "RLIMIT_NPROC", "u"),
            Self::OpenFiles => (Raw::Nofile, "RLIMIT_NOFILE", "n"),
            Self::LockedMemory => (Raw::Memlock, "RLIMIT_MEMLOCK", "l"),
            Self::AddressSpace => (Raw::As, "RLIMIT_AS", "v"),
            Self::PendingSignals => (Raw::Sigpending, "RLIMIT_SIGPENDING", "i"),
            Self::Nice => (Raw::Nice, "RLIMIT_NICE", "e"),
            Self::RealtimePriority => (Raw::Rtprio, "RLIMIT_RTPRIO", "r"),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name, option) = self.described();
        write!(formatter, "{name} (ulimit -{option})")
    }
}

#[cfg(test)]
mod tests {
    use super::Resource;

    #[test]
    fn each_stands_at_the_place_of_its_number() {
        for (place, resource) in Resource::ALL.into_iter().enumerate() {
            assert_eq!(resource as usize, place, "{resource}");
        }
    }
}
