//! Processes whose death breaks the barrier wherever they are.

use std::ops::Deref;

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{Error, ErrorKind, Result};
use mp_os::process_id::ProcessIdentity;

use super::{Barrier, MOST};
use crate::participant;

impl Barrier {
    /// Makes this process a participant whose death breaks the barrier, wherever it dies, until the
    /// returned value is dropped.
    ///
    /// It does not change how many parties a round takes, and any process may wait without it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if 512 of them exist, and those of [`Barrier::abort`].
    pub fn register(&self) -> Result<Party<'_>> {
        let me = participant::this_process()?;
        let _guard = self.lock()?;
        let place = match self.free_member() {
            Some(place) => place,
            None => {
                self.forget_dead_members();
                self.free_member().ok_or_else(|| {
                    Error::new(ErrorKind::InvalidInput, "take part in", "a barrier")
                        .with_detail(format!("{MOST} take part already, the most that can"))
                })?
            }
        };
        self.members[place].store(me.word(), Ordering::Release);
        Ok(Party {
            barrier: self,
            place,
            me,
        })
    }

    /// Returns the place of a free word of a member, which `used` counts then (I3).
    fn free_member(&self) -> Option<usize> {
        let used = self.used_members();
        let is_free = |member: &AtomicU64| member.load(Ordering::Relaxed) == 0;
        let free = used.iter().position(is_free);
        if free.is_some() || used.len() == MOST {
            return free;
        }
        // Relaxed: one that looks for the dead and misses a new member finds it at its next look.
        self.used.store(used.len() as u32 + 1, Ordering::Relaxed);
        Some(used.len())
    }

    pub(super) fn forget_dead_members(&self) {
        for member in self.used_members() {
            if participant::is_gone(member.load(Ordering::Relaxed)) {
                member.store(0, Ordering::Relaxed);
            }
        }
    }

    /// The words that may be of a member (I3).
    pub(super) fn used_members(&self) -> &[AtomicU64] {
        &self.members[..(self.used.load(Ordering::Relaxed) as usize).min(MOST)]
    }
}

/// A process as a participant of a [`Barrier`], which breaks if it dies; dropping this ends it.
///
/// A leaked one stays until the process ends, which then breaks the barrier. In a forked child the
/// parent's does nothing.
#[must_use = "the process takes part until this is dropped"]
#[derive(Debug)]
pub struct Party<'a> {
    barrier: &'a Barrier,
    place: usize,
    me: ProcessIdentity,
}

impl Deref for Party<'_> {
    type Target = Barrier;

    fn deref(&self) -> &Barrier {
        self.barrier
    }
}

impl Drop for Party<'_> {
    fn drop(&mut self) {
        if ProcessIdentity::current().is_ok_and(|me| me == self.me) {
            // Release: what this process did comes before it leaves.
            self.barrier.members[self.place].store(0, Ordering::Release);
        }
    }
}
