//! Queues between any number of processes and threads, whose messages outlive their sender.
//!
//! Floor 3 of the workspace.
//!
//! | type | what it is | if a process dies |
//! |---|---|---|
//! | [`Queue<T>`] | any number of producers and consumers, first in, first out | nothing that was put is lost, unless the dead one had got it |
//! | [`QueueSender<T>`], [`QueueReceiver<T>`] | the two ends of a queue, each in any number of processes | the same; the other end gets what was put, then `Closed`, if it was the last of its end |
//! | [`JoinableQueue<T>`] | a queue of tasks, of which `join` waits until they are done | `join` reports its tasks, and waits for the others |
//! | [`pipe()`] | two sides, each a [`Connection`] in any number of processes | the other side gets what was sent, then `Closed`, if it was the last of its side |
//! | [`MpmcQueue<T>`] | any number of producers and consumers, plain values of up to 56 bytes, a bound, no lock | the same as for a [`Queue`] |
//! | [`channel`] | one [`Sender`], one [`Receiver`], plain values, no lock | the other end gets what was sent, then `Closed` |
//!
//! A queue's messages are written by a [codec](Codec): [`Serde`] (anything that serde can write),
//! [`Plain`] (numbers and structs of them, by their bytes) or [`Bytes`].
//!
//! # Shared objects in messages
//!
//! A serde message may have handles of shared objects anywhere in it. They travel by descriptors,
//! which wait in the kernel until the message is got: in a [`Lane`](mp_object::Lane), whose module
//! says how, in which order, and what a death leaves. A process that has all objects of a message
//! open already needs no descriptor of them, nor does it map them again, if each descriptor is one
//! of an object. In short:
//!
//! | a process dies | what the others see |
//! |---|---|
//! | in a put, before the commit | no message; its descriptors are discarded later |
//! | in a put, after the commit | the message with its objects, also if no other process has these open |
//! | in a get, before the commit | the same, for the next consumer |
//! | in a get, after the commit | the message went with it; its descriptors are discarded later |
//!
//! A message that is never got is freed with the queue. One that does not decode is gone, and its
//! descriptors are closed. A process without room for the descriptors of the next message gets
//! [`TooManyDescriptors`](mp_layout::ErrorKind::TooManyDescriptors) with the figures, and the
//! message stays. [`Queue::max_with_objects`] says how many such messages can wait; beyond it a put
//! waits in a bounded queue, and fails in another. A queue with a name carries objects with names,
//! and refuses others.
//!
//! A queue that is in a message of itself, or of a queue that is in a message of it, is freed when
//! the kernel next looks for such rings after all its users are gone: when a UNIX socket is closed,
//! by any process.
//!
//! ```
//! use mp_object::Mutex;
//! use mp_queue::Queue;
//!
//! let jobs = Queue::new()?;
//! let total = Mutex::new(0_u64)?;
//! jobs.put(Some((5, vec![total.clone()])))?;
//! let (number, objects) = jobs.get()?.expect("a job"); // in any process that has the queue
//! *objects[0].lock()? += number;
//! assert_eq!(*total.lock()?, 5);
//! # Ok::<(), mp_layout::Error>(())
//! ```
//!
//! # Examples
//!
//! ```
//! use mp_queue::Queue;
//!
//! let queue = Queue::new()?;
//! let sender = queue.clone(); // the same queue; it may go to another process
//! std::thread::spawn(move || {
//!     for word in ["one", "two", "three"] {
//!         sender.put(word.to_owned())?;
//!     }
//!     sender.close()
//! });
//! let words: Vec<String> = queue.iter().collect::<Result<_, _>>()?;
//! assert_eq!(words, ["one", "two", "three"]);
//! # Ok::<(), mp_layout::Error>(())
//! ```
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod batch;
mod blocks;
mod builder;
mod channel;
mod codec;
mod connection;
mod control;
mod cursor;
mod error;
mod geometry;
mod iter;
mod joinable_queue;
mod lifeline;
mod mpmc_queue;
mod pipe;
mod pipe_end;
mod queue;
mod queue_receiver;
mod queue_sender;
mod raw_mpmc_queue;
mod raw_queue;
mod receiver;
mod record_header;
mod sender;
mod unfinished;

pub use batch::Batch;
pub use builder::Builder;
pub use channel::channel;
pub use codec::{Bytes, Codec, Plain, Serde};
pub use connection::Connection;
pub use error::{GetError, PutError, PutManyError};
pub use iter::Iter;
pub use joinable_queue::JoinableQueue;
pub use mp_os::clock::Deadline;
pub use mp_sync::Wait;
pub use mpmc_queue::MpmcQueue;
pub use pipe::{Nothing, pipe, pipe_bounded, pipe_one_way, pipe_one_way_bounded};
pub use queue::Queue;
pub use queue_receiver::QueueReceiver;
pub use queue_sender::QueueSender;
pub use receiver::Receiver;
pub use sender::Sender;

/// The shared structures of this crate, for `docs/memory-layout.md`.
#[doc(hidden)]
pub const TABLES: &[mp_layout::Table] = &[
    control::Control::TABLE,
    control::Shape::TABLE,
    control::Tail::TABLE,
    control::Head::TABLE,
    control::Link::TABLE,
    record_header::TABLE,
    channel::ChannelWords::TABLE,
    channel::Ends::TABLE,
    channel::End::TABLE,
    raw_mpmc_queue::MpmcWords::TABLE,
    unfinished::Unfinished::TABLE,
    unfinished::Counts::TABLE,
    unfinished::Consumer::TABLE,
    pipe::PipeWords::TABLE,
    pipe::PipeShape::TABLE,
    pipe::SideWords::TABLE,
];

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
