//! The holder of a lock, as another thread saw it.

use std::fmt;
use std::time::Duration;

/// The thread that held a lock when another thread looked, or the process that had a claim.
///
/// The word of a lock names a thread and nothing more. The rest is asked of the system when it is
/// wanted, and says who bears the thread's number *then*: the holder may have released the lock,
/// or ended, in the meantime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub(crate) tid: u32,
    pub(crate) held_for: Duration,
    /// Whether any thread of the process may give back what is waited for.
    pub(crate) is_process: bool,
}

impl Holder {
    /// A process that has claimed what a waiter has waited for, for `held_for`.
    #[must_use]
    pub fn process(pid: u32, held_for: Duration) -> Self {
        Self {
            tid: pid,
            held_for,
            is_process: true,
        }
    }

    pub(crate) fn thread(tid: u32, held_for: Duration) -> Self {
        Self {
            tid,
            held_for,
            is_process: false,
        }
    }

    /// The thread's id; of a process, that of its first thread.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.tid
    }

    /// The process of the thread; `None` if it is gone.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        mp_os::robust::process_of_thread(self.tid)
    }

    /// The thread's name, at most 15 bytes; `None` if it is gone.
    #[must_use]
    pub fn thread_name(&self) -> Option<String> {
        mp_os::robust::thread_name(self.tid)
    }

    /// How long this waiter has seen the same holder: the lock was held at least so long, if it
    /// was not released and taken again unseen.
    ///
    /// A lock reads no clock when it is taken, so the lock itself does not know. Zero for a caller
    /// that looked only once.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        self.held_for
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid() {
            Some(pid) if self.is_process => write!(formatter, "process {pid}")?,
            None if self.is_process => write!(formatter, "process {}, which is gone", self.tid)?,
            Some(pid) => write!(formatter, "process {pid}, thread {}", self.tid)?,
            None => write!(formatter, "thread {}, which is gone", self.tid)?,
        }
        if let Some(name) = self.thread_name() {
            write!(formatter, " ({name})")?;
        }
        if !self.held_for.is_zero() {
            write!(formatter, ", seen for {:.1?}", self.held_for)?;
        }
        Ok(())
    }
}
