//! Putting bytes.

use mp_layout::{Error, ErrorKind};
use mp_os::clock::Deadline;
use mp_ring::{ByteGrant, ByteProducer, ByteRing, ReserveError, Span};
use mp_sync::Wait;

use super::{RawQueue, lock};
use crate::PutError;
use crate::geometry::{FIRST_RING, PAGE, capacity, max_record, region_size};

/// Once per so many bytes a producer in a large ring asks whether a small one would do.
const LOOK_EVERY: usize = 64 << 10;

/// Bytes of the mark that skips the rest of a ring. There is memory for one after each record (I5), so that a producer that
/// gets no more can go back to the ring's start.
const MARK: usize = 8;

impl RawQueue {
    /// Puts messages, from the first on, as many as there is room for but one at least, and returns how many.
    #[inline]
    pub(crate) fn put<B: AsRef<[u8]>>(
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
    fn put_when_there_is_room<B: AsRef<[u8]>>(
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

    /// Whether there are as many messages as there may be, at some time during the call.
    pub(crate) fn is_full(&self) -> bool {
        self.is_bounded() && self.len() as u64 >= self.bound
    }

    /// Puts messages as [`put`](Self::put) does if there is room now; the deadline is that of the producers' lock.
    ///
    /// Where a message was put, a fence of sequential consistency comes after its commit: that of the notification.
    #[inline]
    pub(crate) fn push<B: AsRef<[u8]>>(
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
        let put = self.push_locked(messages)?;
        drop(guard);
        // Rule (b): the consumer that made room may have made more.
        if self.is_bounded() && control.not_full.has_sleepers() && !self.is_full() {
            control.not_full.under_bell(|| control.not_full.notify(1));
        }
        Ok(put)
    }

    /// Writes a message into memory that is there, commits it, and wakes.
    #[inline]
    fn fill(&self, mut grant: ByteGrant<'_, '_>, message: &[u8]) {
        let not_empty = &self.control().not_empty;
        grant.bytes().copy_from_slice(message);
        // Rule (a): begun after the lock was taken, so that the bell is what is pending.
        not_empty.under_bell(|| {
            grant.commit_all();
            not_empty.notify(1);
        });
    }

    /// Puts messages into the ring being written or, where it has no room, into the next. Under the producers' lock.
    #[inline]
    fn push_locked<B: AsRef<[u8]>>(&self, messages: &[B]) -> Result<usize, PutError<()>> {
        let Some(first) = messages.first().map(|message| message.as_ref().len()) else {
            return Ok(0);
        };
        let (read, mut write) = self.generations()?;
        loop {
            let messages = if read == write {
                messages
            } else {
                self.within_bound(messages)?
            };
            let (index, ring) = self.ring_of(write)?;
            // SAFETY: the caller has the producers' lock, and the handle is gone before it is released.
            let mut producer = unsafe { ring.locked_producer() }.map_err(Error::from)?;
            let grant = match producer.reserve(first) {
                Ok(grant) => grant,
                // No room in this ring.
                Err(error) => {
                    write =
                        self.start_generation_with_room(error, (index, ring), first, read, write)?;
                    continue;
                }
            };
            let span = grant.span();
            // Little is left in a large ring: back to the smallest.
            if index > 0 && self.fits_small_ring(&span, first, read, write) {
                write = self.start_generation(0, write)?;
                continue;
            }
            match self.reserve_for(index, &span, messages) {
                Ok([only]) => {
                    self.fill(grant, only.as_ref());
                    return Ok(1);
                }
                Ok(several) => return self.push_several(&mut producer, several),
                // No memory at that place.
                Err(error) if error.kind() != ErrorKind::NotEnoughMemory => {
                    return Err(error.into());
                }
                Err(_) if self.push_at_start(&mut producer, index, messages) => return Ok(1),
                Err(error) => {
                    write = self.start_generation_with_memory(first, read, write, error)?;
                }
            }
        }
    }

    /// Pushes messages into memory that is there, as many as there is room for, in one step, and wakes.
    fn push_several<B: AsRef<[u8]>>(
        &self,
        producer: &mut ByteProducer<'_>,
        messages: &[B],
    ) -> Result<usize, PutError<()>> {
        let not_empty = &self.control().not_empty;
        // Rule (a): begun after the lock was taken, so that the bell is what is pending.
        not_empty.under_bell(|| {
            let count = producer.push_many(messages).map_err(Error::from)?;
            not_empty.notify(count as u32);
            Ok(count)
        })
    }

    /// Reserves memory for the first of the messages, which goes to `first`, and for those of the others that fit between it
    /// and the ring's end; returns those for which there is memory.
    #[inline]
    fn reserve_for<'m, B: AsRef<[u8]>>(
        &self,
        index: usize,
        first: &Span,
        messages: &'m [B],
    ) -> Result<&'m [B], Error> {
        let backed = self.backed(index);
        let is_there = messages.len() == 1 && end_of_memory_for(first) <= backed;
        if is_there || backed == region_size(index) {
            return Ok(messages);
        }
        self.reserve_more_for(index, first, messages)
    }

