//! Who holds a lock, as seen by somebody else.

use std::fmt;
use std::time::Duration;

/// The thread that held a lock when somebody else looked.
///
/// The word of a lock names a thread and nothing more. The rest is asked of the system when it is
/// wanted, and says who bears the thread's number *then*: the holder may have released the lock,
/// or ended, in the meantime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub(crate) tid: u32,
    pub(crate) held_for: Duration,
}

impl Holder {
    /// The thread's id.
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

    /// How long this waiter has seen the same holder: at least so long the lock was held, if it
    /// was not released and taken again unseen.
    ///
    /// A lock reads no clock when it is taken, so nobody knows when that was. Zero for who only
    /// looked once.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        self.held_for
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid() {
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
