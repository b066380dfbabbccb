//! The end of a queue that puts.

use core::fmt;

use mp_layout::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Connection, Deadline, Nothing, PutError, Wait};

/// The end of a queue that puts; made by [`Queue::ends`](crate::Queue::ends).
///
/// Clones are the same end, and so is what goes to another process as an argument or in a message:
/// any number of producers, in any number of processes. A put fails with `Closed` when all
/// [receivers](crate::QueueReceiver) are dropped or their processes have ended; one that is on its
/// way to a process counts as there.
///
/// It is a connection of a pipe of one way, with the words of a queue.
///
/// # If a process dies
///
/// A message is in the queue or not, whole, whenever its producer dies. The death of the last
/// process with a receiver is noticed by a waiting producer within 250 ms, and by a putting one
/// within 10 ms: a message that is put meanwhile is lost.
///
/// # Examples
///
/// ```
/// use mp_queue::{PutError, Queue};
///
/// let (sender, receiver) = Queue::builder().bounded(2).ends()?;
/// sender.put("kept".to_owned())?;
/// assert_eq!(receiver.get()?, "kept");
/// drop(receiver);
/// match sender.put("too late".to_owned()) {
///     Err(PutError::Closed(message)) => assert_eq!(message, "too late"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct QueueSender<T> {
    connection: Connection<T, Nothing>,
}

impl<T: Serialize + DeserializeOwned + 'static> QueueSender<T> {
    /// Puts a message; blocks while the queue is full, if it has a bound.
    ///
    /// # Errors
    ///
    /// Each gives the message back.
    ///
    /// - [`PutError::Closed`] if all receivers are gone.
    /// - [`PutError::TooLarge`] if the message is longer than the queue's room.
    /// - [`PutError::Encode`] if serde cannot write it.
    /// - [`PutError::Failed`] if memory is exhausted, if a queue without a bound has no room left,
    ///   if the shared bytes are corrupt, or if the producers' lock cannot be acquired.
    #[inline]
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.connection.send(value)
    }

    /// Puts a message if there is room now. It may wait up to 100 ms for other producers.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), and [`PutError::Full`].
    #[inline]
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.connection.try_send(value)
    }

    /// Puts a message; waits up to `timeout` while the queue is full.
    /// [`Queue::put_timeout`](crate::Queue::put_timeout) says what a `timeout` can be.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), and [`PutError::Full`] if it timed out.
    #[inline]
    pub fn put_timeout(&self, value: T, timeout: impl Into<Deadline>) -> Result<(), PutError<T>> {
        self.connection.send_timeout(value, timeout)
    }
}

impl<T> QueueSender<T> {
    pub(crate) fn new(connection: Connection<T, Nothing>) -> Self {
        Self { connection }
    }

    /// The same end with another way to wait; other handles keep theirs.
    #[must_use]
    pub fn with_wait(self, wait: Wait) -> Self {
        Self::new(self.connection.with_wait(wait))
    }
}

impl<T> Clone for QueueSender<T> {
    fn clone(&self) -> Self {
        Self::new(self.connection.clone())
    }
}

impl<T> fmt::Debug for QueueSender<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt_as("QueueSender", formatter)
    }
}

impl<T: 'static> Serialize for QueueSender<T> {
    /// Writes a copy of the end, see [`mp_object::transfer`].
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.connection.serialize(serializer)
    }
}

impl<'de, T: 'static> Deserialize<'de> for QueueSender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Connection::deserialize(deserializer).map(Self::new)
    }
}
