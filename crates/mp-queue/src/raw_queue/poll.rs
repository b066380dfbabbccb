//! Ringing for those that poll a descriptor instead of sleeping in memory.
//!
//! The lane's end that is read is the descriptor. It is to be readable from the moment when there
//! is a message until one that polls has looked, whatever other consumers do meanwhile. A consumer
//! takes a ring out only where a message with objects follows it in the lane. So after each of
//! those the first record without objects rings again: I8 of [the queue](super).

use std::os::fd::BorrowedFd;

use mp_layout::atomic::Ordering;
use mp_layout::{Error, ErrorKind, Result};
use mp_object::{Lane, LaneError};
use mp_os::clock::Deadline;

use super::{RawQueue, lock};

/// The next message without objects, or the close, rings.
pub(super) const ASKED: u32 = 1;

/// A ring is in the lane, and after it no message of a record.
pub(super) const RUNG: u32 = 2;

/// What one finds that asks to be rung.
enum Asked {
    /// There is a message, or the queue is closed.
    IsReady,
    /// It will be rung for the next message.
    WillRing,
    /// As before, but a consumer is busy, and an old ring may be left.
    MayBeRung,
}

impl RawQueue {
    /// A descriptor that becomes readable with the next message, or when the queue is closed;
    /// `None` if there is a message or it is closed.
    pub(crate) fn poll_fd(&self) -> Result<Option<BorrowedFd<'_>>> {
        let lane = self.lane().ok_or_else(no_descriptor)?;
        let mut asked = self.ask_to_ring(lane)?;
        if matches!(asked, Asked::MayBeRung) {
            // Waits for the consumer without the producers' lock: else one that polls would turn
            // without a rest while a consumer is stopped.
            match lock(&self.control().consumers, Deadline::PASSED) {
                Ok(guard) => {
                    drop(guard);
                    asked = self.ask_to_ring(lane)?;
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Err(error) => return Err(error),
            }
        }
        Ok(match asked {
            Asked::IsReady => None,
            Asked::WillRing | Asked::MayBeRung => Some(lane.front()),
        })
    }

    fn ask_to_ring(&self, lane: &Lane) -> Result<Asked> {
        let control = self.control();
        let _producers = lock(&control.producers, Deadline::NEVER)?;
        if self.has_message() || self.is_closed() {
            return Ok(Asked::IsReady);
        }
        let ring = &control.tail.ring;
        // I7
        let Ok(mut consumers) = control.consumers.try_lock() else {
            // A ring that cannot be taken out need not be sent again.
            if ring.load(Ordering::Relaxed) != RUNG {
                ring.store(ASKED, Ordering::Relaxed);
            }
            return Ok(Asked::MayBeRung);
        };
        consumers.recover();
        // I8. Release: not after the system calls, whatever the compiler sees of them.
        ring.store(ASKED, Ordering::Release);
        lane.silence();
        Ok(Asked::WillRing)
    }

    /// Rings if that is asked for, before a commit, under the producers' lock.
    #[inline]
    pub(super) fn ring_if_asked(&self, uncommitted: usize) -> Result<(), LaneError> {
        if self.control().tail.ring.load(Ordering::Relaxed) == ASKED {
            self.ring(uncommitted)
        } else {
            Ok(())
        }
    }

    #[cold]
    fn ring(&self, uncommitted: usize) -> Result<(), LaneError> {
        let Some(lane) = self.lane() else {
            return Ok(());
        };
        match self.send_or_drain(lane, uncommitted, Lane::ring) {
            // An end whose other side is gone is readable for good.
            Ok(()) | Err(LaneError::Closed) => {}
            Err(error) => return Err(error),
        }
        // Release: not before the system call, whatever the compiler sees of it.
        self.control().tail.ring.store(RUNG, Ordering::Release);
        Ok(())
    }

    /// Says, before a message with objects is sent, that the ring in the lane is not the last.
    pub(super) fn ask_to_ring_again(&self) {
        let ring = &self.control().tail.ring;
        if ring.load(Ordering::Relaxed) == RUNG {
            // I8. Release: not after the system call, whatever the compiler sees of it.
            ring.store(ASKED, Ordering::Release);
        }
    }

    /// Rings for the close of a queue whose lane was full, after a message of it was discarded.
    /// Under the consumers' lock; nothing is put any more.
    pub(super) fn ring_if_closed(&self, lane: &Lane) {
        let ring = &self.control().tail.ring;
        if self.is_closed() && ring.load(Ordering::Relaxed) == ASKED && lane.ring().is_ok() {
            ring.store(RUNG, Ordering::Release);
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
