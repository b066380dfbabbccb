//! What a process has of one side of a pipe, whatever its messages are.

use core::slice;
use std::os::fd::BorrowedFd;

use mp_layout::atomic::Ordering;
use mp_layout::{Error, ErrorKind, Result};
use mp_object::message::Objects;
use mp_object::{InMemory, Lane, Object, Placed, Waitable, Watch};
use mp_os::clock::Deadline;
use mp_sync::{EventCount, Wait};

use crate::codec::sealed::Encoded;
use crate::lifeline::Lifeline;
use crate::pipe::{CODEC, PipeWords, SideWords};
use crate::raw_queue::{Message, RawQueue};
use crate::{GetError, PutError};

/// One side of a pipe, shared by the connections of that side in this process. Dropped, it is
/// closed here.
#[derive(Debug)]
pub(crate) struct PipeEnd {
    /// `None` if this side only receives.
    outgoing: Option<RawQueue>,
    /// `None` if this side only sends.
    incoming: Option<RawQueue>,
    words: Placed<PipeWords>,
    side: usize,
    lifeline: Lifeline,
}

impl PipeEnd {
    /// Finds the parts of a pipe for one of its sides.
    ///
    /// # Safety
    ///
    /// The header of `object` was checked to say that it is a pipe.
    pub(crate) unsafe fn attach(object: Object, side: usize, lifeline: Lifeline) -> Result<Self> {
        // SAFETY: a pipe starts with these words, which are bare.
        let words = unsafe { Placed::<PipeWords>::new(object) }?;
        let queue = |side| {
            let object = words.object();
            let start = words.shape.queue(side, object.header().payload_size())?;
            let attached = start.map(|start| {
                let lane = lifeline.end().cloned().map(Lane::of_side);
                // SAFETY: a pipe has a queue there, as its shape says.
                unsafe { RawQueue::attach_at(object.clone(), start, CODEC, lane) }
            });
            attached.transpose()
        };
        Ok(Self {
            outgoing: queue(side)?,
            incoming: queue(1 - side)?,
            words,
            side,
            lifeline,
        })
    }

    /// A side as it came from another process, with an object of which the header was checked by
    /// [`pipe::any`](crate::pipe::any).
    pub(crate) fn received(object: Object, side: u8, lifeline: Lifeline) -> Result<Self> {
        if side > 1 {
            return Err(Error::new(ErrorKind::Corrupt, "receive", "a connection")
                .with_detail(format!("a pipe has the sides 0 and 1, not {side}")));
        }
        // SAFETY: the header says that it is a pipe, as was checked.
        unsafe { Self::attach(object, usize::from(side), lifeline) }
    }

    pub(crate) fn object(&self) -> &Object {
        self.words.object()
    }

    pub(crate) fn side(&self) -> usize {
        self.side
    }

    pub(crate) fn lifeline(&self) -> &Lifeline {
        &self.lifeline
    }

    fn words_of(&self, side: usize) -> &SideWords {
        match side {
            0 => &self.words.side_0,
            _ => &self.words.side_1,
        }
    }

    /// How many connections the other side has closed.
    #[inline]
    fn closings(&self) -> u32 {
        self.words_of(1 - self.side)
            .closings
            .load(Ordering::Acquire)
    }

