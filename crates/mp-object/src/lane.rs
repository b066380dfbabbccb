//! Descriptors that wait for a reader whom no process knows yet.
//!
//! A message in shared memory cannot hold a descriptor, and its sender may be gone before it is
//! read. So the descriptors of a message wait in the kernel, in a pair of sockets beside the
//! memory. The kernel keeps them when all processes that could name them are gone, and frees them
//! with the sockets.
//!
//! # Layout
//!
//! ```text
//! records in shared memory   | tag 41 | tag 0 (no handles) | tag 0 | tag 43 |      42: its sender died
//! messages in the lane       | 41: 2 descriptors | 42: 1 descriptor | 43: 3 descriptors |
//! ```
//!
//! One word in shared memory, `sent`, counts what was sent. A record's tag is the low 32 bits of
//! its message's number; those are never 0, which says that a record has no message.
//!
//! # Invariants
//!
//! - I1: `sent` is written and the lane is sent to by one process at a time, who also commits the
//!   record before the next sends: producers hold their lock. So the lane's order is that of the
//!   records.
//! - I2: `sent` says a number before a message has it. So no two messages have one number, whoever
//!   dies.
//! - I3: the lane is read by one process at a time: consumers hold their lock. A message is
//!   discarded after its record was taken, or if no record can have its number.
//! - I4: two numbers that are compared are less than 2^31 apart: a socket holds fewer messages, a
//!   number that was not sent is used again, and only a death between storing and sending leaves a
//!   gap.
//!
//! - I5: a message of number 0 belongs to no record. It only makes the lane readable, and is
//!   discarded when it is in front of another, by [`find`](Lane::find) or
//!   [`discard`](Lane::discard), or with [`silence`](Lane::silence).
//!
//! # Progress
//!
//! Nothing here blocks.
//!
//! # If a process dies
//!
//! | at | what remains | what mends it |
//! |---|---|---|
//! | between `sent` and sending | a number without a message | nothing has to |
//! | between sending and the record's commit | a message without a record, behind those of all records | [`find`](Lane::find) for a later record, or [`drain`](Lane::drain) |
//! | between looking and taking the record | both, whole: what was looked at were duplicates, closed by the kernel | the next reader gets both |
//! | between taking the record and discarding | an old message in front | [`find`](Lane::find) or [`discard`](Lane::discard) for a later record, or [`drain`](Lane::drain) |
//!
//! A reader that has all objects of a record open needs no descriptor, and does not look: it takes
//! the record and discards. What is in front of the record's message is of records that were taken
//! or never committed, so it discards up to the record's number, and no further. Where another
//! program has received the record's message, it discards the next record's, which then is an error
//! for a reader that needs its descriptors.
//!
//! Two other orders are wrong. If the number were stored after sending, a message without a record
//! and the next record's would have the same number, and the record would get the wrong objects. If
//! the message were received before the record is taken, a death in between would leave a record
//! without its objects.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::{fmt, io};

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{Error, ErrorKind, Result};
use mp_os::{descriptor, socket};

use crate::transfer::{self, Descriptor, Identity};

/// The number of a message that only makes the lane readable.
const RING: u64 = 0;

/// Bytes of a message: its number, and how many descriptors it has.
const MESSAGE: usize = 9;

/// A pair of sockets over which descriptors travel, in the order of the records that they belong
/// to.
///
/// It is one of the parts from which a queue of messages with handles is made; whoever uses it
/// keeps the rules I1 and I3 of its module: one sender and one reader at a time, each with a lock
/// that the next gets when its owner dies.
///
/// ```
/// use mp_layout::atomic::AtomicU64;
/// use mp_object::transfer::{self, Way};
/// use mp_object::{Event, Lane};
///
/// # if cfg!(miri) { return Ok(()) }
/// let (lane, sent) = (Lane::new()?, AtomicU64::new(0)); // the word lies in shared memory
/// let event = Event::new()?;
/// let (bytes, with) = transfer::message(Way::Descriptors, || postcard::to_stdvec(&event));
/// let tag = lane.send(&sent, &with.expect("a handle").descriptors)?;
/// // ... the record is committed: its bytes and its tag. Later, where a record is read:
/// let descriptors = lane.find(tag)?.expect("they wait for it");
/// // ... the record is taken, and then:
/// lane.discard(tag);
/// let same: Event = transfer::incoming(descriptors, || postcard::from_bytes(&bytes.unwrap())).unwrap();
/// same.set();
/// assert!(event.is_set());
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone)]
pub struct Lane {
    back: Arc<OwnedFd>,
    front: Arc<OwnedFd>,
}

/// What keeps a message from being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneFull {
    /// As many messages are in the lane as its socket holds.
    Socket,
    /// As many descriptors are on their way as this user may have, over all its sockets.
    User,
}

