//! The queue.

use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use mp_layout::{Error, Region, Result};
use mp_object::{Object, ObjectType, Plan};
use mp_os::clock::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Refusal;
use crate::raw_queue::{RawQueue, Settings, or_less_room};
use crate::{
    Batch, Builder, Bytes, Codec, GetError, Iter, Plain, PutError, PutManyError, Serde, Wait,
};

/// Messages of a batch that are encoded before the first of them is put.
const BATCH: usize = 64;

/// A queue of `T` for any number of producers and consumers, in any number of processes: first in, first out.
///
/// Clones are the same queue. A handle goes to another process as an argument; separately started programs open a queue
/// by name. A message belongs to the queue once `put` returns: its sender may end.
///
/// A message is of any type that serde can write and read with all its fields; [`Serde`] says which cannot be, and are
/// refused.
///
/// Without a bound a put never waits for a consumer. A message may have 1 GiB, all messages together 4 GiB; memory is
/// taken as they need it, and given back when they are got ([`Builder::room`] sets other figures).
///
/// # If a process dies
///
/// A message is in the queue or not, whole, whenever its producer dies. A message that a consumer got before it died is
/// gone with it. The others go on.
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

    /// Puts borrowed bytes, waiting as long as it takes if the queue is full.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    #[inline]
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<(), PutError<()>> {
        self.put_bytes_deadline(bytes, Deadline::NEVER)
    }

    /// Puts borrowed bytes, waiting until the deadline if the queue is full.
    ///
    /// # Errors
    ///
    /// As [`put_deadline`](Self::put_deadline).
    #[inline]
    pub fn put_bytes_deadline(&self, bytes: &[u8], deadline: Deadline) -> Result<(), PutError<()>> {
        let put = self.raw.put(&[bytes], self.wait, deadline);
        put.map_or_else(|refusal| Err(PutError::new((), refusal)), |_| Ok(()))
    }

    /// Gets the oldest message into `bytes`, in place of what is there, waiting as long as it takes.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); `bytes` is unchanged then.
    #[inline]
    pub fn get_bytes_into(&self, bytes: &mut Vec<u8>) -> Result<(), GetError> {
        self.get_bytes_into_deadline(bytes, Deadline::NEVER)
    }

    /// Gets the oldest message into `bytes`, in place of what is there, waiting until the deadline.
    ///
    /// # Errors
    ///
    /// As [`get_deadline`](Self::get_deadline); `bytes` is unchanged then.
    #[inline]
    pub fn get_bytes_into_deadline(
        &self,
        bytes: &mut Vec<u8>,
        deadline: Deadline,
    ) -> Result<(), GetError> {
        self.raw.get(1, self.wait, deadline, |message| {
            bytes.clear();
            bytes.extend_from_slice(message);
        })?;
        Ok(())
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

    /// Puts a message, waiting as long as it takes if the queue is full.
    ///
    /// # Errors
    ///
    /// All of [`PutError`] but `Full`, each with the message.
    #[inline]
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_deadline(value, Deadline::NEVER)
    }

    /// Puts a message if there is room now.
    ///
    /// It may still wait a moment for other producers, 100 ms at most.
    ///
    /// # Errors
    ///
    /// All of [`PutError`], each with the message.
    #[inline]
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_deadline(value, Deadline::PASSED)
    }

    /// Puts a message, waiting at most so long if the queue is full: zero tries once, [`Duration::MAX`] is for ever.
    ///
    /// # Errors
    ///
    /// All of [`PutError`], each with the message; `Full` if the time was up.
    #[inline]
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_deadline(value, Deadline::after(timeout))
    }

    /// Puts a message, waiting until the deadline if the queue is full.
    ///
    /// # Errors
    ///
    /// As [`put_timeout`](Self::put_timeout).
    #[inline]
    pub fn put_deadline(&self, value: T, deadline: Deadline) -> Result<(), PutError<T>> {
        match self.send(&value, deadline) {
            Ok(()) => Ok(()),
            Err(refusal) => Err(PutError::new(value, refusal)),
        }
    }

    #[inline]
    fn send(&self, value: &T, deadline: Deadline) -> Result<(), Refusal> {
        let encoded = C::encode(value).map_err(Refusal::Unwritable)?;
        self.raw.put(&[encoded], self.wait, deadline)?;
        Ok(())
    }

    /// Puts messages in their order, in as few steps as possible and with one wake-up for each, waiting as long as it
    /// takes if the queue is full. Messages of other producers may come between.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put) for the first message that was not put, with how many were.
    pub fn put_many(&self, values: &[T]) -> Result<(), PutManyError> {
        self.put_many_deadline(values, Deadline::NEVER)
    }

    /// Puts messages as [`put_many`](Self::put_many) does, those for which there is room now.
    ///
    /// # Errors
    ///
    /// As [`try_put`](Self::try_put) for the first message that was not put, with how many were.
    pub fn try_put_many(&self, values: &[T]) -> Result<(), PutManyError> {
        self.put_many_deadline(values, Deadline::PASSED)
    }

    /// Puts messages as [`put_many`](Self::put_many) does, waiting at most so long for all of them.
    ///
    /// # Errors
    ///
    /// As [`put_timeout`](Self::put_timeout) for the first message that was not put, with how many were.
    pub fn put_many_timeout(&self, values: &[T], timeout: Duration) -> Result<(), PutManyError> {
        self.put_many_deadline(values, Deadline::after(timeout))
    }

    /// Puts messages as [`put_many`](Self::put_many) does, waiting until the deadline.
    ///
    /// # Errors
    ///
    /// As [`put_many_timeout`](Self::put_many_timeout).
    pub fn put_many_deadline(&self, values: &[T], deadline: Deadline) -> Result<(), PutManyError> {
        let mut put = 0;
        for chunk in values.chunks(BATCH) {
            self.send_chunk(chunk, deadline, &mut put)
                .map_err(|refusal| PutManyError {
                    put,
                    error: PutError::new((), refusal),
                })?;
        }
        Ok(())
    }

    /// Adds to `put` also what was put before an error.
    fn send_chunk(&self, chunk: &[T], deadline: Deadline, put: &mut usize) -> Result<(), Refusal> {
        let mut encoded = Vec::with_capacity(chunk.len());
        let written = chunk.iter().try_for_each(|value| {
            encoded.push(C::encode(value)?);
            Ok(())
        });
        let mut rest = &encoded[..];
        while !rest.is_empty() {
            let count = self.raw.put(rest, self.wait, deadline)?;
            *put += count;
            rest = rest.get(count..).unwrap_or_default();
        }
        written.map_err(Refusal::Unwritable)
    }

    /// Gets the oldest message, waiting as long as it takes.
    ///
    /// # Errors
    ///
    /// All of [`GetError`] but `Empty`.
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        self.get_deadline(Deadline::NEVER)
    }

    /// Gets the oldest message if there is one now.
    ///
    /// It may still wait a moment for other consumers, 100 ms at most.
    ///
    /// # Errors
    ///
    /// All of [`GetError`].
    #[inline]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_deadline(Deadline::PASSED)
    }

    /// Gets the oldest message, waiting at most so long: zero tries once, [`Duration::MAX`] is for ever.
    ///
    /// # Errors
    ///
    /// All of [`GetError`]; `Empty` if the time was up.
    #[inline]
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_deadline(Deadline::after(timeout))
    }

    /// Gets the oldest message, waiting until the deadline.
    ///
    /// # Errors
    ///
    /// As [`get_timeout`](Self::get_timeout).
    #[inline]
    pub fn get_deadline(&self, deadline: Deadline) -> Result<T, GetError> {
        let mut taken = None;
        self.raw
            .get(1, self.wait, deadline, |bytes| taken = Some(C::take(bytes)))?;
        match taken {
            Some(taken) => C::decode(taken).map_err(GetError::Decode),
            None => unreachable!("one message was got"),
        }
    }

    /// Gets the oldest messages in one step: at least one, waiting as long as it takes, and at most `max` (which counts
    /// as 1 if it is 0).
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`] and [`GetError::Failed`]; what does not decode is an item of the batch.
    pub fn get_many(&self, max: usize) -> Result<Batch<T, C>, GetError> {
        self.get_many_deadline(max, Deadline::NEVER)
    }

    /// Gets the oldest messages that there are now, as [`get_many`](Self::get_many) does.
    ///
    /// # Errors
    ///
    /// As [`get_many`](Self::get_many), and [`GetError::Empty`].
    pub fn try_get_many(&self, max: usize) -> Result<Batch<T, C>, GetError> {
        self.get_many_deadline(max, Deadline::PASSED)
    }

    /// Gets the oldest messages as [`get_many`](Self::get_many) does, waiting at most so long for the first.
    ///
    /// # Errors
    ///
    /// As [`get_many`](Self::get_many), and [`GetError::Empty`] if the time was up.
    pub fn get_many_timeout(&self, max: usize, timeout: Duration) -> Result<Batch<T, C>, GetError> {
        self.get_many_deadline(max, Deadline::after(timeout))
    }

    /// Gets the oldest messages as [`get_many`](Self::get_many) does, waiting until the deadline for the first.
    ///
    /// # Errors
    ///
    /// As [`get_many_timeout`](Self::get_many_timeout).
    pub fn get_many_deadline(
        &self,
        max: usize,
        deadline: Deadline,
    ) -> Result<Batch<T, C>, GetError> {
        let mut taken = Vec::new();
        self.raw.get(max, self.wait, deadline, |bytes| {
            taken.push(C::take(bytes));
        })?;
        Ok(Batch::new(taken))
    }

    /// The messages as they come, until the queue is closed and empty.
    pub fn iter(&self) -> Iter<'_, T, C> {
        Iter::new(self)
    }

    /// Closes the queue, for all: puts fail from now on, gets take what is left and then fail.
    ///
    /// # Errors
    ///
    /// If the producers' lock cannot be had: [`ErrorKind::Corrupt`](mp_layout::ErrorKind::Corrupt) or
    /// [`ErrorKind::TooManyHeld`](mp_layout::ErrorKind::TooManyHeld).
    pub fn close(&self) -> Result<()> {
        self.raw.close()
    }
}

impl<T, C> Queue<T, C> {
    /// Whether somebody has closed the queue. True stays true.
    pub fn is_closed(&self) -> bool {
        self.raw.is_closed()
    }

    /// Messages in the queue at some time during the call; others may put and get meanwhile.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether there was no message at some time during the call.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a put would have had to wait at some time during the call. A queue without a bound never is.
    pub fn is_full(&self) -> bool {
        self.raw.is_full()
    }

    /// The most messages there can be, if that was bounded.
    pub fn capacity(&self) -> Option<usize> {
        self.raw.capacity()
    }

    /// Bytes of the longest message.
    pub fn max_message(&self) -> usize {
        self.raw.geometry().max_message()
    }
}

impl<T, C: Codec<T>> ObjectType for Queue<T, C> {
    type Settings<'s> = Settings;

    fn plan(settings: &Settings) -> Result<Plan> {
        Ok(settings.plan(C::tag()))
    }

    fn any() -> Plan {
        Settings::any(C::tag())
    }

    unsafe fn initialise(payload: Region<'_>, settings: Settings) -> Result<()> {
        settings.initialise(payload, C::NUMBER)
    }

    unsafe fn attach(object: Object) -> Result<Self> {
        Ok(Self {
            // SAFETY: the caller's promise, since `any` says queue.
            raw: Arc::new(unsafe { RawQueue::attach(object, C::NUMBER) }?),
            wait: Wait::default(),
            messages: PhantomData,
        })
    }

    fn object(&self) -> &Object {
        self.raw.object()
    }

    fn explain(error: Error) -> Error {
        or_less_room(error)
    }
}

mp_object::handle!([T, C: Codec<T>] Queue<T, C>);

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
