//! Byte strings that are lent to a put, and received into what a get is lent.

use mp_layout::Result;

use crate::{Bytes, Deadline, GetError, PutError, Queue};

impl Queue<Vec<u8>, Bytes> {
    /// Puts borrowed bytes; blocks while the queue is full.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), without the message.
    #[inline]
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<(), PutError<()>> {
        self.put_bytes_timeout(bytes, Deadline::NEVER)
    }

    /// Puts borrowed bytes if there is room now, as [`try_put`](Self::try_put) does.
    ///
    /// # Errors
    ///
    /// Those of [`try_put`](Self::try_put), without the message.
    #[inline]
    pub fn try_put_bytes(&self, bytes: &[u8]) -> Result<(), PutError<()>> {
        self.put_bytes_timeout(bytes, Deadline::PASSED)
    }

    /// Puts borrowed bytes; waits up to `timeout` while the queue is full.
    ///
    /// # Errors
    ///
    /// Those of [`put_timeout`](Self::put_timeout), without the message.
    #[inline]
    pub fn put_bytes_timeout(
        &self,
        bytes: &[u8],
        timeout: impl Into<Deadline>,
    ) -> Result<(), PutError<()>> {
        self.raw.put(&[bytes], self.wait, timeout.into())?;
        Ok(())
    }

    /// Gets the oldest message into `bytes`, in place of what is there; blocks until there is one.
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`] and [`GetError::Failed`], as [`get`](Self::get); `bytes` is unchanged
    /// then.
    #[inline]
    pub fn get_bytes_into(&self, bytes: &mut Vec<u8>) -> Result<(), GetError> {
        self.get_bytes_into_timeout(bytes, Deadline::NEVER)
    }

    /// Gets the oldest message into `bytes`, in place of what is there, if there is one now.
    ///
    /// # Errors
    ///
    /// Those of [`get_bytes_into`](Self::get_bytes_into), and [`GetError::Empty`].
    #[inline]
    pub fn try_get_bytes_into(&self, bytes: &mut Vec<u8>) -> Result<(), GetError> {
        self.get_bytes_into_timeout(bytes, Deadline::PASSED)
    }

    /// Gets the oldest message into `bytes`, in place of what is there; waits up to `timeout` for
    /// one.
    ///
    /// # Errors
    ///
    /// Those of [`get_bytes_into`](Self::get_bytes_into), and [`GetError::Empty`] if it timed out.
    #[inline]
    pub fn get_bytes_into_timeout(
        &self,
        bytes: &mut Vec<u8>,
        timeout: impl Into<Deadline>,
    ) -> Result<(), GetError> {
        self.raw.get_one(self.wait, timeout.into(), |message, _| {
            bytes.clear();
            message.append_to(bytes);
            Ok(())
        })
    }
}
