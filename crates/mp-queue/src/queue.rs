//! The queue: how it is made, looked at, waited for and closed. What puts and what gets
//! are files of their own.

mod bytes;
mod get;
mod put;

use core::fmt;
use core::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use mp_layout::{Error, Region, Result};
use mp_object::{Lane, Object, ObjectType, Plan, Waitable, Watch};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::raw_queue::{RawQueue, Settings, suggest_less_room};
use crate::{
    Builder, Bytes, Codec, Deadline, Iter, Plain, QueueReceiver, QueueSender, Serde, Wait,
};

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
    /// consumers get. A loop ends with
    /// [`GetError::Closed`](crate::GetError::Closed): `None` is no reason to end it, and no reason
    /// to sleep.
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
