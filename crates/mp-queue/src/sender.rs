//! The sending end of a channel.

use core::cell::RefCell;
use core::fmt;

use mp_layout::{Error, ErrorKind, Plain, Result};
use mp_object::transfer;
use mp_ring::{Producer, PushError, Role};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::channel::{Channel, this_process};
use crate::{Deadline, PutError, PutManyError, Wait};

/// The end of a [`channel`](crate::channel) that sends. Dropped, it ends the channel: the receiver
/// gets what was sent, and then `Closed`.
///
/// It moves, to another thread or, once, as an argument to another process: this handle is spent
/// then, and refuses everything.
///
/// # If a process dies
///
/// What was sent stays, and the rest was not sent. The receiver gets what was sent, and then
/// `Closed`.
pub struct Sender<T: Plain> {
    /// `None` once the handle was passed on. Before `channel`, so that it is dropped before.
    producer: RefCell<Option<Producer<'static, T>>>,
    channel: Channel<T>,
    wait: Wait,
    claimed_by: u64,
}

impl<T: Plain> Sender<T> {
    pub(crate) fn claim(channel: Channel<T>) -> Result<Self> {
        let me = this_process()?;
        if channel.is_closed(Role::Producer) {
            return Err(Error::new(
                ErrorKind::Closed,
                "claim",
                "the sender of a channel",
            ));
        }
        // SAFETY: the producer lies beside the channel in this structure, is dropped first, and is
        // not lent out.
        let ring = unsafe { channel.ring() }?;
        let producer = ring.claim_producer(me)?;
        channel.set_in_transit_owner(Role::Producer, me);
        Ok(Self {
            producer: RefCell::new(Some(producer)),
            channel,
            wait: Wait::default(),
            claimed_by: me.get(),
        })
    }

    /// The same end with another way to wait.
    #[must_use]
    pub fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Sends a value; blocks while the channel is full.
    ///
    /// # Errors
    ///
    /// - [`PutError::Closed`] if the receiver is gone.
    /// - [`PutError::Failed`] if the shared bytes are corrupt or this handle was passed on.
    #[inline]
    pub fn send(&mut self, value: T) -> Result<(), PutError<T>> {
        self.send_timeout(value, Deadline::NEVER)
    }

    /// Sends a value if there is room now. It does not ask whether the receiver is dead.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), and [`PutError::Full`].
    #[inline]
    pub fn try_send(&mut self, value: T) -> Result<(), PutError<T>> {
        self.send_timeout(value, Deadline::PASSED)
    }

