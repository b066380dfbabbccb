//! The queue.

use core::fmt;
use core::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use mp_layout::{Error, Region, Result};
use mp_object::transfer::Way;
use mp_object::{Lane, Object, ObjectType, Plan, Waitable, Watch};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::raw_queue::{Message, RawQueue, Settings, suggest_less_room};
use crate::{
    Batch, Builder, Bytes, Codec, Deadline, GetError, Iter, Plain, PutError, PutManyError,
    QueueReceiver, QueueSender, Serde, Wait,
};

/// Messages of a batch that are encoded before the first of them is put.
const BATCH: usize = 64;

/// A queue of `T` for any number of producers and consumers, in any number of processes: first in,
/// first out.
///
/// Clones are the same queue. A handle goes to another process as an argument; separately started
/// programs open a queue by name. A message belongs to the queue once `put` returns: its sender may
/// end.
///
/// A message is of any type that serde can write and read with all its fields; [`Serde`] says which
/// cannot be, and are refused.
///
/// A queue has no sides: a handle puts and gets, so no get hears that all producers are gone.
/// [`ends`](Self::ends) makes a queue whose two ends do.
///
/// Without a bound a put never waits for a consumer. All messages together may have 4 GiB, and one
/// nearly as much; memory is taken as they need it, and given back when they are got
/// ([`Builder::room`] sets another figure).
///
/// # If a process dies
///
/// A message is in the queue or not, whole, whenever its producer dies. A message that a consumer
/// got before it died is gone with it. The others go on.
///
/// # Examples
///
/// ```
/// use mp_queue::Queue;
/// use std::time::Duration;
///
/// let queue = Queue::bounded(2)?;
/// queue.put("first".to_owned())?;
/// queue.put("second".to_owned())?;
/// assert!(queue.is_full());
/// assert_eq!(queue.try_put("third".to_owned()).unwrap_err().into_inner(), "third");
/// assert_eq!(queue.get()?, "first");
/// queue.close()?;
/// assert_eq!(queue.get_timeout(Duration::from_secs(1))?, "second");
/// assert!(queue.get().is_err(), "closed and empty");
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct Queue<T, C = Serde> {
    raw: Arc<RawQueue>,
    wait: Wait,
    messages: PhantomData<fn(T) -> (T, C)>,
}

impl<T: Serialize + DeserializeOwned + 'static> Queue<T> {
    /// Makes a queue without a practical bound.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::create`].
    pub fn new() -> Result<Self> {
        Self::builder().create()
    }

    /// Makes a queue of at most `messages` messages.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::create`].
    pub fn bounded(messages: usize) -> Result<Self> {
        Self::builder().bounded(messages).create()
    }

    /// Makes a queue without a practical bound as two ends, each of which hears when the other is
    /// gone: what puts, and what gets.
    ///
    /// [`Builder::ends`] makes one with a bound.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::ends`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_queue::Queue;
    ///
    /// let (sender, receiver) = Queue::<u32>::ends()?;
    /// let another = sender.clone(); // the same end; it may go to another process
    /// std::thread::spawn(move || another.put(1));
    /// std::thread::spawn(move || sender.put(2));
    /// let sum: u32 = receiver.iter().sum::<Result<_, _>>()?; // until both senders are gone
    /// assert_eq!(sum, 3);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    #[doc(alias = "sender")]
    #[doc(alias = "receiver")]
    #[doc(alias = "split")]
    pub fn ends() -> Result<(QueueSender<T>, QueueReceiver<T>)> {
        Self::builder().ends()
    }
}

impl<T: mp_layout::Plain> Queue<T, Plain> {
    /// Makes a queue of plain values without a practical bound.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::create`].
    pub fn plain() -> Result<Self> {
        Self::builder().create()
    }

    /// Makes a queue of at most `messages` plain values.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::create`].
    pub fn plain_bounded(messages: usize) -> Result<Self> {
        Self::builder().bounded(messages).create()
    }
}

impl Queue<Vec<u8>, Bytes> {
    /// Makes a queue of byte strings without a practical bound.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::create`].
    pub fn bytes() -> Result<Self> {
        Self::builder().create()
    }

    /// Makes a queue of at most `messages` byte strings.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::create`].
    pub fn bytes_bounded(messages: usize) -> Result<Self> {
        Self::builder().bounded(messages).create()
    }

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

impl<T, C: Codec<T>> Queue<T, C> {
    /// Starts the description of a queue with settings of its own.
    pub fn builder() -> Builder<T, C> {
        Builder::new()
    }

    /// Makes a queue without a practical bound under `name`.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::create_named`].
    pub fn create_named(name: &str) -> Result<Self> {
        Self::builder().create_named(name)
    }

    /// Opens the queue under `name`, or makes one without a practical bound.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::open_or_create`].
    pub fn open_or_create(name: &str) -> Result<Self> {
        Self::builder().open_or_create(name)
    }

    /// The same queue with another way to wait; other handles keep theirs.
    #[must_use]
    pub fn with_wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

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

    /// The messages as they come, until the queue is closed and empty.
    pub fn iter(&self) -> Iter<'_, T, C> {
        Iter::new(self)
    }

