//! The children of this process, and what happens to them when it exits.
//!
//! Nothing here uses thread-local variables: at exit those of the exiting thread are gone already.

use std::mem;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mp_layout::Result;
use mp_object::{Waitable, Watch};
use mp_os::clock::Deadline;
use mp_os::of_process::OfProcess;
use mp_os::this_process;

use crate::running::Running;
use crate::status::Status;

/// How long a daemon may clean up after SIGTERM before it is killed.
const DAEMON_GRACE: Duration = Duration::from_millis(500);

/// A forked copy of this process has none of its children.
static TABLE: OfProcess<Mutex<Table>> = OfProcess::new(Mutex::default);

#[derive(Default)]
struct Table {
    children: Vec<Arc<Running>>,
    /// Whether [`wait_for_children`] is called when this process exits.
    waits_at_exit: bool,
}

/// A child that has not been joined, from [`active_children`]. Clones are the same child.
///
/// ```
/// use mp_process::{Process, active_children};
///
/// fn wait_for_ever() {
///     loop {
///         std::thread::park();
///     }
/// }
///
/// let mut process = Process::new(wait_for_ever, ()).name("sleeper");
/// process.start()?;
/// for child in active_children() {
///     child.kill()?;
///     child.join()?;
/// }
/// assert_eq!(process.exitcode(), Some(-9));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ActiveChild(Arc<Running>);

impl ActiveChild {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether the exit of this process ends it.
    pub fn is_daemon(&self) -> bool {
        self.0.daemon
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.0.poll_status() == Status::Running
    }

    /// What it is doing, or how it ended.
    pub fn status(&self) -> Status {
        self.0.poll_status()
    }

    /// As [`Process::exitcode`](crate::Process::exitcode).
    pub fn exitcode(&self) -> Option<i32> {
        self.0.exitcode()
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`](mp_layout::ErrorKind::Os) if the kernel refuses the wait.
    pub fn join(&self) -> Result<()> {
        self.0.join(Deadline::NEVER).map(drop)
    }

    /// Waits for its end up to `timeout`; returns whether it has ended, see
    /// [`Process::join_timeout`](crate::Process::join_timeout).
    ///
    /// # Errors
    ///
    /// As for [`join`](Self::join); a timeout is `Ok(false)`.
    pub fn join_timeout(&self, timeout: impl Into<Deadline>) -> Result<bool> {
        self.0.join(timeout.into())
    }

    /// Sends SIGKILL, if it still runs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PermissionDenied`](mp_layout::ErrorKind::PermissionDenied) if it runs as
    /// another user now.
    pub fn kill(&self) -> Result<()> {
        self.0.send_signal(libc::SIGKILL)
    }

    /// Sends SIGTERM, if it still runs.
    ///
    /// # Errors
    ///
    /// As for [`kill`](Self::kill).
    pub fn terminate(&self) -> Result<()> {
        self.0.send_signal(libc::SIGTERM)
    }

    /// Sends SIGINT, if it still runs; see [`Process::interrupt`](crate::Process::interrupt).
    ///
    /// # Errors
    ///
    /// As for [`kill`](Self::kill).
    pub fn interrupt(&self) -> Result<()> {
        self.0.send_signal(libc::SIGINT)
    }

    /// The descriptor that becomes readable when it ends (a pidfd), to `poll` with others.
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.0.sentinel()
    }
}

impl Waitable for ActiveChild {
    fn watch(&self) -> Result<Watch<'_>> {
        Ok(Watch::Descriptor(self.0.sentinel()))
    }
}

/// The children that have not ended. Reaps those that have.
pub fn active_children() -> Vec<ActiveChild> {
    let mut table = locked();
    table.children.retain(|child| !reap_if_ended(child));
    table.children.iter().cloned().map(ActiveChild).collect()
}

/// Adds a child that was just started.
pub(crate) fn register(child: Arc<Running>) {
    let mut table = locked();
    if !table.waits_at_exit {
        table.waits_at_exit = true;
        // Without memory for it no child is waited for, and the children die with this process.
        drop(this_process::at_exit(wait_for_children));
    }
    table.children.push(child);
}

/// Removes a child that has ended.
pub(crate) fn forget(child: &Running) {
    let gone = {
        let children = &mut locked().children;
        let place = children
            .iter()
            .position(|one| std::ptr::eq(&raw const **one, child));
        place.map(|place| children.swap_remove(place))
    };
    drop(gone);
}

/// Reaps the children that ended and whose handles were dropped.
pub(crate) fn reap_dropped() {
    let children = &mut locked().children;
    children.retain(|child| Arc::strong_count(child) > 1 || !reap_if_ended(child));
}

fn reap_if_ended(child: &Running) -> bool {
    matches!(child.reap_by(Deadline::PASSED), Ok(true))
}

fn locked() -> MutexGuard<'static, Table> {
    TABLE.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the daemons and waits for the other children, as Python does at exit.
extern "C" fn wait_for_children() {
    let children = mem::take(&mut locked().children);
    let (daemons, others): (Vec<_>, Vec<_>) = children.into_iter().partition(|child| child.daemon);
    // What fails here fails for children that have ended, or that die with this process.
    for daemon in &daemons {
        drop(daemon.send_signal(libc::SIGTERM));
    }
    let deadline = Deadline::after(DAEMON_GRACE);
    for daemon in &daemons {
        if !matches!(daemon.reap_by(deadline), Ok(true)) {
            drop(daemon.send_signal(libc::SIGKILL));
            drop(daemon.reap_by(Deadline::NEVER));
        }
    }
    for child in others {
        drop(child.reap_by(Deadline::NEVER));
    }
}

#[cfg(test)]
mod tests {
    use mp_testkit::Forked;

    use super::*;

    #[test]
    fn a_child_forked_while_the_table_is_locked_starts_processes_of_its_own() {
        let held = locked();
        let child = Forked::new(|| {
            let process = crate::spawn(|| 7_u8, ()).unwrap();
            process.result().unwrap() == 7 && active_children().is_empty()
        });
        let succeeds = child.succeeds();
        drop(held);
        assert!(succeeds);
    }
}
