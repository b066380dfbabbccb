//! A connection: what a process sends and receives by.

use core::fmt;
use core::iter::{self, FusedIterator};
use core::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result, TypeTag};
use mp_object::transfer::{self, Descriptor, Way};
use mp_object::{Object, Waitable, Watch};
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::sealed::Codec;
use crate::lifeline::Lifeline;
use crate::pipe;
use crate::pipe_end::PipeEnd;
use crate::raw_queue::Message;
use crate::{Deadline, GetError, PutError, Serde, Wait};

/// One end of a [`pipe`](crate::pipe()): it sends messages of type `S`, and receives those of type
/// `R`.
///
/// Clones are of the same side, and a connection that goes to another process as an argument is:
/// what one of them receives the others do not. The side is there as long as any of them is, in any
/// process or on its way to one. When all are dropped or their processes have ended, the other side
/// is told: what was sent is received, then receiving and sending fail with `Closed`. (A process
/// that waits for the end must not keep a connection of the other side itself.)
///
/// A message is of any type that serde can write and read with all its fields; [`Serde`] says which
/// cannot be, and are refused. It may have 1 GiB. Instead of messages bytes may be sent, which the
/// other side receives as bytes.
///
/// # If a process dies
///
/// A message was sent or it was not, whole. A message that a process received before it died is
/// gone with it. The death of the last process of a side is noticed by a waiting process within 250
/// ms, and by a sending one within 10 ms: a message that is sent meanwhile is lost.
///
/// # Examples
///
/// ```
/// use mp_queue::GetError;
/// use std::time::Duration;
///
/// let (left, right) = mp_queue::pipe::<Vec<u32>, String>()?;
/// left.send(vec![1, 2, 3])?;
/// assert!(right.poll(Duration::ZERO)?);
/// assert_eq!(right.recv()?, [1, 2, 3]);
/// assert!(matches!(right.try_recv(), Err(GetError::Empty)));
/// drop(left);
/// assert!(matches!(right.recv(), Err(GetError::Closed)));
/// let error = right.send("too late".to_owned()).unwrap_err();
/// assert_eq!(error.into_inner(), "too late");
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct Connection<S, R = S> {
    end: Arc<PipeEnd>,
    wait: Wait,
    messages: PhantomData<fn(S) -> R>,
}

impl<S: Serialize + DeserializeOwned + 'static, R> Connection<S, R> {
    /// Sends a message; blocks while the pipe is full, if it has a bound.
    ///
    /// # Errors
    ///
    /// Each gives the message back.
    ///
    /// - [`PutError::Closed`] if the other side is gone.
    /// - [`PutError::TooLarge`] if the message is longer than 1 GiB.
    /// - [`PutError::Encode`] if serde cannot write it.
    /// - [`PutError::Failed`] if memory is exhausted, if there is no room left in a pipe without a
    ///   bound, if the shared bytes are corrupt, if the lock of the side's senders cannot be
    ///   acquired, or if the pipe does not go this way.
    #[inline]
    pub fn send(&self, message: S) -> Result<(), PutError<S>> {
        self.send_timeout(message, Deadline::NEVER)
    }

    /// Sends a message if there is room now. It may wait up to 100 ms for other senders of its
    /// side.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), and [`PutError::Full`].
    #[inline]
    pub fn try_send(&self, message: S) -> Result<(), PutError<S>> {
        self.send_timeout(message, Deadline::PASSED)
    }

    /// Sends a message; waits up to `timeout` while the pipe is full.
    /// [`Queue::put_timeout`](crate::Queue::put_timeout) says what a `timeout` can be.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), and [`PutError::Full`] if it timed out.
    #[inline]
    pub fn send_timeout(
        &self,
        message: S,
        timeout: impl Into<Deadline>,
    ) -> Result<(), PutError<S>> {
        let sent = <Serde as Codec<S>>::encode(&message, Way::Descriptors)
            .map_err(|error| PutError::Encode((), error))
            .and_then(|encoded| self.end.send(&encoded, self.wait, timeout.into()));
        sent.map_err(|error| error.with_value(message))
    }

    /// Sends borrowed bytes as they are, to be received by [`recv_bytes`](Self::recv_bytes); blocks
    /// while the pipe is full, if it has a bound.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), without the message.
    #[inline]
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), PutError<()>> {
        self.send_bytes_timeout(bytes, Deadline::NEVER)
    }

    /// Sends borrowed bytes if there is room now, as [`try_send`](Self::try_send) does.
    ///
    /// # Errors
    ///
    /// Those of [`try_send`](Self::try_send), without the message.
    #[inline]
    pub fn try_send_bytes(&self, bytes: &[u8]) -> Result<(), PutError<()>> {
        self.send_bytes_timeout(bytes, Deadline::PASSED)
    }

    /// Sends borrowed bytes; waits up to `timeout` while the pipe is full.
    ///
    /// # Errors
    ///
    /// Those of [`send_timeout`](Self::send_timeout), without the message.
    #[inline]
    pub fn send_bytes_timeout(
        &self,
        bytes: &[u8],
        timeout: impl Into<Deadline>,
    ) -> Result<(), PutError<()>> {
        self.end.send(&bytes, self.wait, timeout.into())
    }
}

