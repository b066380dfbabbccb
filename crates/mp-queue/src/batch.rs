//! Messages that were got together.

use core::fmt;

use crate::{Codec, GetError, codec};

/// Messages taken from a queue in one step, to be decoded one by one; made by
/// [`Queue::get_many`](crate::Queue::get_many).
///
/// They are this process's: what is not iterated over is gone.
#[must_use = "the messages were taken from the queue"]
pub struct Batch<T, C: Codec<T>> {
    taken: std::vec::IntoIter<<C as codec::sealed::Codec<T>>::Taken>,
}

impl<T, C: Codec<T>> Batch<T, C> {
    pub(crate) fn new(taken: Vec<<C as codec::sealed::Codec<T>>::Taken>) -> Self {
        Self {
            taken: taken.into_iter(),
        }
    }
}

impl<T, C: Codec<T>> Iterator for Batch<T, C> {
    /// [`GetError::Decode`] is the only error.
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.taken.next()?;
        Some(C::decode(taken).map_err(GetError::Decode))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.taken.size_hint()
    }
}

impl<T, C: Codec<T>> ExactSizeIterator for Batch<T, C> {}

impl<T, C: Codec<T>> core::iter::FusedIterator for Batch<T, C> {}

impl<T, C: Codec<T>> fmt::Debug for Batch<T, C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Batch")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