/// Why a message was not sent.
#[derive(Debug)]
pub enum LaneError {
    /// There is no room for it until others are taken.
    Full(LaneFull),
    /// The other side is gone, for good.
    Closed,
    /// It cannot be sent.
    Failed(Error),
}

impl Lane {
    /// Makes one that holds as many messages as the system allows (`net.core.wmem_max`).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyDescriptors`], [`ErrorKind::Os`].
    pub fn new() -> Result<Self> {
        let failed = |source| Error::os("make", "a lane for descriptors", source);
        let (back, front) = socket::pair().map_err(failed)?;
        socket::hold_the_most(&back).map_err(failed)?;
        Ok(Self::of(back, front))
    }

    /// One side of two lanes over a pair of sockets: `end` sends to the other side, and reads what
    /// the other side sends.
    ///
    /// What the dead left can be discarded by the other side only: [`drain`](Self::drain) does
    /// nothing.
    pub fn of_side(end: Arc<OwnedFd>) -> Self {
        Self {
            back: Arc::clone(&end),
            front: end,
        }
    }

    fn of(back: OwnedFd, front: OwnedFd) -> Self {
        Self {
            back: Arc::new(back),
            front: Arc::new(front),
        }
    }

    /// Adds its two ends to what travels with a handle of this object.
    pub(crate) fn put(&self, object: Option<Identity>) -> Result<()> {
        for end in [&self.back, &self.front] {
            let end = Descriptor::new(Arc::clone(end)).of_object(object);
            transfer::put(&end, None)?;
        }
        Ok(())
    }

    /// Takes its ends, which have the two places after `place`.
    pub(crate) fn take(place: u32) -> Result<Self> {
        let ends = [place.wrapping_add(1), place.wrapping_add(2)].map(transfer::take);
        let [back, front] = ends;
        let (back, front) = (back?, front?);
        if !(socket::is_seqpacket(&back) && socket::is_seqpacket(&front)) {
            return Err(
                Error::new(ErrorKind::Foreign, "attach", "a lane for descriptors")
                    .with_detail("the descriptors that came with the handle are no sockets"),
            );
        }
        Ok(Self::of(back, front))
    }

    /// Sends descriptors under the next number of `sent` and returns the tag of the record that
    /// they belong to.
    ///
    /// # Errors
    ///
    /// Any [`LaneError`]; the number is used again then.
    pub fn send(&self, sent: &AtomicU64, descriptors: &[Descriptor]) -> Result<u32, LaneError> {
        let before = sent.load(Ordering::Relaxed);
        let number = numbered_after(before);
        // I2. Release: not after the system call, whatever the compiler sees of it.
        sent.store(number, Ordering::Release);
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let message = encode(number, descriptors.len());
        match socket::try_send(&*self.back, &message, &borrowed) {
            Ok(()) => Ok(number as u32),
            Err(source) => {
                // I4
                sent.store(before, Ordering::Release);
                Err(self.refused(source))
            }
        }
    }

    #[cold]
    fn refused(&self, source: io::Error) -> LaneError {
        if socket::is_over_the_users_limit(&source) {
            return LaneError::Full(LaneFull::User);
        }
        match source.kind() {
            io::ErrorKind::WouldBlock => LaneError::Full(LaneFull::Socket),
            // The latter once, if the other side had messages unread.
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => LaneError::Closed,
            _ => LaneError::Failed(Error::os("send", "the descriptors of a message", source)),
        }
    }

    /// The error of a message that is not to wait for room, with the figures and the way out.
    #[cold]
    pub fn explain(&self, full: LaneFull) -> Error {
        let detail = match full {
            LaneFull::Socket => {
                let most = self.capacity().map_or_else(
                    |_| "as many messages with shared objects as possible".to_owned(),
                    |most| {
                        format!("{most} messages with shared objects, the most that are possible,")
                    },
                );
                format!(
                    "{most} wait to be got (those that a poll is rung with count too); get some first, or raise \
                     net.core.wmem_max"
                )
            }
            LaneFull::User => format!(
                "more than {} descriptors of this user are in messages that wait to be got; get some first, or raise \
                 ulimit -n of this process",
                descriptor::limit()
            ),
        };
        Error::new(ErrorKind::TooManyDescriptors, "send", "shared objects").with_detail(detail)
    }

    /// How many messages the lane holds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyDescriptors`], [`ErrorKind::Os`].
    pub fn capacity(&self) -> Result<usize> {
        let capacity = socket::message_capacity(&*self.back);
        capacity.map_err(|source| Error::os("measure", "a lane for descriptors", source))
    }

    /// Whether nothing that was sent waits in the lane; what cannot be told counts as waiting.
    pub fn is_empty(&self) -> bool {
        socket::size_on_the_way(&*self.back).is_ok_and(|size| size == 0)
    }

