//! Getting bytes.

use mp_layout::atomic::Ordering;
use mp_layout::{Error, Result};
use mp_os::clock::Deadline;
use mp_ring::{PopError, Records};
use mp_sync::{Guard, Wait};

use super::{RawQueue, lock};
use crate::error::Stop;

/// A queue of fewer messages is not worth waiting at for several.
const LEAST_OF_STREAM: u64 = 64;

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
    ) -> Result<usize, Stop> {
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
    ) -> Result<usize, Stop> {
        let mut may_be_stream = wait != Wait::Sleep && self.bound >= LEAST_OF_STREAM;
        let attempt = || {
            if core::mem::take(&mut may_be_stream) {
                self.pace.let_some_come(|| self.len());
            }
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
    ) -> Option<Result<usize, Stop>> {
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
        let guard = lock(&self.control().consumers, deadline)?;
        let popped = if max <= 1 {
            self.pop_in_place(visit)
        } else {
            None
        };
        match popped {
            Some(count) => {
                drop(guard);
                self.pass_on(count);
                Ok(count)
            }
            None => self.pop_locked(guard, max, visit),
        }
    }

    /// What nearly every get is: one message, or none, of a ring whose memory is kept, while nothing is elsewhere. Whatever
    /// else it finds it leaves to [`pop_locked`](Self::pop_locked), and does nothing.
    #[inline]
    fn pop_in_place(&self, visit: &mut impl FnMut(&[u8])) -> Option<usize> {
        let legs = &self.control().legs;
        let read = legs.read.load(Ordering::Relaxed);
        // Before the look whether the ring is empty.
        let write = legs.write.load(Ordering::Acquire);
        let class = self.class_of(read);
        if read != write || class > Self::KEPT_CLASS {
            return None;
        }
        let ring = self.rings[class].get()?;
        // SAFETY: the caller has the consumers' lock, and the handle is gone before it is released.
        let mut consumer = unsafe { ring.locked_consumer() }.ok()?;
        match consumer.peek() {
            Ok(record) => {
                visit(record.bytes());
                self.give_room(1, || record.release());
                Some(1)
            }
            Err(PopError::Empty) => Some(0),
            Err(_) => None,
        }
    }

    #[inline(never)]
    fn pop_locked(
        &self,
        guard: Guard<'_>,
        max: usize,
        visit: &mut impl FnMut(&[u8]),
    ) -> Result<usize> {
        let control = self.control();
        let mut left_large_ring = false;
        loop {
            let (read, write) = self.legs()?;
            let (class, ring) = self.ring_of(read)?;
            // SAFETY: this has the consumers' lock, and the handle is gone before it is released.
            let mut consumer = unsafe { ring.locked_consumer() }.map_err(Error::from)?;
            let count = self.take(consumer.records(), max.max(1), visit)?;
            if count > 0 {
                let emptied_large_ring = class > Self::KEPT_CLASS && consumer.is_empty();
                drop(guard);
                self.pass_on(count);
                if left_large_ring || emptied_large_ring {
                    self.settle();
                }
                return Ok(count);
            }
            if read == write {
                return Ok(0);
            }
            left_large_ring |= class > Self::KEPT_CLASS;
            // Producers had left this ring before it was found empty. The one store that begins the next leg frees it:
            let next = read.wrapping_add(1);
            self.give_room(1, || control.legs.read.store(next, Ordering::Release));
        }
    }

    /// Rule (b), for who has got messages and has unlocked.
    #[inline]
    fn pass_on(&self, got: usize) {
        let not_empty = &self.control().not_empty;
        if got > 0 && not_empty.has_sleepers() && self.has_message() {
            not_empty.under_bell(|| not_empty.notify(1));
        }
    }

    /// Gives room back by one store, that of so many messages or of a ring, and wakes who waits for it.
    #[inline]
    fn give_room(&self, count: usize, release: impl FnOnce()) {
        if !self.is_bounded() {
            // Nobody ever waits for room.
            return release();
        }
        let not_full = &self.control().not_full;
        // Rule (a)
        not_full.under_bell(|| {
            release();
            not_full.notify(count as u32);
        });
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
        if count > 0 {
            self.give_room(count, || records.release());
        }
        Ok(count)
    }
}
