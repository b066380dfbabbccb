//! Ringing for those that poll a descriptor instead of sleeping in memory.

use std::os::fd::BorrowedFd;

use mp_layout::atomic::Ordering;
use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::Deadline;

use super::{RawQueue, lock};

impl RawQueue {
    /// A descriptor that becomes readable with the next message, or when the queue is closed;
    /// `None` if there is a message or it is closed.
    pub(crate) fn poll_fd(&self) -> Result<Option<BorrowedFd<'_>>> {
        let lane = self.lane().ok_or_else(no_descriptor)?;
        let control = self.control();
        let guard = lock(&control.producers, Deadline::NEVER)?;
        if self.has_message() || self.is_closed() {
            return Ok(None);
        }
        // I8
        let asked = &control.tail.is_asked_to_ring;
        asked.store(1, Ordering::Relaxed);
        // An earlier ring makes no one look again. If another consumer runs, one look is for
        // nothing.
        if let Ok(mut consumers) = control.consumers.try_lock() {
            consumers.recover();
            lane.silence();
        }
        drop(guard);
        Ok(Some(lane.front()))
    }

    /// Rings, before a commit, under the producers' lock.
    #[cold]
    pub(super) fn ring(&self) {
        if self.lane().is_none_or(mp_object::Lane::ring) {
            // Release: not before the system call, whatever the compiler sees of it.
            let asked = &self.control().tail.is_asked_to_ring;
            asked.store(0, Ordering::Release);
        }
    }
}

#[cold]
fn no_descriptor() -> Error {
    Error::new(ErrorKind::Unsupported, "poll", "a queue").with_detail(
        "queues of plain values and of bytes, and queues with a name, have no descriptor; wait for them with `wait`, or \
         make a queue of serde messages without a name",
    )
}
