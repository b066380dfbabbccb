//! What this process keeps for all its children together.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mp_layout::Error;
use mp_os::life::LifePipe;
use mp_os::listener::{Accepted, Listener};
use mp_os::of_process::OfProcess;

use crate::outcome::Outcome;

/// The pipe that children hang on, and the listener at which one knocks that has closed its way to its parent.
#[derive(Debug)]
pub(crate) struct ForChildren {
    life: LifePipe,
    /// `None` in a sandbox that forbids it: then only the usual way is left.
    listener: Option<Listener>,
    /// Connections that were accepted while another child's was looked for.
    accepted: Mutex<Vec<Accepted>>,
}

static KEPT: OfProcess<Mutex<Option<Arc<ForChildren>>>> = OfProcess::new(Mutex::default);

impl ForChildren {
    /// That of this process, made when it is first asked for.
    pub(crate) fn of_this_process() -> io::Result<Arc<Self>> {
        let mut kept = locked(KEPT.get());
        if let Some(ours) = &*kept {
            return Ok(Arc::clone(ours));
        }
        let made = Arc::new(Self {
            life: LifePipe::new()?,
            listener: made_or_forbidden(Listener::new())?,
            accepted: Mutex::new(Vec::new()),
        });
        *kept = Some(Arc::clone(&made));
        Ok(made)
    }

    /// The end of the pipe that a child gets.
    pub(crate) fn life_end(&self) -> BorrowedFd<'_> {
        self.life.read_end()
    }

    /// Where a child connects; empty if there is no listener.
    pub(crate) fn listener_name(&self) -> &[u8] {
        self.listener.as_ref().map_or(&[], Listener::name)
    }

    /// The outcome that the child `pid`, which has ended, left at the listener; `None` if it left none.
    pub(crate) fn outcome_of(pid: u32) -> Option<Outcome> {
        let ours = locked(KEPT.get()).clone()?;
        let mut accepted = locked(&ours.accepted);
        let failed = ours.accept_all(&mut accepted).err();
        match accepted.iter().position(|one| one.pid == pid) {
            Some(place) => Outcome::receive(accepted.swap_remove(place).socket.as_fd()),
            None => {
                failed.map(|source| Outcome::refused(&Error::os("receive", "the result", source)))
            }
        }
    }

    fn accept_all(&self, accepted: &mut Vec<Accepted>) -> io::Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        while let Some(next) = listener.accept()? {
            // A number comes again only after its last bearer was reaped.
            accepted.retain(|one| one.pid != next.pid);
            accepted.push(next);
        }
        Ok(())
    }
}

/// Without descriptors nothing else can be started either; what else fails is forbidden here.
fn made_or_forbidden(made: io::Result<Listener>) -> io::Result<Option<Listener>> {
    match made {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            Err(error)
        }
        Err(_) => Ok(None),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use mp_testkit::Forked;

    use super::*;

    #[test]
    fn a_child_forked_while_it_is_locked_starts_processes_of_its_own() {
        let held = locked(KEPT.get());
        let child = Forked::new(|| crate::spawn(|| 7_u8, ()).unwrap().result().unwrap() == 7);
        let succeeds = child.succeeds();
        drop(held);
        assert!(succeeds);
    }
}