    #[cold]
    fn reserve_more_for<'m, B: AsRef<[u8]>>(
        &self,
        index: usize,
        first: &Span,
        messages: &'m [B],
    ) -> Result<&'m [B], Error> {
        let ring_end = ByteRing::size_for(capacity(index))?;
        let mut end = first.record.start;
        let fitting = messages.iter().take_while(|message| {
            let next = end + 8 + message.as_ref().len().next_multiple_of(8);
            let fits = next <= ring_end;
            if fits {
                end = next;
            }
            fits
        });
        let count = fitting.count().max(1);
        let least = end_of_memory_for(first);
        let count = match self.ensure_backed(index, (end + MARK).max(least)) {
            Ok(()) => count,
            // There is no memory for all of them.
            Err(_) if count > 1 => self.ensure_backed(index, least).map(|()| 1)?,
            Err(error) => return Err(error),
        };
        Ok(messages.get(..count).unwrap_or(messages))
    }

    /// Puts one message at the ring's start, where the memory is that was reserved first, and skips what has none. Otherwise
    /// a ring that is empty, or nearly, would refuse messages when it has come to the end of its memory.
    #[cold]
    fn push_at_start<B: AsRef<[u8]>>(
        &self,
        producer: &mut ByteProducer<'_>,
        index: usize,
        messages: &[B],
    ) -> bool {
        let Some(message) = messages.first().map(AsRef::as_ref) else {
            return false;
        };
        let Ok(grant) = producer.reserve_at_start(message.len()) else {
            return false;
        };
        if end_of_memory_for(&grant.span()) > self.backed(index) {
            return false;
        }
        self.fill(grant, message);
        true
    }

    /// Starts a generation on a free ring that has memory for a message of `len` bytes, where `error` says that there is no more
    /// to be had. Otherwise what smaller rings keep would be of no use to a queue that has outgrown them.
    #[cold]
    fn start_generation_with_memory(
        &self,
        len: usize,
        read: u32,
        write: u32,
        error: Error,
    ) -> Result<u32, Error> {
        // A ring's words take less than a page.
        let needed = PAGE + 8 + len.next_multiple_of(8);
        let has_memory = |index: &usize| max_record(*index) >= len && self.backed(*index) >= needed;
        let usable = |index: &usize| has_memory(index) && self.is_free(*index, read, write);
        match (0..self.geometry.rings()).find(usable) {
            Some(index) => self.start_generation(index, write),
            None => Err(error),
        }
    }

    /// Those of the messages that the bound allows while messages are in several rings, each of which counts its own.
    fn within_bound<'m, B>(&self, messages: &'m [B]) -> Result<&'m [B], PutError<()>> {
        if !self.is_bounded() {
            return Ok(messages);
        }
        let room = self.bound.saturating_sub(self.len() as u64);
        if room == 0 {
            return Err(PutError::Full(()));
        }
        let count = usize::try_from(room).unwrap_or(usize::MAX);
        Ok(messages.get(..count).unwrap_or(messages))
    }

    /// Whether so little is left in the ring being written, a large one, that the smallest would do for what comes.
    fn fits_small_ring(&self, span: &Span, len: usize, read: u32, write: u32) -> bool {
        let is_time = span.record.start / LOOK_EVERY != span.record.end / LOOK_EVERY;
        is_time
            && len <= max_record(0)
            && self
                .ring_of(write)
                .is_ok_and(|(_, ring)| ring.used() <= FIRST_RING / 4)
            && self.is_free(0, read, write)
    }

    /// Starts a generation on a ring that has room for `len` bytes, where ring `index`, which is written, has none: the next larger
    /// free one, or else the largest free one.
    #[cold]
    fn start_generation_with_room(
        &self,
        error: ReserveError,
        (index, ring): (usize, ByteRing<'static>),
        len: usize,
        read: u32,
        write: u32,
    ) -> Result<u32, PutError<()>> {
        match error {
            ReserveError::Corrupt(corrupt) => return Err(Error::from(corrupt).into()),
            // The bound is reached, and all messages are in this ring.
            ReserveError::Full if ring.len() as u64 >= self.bound => {
                return Err(PutError::Full(()));
            }
            ReserveError::Full | ReserveError::TooLarge { .. } => {}
        }
        let max = self.geometry.max_message();
        if len > max {
            return Err(PutError::TooLarge {
                value: (),
                len,
                max,
            });
        }
        let usable = |index: &usize| max_record(*index) >= len && self.is_free(*index, read, write);
        let larger = (index + 1..self.geometry.rings()).find(usable);
        let chosen = larger.or_else(|| (0..index).rev().find(usable));
        match chosen {
            Some(next) => Ok(self.start_generation(next, write)?),
            None if self.is_bounded() => Err(PutError::Full(())),
            None => Err(self.no_room(len, read, write).into()),
        }
    }

    fn no_room(&self, len: usize, read: u32, write: u32) -> Error {
        let used = self.sum(read, write, |ring| ring.used());
        Error::new(ErrorKind::NotEnoughMemory, "put to", "a queue").with_detail(format!(
            "a message of {len} bytes does not fit beside the {used} bytes of messages waiting in the queue's {}; get some \
             first, or make the queue with more room",
            self.geometry.room()
        ))
    }
}

/// The rule of reservation (I5): up to where in its ring's region a record at `span` needs memory, for itself, for the mark
/// before it if bytes are skipped, and for the mark that may have to come after it.
const fn end_of_memory_for(span: &Span) -> usize {
    // Where nothing is skipped, `skipped` lies at the record's start.
    let (record, skipped) = (span.record.end, span.skipped.start);
    MARK + if record > skipped { record } else { skipped }
}
