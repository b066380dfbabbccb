//! One shared object: a segment with a checked header, reached by handles that travel to other
//! processes.
//!
//! - [`Object`]: a segment, its [`Header`](mp_layout::Header) and its payload; what every shared
//!   type is built on.
//! - [`ObjectType`] and [`handle!`]: what a new kind of object states, and what it gets for it.
//! - [`Shared<T>`]: an object whose payload is one structure, such as [`Lock`], [`Event`] and
//!   [`Mutex<T>`].
//! - `message` (with the feature of that name): values as bytes, written with all their fields and
//!   read to the last byte.
//! - [`transfer`]: how handles cross to another process inside serialised values.
//! - [`Lane`]: how their descriptors wait for a reader whom no process knows yet.
//! - [`wait`]: for several objects together.
//! - [`owner`]: which process an [`OwnerWord`] names, and the proof that it is dead.
//!
//! ```
//! use mp_object::Mutex;
//!
//! let total = Mutex::new(0_u64)?;
//! let same = total.clone(); // the same mutex, not a copy of it
//! *same.lock()? += 2;
//! assert_eq!(*total.lock()?, 2);
//! # Ok::<(), mp_layout::Error>(())
//! ```
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod environment;
mod label;
mod lane;
#[cfg(feature = "message")]
pub mod message;
mod object;
mod object_type;
mod open_objects;
pub mod owner;
mod placed;
mod plan;
mod shared;
mod waitable;

pub use label::labelled;
pub use lane::{Lane, LaneError, LaneFull};
pub use mp_layout::OwnerWord;
pub use mp_os::clock::Deadline;
pub use mp_shm::transfer;
pub use object::Object;
pub use object_type::ObjectType;
pub use owner::ProcessIdentity;
pub use placed::Placed;
pub use plan::Plan;
pub use shared::{
    Barrier, BoundedSemaphore, Condition, Event, Lock, Mutex, PermitSemaphore, RLock, RwLock,
    Semaphore, Shared,
};

pub use waitable::{InMemory, Waitable, Watch, wait};

/// What [`handle!`] writes needs it.
#[doc(hidden)]
pub use serde;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
