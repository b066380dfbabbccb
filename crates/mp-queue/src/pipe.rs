//! A pipe: a queue of messages for each direction in one object, and a socket pair that tells when
//! a side is gone.
//!
//! # Source
//!
//! Python's `multiprocessing.Pipe`. Changed: messages lie in shared memory instead of a socket's
//! buffer; the socket pair only counts who is there.
//!
//! # Layout
//!
//! ```text
//! 0       128      256      384      4096       4096 + queue size
//! | shape | side 0 | side 1 | unused | queue 0  | queue 1          | sparse
//! ```
//!
//! Queue 0 goes from side 0 to side 1, queue 1 back; a pipe of one way has only queue 0. What a
//! queue looks like is said where [`RawQueue`] is. A connection consists of this object, the number
//! of its side, and its side's end of the socket pair (see [`Lifeline`];
//! `docs/decisions/0017-pipes.md` weighs it).
//!
//! # Invariants
//!
//! - I1: a process that has a connection of a side, and a message in which one travels, holds a
//!   copy of that side's end. So an end hangs up when, and only when, there is no connection of the
//!   other side any more.
//! - I2: who closes the last connection of a side in a process closes its copy of the end first,
//!   then counts it in `closings`, then wakes the other side.
//! - I3: `shape` is written by the creator alone.
//!
//! # Orderings
//!
//! - `closings` is counted with Release after the copy is closed and loaded with Acquire before the
//!   kernel is asked: who sees the number sees the closed copy.
//! - Who hears of the hang-up looks for messages once more after it: all that was sent is received.
//! - Messages: those of the queue.
//!
//! # Progress
//!
//! As the queue's: senders of a side take turns under a lock, and its receivers. A side with one
//! thread never waits for a lock. Looking whether the other side is gone is wait-free: two loads,
//! and a system call after each tick of the clock and each closed connection.
//!
//! # If a process dies
//!
//! - In an operation: as the queue's. A message was sent, or it was not; it was received, or it
//!   stays.
//! - With the last connection of a side: the kernel closes its end. The other side asks when it
//!   begins to wait and the clock has ticked since it asked last, when a bell rang, and every 250
//!   ms while it sleeps. So a sleeper hears of a death after 250 ms at most, and a send may be
//!   accepted until the next tick.
//! - While it closes a connection: as a death with it.

use mp_layout::atomic::{AtomicU32, AtomicU64, Ordering};
use mp_layout::{Error, ErrorKind, Kind, Padded, Result, TypeTag, shared_struct};
use mp_object::{Object, Plan};

use crate::codec::sealed::Codec;
use crate::geometry::{DEFAULT_ROOM, PAGE};
use crate::lifeline::Lifeline;
use crate::pipe_end::PipeEnd;
use crate::raw_queue::Settings;
use crate::{Connection, Serde};

/// Where the first queue starts in the payload.
const QUEUES: usize = 4096;

/// What the queues call the way messages are written.
pub(crate) const CODEC: u32 = <Serde as Codec<()>>::NUMBER;

shared_struct! {
    /// What the creator writes once.
    pub(crate) struct PipeShape as "Pipe: shape": 16 bytes {
        queue_size: AtomicU64 = "bytes of each queue",
        queues: AtomicU32 = "1 or 2",
        reserved: AtomicU32 = "0",
    }
}

shared_struct! {
    /// What is said about one side.
    pub(crate) struct SideWords as "Pipe: side": 16 bytes {
        pub(crate) closings: AtomicU32 = "how often a process closed a connection of the side, or told others that the side is gone",
        reserved: AtomicU32 = "0",
        also_reserved: AtomicU64 = "0",
    }
}

shared_struct! {
    /// The words before the queues.
    pub(crate) struct PipeWords as "Pipe": 384 bytes {
        pub(crate) shape: Padded<PipeShape> = "what the creator writes once",
        pub(crate) side_0: Padded<SideWords> = "the side that sends by queue 0",
        pub(crate) side_1: Padded<SideWords> = "the side that receives by queue 0. The queues follow at byte 4096",
    }
}

const _: () = assert!(size_of::<PipeWords>() <= QUEUES);

/// What is never sent: the messages of a connection's other direction if its pipe goes one way.
#[derive(Clone, Copy, Debug)]
pub enum Nothing {}

/// Makes a pipe: two connections, each of which sends what the other receives.
///
/// `S` is the type of the messages that go from the first to the second, `R` of those that come
/// back. A send never waits for the receiver: what waits takes memory, see [`Queue`](crate::Queue);
/// [`pipe_bounded`] sets a bound.
///
/// # Errors
///
/// Those of [`Object::create`], and [`ErrorKind::TooManyDescriptors`].
///
/// # Examples
///
/// ```
/// let (parent, child) = mp_queue::pipe::<u32, String>()?;
/// std::thread::spawn(move || {
///     while let Ok(number) = child.recv() {
///         child.send(format!("{number}!")).expect("the parent is there");
///     }
/// });
/// parent.send(42)?;
/// assert_eq!(parent.recv()?, "42!");
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub fn pipe<S: 'static, R: 'static>() -> Result<(Connection<S, R>, Connection<R, S>)> {
    typed(2, of_default_room(None))
}

