//! Messages one after another.

use core::fmt;

use crate::{Codec, GetError, Queue};

/// The messages of a queue as they come; made by [`Queue::iter`]. It waits for each, and ends when
/// the queue is closed and empty, or after an error other than of one message.
pub struct Iter<'q, T, C> {
    queue: &'q Queue<T, C>,
    ended: bool,
}

impl<'q, T, C> Iter<'q, T, C> {
    pub(crate) fn new(queue: &'q Queue<T, C>) -> Self {
        Self {
            queue,
            ended: false,
        }
    }
}

impl<T, C: Codec<T>> Iterator for Iter<'_, T, C> {
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let result = self.queue.get();
        self.ended = !matches!(result, Ok(_) | Err(GetError::Decode(_)));
        match result {
            Err(GetError::Closed) => None,
            result => Some(result),
        }
    }
}

impl<T, C: Codec<T>> core::iter::FusedIterator for Iter<'_, T, C> {}

impl<'q, T, C: Codec<T>> IntoIterator for &'q Queue<T, C> {
    type Item = Result<T, GetError>;
    type IntoIter = Iter<'q, T, C>;

    fn into_iter(self) -> Iter<'q, T, C> {
        self.iter()
    }
}

impl<T, C> fmt::Debug for Iter<'_, T, C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Iter").finish_non_exhaustive()
    }
}
