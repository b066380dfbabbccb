//! Getting bytes.

use mp_layout::atomic::Ordering;
use mp_layout::{Error, Result};
use mp_object::InMemory;
use mp_os::clock::Deadline;
use mp_ring::{BatchBackoff, PopError, Records};
use mp_sync::{EventCount, Wait};

use super::{RawQueue, lock};
use crate::GetError;

/// Ready for a get that does not wait: with a message, or closed.
impl InMemory for RawQueue {
    fn is_ready(&self) -> bool {
        self.has_message() && self.len() != 0 || self.is_closed()
    }

    fn event_count(&self) -> &EventCount {
        self.not_empty()
    }
}

impl RawQueue {
    /// Gets the oldest message and returns what `take` makes of its bytes.
    ///
    /// `take` runs under the consumers' lock: it copies.
    #[inline]
    pub(crate) fn get_one<R>(
        &self,
        wait: Wait,
        deadline: Deadline,
        mut take: impl FnMut(&[u8]) -> R,
    ) -> Result<R, GetError> {
        self.get(wait, deadline, |records| match records.next() {
            Ok((_, bytes)) => Ok(Some(take(bytes))),
            Err(PopError::Empty) => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    /// Gets at least one message and at most `max`, which counts as 1 if it is 0, as [`get_one`](Self::get_one) does.
    pub(crate) fn get_many<R>(
        &self,
        max: usize,
        wait: Wait,
        deadline: Deadline,
        mut take: impl FnMut(&[u8]) -> R,
    ) -> Result<Vec<R>, GetError> {
        self.get(wait, deadline, |records| {
            let mut taken = Vec::new();
            while taken.len() < max.max(1) {
                match records.next() {
                    Ok((_, bytes)) => taken.push(take(bytes)),
                    Err(PopError::Empty) => break,
                    Err(error) if taken.is_empty() => return Err(error.into()),
                    // The get that finds it first reports it.
                    Err(_) => break,
                }
            }
            Ok(Some(taken).filter(|taken| !taken.is_empty()))
        })
    }

    /// Takes the oldest message if there is one now, whether or not the queue is closed, and returns what `take` makes of
    /// its bytes. If `take` fails, the message stays.
    ///
    /// The deadline is that of the consumers' lock.
    #[inline]
    pub(crate) fn take_now<R>(
        &self,
        deadline: Deadline,
        mut take: impl FnMut(&[u8]) -> Result<R>,
    ) -> Result<Option<R>> {
        if !self.has_message() {
            return Ok(None);
        }
        self.pop(deadline, &mut |records| match records.next() {
            Ok((_, bytes)) => take(bytes).map(Some),
            Err(PopError::Empty) => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    /// Gets by `take`, which reads records and returns `None` if there is none.
    #[inline]
    fn get<R>(
        &self,
        wait: Wait,
        deadline: Deadline,
        mut take: impl FnMut(&mut Records<'_, '_>) -> Result<Option<R>>,
    ) -> Result<R, GetError> {
        match self.pop_or_stop(deadline, &mut take) {
            Some(result) => result,
            None if deadline == Deadline::PASSED => Err(GetError::Empty),
            None => self.get_when_there_is_one(wait, deadline, &mut take),
        }
    }

    fn get_when_there_is_one<R>(
        &self,
        wait: Wait,
        deadline: Deadline,
        take: &mut impl FnMut(&mut Records<'_, '_>) -> Result<Option<R>>,
    ) -> Result<R, GetError> {
        let mut may_be_stream =
            wait != Wait::Sleep && self.bound >= BatchBackoff::LEAST_CAPACITY as u64;
        let attempt = || {
            if core::mem::take(&mut may_be_stream) {
                self.backoff.pause_for_batch(|| self.len());
            }
            if self.has_message() || self.is_closed() {
                self.pop_or_stop(deadline, take)
            } else {
                None
            }
        };
        let not_empty = &self.control().not_empty;
        not_empty
            .wait_until(wait, deadline, attempt)
            .unwrap_or(Err(GetError::Empty))
    }

    /// `None` if the queue is empty and open.
    #[inline]
    fn pop_or_stop<R>(
        &self,
        deadline: Deadline,
        take: &mut impl FnMut(&mut Records<'_, '_>) -> Result<Option<R>>,
    ) -> Option<Result<R, GetError>> {
        let closed = self.is_closed();
        match self.pop(deadline, take) {
            // Closed before it was looked at: nothing was put since (I6).
            Ok(None) if closed => {
                self.wake_all_closed();
                Some(Err(GetError::Closed))
            }
            Ok(None) => None,
            Ok(Some(taken)) => Some(Ok(taken)),
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Takes with the consumers' lock; `None` if there is nothing.
    #[inline]
    fn pop<R>(
        &self,
        deadline: Deadline,
        take: &mut impl FnMut(&mut Records<'_, '_>) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        let guard = lock(&self.control().consumers, deadline)?;
        let mut left_large_ring = false;
        loop {
            // Before the look whether the ring is empty.
            let (read, write) = self.generations()?;
            let (index, ring) = self.ring_of(read)?;
            // SAFETY: this has the consumers' lock, and the handle is gone before it is released.
            let mut consumer = unsafe { ring.locked_consumer() }.map_err(Error::from)?;
            let mut records = consumer.records();
            // Something is in this ring.
            if let Some(taken) = take(&mut records)? {
                self.release_and_notify(records.count(), || records.release());
                let emptied_large_ring = index > Self::LAST_KEPT && consumer.is_empty();
                drop(guard);
                self.wake_next();
                if left_large_ring || emptied_large_ring {
                    self.shrink();
                }
                return Ok(Some(taken));
            }
            // Nothing is in this ring, and producers write it: the queue is empty.
            if read == write {
                return Ok(None);
            }
            // Producers had left this ring before it was found empty. The one store that starts the next generation frees it.
            left_large_ring |= index > Self::LAST_KEPT;
            let next = read.wrapping_add(1);
            let generations = &self.control().generations;
            self.release_and_notify(1, || generations.read.store(next, Ordering::Release));
        }
    }

    /// Rule (b), for a consumer that has got messages and has unlocked.
    #[inline]
    fn wake_next(&self) {
        let not_empty = &self.control().not_empty;
        if not_empty.has_sleepers() && self.has_message() {
            not_empty.under_bell(|| not_empty.notify(1));
        }
    }

    /// Gives room back by one store, that of so many messages or of a ring, and wakes who waits for it.
    #[inline]
    fn release_and_notify(&self, count: usize, release: impl FnOnce()) {
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
}
