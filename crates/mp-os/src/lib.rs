//! The Linux kernel made safe: floor 0 of mp, without a word about what bytes mean.
//!
//! Each module is one thing the kernel offers, with the traps taken out:
//!
//! | module | what it offers |
//! |---|---|
//! | [`clock`] | absolute monotonic deadlines |
//! | [`futex`] | shared futexes, one word or several together |
//! | [`robust`] | own mutexes on libc's robust list, and which threads live |
//! | [`process_id`] | a process named by pid and start time in one word |
//! | [`pidfd`] | a process that cannot be mistaken for another |
//! | [`commit`] | memory reserved immediately, or refused with figures |
//! | [`memfd`] | sealed memory without a name |
//! | [`named`] | files in `/dev/shm`, published whole or not at all |
//! | [`mod@file`] | files on disk, written by one opening at a time |
//! | [`descriptor`] | descriptors by their numbers |
//! | [`poll`] | whether a descriptor is ready or has hung up |
//! | [`socket`] | descriptors passed over a socket pair |
//! | [`listener`] | a socket that is reached by its name |
//! | [`parent_death`] | children that die with their parent process |
//! | [`spawn`] | this program, started again |
//! | [`this_process`] | its standard input and error, signals, name and end |
//! | [`of_process`] | process-wide state that a forked child does not share |
//! | [`wakeup`] | waiting for several descriptors, and one that another process rings |
//! | [`cpu`] | how many processors, and which one |
//!
//! Nothing here follows a pointer that it read from shared memory without checking it first, and
//! every wait ends at a [`clock::Deadline`].
//!
//! # Examples
//!
//! ```
//! use mp_os::clock::Deadline;
//! use mp_os::futex::{self, Wake};
//! use std::sync::atomic::AtomicU32;
//! use std::time::Duration;
//!
//! let word = AtomicU32::new(7);
//! assert_eq!(futex::wait(&word, 8, Deadline::NEVER), Wake::Changed);
//! assert_eq!(futex::wait(&word, 7, Deadline::after(Duration::ZERO)), Wake::TimedOut);
//! ```
#![cfg(target_os = "linux")]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

pub mod clock;
pub mod commit;
pub mod cpu;
pub mod descriptor;
pub mod file;
mod fork_page;
pub mod futex;

mod limits;
pub mod listener;
pub mod memfd;
pub mod named;
pub mod of_process;
pub mod parent_death;
pub mod pidfd;
pub mod poll;
mod proc_stat;
pub mod process_id;
pub mod program_id;
pub mod random;
mod ready;
pub mod resource;
pub mod robust;
pub mod socket;
pub mod spawn;
pub mod stream;
pub mod this_process;
pub mod wakeup;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