    /// Sends a value; waits up to `timeout` while the channel is full.
    /// [`Queue::put_timeout`](crate::Queue::put_timeout) says what a `timeout` can be.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), and [`PutError::Full`] if it timed out.
    #[inline]
    pub fn send_timeout(
        &mut self,
        value: T,
        timeout: impl Into<Deadline>,
    ) -> Result<(), PutError<T>> {
        let push = |producer: &mut Producer<'static, T>| match producer.push(value) {
            Ok(()) => Some(Ok(())),
            Err(PushError::Full(_)) => None,
            Err(PushError::Corrupt(_, corrupt)) => Some(Err(Error::from(corrupt).into())),
        };
        self.send_by(timeout.into(), push)
            .map_err(|error| error.with_value(value))
    }

    /// Sends values in their order, in as few steps as possible; blocks while the channel is full.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), for the first value that was not sent, with how many were.
    pub fn send_many(&mut self, values: &[T]) -> Result<(), PutManyError> {
        self.send_many_timeout(values, Deadline::NEVER)
    }

    /// Sends values as [`send_many`](Self::send_many) does, those for which there is room now.
    ///
    /// # Errors
    ///
    /// Those of [`send_many`](Self::send_many), and [`PutError::Full`] for the first value that has
    /// no room.
    pub fn try_send_many(&mut self, values: &[T]) -> Result<(), PutManyError> {
        self.send_many_timeout(values, Deadline::PASSED)
    }

    /// Sends values as [`send_many`](Self::send_many) does; waits up to `timeout` for all of them
    /// together.
    ///
    /// # Errors
    ///
    /// Those of [`send_many`](Self::send_many), and [`PutError::Full`] if it timed out.
    pub fn send_many_timeout(
        &mut self,
        values: &[T],
        timeout: impl Into<Deadline>,
    ) -> Result<(), PutManyError> {
        let deadline = timeout.into();
        let mut put = 0;
        while let Some(rest @ [_, ..]) = values.get(put..) {
            let push = |producer: &mut Producer<'static, T>| match producer.push_slice(rest) {
                Ok(0) => None,
                Ok(count) => Some(Ok(count)),
                Err(corrupt) => Some(Err(Error::from(corrupt).into())),
            };
            put += self
                .send_by(deadline, push)
                .map_err(|error| PutManyError { put, error })?;
        }
        Ok(())
    }

    /// Sends by `push`, which returns `None` while there is no room.
    #[inline]
    fn send_by<R>(
        &mut self,
        deadline: Deadline,
        mut push: impl FnMut(&mut Producer<'static, T>) -> Option<Result<R, PutError<()>>>,
    ) -> Result<R, PutError<()>> {
        let Some(producer) = self.producer.get_mut() else {
            return Err(passed_on().into());
        };
        let channel = &self.channel;
        let not_empty = channel.not_empty();
        let mut once = |producer: &mut _| {
            // Rule (a) of the eventcount.
            not_empty.under_bell(|| {
                if channel.is_closed(Role::Consumer) {
                    return Some(Err(PutError::Closed(())));
                }
                let pushed = push(producer)?;
                not_empty.notify(1);
                Some(pushed)
            })
        };
        if let Some(sent) = once(producer) {
            return sent;
        }
        if deadline == Deadline::PASSED {
            return Err(PutError::Full(()));
        }
        let ring = producer.ring();
        let attempt = |gone: bool| {
            if gone {
                return Some(Err(PutError::Closed(())));
            }
            once(producer)
        };
        let is_dead = || channel.is_dead(Role::Consumer, ring.owner(Role::Consumer));
        Channel::<T>::wait(channel.not_full(), self.wait, deadline, is_dead, attempt)
            .unwrap_or(Err(PutError::Full(())))
    }

    /// The most values that can be on their way.
    pub fn capacity(&self) -> usize {
        let producer = self.producer.borrow();
        producer.as_ref().map_or(0, Producer::capacity)
    }

    /// Values on their way; the receiver may have taken some meanwhile: there are never more than
    /// this.
    pub fn len(&self) -> usize {
        let producer = self.producer.borrow();
        producer.as_ref().map_or(0, Producer::len)
    }

    /// Whether no value is on its way. True stays true until this end sends.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cold]
pub(crate) fn passed_on() -> Error {
    Error::new(ErrorKind::InvalidState, "use", "an end of a channel")
        .with_detail("this handle was passed on; its receiver has the end now")
}

/// In a message its old owner could exit before it has a new one, and the other end would take it
/// for dead.
pub(crate) fn refuse_in_message() -> Result<(), Error> {
    transfer::needs_a_reader_that_waits("an end of a channel")
}

impl<T: Plain> Drop for Sender<T> {
    fn drop(&mut self) {
        let Some(producer) = self.producer.get_mut().take() else {
            return;
        };
        if this_process().is_ok_and(|me| me.get() == self.claimed_by) {
            self.channel.close(Role::Producer);
        } else {
            // A forked child's copy: the end is its parent's.
            core::mem::forget(producer);
        }
    }
}

impl<T: Plain> fmt::Debug for Sender<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sender")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

impl<T: Plain> Serialize for Sender<T> {
    /// Passes the end on; this handle is spent then. See [`mp_object::transfer`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.producer.borrow().is_none() {
            return Err(S::Error::custom(passed_on()));
        }
        refuse_in_message().map_err(|error| transfer::refuse(error, S::Error::custom))?;
        let written = self.channel.object().serialize(serializer)?;
        // Gives the role back, for the new process to claim.
        drop(self.producer.borrow_mut().take());
        Ok(written)
    }
}

impl<'de, T: Plain> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::claim(Channel::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
