//! How much a pool has done.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a pool has done and has to do, from [`Pool::stats`](crate::Pool::stats).
///
/// `queued` and `running` are of one moment; a task that ends next to it may be counted in `done`
/// as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that were submitted, and have neither begun nor ended.
    pub queued: usize,
    /// Tasks that run: one for each worker that has taken some.
    pub running: usize,
    /// Tasks that have returned.
    pub done: u64,
    /// Tasks that have ended without a value, also those that were cancelled or refused.
    pub failed: u64,
    /// Workers that were started in the place of one that had ended.
    pub replaced: u64,
}

/// Tasks that have ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) done: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Ended {
    /// How many there are.
    pub(crate) fn all(&self) -> u64 {
        self.done.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, done: usize, failed: usize) {
        for (count, more) in [(&self.done, done), (&self.failed, failed)] {
            if more > 0 {
                // Relaxed: nothing is published by it.
                count.fetch_add(more as u64, Ordering::Relaxed);
            }
        }
    }
}
