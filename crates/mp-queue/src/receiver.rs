//! The receiving end of a channel.

use core::cell::RefCell;
use core::fmt;

use mp_layout::{Error, ErrorKind, Plain, PlainSlice, Result};
use mp_object::transfer;
use mp_ring::{BatchBackoff, Consumer, PopError, Role};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::channel::{Channel, this_process};
use crate::sender::{passed_on, refuse_in_message};
use crate::{Deadline, GetError, Wait};

/// The end of a [`channel`](crate::channel) that receives. Dropped, it ends the channel: sending
/// fails.
///
/// It moves, to another thread or, once, as an argument to another process: this handle is spent
/// then, and refuses everything.
///
/// # If a process dies
///
/// Values that it received are gone with it, and no process gets the others. A send fails with
/// `Closed` when it would have to wait.
pub struct Receiver<T: Plain> {
    /// `None` once the handle was passed on. Before `channel`, so that it is dropped before.
    consumer: RefCell<Option<Consumer<'static, T>>>,
    channel: Channel<T>,
    wait: Wait,
    backoff: BatchBackoff,
    claimed_by: u64,
}

impl<T: Plain> Receiver<T> {
    pub(crate) fn claim(channel: Channel<T>) -> Result<Self> {
        let me = this_process()?;
        if channel.is_closed(Role::Consumer) {
            return Err(Error::new(
                ErrorKind::Closed,
                "claim",
                "the receiver of a channel",
            ));
        }
        // SAFETY: the consumer lies beside the channel in this structure, is dropped first, and is
        // not lent out.
        let ring = unsafe { channel.ring() }?;
        let consumer = ring.claim_consumer(me)?;
        channel.set_in_transit_owner(Role::Consumer, me);
        Ok(Self {
            consumer: RefCell::new(Some(consumer)),
            channel,
            wait: Wait::default(),
            backoff: BatchBackoff::default(),
            claimed_by: me.get(),
        })
    }

    /// The same end with another way to wait.
    #[must_use]
    pub fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Receives the oldest value; blocks until there is one.
    ///
    /// # Errors
    ///
    /// - [`GetError::Closed`] if the sender is gone and everything was received.
    /// - [`GetError::Decode`] if the bytes are not a `T`. The value was taken; the next call
    ///   returns the one after it.
    /// - [`GetError::Failed`] if the shared bytes are corrupt or this handle was passed on.
    #[inline]
    pub fn recv(&mut self) -> Result<T, GetError> {
        self.recv_timeout(Deadline::NEVER)
    }