    /// Whether the other side is gone, as [`Lifeline::is_gone`] has it.
    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        self.lifeline.is_gone(self.closings())
    }

    /// Whether the other side is gone, as [`Lifeline::is_gone_by_tick`] has it.
    #[inline]
    fn is_gone_by_tick(&self) -> bool {
        self.lifeline.is_gone_by_tick(self.closings())
    }

    /// Asks the kernel whether the other side is gone, and notes the answer for
    /// [`is_gone`](Self::is_gone): what a sleeper does when a bell rang, and at each recheck.
    #[cold]
    pub(crate) fn ask(&self) -> bool {
        self.lifeline.ask(self.closings())
    }

    #[inline]
    fn outgoing(&self) -> Result<&RawQueue> {
        let outgoing = self.outgoing.as_ref();
        outgoing.ok_or_else(|| wrong_way("send through", "only receives"))
    }

    #[inline]
    fn incoming(&self) -> Result<&RawQueue> {
        let incoming = self.incoming.as_ref();
        incoming.ok_or_else(|| wrong_way("receive from", "only sends"))
    }

    /// Sends a message.
    #[inline]
    pub(crate) fn send<B: Encoded>(
        &self,
        message: &B,
        wait: Wait,
        deadline: Deadline,
    ) -> Result<(), PutError<()>> {
        let outgoing = self.outgoing()?;
        if self.is_gone_by_tick() {
            return Err(PutError::Closed(()));
        }
        match outgoing.push(slice::from_ref(message), deadline) {
            Ok(_) => Ok(()),
            Err(PutError::Full(())) if deadline != Deadline::PASSED => {
                self.send_when_there_is_room(outgoing, message, wait, deadline)
            }
            Err(error) => Err(error),
        }
    }

    #[cold]
    fn send_when_there_is_room<B: Encoded>(
        &self,
        outgoing: &RawQueue,
        message: &B,
        wait: Wait,
        deadline: Deadline,
    ) -> Result<(), PutError<()>> {
        let not_full = outgoing.not_full();
        let attempt = || {
            if self.is_gone() {
                self.tell_that_gone();
                return Some(Err(PutError::Closed(())));
            }
            if outgoing.is_full() {
                return None;
            }
            match outgoing.push(slice::from_ref(message), deadline) {
                Err(PutError::Full(())) => None,
                sent => Some(sent.map(|_| ())),
            }
        };
        not_full
            .wait_until_or_suspect(wait, deadline, attempt, || self.suspect())
            .unwrap_or(Err(PutError::Full(())))
    }

    /// Receives the oldest message: what `take` makes of its bytes and, if it has handles, its
    /// objects. If `take` fails, the message stays.
    #[inline]
    pub(crate) fn recv<R>(
        &self,
        wait: Wait,
        deadline: Deadline,
        mut take: impl FnMut(&Message<'_>, Option<Objects>) -> Result<R>,
    ) -> Result<R, GetError> {
        let incoming = self.incoming()?;
        match incoming.take_now(deadline, &mut take)? {
            Some(taken) => Ok(taken),
            None => self.recv_when_there_is_one(incoming, wait, deadline, &mut take),
        }
    }

    fn recv_when_there_is_one<R>(
        &self,
        incoming: &RawQueue,
        wait: Wait,
        deadline: Deadline,
        take: &mut impl FnMut(&Message<'_>, Option<Objects>) -> Result<R>,
    ) -> Result<R, GetError> {
        let not_empty = incoming.not_empty();
        let mut attempt = || {
            // Looked at before the messages: nothing is sent after it.
            let is_gone = self.is_gone();
            match incoming.take_now(deadline, &mut *take) {
                Ok(None) if is_gone => {
                    self.tell_that_gone();
                    Some(Err(GetError::Closed))
                }
                Ok(taken) => taken.map(Ok),
                Err(error) => Some(Err(error.into())),
            }
        };
        if self.ask_before(deadline) || deadline == Deadline::PASSED {
            return attempt().unwrap_or(Err(GetError::Empty));
        }
        not_empty
            .wait_until_or_suspect(wait, deadline, attempt, || self.suspect())
            .unwrap_or(Err(GetError::Empty))
    }

    /// Messages that wait to be received, at some time during the call.
    pub(crate) fn waiting(&self) -> usize {
        self.incoming.as_ref().map_or(0, RawQueue::len)
    }

    /// Messages of this side that wait to be received, at some time during the call.
    pub(crate) fn unreceived(&self) -> usize {
        self.outgoing.as_ref().map_or(0, RawQueue::len)
    }

    /// Waits until there is a message or the other side is gone; whether it is so.
    pub(crate) fn poll(&self, wait: Wait, deadline: Deadline) -> Result<bool> {
        let incoming = self.incoming()?;
        let is_ready = || has_message(incoming);
        if is_ready() || self.ask_before(deadline) || deadline == Deadline::PASSED {
            return Ok(is_ready() || self.is_gone());
        }
        let not_empty = incoming.not_empty();
        let test = || {
            if is_ready() {
                // It may have been woken in place of a thread that would take the message.
                not_empty.pass_on_to_all();
            } else if self.is_gone() {
                self.tell_that_gone();
            } else {
                return None;
            }
            Some(())
        };
        let seen = not_empty.wait_until_or_suspect(wait, deadline, test, || self.suspect());
        Ok(seen.is_some())
    }

    /// A descriptor that becomes readable with the next message, or when the other side is gone;
    /// `None` if there is a message or the other side is gone.
    pub(crate) fn poll_fd(&self) -> Result<Option<BorrowedFd<'_>>> {
        let asked = self.incoming()?.poll_fd()?;
        // Silenced, an end still shows its other side's end, for good.
        Ok(asked.filter(|_| !self.ask()))
    }

    /// Wakes all others of this side that sleep: the other side is gone, and the process that
    /// should have woken them may be dead (rule c). They ask the kernel because the number of
    /// closed connections has changed.
    #[cold]
    fn tell_that_gone(&self) {
        let receivers = self.incoming.as_ref().map(RawQueue::not_empty);
        let senders = self.outgoing.as_ref().map(RawQueue::not_full);
        for sleepers in [receivers, senders].into_iter().flatten() {
            if sleepers.has_sleepers() {
                let words = self.words_of(1 - self.side);
                words.closings.fetch_add(1, Ordering::Release);
                sleepers.notify_all();
            }
        }
    }

    /// Whether the other side is gone, for an operation that found nothing. One that does not wait
    /// asks now, since it does not ask later.
    fn ask_before(&self, deadline: Deadline) -> bool {
        if deadline == Deadline::PASSED {
            self.ask()
        } else {
            self.is_gone_by_tick()
        }
    }
}

