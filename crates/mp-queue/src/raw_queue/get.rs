//! Getting bytes.

use mp_layout::Result;
use mp_object::InMemory;
use mp_object::message::Objects;
use mp_os::clock::Deadline;
use mp_ring::BatchBackoff;
use mp_sync::{EventCount, Wait};

use super::reader::Reader;
use super::{Message, RawQueue, lock};
use crate::GetError;

/// Ready for a get that does not wait: with a message, or closed.
impl InMemory for RawQueue {
    fn is_ready(&self) -> bool {
        self.has_message() || self.is_closed()
    }

    fn event_count(&self) -> &EventCount {
        self.not_empty()
    }
}

impl RawQueue {
    /// Gets the oldest message and returns what `take` makes of it, and of its objects if it has
    /// handles. If that fails the message stays.
    ///
    /// `take` runs under the consumers' lock: it copies.
    #[inline]
    pub(crate) fn get_one<R>(
        &self,
        wait: Wait,
        deadline: Deadline,
        mut take: impl FnMut(&Message<'_>, Option<Objects>) -> Result<R>,
    ) -> Result<R, GetError> {
        self.get(wait, deadline, |reader| reader.take_next(&mut take))
    }

    /// Gets at least one message and at most `max`, which counts as 1 if it is 0, as
    /// [`get_one`](Self::get_one) does. Also whether the last has descriptors, after which it
    /// did not look: only the front of the lane can be looked at.
    pub(crate) fn get_many<R>(
        &self,
        max: usize,
        wait: Wait,
        deadline: Deadline,
        mut take: impl FnMut(&Message<'_>, Option<Objects>) -> Result<R>,
    ) -> Result<(Vec<R>, bool), GetError> {
        self.get(wait, deadline, |reader| {
            let mut taken = Vec::new();
            while taken.len() < max.max(1) {
                match reader.take_next(&mut take) {
                    Ok(Some(next)) => taken.push(next),
                    Ok(None) => break,
                    Err(error) if taken.is_empty() => return Err(error),
                    // The get that finds it first reports it.
                    Err(_) => break,
                }
            }
            Ok((!taken.is_empty()).then(|| (taken, reader.is_in_lane())))
        })
    }

    /// Takes the oldest message if there is one now, whether or not the queue is closed, and
    /// returns what `take` makes of it. If that fails, the message stays.
    ///
    /// The deadline is that of the consumers' lock.
    #[inline]
    pub(crate) fn take_now<R>(
        &self,
        deadline: Deadline,
        mut take: impl FnMut(&Message<'_>, Option<Objects>) -> Result<R>,
    ) -> Result<Option<R>> {
        if !self.has_message() {
            return Ok(None);
        }
        self.pop(deadline, &mut |reader| reader.take_next(&mut take))
    }

    /// Gets by `take`, which passes messages and returns `None` if there is none.
    #[inline]
    fn get<R>(
        &self,
        wait: Wait,
        deadline: Deadline,
        mut take: impl FnMut(&mut Reader<'_>) -> Result<Option<R>>,
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
        take: &mut impl FnMut(&mut Reader<'_>) -> Result<Option<R>>,
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
        take: &mut impl FnMut(&mut Reader<'_>) -> Result<Option<R>>,
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
        take: &mut impl FnMut(&mut Reader<'_>) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        let guard = lock(&self.control().consumers, deadline)?;
        let mut reader = Reader::new(self)?;
        let taken = match take(&mut reader) {
            Ok(Some(taken)) => taken,
            Ok(None) => return Ok(None),
            Err(error) => {
                drop(guard);
                // The message stays, and this may be the one that was woken for it.
                self.wake_next();
                return Err(error);
            }
        };
        let has_left_a_block = reader.has_left_a_block();
        self.commit_and_notify(reader);
        let has_memory_to_spare = has_left_a_block && self.has_memory_to_spare();
        drop(guard);
        self.wake_next();
        if has_memory_to_spare {
            self.shrink();
        }
        Ok(Some(taken))
    }

    /// Rule (b), for a consumer that has got messages or failed, and has unlocked.
    #[inline]
    fn wake_next(&self) {
        let not_empty = &self.control().not_empty;
        if not_empty.has_sleepers() && self.has_message() {
            not_empty.under_bell(|| not_empty.notify(1));
        }
    }

    /// Takes the messages out of the queue, and wakes who waits for room.
    #[inline]
    fn commit_and_notify(&self, reader: Reader<'_>) {
        if !self.is_bounded() {
            // No producer ever waits for room.
            return reader.commit();
        }
        let count = reader.count();
        let not_full = &self.control().not_full;
        // Rule (a)
        not_full.under_bell(|| {
            reader.commit();
            not_full.notify(count as u32);
        });
    }
}