    /// A descriptor to `poll` together with others: it becomes readable with the next message, or
    /// when the queue is closed. `None` if there is something to get now, or there will be nothing.
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
    /// [can](Self::max_with_objects), else with
    /// [`ErrorKind::Os`](mp_layout::ErrorKind::Os). Where nothing but objects of this crate is
    /// waited for, [`wait`](mp_object::wait) does without.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`](mp_layout::ErrorKind::Unsupported) for queues of plain values and
    /// of bytes and queues with a name; if a lock of the queue cannot be acquired,
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
    /// let queue = mp_queue::Queue::new()?;
    /// let same = queue.clone(); // in another process, perhaps
    /// std::thread::spawn(move || same.put(7));
    /// let number = loop {
    ///     if let Ok(number) = queue.try_get() {
    ///         break number;
    ///     }
    ///     if let Some(fd) = queue.poll_fd()? {
    ///         wait_any(&[fd], Deadline::NEVER).expect("a poll");
    ///     }
    /// };
    /// assert_eq!(number, 7);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn poll_fd(&self) -> Result<Option<BorrowedFd<'_>>> {
        self.raw.poll_fd()
    }

    /// Closes the queue, for all: puts fail from now on, gets take what is left and then fail.
    ///
    /// # Errors
    ///
    /// If the producers' lock cannot be had: [`ErrorKind::Corrupt`](mp_layout::ErrorKind::Corrupt)
    /// or [`ErrorKind::TooManyHeld`](mp_layout::ErrorKind::TooManyHeld). If the system is too short
    /// of memory to ring for [`poll_fd`](Self::poll_fd):
    /// [`ErrorKind::Os`](mp_layout::ErrorKind::Os).
    pub fn close(&self) -> Result<()> {
        self.raw.close(Deadline::NEVER)
    }

    /// The same, for a caller who does not wait for ever where a process is stopped in a put.
    ///
    /// ```
    /// let queue = mp_queue::Queue::<u32>::new()?;
    /// queue.close_timeout(std::time::Duration::from_secs(5))?;
    /// assert!(queue.is_closed());
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`close`](Self::close), and
    /// [`ErrorKind::TimedOut`](mp_layout::ErrorKind::TimedOut): the queue is open still. A put that
    /// copies is waited for at least 100 ms.
    pub fn close_timeout(&self, timeout: impl Into<Deadline>) -> Result<()> {
        self.raw.close(timeout.into())
    }
}

impl<T, C> Queue<T, C> {
    #[cfg(all(test, not(miri)))]
    pub(crate) fn raw(&self) -> &RawQueue {
        &self.raw
    }

    /// A queue that is a part of another object.
    pub(crate) fn of_raw(raw: RawQueue) -> Self {
        Self {
            raw: Arc::new(raw),
            wait: Wait::default(),
            messages: PhantomData,
        }
    }

    /// Whether the queue was closed. True stays true.
    pub fn is_closed(&self) -> bool {
        self.raw.is_closed()
    }

    /// Messages in the queue at some time during the call; others may put and get meanwhile.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether there was no message at some time during the call.
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a put would have had to wait at some time during the call. A queue without a bound
    /// never is.
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        self.raw.is_full()
    }

    /// The most messages there can be, if that was bounded.
    pub fn capacity(&self) -> Option<usize> {
        self.raw.capacity()
    }

    /// How many messages with shared objects can be in the queue at a time; `None` without a limit,
    /// for a queue with a name.
    ///
    /// The kernel keeps their descriptors in a socket, whose size `net.core.wmem_max` limits: 556
    /// messages on most systems. How many descriptors a message has does not count. Where
    /// [`poll_fd`](Self::poll_fd) was used, each message with objects may be followed by a ring,
    /// which takes a place as well: at worst, half as many are possible. A process
    /// without `CAP_SYS_RESOURCE` is also held to so many descriptors in messages of all queues
    /// of its user as it may open itself (`ulimit -n`).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyDescriptors`](mp_layout::ErrorKind::TooManyDescriptors),
    /// [`ErrorKind::Os`](mp_layout::ErrorKind::Os).
    pub fn max_with_objects(&self) -> Result<Option<usize>> {
        self.raw.lane().map(Lane::capacity).transpose()
    }

    /// Bytes of the longest message.
    pub fn max_message(&self) -> usize {
        self.raw.geometry().max_message()
    }
}

impl<T, C: Codec<T>> ObjectType for Queue<T, C> {
    type Settings<'s> = Settings;

    fn plan(settings: &Settings) -> Result<Plan> {
        let plan = settings.plan(C::tag());
        Ok(if C::CARRIES_OBJECTS {
            plan.with_lane()
        } else {
            plan
        })
    }

    fn any() -> Plan {
        Settings::any(C::tag())
    }

    unsafe fn initialise(payload: Region<'_>, settings: Settings) -> Result<()> {
        settings.initialise(payload, C::NUMBER)
    }

    unsafe fn attach(object: Object) -> Result<Self> {
        // SAFETY: the caller's promise, since `any` says queue.
        unsafe { RawQueue::attach(object, C::NUMBER) }.map(Self::of_raw)
    }

    fn object(&self) -> &Object {
        self.raw.object()
    }

    fn explain(error: Error) -> Error {
        suggest_less_room(error)
    }
}

mp_object::handle!([T, C: Codec<T>] Queue<T, C>);

impl<T, C> Waitable for Queue<T, C> {
    fn watch(&self) -> Result<Watch<'_>> {
        Ok(Watch::Memory(&*self.raw))
    }
}

impl<T, C> Clone for Queue<T, C> {
    fn clone(&self) -> Self {
        Self {
            raw: Arc::clone(&self.raw),
            ..*self
        }
    }
}

impl<T, C> fmt::Debug for Queue<T, C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

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