impl Waitable for PipeEnd {
    fn watch(&self) -> Result<Watch<'_>> {
        self.incoming().map(|_| Watch::Memory(self))
    }
}

impl InMemory for PipeEnd {
    fn is_ready(&self) -> bool {
        self.incoming.as_ref().is_some_and(has_message) || self.is_gone()
    }

    fn suspect(&self) {
        self.ask();
    }

    fn event_count(&self) -> &EventCount {
        let sleeps_on = self.incoming.as_ref().map(RawQueue::not_empty);
        sleeps_on.unwrap_or_else(|| unreachable!("`watch` refuses what only sends"))
    }
}

/// Whether there is a message, which another receiver may take before this returns.
fn has_message(incoming: &RawQueue) -> bool {
    incoming.has_message() && incoming.len() != 0
}

impl Drop for PipeEnd {
    /// Closes the side in this process and wakes those of the other that wait for it (I2).
    fn drop(&mut self) {
        let Self {
            outgoing,
            incoming,
            words,
            side,
            lifeline,
        } = self;
        // They hold the lifeline's end too.
        for queue in [&mut *outgoing, &mut *incoming].into_iter().flatten() {
            queue.close_lane();
        }
        let close = || {
            lifeline.cut();
            let words = match side {
                0 => &words.side_0,
                _ => &words.side_1,
            };
            words.closings.fetch_add(1, Ordering::Release);
        };
        // Only the inner bell would ring: it is that of the receivers, of which there are more.
        let receivers = outgoing.as_ref().map(RawQueue::not_empty);
        let senders = incoming.as_ref().map(RawQueue::not_full);
        under_bell(senders, || under_bell(receivers, close));
    }
}

/// Runs an operation that wakes all who sleep there.
fn under_bell(sleepers: Option<&EventCount>, operation: impl FnOnce()) {
    match sleepers {
        None => operation(),
        Some(sleepers) => sleepers.under_bell(|| {
            operation();
            sleepers.notify_all();
        }),
    }
}

#[cold]
fn wrong_way(operation: &'static str, what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, operation, "a connection")
        .with_detail(format!("its pipe goes one way, and this side {what}"))
}
