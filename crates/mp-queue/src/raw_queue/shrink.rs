//! Going back to a small ring, and giving the memory of large ones back.

use std::time::Duration;

use mp_layout::atomic::Ordering;
use mp_os::clock::Deadline;

use super::RawQueue;
use crate::geometry::{PAGE, region_size};

/// Bytes given back under one holding of the producers' lock: less than a millisecond.
const PIECE: usize = 4 << 20;

/// How long a consumer that could give memory back waits for the producers' lock before it leaves that to the next.
const PATIENCE: Duration = Duration::from_millis(10);

impl RawQueue {
    /// The largest ring whose memory is kept: with the smaller ones 1.75 MiB.
    pub(super) const LAST_KEPT: usize = 2;

    /// Called by a consumer that has emptied a large ring, and holds no lock.
    #[cold]
    pub(super) fn shrink(&self) {
        self.return_to_small_ring();
        for index in Self::LAST_KEPT + 1..self.geometry.rings() {
            while self.trim(index) {}
        }
    }

    /// Starts a generation on ring 0 and moves consumers to it, if the queue is empty and in a large ring. It takes the
    /// producers' lock before the consumers'. If another process has one of them, that process comes here later.
    fn return_to_small_ring(&self) {
        let control = self.control();
        let Ok(_producers) = control
            .producers
            .lock_timeout(Deadline::after(PATIENCE))
            .map(|mut guard| {
                guard.recover();
                guard
            })
        else {
            return;
        };
        let Ok(mut consumers) = control.consumers.try_lock() else {
            return;
        };
        consumers.recover();
        let Ok((read, write)) = self.generations() else {
            return;
        };
        let Ok((index, ring)) = self.ring_of(read) else {
            return;
        };
        if read == write
            && index > Self::LAST_KEPT
            && ring.is_empty()
            && let Ok(next) = self.start_generation(0, write)
        {
            control.generations.read.store(next, Ordering::Release);
        }
    }

    /// Gives a piece of a free ring's memory back; whether there is more to do.
    fn trim(&self, index: usize) -> bool {
        if self.backed(index) <= PAGE {
            return false;
        }
        let control = self.control();
        let Ok(mut guard) = control.producers.lock_timeout(Deadline::after(PATIENCE)) else {
            return false;
        };
        guard.recover();
        let Ok((read, write)) = self.generations() else {
            return false;
        };
        let backed = self.backed(index);
        if backed <= PAGE || !self.is_free(index, read, write) {
            return false;
        }
        let kept = backed.saturating_sub(PIECE).max(PAGE);
        // I4: recorded before it is given back.
        control.backed[index].store(kept as u64, Ordering::Release);
        let start = self.offset_in_segment(index);
        // To the ring's end, where a process may have died between the two steps.
        let size = region_size(index) - kept;
        // SAFETY: the bytes behind what is recorded as backed are not in use (I4).
        let given = unsafe { self.object().give_back(start + kept, size) };
        given.is_ok() && kept > PAGE
    }
}
