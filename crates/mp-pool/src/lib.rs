//! Pools of worker processes: a worker that dies fails the task that it ran, and nothing else.
//!
//! Floor 4 of the workspace.
//!
//! - [`Pool`]: Python's `multiprocessing.Pool`: `map`, `imap`, `starmap`, `apply` and their
//!   variants.
//! - [`ProcessPoolExecutor`] with [`Future`], [`as_completed`] and [`wait`]: the same as Python's
//!   `concurrent.futures`.
//! - [`AsyncResult`], [`MapResult`], [`Imap`]: what is waited for.
//! - [`TaskError`] with its [`Cause`]: which task has no value, and why.
//!
//! ```
//! use mp_pool::Pool;
//!
//! fn is_prime(n: u64) -> bool {
//!     n > 1 && (2..n).take_while(|d| d * d <= n).all(|d| n % d != 0)
//! }
//!
//! let pool = Pool::new(2)?;
//! let primes = pool.map(is_prime, 0..100)?.into_iter().filter(|is| *is).count();
//! assert_eq!(primes, 25);
//! # Ok::<(), mp_layout::Error>(())
//! ```
//!
//! How tasks and results travel, and what is found where a worker is killed, is in [docs/pool.md].
//!
//! [docs/pool.md]: https://github.com/mp-ipc/mp/blob/main/docs/pool.md
#![cfg(target_os = "linux")]
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod async_result;
#[doc(hidden)]
pub mod board;
mod builder;
mod callbacks;
mod chunked;
mod context;
mod error;
mod executor;
mod feeder;
mod imap;
mod job;
mod leading;
mod look;
mod map_options;
mod outcomes;
mod packet;
mod pool;
mod progress;
mod record;
mod results;
mod seat;
mod shared;
mod state;
mod stats;
mod worker;
mod worker_stats;

pub use async_result::{AsyncResult, MapResult};
pub use builder::Builder;
pub use chunked::Chunked;
pub use error::{Cause, Death, TaskError};
pub use executor::{
    AsCompleted, Future, ProcessPoolExecutor, ReturnWhen, Waited, as_completed, wait,
};
pub use imap::Imap;
pub use map_options::MapOptions;
pub use mp_os::clock::Deadline;
pub use pool::Pool;
pub use progress::Progress;
#[cfg(feature = "indicatif")]
pub use progress::progress_bar;
pub use stats::Stats;
pub use worker_stats::WorkerStats;

/// The tables of this crate's structures in `docs/memory-layout.md`.
#[doc(hidden)]
pub const TABLES: &[mp_layout::Table] = board::TABLES;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