    /// The descriptors of the record with this tag, which is the oldest; `None` if they are gone.
    /// The message stays in the lane until it is [discarded](Self::discard), and its
    /// descriptors are duplicates.
    ///
    /// Messages of older numbers are discarded: no record can have them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyDescriptors`] with both figures if this process has no room for all of
    /// them.
    #[cold]
    pub fn find(&self, tag: u32) -> Result<Option<Vec<OwnedFd>>> {
        let failed = |source| Error::os("receive", "the descriptors of a message", source);
        loop {
            let mut message = [0; MESSAGE];
            let Some(peeked) = socket::peek_message(&*self.front, &mut message).map_err(failed)?
            else {
                return Ok(None);
            };
            if peeked.len == 0 {
                // The other end is closed.
                return Ok(None);
            }
            let (number, count) = decode(message);
            if number == RING {
                // I5
                socket::discard(&*self.front).map_err(failed)?;
                continue;
            }
            // I4
            match (number as u32).wrapping_sub(tag).cast_signed() {
                // Its sender died before the commit, or its reader before it discarded.
                ..0 => drop(socket::discard(&*self.front).map_err(failed)?),
                0 if peeked.is_cut || peeked.fds.len() < count => {
                    return Err(too_many(count, peeked.fds.len()));
                }
                0 => return Ok(Some(peeked.fds)),
                // Should never be: another program has received it.
                1.. => return Ok(None),
            }
        }
    }

    /// Discards the message of the record with this tag, after that was taken, and those before it.
    /// If that fails, it is in front and is discarded later, as if this process had died.
    ///
    /// A reader that needs no descriptor of the message does this alone, without
    /// [`find`](Self::find).
    pub fn discard(&self, tag: u32) {
        let mut message = [0; MESSAGE];
        while let Ok(true) = socket::discard_reading(&*self.front, &mut message) {
            let (number, _) = decode(message);
            // I4. One that is greater should never be: another program has received the message.
            if number != RING && (number as u32).wrapping_sub(tag).cast_signed() >= 0 {
                return;
            }
        }
    }

    /// Discards all messages, where no record is left and none can be committed meanwhile: who
    /// calls it keeps senders and readers out. Returns whether there was one.
    #[cold]
    pub fn drain(&self) -> bool {
        let is_of_side = Arc::ptr_eq(&self.back, &self.front);
        !is_of_side && self.silence()
    }

    /// Makes the lane's end that is read readable, until a reader discards what was sent: for those
    /// that poll [`front`](Self::front). [`find`](Self::find) and [`discard`](Self::discard) take
    /// it out only for a message that was sent after it.
    ///
    /// # Errors
    ///
    /// Any [`LaneError`]; [`LaneError::Failed`] if the system is short of memory.
    #[cold]
    pub fn ring(&self) -> Result<(), LaneError> {
        let sent = socket::try_send(&*self.back, &encode(RING, 0), &[]);
        sent.map_err(|source| self.refused(source))
    }

    /// Discards all messages that this end reads, as [`drain`](Self::drain) does, also where it is
    /// one of two sides. Returns whether there was one.
    #[cold]
    pub fn silence(&self) -> bool {
        let mut was_any = false;
        while socket::discard(&*self.front).unwrap_or(false) {
            was_any = true;
        }
        was_any
    }

    /// The end that is read. It is readable while there is a message, and hangs up when the other
    /// side is gone.
    pub fn front(&self) -> BorrowedFd<'_> {
        self.front.as_fd()
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lane").finish_non_exhaustive()
    }
}

impl fmt::Display for LaneError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => formatter.write_str("there is no room for the message's descriptors"),
            Self::Closed => formatter.write_str("the other side is gone"),
            Self::Failed(error) => error.fmt(formatter),
        }
    }
}

impl core::error::Error for LaneError {}

impl From<LaneError> for Error {
    fn from(error: LaneError) -> Self {
        match error {
            LaneError::Full(_) => Self::new(ErrorKind::Full, "send", "shared objects"),
            LaneError::Closed => Self::new(ErrorKind::Closed, "send", "shared objects"),
            LaneError::Failed(error) => error,
        }
    }
}

/// The number after `number` whose low 32 bits are not 0.
fn numbered_after(number: u64) -> u64 {
    let next = number.wrapping_add(1);
    if next as u32 == 0 { next + 1 } else { next }
}

fn encode(number: u64, count: usize) -> [u8; MESSAGE] {
    let mut message = [count as u8; MESSAGE];
    message[..8].copy_from_slice(&number.to_ne_bytes());
    message
}

fn decode(message: [u8; MESSAGE]) -> (u64, usize) {
    let [number @ .., count] = message;
    (u64::from_ne_bytes(number), usize::from(count))
}

#[cold]
fn too_many(count: usize, free: usize) -> Error {
    Error::new(ErrorKind::TooManyDescriptors, "receive", "shared objects").with_detail(format!(
        "the next message has {count} descriptors and this process may open {free} more of {}; close some, or raise \
         ulimit -n; the message stays",
        descriptor::limit()
    ))
}
