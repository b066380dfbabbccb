//! The sending end of a channel.

use core::cell::RefCell;
use core::fmt;
use std::time::Duration;

use mp_layout::{Error, ErrorKind, Plain, Result};
use mp_os::clock::Deadline;
use mp_ring::{Producer, PushError, Role};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::channel::{Channel, this_process};
use crate::{PutError, Wait};

/// The end of a [`channel`](crate::channel) that sends. Dropped, it ends the channel: the receiver gets what was sent, and
/// then `Closed`.
///
/// It moves, to another thread or, once, as an argument to another process: this handle is spent then, and refuses
/// everything.
///
/// # If a process dies
///
/// What was sent stays, the rest was not; the receiver is told that the channel is closed.
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
        if channel.has_ended(Role::Producer) {
            return Err(Error::new(
                ErrorKind::Closed,
                "claim",
                "the sender of a channel",
            ));
        }
        // SAFETY: the producer lies beside the channel in this structure, is dropped first, and is not lent out.
        let ring = unsafe { channel.ring() }?;
        let producer = ring.claim_producer(me)?;
        channel.keep(Role::Producer, me);
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

    /// Sends a value, waiting as long as it takes if the channel is full.
    ///
    /// # Errors
    ///
    /// [`PutError::Closed`] if the receiver is gone; [`PutError::Failed`] if the shared bytes are corrupt or this handle was
    /// passed on.
    #[inline]
    pub fn send(&mut self, value: T) -> Result<(), PutError<T>> {
        self.send_deadline(value, Deadline::NEVER)
    }

    /// Sends a value if there is room now.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`PutError::Full`].
    #[inline]
    pub fn try_send(&mut self, value: T) -> Result<(), PutError<T>> {
        self.send_deadline(value, Deadline::PASSED)
    }

    /// Sends a value, waiting at most so long: zero tries once, [`Duration::MAX`] is for ever.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`PutError::Full`] if the time was up.
    #[inline]
    pub fn send_timeout(&mut self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.send_deadline(value, Deadline::after(timeout))
    }

    /// Sends a value, waiting until the deadline.
    ///
    /// # Errors
    ///
    /// As [`send_timeout`](Self::send_timeout).
    #[inline]
    pub fn send_deadline(&mut self, value: T, deadline: Deadline) -> Result<(), PutError<T>> {
        let Some(producer) = self.producer.get_mut() else {
            return Err(PutError::Failed(value, passed_on()));
        };
        match push(&self.channel, producer, value) {
            Err(PutError::Full(value)) if deadline != Deadline::PASSED => {
                send_when_there_is_room(&self.channel, producer, value, self.wait, deadline)
            }
            result => result,
        }
    }

    /// Sends values in their order, as many as fit in one step, waiting as long as it takes for the others.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), with the number of values that were sent.
    pub fn send_many(&mut self, values: &[T]) -> Result<(), (usize, PutError<()>)> {
        let Some(producer) = self.producer.get_mut() else {
            return Err((0, PutError::Failed((), passed_on())));
        };
        let channel = &self.channel;
        let mut sent = 0;
        while sent < values.len() {
            let ring = producer.ring();
            let mut attempt = |gone| {
                if gone || channel.has_ended(Role::Consumer) {
                    return Some(Err(PutError::Closed(())));
                }
                let rest = values.get(sent..).unwrap_or_default();
                let pushed = channel.not_empty().under_bell(|| {
                    let pushed = producer.push_slice(rest);
                    channel.not_empty().notify(1);
                    pushed
                });
                match pushed {
                    Ok(0) => None,
                    Ok(count) => Some(Ok(count)),
                    Err(corrupt) => Some(Err(PutError::Failed((), corrupt.into()))),
                }
            };
            let pushed = attempt(false).or_else(|| {
                let is_dead = || channel.is_dead(Role::Consumer, ring.owner(Role::Consumer));
                Channel::<T>::wait(
                    channel.not_full(),
                    self.wait,
                    Deadline::NEVER,
                    is_dead,
                    attempt,
                )
            });
            match pushed {
                Some(Ok(count)) => sent += count,
                Some(Err(error)) => return Err((sent, error)),
                None => return Err((sent, PutError::Full(()))),
            }
        }
        Ok(())
    }

    /// The most values that can be on their way.
    pub fn capacity(&self) -> usize {
        let producer = self.producer.borrow();
        producer.as_ref().map_or(0, Producer::capacity)
    }

    /// Values on their way; the receiver may have taken some meanwhile: there are never more than this.
    pub fn len(&self) -> usize {
        let producer = self.producer.borrow();
        producer.as_ref().map_or(0, Producer::len)
    }

    /// Whether no value is on its way. True stays true until this end sends.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[inline]
fn push<T: Plain>(
    channel: &Channel<T>,
    producer: &mut Producer<'static, T>,
    value: T,
) -> Result<(), PutError<T>> {
    if channel.has_ended(Role::Consumer) {
        return Err(PutError::Closed(value));
    }
    let not_empty = channel.not_empty();
    // Rule (a) of the eventcount.
    not_empty.under_bell(|| match producer.push(value) {
        Ok(()) => {
            not_empty.notify(1);
            Ok(())
        }
        Err(PushError::Full(value)) => Err(PutError::Full(value)),
        Err(PushError::Corrupt(value, corrupt)) => Err(PutError::Failed(value, corrupt.into())),
    })
}

#[cold]
fn send_when_there_is_room<T: Plain>(
    channel: &Channel<T>,
    producer: &mut Producer<'static, T>,
    value: T,
    wait: Wait,
    deadline: Deadline,
) -> Result<(), PutError<T>> {
    let ring = producer.ring();
    let is_dead = || channel.is_dead(Role::Consumer, ring.owner(Role::Consumer));
    let attempt = |gone| {
        if gone {
            return Some(Err(PutError::Closed(value)));
        }
        match push(channel, producer, value) {
            Err(PutError::Full(_)) => None,
            result => Some(result),
        }
    };
    Channel::<T>::wait(channel.not_full(), wait, deadline, is_dead, attempt)
        .unwrap_or(Err(PutError::Full(value)))
}

#[cold]
pub(crate) fn passed_on() -> Error {
    Error::new(ErrorKind::InvalidState, "use", "an end of a channel")
        .with_detail("this handle was passed on; its receiver has the end now")
}

impl<T: Plain> Drop for Sender<T> {
    fn drop(&mut self) {
        let Some(producer) = self.producer.get_mut().take() else {
            return;
        };
        if this_process().is_ok_and(|me| me.get() == self.claimed_by) {
            self.channel.set_ended(Role::Producer);
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