impl<S, R: Serialize + DeserializeOwned + 'static> Connection<S, R> {
    /// Receives the oldest message; blocks until there is one.
    ///
    /// # Errors
    ///
    /// - [`GetError::Closed`] if the other side is gone and everything was received.
    /// - [`GetError::Decode`] if the message's bytes are not an `R`. It was taken; the next call
    ///   returns the one after it.
    /// - [`GetError::Failed`] if the shared bytes are corrupt, if the lock of the side's receivers
    ///   cannot be acquired, or if the pipe does not go this way.
    #[inline]
    pub fn recv(&self) -> Result<R, GetError> {
        self.recv_timeout(Deadline::NEVER)
    }

    /// Receives the oldest message if there is one now. It may wait up to 100 ms for other
    /// receivers of its side.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), and [`GetError::Empty`].
    #[inline]
    pub fn try_recv(&self) -> Result<R, GetError> {
        self.recv_timeout(Deadline::PASSED)
    }

    /// Receives the oldest message; waits up to `timeout` for one.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), and [`GetError::Empty`] if it timed out.
    #[inline]
    pub fn recv_timeout(&self, timeout: impl Into<Deadline>) -> Result<R, GetError> {
        let take = |message: &Message<'_>, descriptors| {
            Ok(<Serde as Codec<R>>::take(message, descriptors))
        };
        let taken = self.end.recv(self.wait, timeout.into(), take)?;
        <Serde as Codec<R>>::decode(taken).map_err(GetError::Decode)
    }

    /// The messages as they come, until the other side is gone and everything was received, or an
    /// error other than of one message.
    ///
    /// ```
    /// let (reader, writer) = mp_queue::pipe_one_way::<u32>()?;
    /// std::thread::spawn(move || (1..=3).try_for_each(|number| writer.send(number)));
    /// let numbers: Vec<u32> = reader.iter().collect::<Result<_, _>>()?;
    /// assert_eq!(numbers, [1, 2, 3]);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn iter(&self) -> impl FusedIterator<Item = Result<R, GetError>> {
        let mut ended = false;
        let next = move || {
            if ended {
                return None;
            }
            let received = self.recv();
            ended = !matches!(received, Ok(_) | Err(GetError::Decode(_)));
            Some(received).filter(|received| !matches!(received, Err(GetError::Closed)))
        };
        iter::from_fn(next).fuse()
    }

    /// Receives the oldest message as bytes: what [`send_bytes`](Self::send_bytes) sent; blocks
    /// until there is one.
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`] and [`GetError::Failed`], as [`recv`](Self::recv).
    pub fn recv_bytes(&self) -> Result<Vec<u8>, GetError> {
        self.recv_bytes_timeout(Deadline::NEVER)
    }

    /// Receives the oldest message as bytes if there is one now.
    ///
    /// # Errors
    ///
    /// Those of [`recv_bytes`](Self::recv_bytes), and [`GetError::Empty`].
    pub fn try_recv_bytes(&self) -> Result<Vec<u8>, GetError> {
        self.recv_bytes_timeout(Deadline::PASSED)
    }

    /// Receives the oldest message as bytes; waits up to `timeout` for one.
    ///
    /// # Errors
    ///
    /// Those of [`recv_bytes`](Self::recv_bytes), and [`GetError::Empty`] if it timed out.
    pub fn recv_bytes_timeout(&self, timeout: impl Into<Deadline>) -> Result<Vec<u8>, GetError> {
        let take = |message: &Message<'_>, _| Ok(message.to_vec());
        self.end.recv(self.wait, timeout.into(), take)
    }

    /// Receives the oldest message as bytes into the start of `buffer` and returns how many they
    /// are; blocks until there is one.
    ///
    /// # Errors
    ///
    /// Those of [`recv_bytes`](Self::recv_bytes), and [`GetError::TooLong`] if the buffer is too
    /// short for the message. The message stays then, for a longer one.
    ///
    /// ```
    /// use mp_queue::GetError;
    ///
    /// let (left, right) = mp_queue::pipe::<(), ()>()?;
    /// left.send_bytes(b"seven b")?;
    /// let mut buffer = [0; 4];
    /// let error = right.recv_bytes_into(&mut buffer).unwrap_err();
    /// assert!(matches!(error, GetError::TooLong { len: 7, most: 4 }));
    /// assert_eq!(right.recv_bytes()?, b"seven b");
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, GetError> {
        self.recv_bytes_into_timeout(buffer, Deadline::NEVER)
    }

    /// Receives the oldest message as [`recv_bytes_into`](Self::recv_bytes_into) does if there is
    /// one now.
    ///
    /// # Errors
    ///
    /// Those of [`recv_bytes_into`](Self::recv_bytes_into), and [`GetError::Empty`].
    pub fn try_recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, GetError> {
        self.recv_bytes_into_timeout(buffer, Deadline::PASSED)
    }

    /// Receives the oldest message as [`recv_bytes_into`](Self::recv_bytes_into) does; waits up to
    /// `timeout` for one.
    ///
    /// # Errors
    ///
    /// Those of [`recv_bytes_into`](Self::recv_bytes_into), and [`GetError::Empty`] if it timed
    /// out.
    pub fn recv_bytes_into_timeout(
        &self,
        buffer: &mut [u8],
        timeout: impl Into<Deadline>,
    ) -> Result<usize, GetError> {
        let most = buffer.len();
        let mut too_long = None;
        let take = |message: &Message<'_>, _| match buffer.get_mut(..message.len()) {
            Some(start) => {
                message.copy_to(start);
                Ok(message.len())
            }
            None => {
                too_long = Some(message.len());
                Err(Error::new(ErrorKind::WrongSize, "receive from", "a pipe"))
            }
        };
        let received = self.end.recv(self.wait, timeout.into(), take);
        match too_long {
            Some(len) => Err(GetError::TooLong { len, most }),
            None => received,
        }
    }

    /// Waits up to `timeout` until there is something to receive or the other side is gone; false
    /// if it timed out.
    ///
    /// If several threads or processes receive on this side, another one may have been faster when
    /// `recv` is called.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if the pipe does not go this way.
    pub fn poll(&self, timeout: impl Into<Deadline>) -> Result<bool> {
        self.end.poll(self.wait, timeout.into())
    }

    /// A descriptor to `poll` together with others, as
    /// [`QueueReceiver::poll_fd`](crate::QueueReceiver::poll_fd) has it: it becomes readable with
    /// the next message, or when the other side is gone. `None` if there is something to receive
    /// now, or there will be nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if the pipe does not go this way, and those of
    /// [`QueueReceiver::poll_fd`](crate::QueueReceiver::poll_fd).
    pub fn poll_fd(&self) -> Result<Option<BorrowedFd<'_>>> {
        self.end.poll_fd()
    }

    /// Messages that wait to be received, at some time during the call; others may send and receive
    /// meanwhile.
    pub fn len(&self) -> usize {
        self.end.waiting()
    }

    /// Whether no message waited at some time during the call.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<S, R> Connection<S, R> {
    pub(crate) fn new(end: PipeEnd) -> Self {
        Self {
            end: Arc::new(end),
            wait: Wait::default(),
            messages: PhantomData,
        }
    }

    /// Whether the other side is gone: all its connections are dropped, or their processes have
    /// ended. True stays true.
    ///
    /// ```
    /// let (reader, writer) = mp_queue::pipe_one_way::<u32>()?;
    /// assert!(!writer.is_closed());
    /// drop(reader);
    /// assert!(writer.is_closed());
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn is_closed(&self) -> bool {
        self.end.ask()
    }

    /// Messages of this side that the other side has not received, at some time during the call; 0
    /// if this side only receives.
    ///
    /// A message that was received stays counted out, also if its receiver has died since. So a
    /// sender learns what a process that is gone had taken.
    ///
    /// ```
    /// let (reader, writer) = mp_queue::pipe_one_way::<u32>()?;
    /// writer.send(1)?;
    /// writer.send(2)?;
    /// reader.recv()?;
    /// drop(reader);
    /// assert_eq!(writer.unreceived(), 1);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn unreceived(&self) -> usize {
        self.end.unreceived()
    }

    /// The same connection with another way to wait; other handles keep theirs.
    #[must_use]
    pub fn with_wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    pub(crate) fn fmt_as(&self, name: &str, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct(name)
            .field("side", &self.end.side())
            .field("peer_is_gone", &self.end.is_gone())
            .finish_non_exhaustive()
    }
}

