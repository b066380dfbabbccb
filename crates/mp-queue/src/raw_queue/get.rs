//! Getting bytes.

use mp_layout::atomic::Ordering;
use mp_layout::{Error, Result};
use mp_os::clock::Deadline;
use mp_ring::{PopError, Records};
use mp_sync::Wait;

use super::{RawQueue, lock};
use crate::error::Stop;

impl RawQueue {
    /// Gets at least one message and at most `max`, each of which is shown to `visit`, and returns how many.
    ///
    /// `visit` runs under the consumers' lock: it copies.
    #[inline]
    pub(crate) fn get(
        &self,
        max: usize,
        wait: Wait,
        deadline: Deadline,
        mut visit: impl FnMut(&[u8]),
    ) -> core::result::Result<usize, Stop> {
        match self.pop_or_stop(max, deadline, &mut visit) {
            Some(result) => result,
            None if deadline == Deadline::PASSED => Err(Stop::Empty),
            None => self.get_when_there_is_one(max, wait, deadline, &mut visit),
        }
    }

    fn get_when_there_is_one(
        &self,
        max: usize,
        wait: Wait,
        deadline: Deadline,
        visit: &mut impl FnMut(&[u8]),
    ) -> core::result::Result<usize, Stop> {
        let attempt = || {
            if self.has_message() || self.is_closed() {
                self.pop_or_stop(max, deadline, visit)
            } else {
                None
            }
        };
        let not_empty = &self.control().not_empty;
        not_empty
            .wait_until(wait, deadline, attempt)
            .unwrap_or(Err(Stop::Empty))
    }

    /// `None` if the queue is empty and open.
    #[inline]
    fn pop_or_stop(
        &self,
        max: usize,
        deadline: Deadline,
        visit: &mut impl FnMut(&[u8]),
    ) -> Option<core::result::Result<usize, Stop>> {
        let closed = self.is_closed();
        match self.pop(max, deadline, visit) {
            // Closed before it was looked at: nothing was put since (I6).
            Ok(0) if closed => {
                self.pass_on_closing();
                Some(Err(Stop::Closed))
            }
            Ok(0) => None,
            Ok(count) => Some(Ok(count)),
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Takes what there is, with the lock; 0 if there is nothing.
    #[inline]
    fn pop(&self, max: usize, deadline: Deadline, visit: &mut impl FnMut(&[u8])) -> Result<usize> {
        let control = self.control();
        let guard = lock(&control.consumers, deadline)?;
        let mut left_large_ring = false;
        loop {
            let (read, write) = self.legs()?;
            let (class, ring) = self.ring_of(read)?;
            // SAFETY: this has the consumers' lock, and the handle is gone before it is released.
            let mut consumer = unsafe { ring.locked_consumer() }.map_err(Error::from)?;
            let count = self.take(consumer.records(), max.max(1), visit)?;
            if count > 0 {
                let more = control.not_empty.has_sleepers() && !consumer.is_empty();
                let emptied_large_ring = class > Self::KEPT_CLASS && consumer.is_empty();
                drop(guard);
                // Rule (b)
                if more {
                    control.not_empty.under_bell(|| control.not_empty.notify(1));
                }
                if left_large_ring || emptied_large_ring {
                    self.settle();
                }
                return Ok(count);
            }
            if read == write {
                return Ok(0);
            }
            left_large_ring |= class > Self::KEPT_CLASS;
            // Producers had left this ring before it was found empty. The one store that begins the next leg:
            control
                .legs
                .read
                .store(read.wrapping_add(1), Ordering::Release);
            if self.is_bounded() {
                control.not_full.under_bell(|| control.not_full.notify(1));
            }
        }
    }

    /// Shows the records to `visit`, releases them in one step, and returns how many.
    #[inline]
    fn take(
        &self,
        mut records: Records<'_, '_>,
        max: usize,
        visit: &mut impl FnMut(&[u8]),
    ) -> Result<usize> {
        let mut count = 0;
        while count < max {
            match records.next() {
                Ok((_, bytes)) => visit(bytes),
                Err(PopError::Empty) => break,
                Err(error) if count == 0 => return Err(error.into()),
                // It is said to whoever meets it first.
                Err(_) => break,
            }
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        if self.is_bounded() {
            let not_full = &self.control().not_full;
            // Rule (a)
            not_full.under_bell(|| {
                records.release();
                not_full.notify(count as u32);
            });
        } else {
            // Nobody ever waits for room.
            records.release();
        }
        Ok(count)
    }
}
