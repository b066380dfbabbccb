//! Records read one after another and released together.

use crate::byte_consumer::Found;
use crate::cursor::Cursor;
use crate::{ByteConsumer, PopError};

/// Records of a [`ByteRing`](crate::ByteRing) read one after another and released together. Dropped
/// without it, all of them stay in the ring.
///
/// ```
/// # use mp_ring::ByteRing;
/// # let mut memory = vec![0; ByteRing::words_for(64)?];
/// # let (mut producer, mut consumer) = ByteRing::new(&mut memory, 64, None)?.split()?;
/// producer.push_many(&["one", "two", "three"])?;
/// let mut records = consumer.records();
/// let mut bytes = Vec::new();
/// while records.next_into(&mut bytes).is_ok() {
///     println!("{}", bytes.escape_ascii());
/// }
/// assert_eq!(records.count(), 3);
/// records.release();
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropped records stay in the ring"]
pub struct Records<'c, 'a> {
    consumer: &'c mut ByteConsumer<'a>,
    head: Cursor,
}

impl<'c, 'a> Records<'c, 'a> {
    #[inline]
    pub(crate) fn new(consumer: &'c mut ByteConsumer<'a>) -> Self {
        let head = consumer.head();
        Self { consumer, head }
    }

    /// The next record's tag and bytes, in place.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] after the newest; a later call may find more.
    #[cfg(not(loom))]
    #[expect(clippy::should_implement_trait, reason = "it lends from itself")]
    #[inline]
    pub fn next(&mut self) -> Result<(u32, &[u8]), PopError> {
        let found = self.advance()?;
        Ok((found.tag, self.consumer.lend(found)))
    }

    /// Copies the next record into `bytes`, in place of what is there, and returns its tag.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    #[inline]
    pub fn next_into(&mut self, bytes: &mut Vec<u8>) -> Result<u32, PopError> {
        let found = self.advance()?;
        self.consumer.copy(found, bytes);
        Ok(found.tag)
    }

    /// Records read so far.
    pub fn count(&self) -> usize {
        self.head.since(self.consumer.head()).records as usize
    }

    /// Pops the records read so far, in one step.
    #[inline]
    pub fn release(self) {
        if self.head != self.consumer.head() {
            self.consumer.release_to(self.head);
        }
    }

    #[inline]
    fn advance(&mut self) -> Result<Found, PopError> {
        let found = self.consumer.find(self.head)?;
        self.head = found.after;
        Ok(found)
    }
}
