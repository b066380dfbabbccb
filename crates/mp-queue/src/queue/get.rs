//! What gets: each form is the timed one with a deadline of its own.

use mp_layout::Result;

use crate::raw_queue::Message;
use crate::{Batch, Codec, Deadline, GetError, Queue};

impl<T, C: Codec<T>> Queue<T, C> {
    /// Gets the oldest message; blocks until there is one.
    ///
    /// # Errors
    ///
    /// - [`GetError::Closed`] if the queue is closed and empty.
    /// - [`GetError::Decode`] if the message's bytes are not a `T`. It was taken; the next get
    ///   returns the one after it.
    /// - [`GetError::Failed`] if the shared bytes are corrupt, or if the consumers' lock cannot be
    ///   acquired.
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        self.get_timeout(Deadline::NEVER)
    }

    /// Gets the oldest message if there is one now.
    ///
    /// It may wait up to 100 ms for other consumers.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`GetError::Empty`].
    #[doc(alias = "get_nowait")]
    #[inline]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_timeout(Deadline::PASSED)
    }

    /// Gets the oldest message; waits up to `timeout` for one.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`GetError::Empty`] if it timed out. If it timed out, or
    /// its hook ended it, while another process held the consumers' lock, [`GetError::Failed`]
    /// with [`ErrorKind::TimedOut`](mp_layout::ErrorKind::TimedOut): that process is stopped in a
    /// get, or copies a long message. A hook is asked there at least every 500 ms.
    #[inline]
    pub fn get_timeout(&self, timeout: impl Into<Deadline>) -> Result<T, GetError> {
        self.get_noting(timeout.into(), || ())
    }

    /// Gets the oldest message; `note` runs under the consumers' lock, before the one store that
    /// takes the message.
    #[inline]
    pub(crate) fn get_noting(
        &self,
        deadline: Deadline,
        mut note: impl FnMut(),
    ) -> Result<T, GetError> {
        let taken = self
            .raw
            .get_one(self.wait, deadline, |message, descriptors| {
                note();
                Ok(C::take(message, descriptors))
            })?;
        C::decode(taken).map_err(GetError::Decode)
    }

    /// Gets the oldest messages in one step: at least one, for which it blocks, and at most `max`,
    /// which counts as 1 if it is 0.
    ///
    /// # Errors
    ///
    /// - [`GetError::Closed`] if the queue is closed and empty.
    /// - [`GetError::Failed`] if the shared bytes are corrupt, or if the consumers' lock cannot be
    ///   acquired.
    ///
    /// A message that does not decode is an item of the batch.
    pub fn get_many(&self, max: usize) -> Result<Batch<T, C>, GetError> {
        self.get_many_timeout(max, Deadline::NEVER)
    }

    /// Gets the oldest messages that there are now, as [`get_many`](Self::get_many) does.
    ///
    /// # Errors
    ///
    /// Those of [`get_many`](Self::get_many), and [`GetError::Empty`].
    pub fn try_get_many(&self, max: usize) -> Result<Batch<T, C>, GetError> {
        self.get_many_timeout(max, Deadline::PASSED)
    }

    /// Gets the oldest messages as [`get_many`](Self::get_many) does; waits up to `timeout` for the
    /// first.
    ///
    /// # Errors
    ///
    /// Those of [`get_many`](Self::get_many), and [`GetError::Empty`] if it timed out.
    pub fn get_many_timeout(
        &self,
        max: usize,
        timeout: impl Into<Deadline>,
    ) -> Result<Batch<T, C>, GetError> {
        let (wait, max) = (self.wait, max.max(1));
        let take = |message: &Message<'_>, descriptors| Ok(C::take(message, descriptors));
        let (mut taken, mut is_cut) = self.raw.get_many(max, wait, timeout.into(), take)?;
        // What is put from now on waits for the next get: this one ends while producers keep up.
        let max = max.min(taken.len() + self.len());
        while is_cut && taken.len() < max {
            let rest = max - taken.len();
            // What the error says, the next get reports.
            let Ok((more, is_cut_again)) = self.raw.get_many(rest, wait, Deadline::PASSED, take)
            else {
                break;
            };
            taken.extend(more);
            is_cut = is_cut_again;
        }
        Ok(Batch::new(taken))
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::Wait;

    #[test]
    fn a_get_of_many_ends_while_a_producer_keeps_up() {
        let queue = Queue::bytes().expect("a queue");
        queue.put(vec![1]).expect("room");
        let put_another = |_: &Message<'_>, _| {
            queue.put(vec![1]).expect("room");
            Ok(())
        };
        let got = queue
            .raw
            .get_many(1000, Wait::Sleep, Deadline::PASSED, put_another);
        let (got, _) = got.expect("messages");
        assert_eq!((got.len(), queue.len()), (1, 1));
    }
}
