//! The end of a queue that gets.

use core::fmt;
use core::iter::FusedIterator;
use std::os::fd::BorrowedFd;

use mp_layout::Result;
use mp_object::{Waitable, Watch};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Connection, Deadline, GetError, Nothing, Wait};

/// The end of a queue that gets; made by [`Queue::ends`](crate::Queue::ends).
///
/// Clones are the same end, and so is what goes to another process as an argument or in a message:
/// any number of consumers, in any number of processes, each message to one of them. When all
/// [senders](crate::QueueSender) are dropped or their processes have ended, gets take what is left
/// and then fail with `Closed`; one that is on its way to a process counts as there. (A process
/// that waits for the end must not keep a sender itself.)
///
/// It is a connection of a pipe of one way, with the words of a queue.
///
/// # If a process dies
///
/// A message that a consumer got before it died is gone with it. The death of the last process with
/// a sender is noticed by a waiting consumer within 250 ms.
///
/// # Examples
///
/// ```
/// use mp_queue::{GetError, Queue};
///
/// let (sender, receiver) = Queue::ends()?;
/// sender.put(7)?;
/// drop(sender);
/// assert_eq!(receiver.get()?, 7);
/// assert!(matches!(receiver.get(), Err(GetError::Closed)));
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct QueueReceiver<T> {
    connection: Connection<Nothing, T>,
}

impl<T: Serialize + DeserializeOwned + 'static> QueueReceiver<T> {
    /// Gets the oldest message; blocks until there is one.
    ///
    /// # Errors
    ///
    /// - [`GetError::Closed`] if all senders are gone and everything was got.
    /// - [`GetError::Decode`] if the message's bytes are not a `T`. It was taken; the next get
    ///   returns the one after it.
    /// - [`GetError::Failed`] if the shared bytes are corrupt, or if the consumers' lock cannot be
    ///   acquired.
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        self.connection.recv()
    }

    /// Gets the oldest message if there is one now. It may wait up to 100 ms for other consumers.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`GetError::Empty`].
    #[inline]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.connection.try_recv()
    }

    /// Gets the oldest message; waits up to `timeout` for one.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`GetError::Empty`] if it timed out.
    #[inline]
    pub fn get_timeout(&self, timeout: impl Into<Deadline>) -> Result<T, GetError> {
        self.connection.recv_timeout(timeout)
    }

    /// The messages as they come, until all senders are gone and everything was got, or an error
    /// other than of one message.
    pub fn iter(&self) -> impl FusedIterator<Item = Result<T, GetError>> {
        self.connection.iter()
    }

    /// A descriptor to `poll` together with others: it becomes readable with the next message, or
    /// when the last sender is gone. `None` if there is something to get now, or there will be
    /// nothing.
    ///
    /// It is asked for again before each poll, and always the same one, so `epoll` may keep it. It
    /// is for looking only: what is in it is the queue's. A readable descriptor is a reason to call
    /// [`try_get`](Self::try_get) until there is nothing, not a promise: another consumer may be
    /// faster. Until this is asked again it stays readable while there is a message, whatever other
    /// consumers get. A loop ends with [`GetError::Closed`]: `None` is no reason to end it, and no
    /// reason to sleep.
    ///
    /// A put looks at one word for it, and makes one system call if it was asked. If that cannot be
    /// done the message is refused: as one with objects is, where as many of those wait as
    /// [can](crate::Queue::max_with_objects), else with
    /// [`ErrorKind::Os`](mp_layout::ErrorKind::Os). Where nothing but objects of this crate is
    /// waited for, [`wait`](mp_object::wait) does without.
    ///
    /// # Errors
    ///
    /// If a lock of the queue cannot be acquired,
    /// [`ErrorKind::Corrupt`](mp_layout::ErrorKind::Corrupt) or
    /// [`ErrorKind::TooManyHeld`](mp_layout::ErrorKind::TooManyHeld).
    ///
    /// # If a process dies
    ///
    /// A message that was put makes the descriptor readable, whenever its producer dies. While a
    /// process is stopped in a get, the descriptor may be readable for nothing; this waits up to
    /// 100 ms for it then, so that a loop does not turn without a rest.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_os::clock::Deadline;
    /// use mp_os::wakeup::wait_any;
    ///
    /// # if cfg!(miri) { return Ok(()) }
    /// let (sender, receiver) = mp_queue::Queue::ends()?;
    /// std::thread::spawn(move || sender.put(7));
    /// let number = loop {
    ///     if let Ok(number) = receiver.try_get() {
    ///         break number;
    ///     }
    ///     if let Some(fd) = receiver.poll_fd()? {
    ///         wait_any(&[fd], Deadline::NEVER).expect("a poll");
    ///     }
    /// };
    /// assert_eq!(number, 7);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn poll_fd(&self) -> Result<Option<BorrowedFd<'_>>> {
        self.connection.poll_fd()
    }

    /// Messages in the queue at some time during the call; others may put and get meanwhile.
    pub fn len(&self) -> usize {
        self.connection.len()
    }

    /// Whether there was no message at some time during the call.
    pub fn is_empty(&self) -> bool {
        self.connection.is_empty()
    }
}

impl<T> QueueReceiver<T> {
    pub(crate) fn new(connection: Connection<Nothing, T>) -> Self {
        Self { connection }
    }

    /// The same end with another way to wait; other handles keep theirs.
    #[must_use]
    pub fn with_wait(self, wait: Wait) -> Self {
        Self::new(self.connection.with_wait(wait))
    }
}

/// Ready for a get that does not wait: with a message, or without a sender.
impl<T> Waitable for QueueReceiver<T> {
    fn watch(&self) -> Result<Watch<'_>> {
        self.connection.watch()
    }
}

impl<T> Clone for QueueReceiver<T> {
    fn clone(&self) -> Self {
        Self::new(self.connection.clone())
    }
}

impl<T> fmt::Debug for QueueReceiver<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt_as("QueueReceiver", formatter)
    }
}

impl<T: 'static> Serialize for QueueReceiver<T> {
    /// Writes a copy of the end, see [`mp_object::transfer`].
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.connection.serialize(serializer)
    }
}

impl<'de, T: 'static> Deserialize<'de> for QueueReceiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Connection::deserialize(deserializer).map(Self::new)
    }
}
