//! Locks and events that survive the death of their owners.
//!
//! Floor 1 of the workspace. Every type here is a structure that lies in memory shared by several
//! processes, is used through `&self`, and starts as zero bytes ([`mp_layout::Place`]). Whoever
//! maps the memory lends it as an [`mp_layout::Region`].
//!
//! | type | what it is | if a process dies |
//! |---|---|---|
//! | [`Lock`] | a lock that owns no data | the next owner gets `OwnerDied`, once |
//! | [`Mutex<T>`] | a lock around plain data | every owner gets `OwnerDied` until one recovers the data |
//! | [`RLock`] | a lock that its owner may acquire again | the next owner gets `OwnerDied`, once |
//! | [`RwLock`] | many readers, or one writer | a reader's share comes back; after a writer all get `OwnerDied` until one writes |
//! | [`Condition`] | a lock whose owners wait for each other | a waiter's notification goes to the next |
//! | [`Barrier`] | parties wait until all have arrived | one that waits, or is registered, breaks it |
//! | [`Semaphore`], [`BoundedSemaphore`] | permits that any process gives back | the permits it took stay taken |
//! | [`PermitSemaphore`] | permits that belong to who took them | its permits come back |
//! | [`Event`] | a flag to wait for | nothing: no set is lost |
//! | [`RawMutex`] | what the two locks are made of | its guard says so |
//! | [`EventCount`] | what blocking operations sleep on | its bell wakes a sleeper |
//!
//! # Examples
//!
//! ```
//! use mp_layout::Region;
//! use mp_sync::Mutex;
//!
//! let memory = Box::leak(vec![0_u64; 8].into_boxed_slice()); // stands for a mapped segment
//! // SAFETY: leaked memory stays, and it is used for nothing else.
//! let counter: &Mutex<u64> = unsafe { Region::from_exclusive(memory).place_guarded(0)? };
//! std::thread::scope(|scope| {
//!     for _ in 0..2 {
//!         scope.spawn(|| *counter.lock().unwrap() += 1);
//!     }
//! });
//! assert_eq!(*counter.lock()?, 2);
//! # Ok::<(), mp_layout::Error>(())
//! ```
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod barrier;
mod condition;
mod event;
mod event_count;
mod futex;
mod holder;
mod lock;
mod lock_error;
mod lock_watch;
mod mutex;
mod owner;
mod participant;
mod permit_semaphore;
mod raw_mutex;
#[cfg(all(feature = "raw_sync", not(loom)))]
pub mod raw_sync;
mod rlock;
mod rwlock;
mod semaphore;
mod wait;
mod word;

pub use barrier::{Barrier, Party};
pub use condition::{Condition, ConditionGuard};
pub use event::Event;
pub use event_count::{Bell, EventCount, Registration, Sleep, Ticket};
pub use holder::Holder;
pub use lock::{Lock, LockGuard};
pub use lock_error::LockError;
pub use lock_watch::LockWatch;
pub use mp_os::clock::Deadline;
pub use mutex::{Mutex, MutexGuard};
#[cfg(loom)]
#[doc(hidden)]
pub use owner::{as_another_owner, as_the_dead};
pub use permit_semaphore::{Permit, PermitSemaphore};
pub use raw_mutex::{Guard, Outcome, RawLockError, RawMutex};
pub use rlock::{RLock, RLockGuard};
pub use rwlock::{ReadGuard, RwLock, WriteGuard};
pub use semaphore::{BoundedSemaphore, Semaphore, SemaphoreGuard};
pub use wait::Wait;

/// The tables of this crate's structures in `docs/memory-layout.md`.
#[cfg(not(loom))]
pub const TABLES: &[mp_layout::Table] = &[
    raw_mutex::TABLE,
    Lock::TABLE,
    RLock::TABLE,
    mutex::TABLE,
    event_count::TABLE,
    Event::TABLE,
    Condition::TABLE,
    Barrier::TABLE,
    RwLock::TABLE,
    rwlock::SLOT_TABLE,
    PermitSemaphore::TABLE,
    Semaphore::TABLE,
    BoundedSemaphore::TABLE,
];

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
