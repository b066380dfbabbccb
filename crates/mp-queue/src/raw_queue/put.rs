//! Putting bytes.

use mp_os::clock::Deadline;
use mp_sync::Wait;

use super::draft::Draft;
use super::{RawQueue, lock};
use crate::PutError;
use crate::codec::sealed::Encoded;
use crate::record_header::RecordHeader;

impl RawQueue {
    /// Puts messages, from the first on, as many as there is room for but one at least, and returns
    /// how many.
    #[inline]
    pub(crate) fn put<B: Encoded>(
        &self,
        messages: &[B],
        wait: Wait,
        deadline: Deadline,
    ) -> Result<usize, PutError<()>> {
        match self.push(messages, deadline) {
            Err(PutError::Full(())) => self.put_when_there_is_room(messages, wait, deadline),
            result => result,
        }
    }

    #[cold]
    fn put_when_there_is_room<B: Encoded>(
        &self,
        messages: &[B],
        wait: Wait,
        deadline: Deadline,
    ) -> Result<usize, PutError<()>> {
        let attempt = || {
            if self.is_closed() {
                self.wake_all_closed();
                return Some(Err(PutError::Closed(())));
            }
            if self.is_full() {
                return None;
            }
            match self.push(messages, deadline) {
                Err(PutError::Full(())) => None,
                result => Some(result),
            }
        };
        let not_full = &self.control().not_full;
        not_full
            .wait_until(wait, deadline, attempt)
            .unwrap_or(Err(PutError::Full(())))
    }

    /// Puts messages as [`put`](Self::put) does if there is room now; the deadline is that of the
    /// producers' lock.
    ///
    /// Where a message was put, a fence of sequential consistency comes after its commit: that of
    /// the notification.
    #[inline]
    pub(crate) fn push<B: Encoded>(
        &self,
        messages: &[B],
        deadline: Deadline,
    ) -> Result<usize, PutError<()>> {
        let control = self.control();
        let guard = lock(&control.producers, deadline)?;
        // I6
        if self.is_closed() {
            return Err(PutError::Closed(()));
        }
        let put = self.push_locked(messages);
        drop(guard);
        // Rule (b): the consumer that made room may have made more, and a put that fails leaves it.
        let may_have_left_room = self.is_bounded() && !matches!(put, Err(PutError::Full(())));
        if may_have_left_room && control.not_full.has_sleepers() && !self.is_full() {
            control.not_full.under_bell(|| control.not_full.notify(1));
        }
        put
    }

    /// Reserves, writes, commits and wakes, under the producers' lock.
    #[inline]
    fn push_locked<B: Encoded>(&self, messages: &[B]) -> Result<usize, PutError<()>> {
        let mut draft = Draft::new(self)?;
        for message in messages {
            let bytes = message.as_ref();
            let room = draft.reserve(bytes.len()).and_then(|slot| {
                // The room is there and nothing has changed.
                let tag = match message.descriptors() {
                    None => {
                        // I8
                        self.ring_if_asked(draft.count())
                            .map_err(|error| self.not_sent(error))?;
                        RecordHeader::BYTES
                    }
                    Some(descriptors) => self.send_objects(descriptors, draft.count())?,
                };
                Ok((slot, tag))
            });
            match room {
                Ok((slot, tag)) => draft.write(slot, tag, bytes)?,
                Err(error) if draft.count() == 0 => return Err(error),
                // The next put reports it.
                Err(_) => break,
            }
        }
        let count = draft.count();
        if count == 0 {
            return Ok(0);
        }
        let not_empty = self.not_empty();
        // Rule (a): begun after the lock was taken, so that the bell is what is pending.
        not_empty.under_bell(|| {
            draft.commit();
            not_empty.notify(count as u32);
        });
        Ok(count)
    }

    /// Why there is no room for a message of `len` bytes while `taken` blocks are in use.
    #[cold]
    pub(super) fn no_room(&self, len: usize, taken: u32) -> PutError<()> {
        if self.is_bounded() {
            PutError::Full(())
        } else {
            self.no_memory_for(len, taken).into()
        }
    }
}