impl<S, R> Waitable for Connection<S, R> {
    fn watch(&self) -> Result<Watch<'_>> {
        self.end.watch()
    }
}

impl<S, R> Clone for Connection<S, R> {
    fn clone(&self) -> Self {
        Self {
            end: Arc::clone(&self.end),
            ..*self
        }
    }
}

impl<S, R> fmt::Debug for Connection<S, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as("Connection", formatter)
    }
}

impl<S: 'static, R: 'static> Serialize for Connection<S, R> {
    /// Writes a copy of the connection, with its memory and its end of the socket pair; see
    /// [`mp_object::transfer`].
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let end = self.end.lifeline().end();
        let end = end.ok_or_else(|| Z::Error::custom("the connection is closed"))?;
        let end = Descriptor::new(Arc::clone(end));
        let place = transfer::put(&end, None);
        let place = place.map_err(|error| transfer::refuse(error, Z::Error::custom))?;
        (self.end.side() as u8, place, self.end.object()).serialize(serializer)
    }
}

impl<'de, S: 'static, R: 'static> Deserialize<'de> for Connection<S, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let end = deserializer.deserialize_tuple(3, ReadEnd::<S, R>(PhantomData))?;
        Ok(Self::new(end))
    }
}

/// Reads what was written of the end that sends `S` and receives `R`.
struct ReadEnd<S, R>(PhantomData<(S, R)>);

impl<'de, S: 'static, R: 'static> Visitor<'de> for ReadEnd<S, R> {
    type Value = PipeEnd;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a connection")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<PipeEnd, A::Error> {
        let missing = || A::Error::custom("a connection is cut short");
        let side: u8 = parts.next_element()?.ok_or_else(missing)?;
        let place: Option<u32> = parts.next_element()?.ok_or_else(missing)?;
        let place = place.ok_or_else(missing)?;
        let tag = match side {
            0 => TypeTag::of_message::<(S, R)>(),
            _ => TypeTag::of_message::<(R, S)>(),
        };
        let object = parts
            .next_element_seed(ReadObject(tag))?
            .ok_or_else(missing)?;
        let end = transfer::take(place)
            .and_then(|end| PipeEnd::received(object, side, Lifeline::new(end)));
        end.map_err(|error| transfer::refuse(error, A::Error::custom))
    }
}

/// Reads the object of a pipe whose messages are those of the tag.
struct ReadObject(TypeTag);

impl<'de> DeserializeSeed<'de> for ReadObject {
    type Value = Object;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
        Object::deserialize(deserializer, pipe::any(self.0).expected())
    }
}
