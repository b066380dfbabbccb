//! What this process keeps for all its children together.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mp_os::of_process::OfProcess;
use mp_os::parent_death::ParentPipe;

use crate::late_results::LateResults;

/// The pipe by which children die with this process, and the listener for those that closed their
/// socket to it.
#[derive(Debug)]
pub(crate) struct ForChildren {
    pipe: ParentPipe,
    pub(crate) late: LateResults,
}

static KEPT: OfProcess<Mutex<Option<Arc<ForChildren>>>> = OfProcess::new(Mutex::default);

impl ForChildren {
    /// That of this process, made when it is first asked for.
    pub(crate) fn of_this_process() -> io::Result<Arc<Self>> {
        let mut kept = locked();
        if let Some(ours) = &*kept {
            return Ok(Arc::clone(ours));
        }
        let made = Arc::new(Self {
            pipe: ParentPipe::new()?,
            late: LateResults::new()?,
        });
        *kept = Some(Arc::clone(&made));
        Ok(made)
    }

    /// That of this process, if a child was ever started.
    pub(crate) fn if_made() -> Option<Arc<Self>> {
        locked().clone()
    }

    /// The end of the pipe that a child gets.
    pub(crate) fn parent_end(&self) -> BorrowedFd<'_> {
        self.pipe.read_end()
    }
}

fn locked() -> MutexGuard<'static, Option<Arc<ForChildren>>> {
    KEPT.get().lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use mp_testkit::Forked;

    use super::*;

    #[test]
    fn a_child_forked_while_it_is_locked_starts_processes_of_its_own() {
        let held = locked();
        let child = Forked::new(|| crate::spawn(|| 7_u8, ()).unwrap().result().unwrap() == 7);
        let succeeds = child.succeeds();
        drop(held);
        assert!(succeeds);
    }
}