    /// Receives the oldest value if there is one now. It does not ask whether the sender is dead.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), and [`GetError::Empty`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, GetError> {
        self.recv_timeout(Deadline::PASSED)
    }

    /// Receives the oldest value; waits up to `timeout` for one.
    /// [`Queue::put_timeout`](crate::Queue::put_timeout) says what a `timeout` can be.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), and [`GetError::Empty`] if it timed out.
    #[inline]
    pub fn recv_timeout(&mut self, timeout: impl Into<Deadline>) -> Result<T, GetError> {
        self.receive(timeout.into(), |consumer| match consumer.pop() {
            Ok(value) => Ok(Some(value)),
            Err(PopError::Empty) => Ok(None),
            Err(error @ PopError::Invalid) => Err(GetError::Decode(error.into())),
            Err(error) => Err(GetError::Failed(error.into())),
        })
    }

    /// Receives the oldest values into `values` in one step and returns how many: at least one, for
    /// which it blocks.
    ///
    /// For no `values` it returns 0 immediately.
    ///
    /// # Errors
    ///
    /// - [`GetError::Closed`] if the sender is gone and everything was received.
    /// - [`GetError::Failed`] if the shared bytes are corrupt or this handle was passed on.
    pub fn recv_many(&mut self, values: &mut [T]) -> Result<usize, GetError>
    where
        T: PlainSlice,
    {
        self.recv_many_timeout(values, Deadline::NEVER)
    }

    /// Receives the oldest values that there are now, as [`recv_many`](Self::recv_many) does.
    ///
    /// # Errors
    ///
    /// Those of [`recv_many`](Self::recv_many), and [`GetError::Empty`].
    pub fn try_recv_many(&mut self, values: &mut [T]) -> Result<usize, GetError>
    where
        T: PlainSlice,
    {
        self.recv_many_timeout(values, Deadline::PASSED)
    }

    /// Receives the oldest values as [`recv_many`](Self::recv_many) does; waits up to `timeout` for
    /// the first.
    ///
    /// # Errors
    ///
    /// Those of [`recv_many`](Self::recv_many), and [`GetError::Empty`] if it timed out.
    pub fn recv_many_timeout(
        &mut self,
        values: &mut [T],
        timeout: impl Into<Deadline>,
    ) -> Result<usize, GetError>
    where
        T: PlainSlice,
    {
        if values.is_empty() {
            return Ok(0);
        }
        self.receive(timeout.into(), |consumer| {
            match consumer.pop_slice(values) {
                Ok(0) => Ok(None),
                Ok(count) => Ok(Some(count)),
                Err(corrupt) => Err(GetError::Failed(corrupt.into())),
            }
        })
    }

    /// Receives by `take`, which returns `None` if there is nothing.
    #[inline]
    fn receive<R>(
        &mut self,
        deadline: Deadline,
        mut take: impl FnMut(&mut Consumer<'static, T>) -> Result<Option<R>, GetError>,
    ) -> Result<R, GetError> {
        let Some(consumer) = self.consumer.get_mut() else {
            return Err(GetError::Failed(passed_on()));
        };
        let (channel, wait, backoff) = (&self.channel, self.wait, &self.backoff);
        let not_full = channel.not_full();
        let mut once = |consumer: &mut _| {
            // Rule (a) of the eventcount.
            not_full.under_bell(|| {
                let taken = take(consumer).transpose()?;
                not_full.notify(1);
                Some(taken)
            })
        };
        if let Some(taken) = once(consumer) {
            return taken;
        }
        let ring = consumer.ring();
        let mut may_be_stream = wait != Wait::Sleep
            && deadline != Deadline::PASSED
            && ring.capacity() >= BatchBackoff::LEAST_CAPACITY;
        let mut attempt = |gone: bool| {
            if core::mem::take(&mut may_be_stream) {
                backoff.pause_for_batch(|| consumer.len());
            }
            // Looked at before the ring: nothing is sent after it.
            let closed = gone || channel.is_closed(Role::Producer);
            let taken = once(consumer);
            if taken.is_none() && closed {
                return Some(Err(GetError::Closed));
            }
            taken
        };
        if deadline == Deadline::PASSED {
            return attempt(false).unwrap_or(Err(GetError::Empty));
        }
        let is_dead = || channel.is_dead(Role::Producer, ring.owner(Role::Producer));
        Channel::<T>::wait(channel.not_empty(), wait, deadline, is_dead, attempt)
            .unwrap_or(Err(GetError::Empty))
    }

    /// The most values that can be on their way.
    pub fn capacity(&self) -> usize {
        let consumer = self.consumer.borrow();
        consumer.as_ref().map_or(0, Consumer::capacity)
    }

    /// Values on their way; the sender may have sent more meanwhile: there are never fewer than
    /// this.
    pub fn len(&self) -> usize {
        let consumer = self.consumer.borrow();
        consumer.as_ref().map_or(0, Consumer::len)
    }

    /// Whether there is nothing to receive. False stays false until this end receives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Plain> Drop for Receiver<T> {
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.get_mut().take() else {
            return;
        };
        if this_process().is_ok_and(|me| me.get() == self.claimed_by) {
            self.channel.close(Role::Consumer);
        } else {
            // A forked child's copy: the end is its parent's.
            core::mem::forget(consumer);
        }
    }
}

impl<T: Plain> fmt::Debug for Receiver<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Receiver")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

impl<T: Plain> Serialize for Receiver<T> {
    /// Passes the end on; this handle is spent then. See [`mp_object::transfer`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.consumer.borrow().is_none() {
            return Err(S::Error::custom(passed_on()));
        }
        refuse_in_message().map_err(|error| transfer::refuse(error, S::Error::custom))?;
        let written = self.channel.object().serialize(serializer)?;
        // Gives the role back, for the new process to claim.
        drop(self.consumer.borrow_mut().take());
        Ok(written)
    }
}

impl<'de, T: Plain> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::claim(Channel::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