/// Makes a pipe as [`pipe`] does, in which a send waits while `messages` messages of its direction
/// wait.
///
/// # Errors
///
/// Those of [`pipe`], and [`ErrorKind::InvalidInput`] for a bound of 0.
pub fn pipe_bounded<S: 'static, R: 'static>(
    messages: usize,
) -> Result<(Connection<S, R>, Connection<R, S>)> {
    typed(2, of_default_room(Some(messages)))
}

/// Makes a pipe of one way: the connection that receives, and the one that sends.
///
/// [`Queue::ends`](crate::Queue::ends) makes the same with the words of a queue.
///
/// # Errors
///
/// Those of [`pipe`].
///
/// # Examples
///
/// ```
/// use mp_queue::GetError;
///
/// let (reader, writer) = mp_queue::pipe_one_way::<String>()?;
/// writer.send("last words".to_owned())?;
/// drop(writer);
/// assert_eq!(reader.recv()?, "last words");
/// assert!(matches!(reader.recv(), Err(GetError::Closed)));
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub fn pipe_one_way<T: 'static>() -> Result<(Connection<Nothing, T>, Connection<T, Nothing>)> {
    let (writer, reader) = typed(1, of_default_room(None))?;
    Ok((reader, writer))
}

/// Makes a pipe as [`pipe_one_way`] does, in which a send waits while `messages` messages wait.
///
/// # Errors
///
/// Those of [`pipe_bounded`].
pub fn pipe_one_way_bounded<T: 'static>(
    messages: usize,
) -> Result<(Connection<Nothing, T>, Connection<T, Nothing>)> {
    let (writer, reader) = typed(1, of_default_room(Some(messages)))?;
    Ok((reader, writer))
}

fn of_default_room(bound: Option<usize>) -> Settings {
    Settings {
        bound,
        room: DEFAULT_ROOM,
    }
}

/// Makes a pipe of so many queues of these settings.
pub(crate) fn typed<S: 'static, R: 'static>(
    queues: usize,
    settings: Settings,
) -> Result<(Connection<S, R>, Connection<R, S>)> {
    let (first, second) = create(TypeTag::of_message::<(S, R)>(), queues, settings)?;
    Ok((Connection::new(first), Connection::new(second)))
}

fn create(tag: TypeTag, queues: usize, settings: Settings) -> Result<(PipeEnd, PipeEnd)> {
    let size = settings.size();
    let plan = Plan::new(Kind::Pipe, tag, QUEUES + queues * size)
        .page_aligned()
        .sparse(QUEUES + Settings::RESERVED);
    let object = Object::create(&plan, |payload| {
        let shape = &payload.place::<PipeWords>(0)?.shape;
        shape.queue_size.store(size as u64, Ordering::Relaxed);
        shape.queues.store(queues as u32, Ordering::Relaxed);
        settings.initialise(payload.subregion(QUEUES, size)?, CODEC)
    })?;
    for start in (1..queues).map(|index| QUEUES + index * size) {
        object.reserve(object.payload_offset() + start, Settings::RESERVED)?;
        // SAFETY: no other process or thread has the object yet.
        let payload = unsafe { object.payload() };
        settings.initialise(payload.subregion(start, size)?, CODEC)?;
    }
    let (left, right) = Lifeline::pair()?;
    // SAFETY: it is the object of a pipe, just made.
    let first = unsafe { PipeEnd::attach(object.clone(), 0, left) }?;
    // SAFETY: as above.
    let second = unsafe { PipeEnd::attach(object, 1, right) }?;
    Ok((first, second))
}

/// The plan by which a pipe is received whose side 0 sends and receives the messages that `tag`
/// names.
pub(crate) fn any(tag: TypeTag) -> Plan {
    Plan::new(Kind::Pipe, tag, QUEUES + Settings::LEAST.size())
}

impl PipeShape {
    /// Where the queue starts by which side `side` sends, if there is one.
    pub(crate) fn queue(&self, side: usize, payload_size: usize) -> Result<Option<usize>> {
        let queues = self.queues.load(Ordering::Relaxed) as usize;
        let size = self.queue_size.load(Ordering::Relaxed);
        let most = payload_size.saturating_sub(QUEUES) / queues.max(1);
        match usize::try_from(size) {
            Ok(size) if (1..=2).contains(&queues) && size <= most && size.is_multiple_of(PAGE) => {
                Ok((side < queues).then_some(QUEUES + side * size))
            }
            _ => Err(Error::mismatch(
                ErrorKind::Corrupt,
                "attach",
                "a pipe",
                format_args!("{queues} queues of {size} bytes in {payload_size} bytes"),
                "1 or 2 that fit, of whole pages",
            )),
        }
    }
}
