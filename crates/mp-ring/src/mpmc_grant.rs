//! A place of an MPMC ring that is claimed and not written yet.

use core::mem::ManuallyDrop;

use mp_layout::Plain;

use crate::MpmcRing;
use crate::mpmc_ring::CellWords;

/// A place of a [`MpmcRing`] that a producer has claimed, made by
/// [`MpmcProducer::reserve`](crate::MpmcProducer::reserve). Dropped, it is given back unused.
///
/// Consumers pass it over meanwhile, and others push after it, for the rest of the lap. Leaked, it
/// stays claimed, and the ring full from there on, until a [`sweep`](MpmcRing::sweep) after its
/// producer was dropped or its process died. In a forked child it is still the parent's, which the
/// child must neither use nor drop.
#[derive(Debug)]
#[must_use = "a dropped grant publishes nothing"]
pub struct MpmcGrant<'p, T: Plain> {
    ring: MpmcRing<'p, T>,
    cell: CellWords<'p>,
    at: u64,
}

impl<'p, T: Plain> MpmcGrant<'p, T> {
    #[inline]
    pub(crate) fn new(ring: MpmcRing<'p, T>, cell: CellWords<'p>, at: u64) -> Self {
        Self { ring, cell, at }
    }

    /// Pushes `value` by a SeqCst operation, so that a look for consumers that sleep needs no fence
    /// after it.
    #[inline]
    pub fn commit(self, value: T) {
        let grant = ManuallyDrop::new(self);
        grant.ring.write(grant.cell, &value);
        grant.ring.publish_for_sleepers(grant.cell, grant.at);
    }
}

impl<T: Plain> Drop for MpmcGrant<'_, T> {
    fn drop(&mut self) {
        self.ring.give_back(self.cell, self.at);
    }
}
