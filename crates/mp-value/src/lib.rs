//! Typed values and arrays in shared memory.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod array;
mod array_control;
mod array_guard;
mod array_memory;
mod chunk;
mod chunks;
mod frozen_array;
mod numpy;
mod partition;

pub use array::Array;
pub use array_guard::{ArrayGuard, ArrayLock};
pub use chunk::Chunk;
pub use chunks::{Chunks, Claim};
pub use frozen_array::FrozenArray;

/// The tables of this crate's structures in `docs/memory-layout.md`.
pub const TABLES: &[mp_layout::Table] = &[array_control::TABLE];
