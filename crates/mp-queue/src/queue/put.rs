//! What puts: each form is the timed one with a deadline of its own.

use mp_layout::Result;
use mp_object::transfer::Way;

use crate::{Codec, Deadline, PutError, PutManyError, Queue};

/// Messages of a batch that are encoded before the first of them is put.
const BATCH: usize = 64;

impl<T, C: Codec<T>> Queue<T, C> {
    /// Puts a message; blocks while the queue is full.
    ///
    /// # Errors
    ///
    /// Each gives the message back.
    ///
    /// - [`PutError::Closed`] if the queue is closed.
    /// - [`PutError::TooLarge`] if the message is longer than [`max_message`](Self::max_message).
    /// - [`PutError::Encode`] if the codec cannot write it.
    /// - [`PutError::Failed`] if memory is exhausted, if a queue without a bound has no room left
    ///   ([`ErrorKind::NotEnoughMemory`](mp_layout::ErrorKind::NotEnoughMemory)), if the shared
    ///   bytes are corrupt, or if the producers' lock cannot be acquired.
    #[inline]
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_timeout(value, Deadline::NEVER)
    }

    /// Puts a message if there is room now.
    ///
    /// It may wait up to 100 ms for other producers.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), and [`PutError::Full`].
    #[doc(alias = "put_nowait")]
    #[inline]
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_timeout(value, Deadline::PASSED)
    }

    /// Puts a message; waits up to `timeout` while the queue is full.
    ///
    /// `timeout` is a [`Duration`](std::time::Duration) from now, an
    /// [`Instant`](std::time::Instant) or a [`Deadline`].
    /// [`Duration::ZERO`](std::time::Duration::ZERO) means one attempt,
    /// [`Duration::MAX`](std::time::Duration::MAX) waits forever. All timed methods take their time
    /// like this.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), and [`PutError::Full`] if it timed out. If that was while
    /// another process held the producers' lock, [`PutError::Failed`], as for
    /// [`get_timeout`](Self::get_timeout).
    #[inline]
    pub fn put_timeout(&self, value: T, timeout: impl Into<Deadline>) -> Result<(), PutError<T>> {
        match self.send(&value, timeout.into()) {
            Ok(()) => Ok(()),
            Err(error) => Err(error.with_value(value)),
        }
    }

    #[inline]
    fn send(&self, value: &T, deadline: Deadline) -> Result<(), PutError<()>> {
        let encoded = C::encode(value, self.way()).map_err(|error| PutError::Encode((), error))?;
        self.raw.put(&[encoded], self.wait, deadline)?;
        Ok(())
    }

    /// Puts messages in their order, in as few steps as possible and with one wake-up for each;
    /// blocks while the queue is full. Messages of other producers may come between.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), for the first message that was not put, with how many were.
    pub fn put_many(&self, values: &[T]) -> Result<(), PutManyError> {
        self.put_many_timeout(values, Deadline::NEVER)
    }

    /// Puts messages as [`put_many`](Self::put_many) does, those for which there is room now.
    ///
    /// # Errors
    ///
    /// Those of [`put_many`](Self::put_many), and [`PutError::Full`] for the first message that has
    /// no room.
    pub fn try_put_many(&self, values: &[T]) -> Result<(), PutManyError> {
        self.put_many_timeout(values, Deadline::PASSED)
    }

    /// Puts messages as [`put_many`](Self::put_many) does; waits up to `timeout` for all of them
    /// together.
    ///
    /// # Errors
    ///
    /// Those of [`put_many`](Self::put_many), and [`PutError::Full`] if it timed out.
    pub fn put_many_timeout(
        &self,
        values: &[T],
        timeout: impl Into<Deadline>,
    ) -> Result<(), PutManyError> {
        let deadline = timeout.into();
        let mut put = 0;
        for chunk in values.chunks(BATCH) {
            self.send_chunk(chunk, deadline, &mut put)
                .map_err(|error| PutManyError { put, error })?;
        }
        Ok(())
    }

    /// Adds to `put` also what was put before an error.
    fn send_chunk(
        &self,
        chunk: &[T],
        deadline: Deadline,
        put: &mut usize,
    ) -> Result<(), PutError<()>> {
        let mut encoded = Vec::with_capacity(chunk.len());
        let written = chunk.iter().try_for_each(|value| {
            encoded.push(C::encode(value, self.way())?);
            Ok(())
        });
        let mut rest = &encoded[..];
        while !rest.is_empty() {
            let count = self.raw.put(rest, self.wait, deadline)?;
            *put += count;
            rest = rest.get(count..).unwrap_or_default();
        }
        written.map_err(|error| PutError::Encode((), error))
    }

    /// How handles in this queue's messages find their objects.
    #[inline]
    fn way(&self) -> Way {
        match self.raw.lane() {
            Some(_) => Way::Descriptors,
            None => Way::Names,
        }
    }
}
