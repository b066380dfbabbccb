//! Lock-free rings for shared memory, safe against SIGKILL.
//!
//! Floor 1 of the workspace. A ring lies in a [`Region`](mp_layout::Region) that its owner keeps
//! mapped; nothing here locks, waits or calls the operating system. [`Ring`] carries values of one
//! plain type, [`ByteRing`] records of any length. Each has one producer and one consumer, which
//! may be threads or processes. [`MpmcRing`] carries small values between any number of both,
//! [`LoanRing`] larger ones in place, which are delivered again if their consumer dies. [`Latest`]
//! is no ring but one value: the newest, which a writer replaces without waiting.
//!
//! ```
//! use mp_ring::Ring;
//!
//! let mut memory = vec![0; Ring::<f64>::words_for(1000)?];
//! let (mut producer, mut consumer) = Ring::<f64>::new(&mut memory, 1000)?.split()?;
//! producer.push(2.5)?;
//! assert_eq!(producer.push_slice(&[1.0; 2000])?, 999);
//! assert_eq!(consumer.pop()?, 2.5);
//! # Ok::<(), mp_layout::Error>(())
//! ```
//!
//! # If a process dies
//!
//! Every operation publishes with one store of its own side's word, or one compare-and-swap. Killed
//! before it, the operation has not happened; killed after it, it has. The other side goes on
//! either way, with no recovery.
//! The dead side's role stays claimed until [`Ring::sweep`] frees it; its successor continues where
//! the last store left the ring.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod batch_backoff;
mod byte_consumer;
mod byte_grant;
mod byte_producer;
mod byte_ring;
mod byte_ring_words;
mod cell_word;
mod chunk;
mod claim;
mod consumer;
mod cursor;
mod error;
mod grant;
mod inline_value;
mod latest;
mod loan;
mod loan_ring;
mod loan_seat;
mod loan_word;
mod loan_words;
mod mpmc_grant;
mod mpmc_producer;
mod mpmc_ring;
mod mpmc_words;
mod payload;
mod producer;
mod record;
mod record_header;
mod records;
mod ring;
mod taken;

pub use batch_backoff::BatchBackoff;
pub use byte_consumer::ByteConsumer;
pub use byte_grant::ByteGrant;
pub use byte_producer::ByteProducer;
pub use byte_ring::ByteRing;
pub use chunk::Chunk;
pub use claim::{ANONYMOUS, Freed, Role};
pub use consumer::Consumer;
pub use error::{ClaimError, Corrupt, NoRoom, PopError, PushError, ReserveError};
pub use grant::Grant;
pub use latest::{Latest, LatestWriter};
pub use loan::Loan;
pub use loan_ring::LoanRing;
pub use loan_seat::LoanSeat;
pub use mpmc_grant::MpmcGrant;
pub use mpmc_producer::MpmcProducer;
pub use mpmc_ring::MpmcRing;
pub use producer::Producer;
pub use record::Record;
pub use records::Records;
pub use ring::Ring;
pub use taken::Taken;

/// The shared structures of this crate, for `docs/memory-layout.md`.
#[doc(hidden)]
#[cfg(not(loom))]
pub const TABLES: &[mp_layout::Table] = &[
    ring::RingWords::TABLE,
    ring::Shape::TABLE,
    inline_value::Tail::TABLE,
    byte_ring_words::ByteRingWords::TABLE,
    byte_ring_words::ByteShape::TABLE,
    byte_ring_words::Side::TABLE,
    claim::Roles::TABLE,
    record_header::TABLE,
    mpmc_words::MpmcWords::TABLE,
    mpmc_words::MpmcShape::TABLE,
    mpmc_words::MpmcCell::TABLE,
    loan_words::LoanWords::TABLE,
    loan_words::LoanShape::TABLE,
    loan_words::LoanCellWord::TABLE,
    loan_words::LoanSlot::TABLE,
    latest::LatestWords::TABLE,
    latest::LatestShape::TABLE,
];

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
