//! Typed values and arrays in shared memory, under Python's names.
//!
//! Floor 3 of the workspace. Every type here is a handle: clones are the same object, it is passed
//! to another process as an argument ([`mp_object::transfer`]), and other programs open it by name.
//!
//! | type | what it is | if a process dies |
//! |---|---|---|
//! | [`Value<T>`] | one value with a lock | the value is the old or the new one |
//! | [`Array<T>`] | elements with a lock, divisible into claimed [`Chunks`] | the next user learns who wrote |
//! | [`FrozenArray<T>`] | an array that no process writes any more | nothing |
//! | [`RawValue<T>`] | up to 8 bytes without a lock | the value is the old or the new one |
//! | [`Latest<T>`] | the newest value of one writer, who never waits | the value is the old or the new one |
//! | [`RawArray<T>`] | elements without a lock | each element of up to 8 bytes is old or new |
//! | [`NdArray<T>`] | an array of any number of axes, which is an `.npy` file | as an array; the file is free again |
//! | [`NdReader<T>`] | an `.npy` file that others write | nothing |
//! | [`FrozenNdArray<T>`] | an `NdArray` that the kernel lets no process write | nothing |
//! | [`ShareableList`] | items of different types, each replaced in one step | an item is the old or the new one |
//! | [`WithLock`] of a value or an array | with a lock of one's own, which others may share | the lock's next user gets `OwnerDied`, once |
//! | [`AnyValue`], [`AnyArray`] | the first two by type code: `Value('i', 0)` | as these |
//!
//! Three processes, or here threads, write one array side by side:
//!
//! ```
//! use mp_value::{Array, Claim, RawValue, Value};
//!
//! let (squares, next, sum) = (Array::<u64>::new(1000)?, RawValue::new(0_u64)?, Value::new(0_u64)?);
//! let worker = || -> mp_layout::Result<()> {
//!     let chunks = squares.chunks(100)?;
//!     loop {
//!         let index = next.fetch_add(1) as usize;
//!         if index >= chunks.count() {
//!             return Ok(());
//!         }
//!         let Claim::Claimed(mut chunk) = chunks.claim(index)? else { continue };
//!         for (number, square) in chunk.range().zip(chunk.iter_mut()) {
//!             *square = (number * number) as u64;
//!         }
//!         sum.fetch_add(chunk.iter().sum())?;
//!     }
//! };
//! std::thread::scope(|scope| -> mp_layout::Result<()> {
//!     let workers = [(); 3].map(|()| scope.spawn(worker));
//!     workers.into_iter().try_for_each(|worker| worker.join().expect("no panic"))
//! })?;
//! assert_eq!(sum.get(), squares.lock()?.iter().sum::<u64>());
//! # Ok::<(), mp_layout::Error>(())
//! ```
// Under loom there is `tests/loom.rs` alone, which includes what it models.
#![cfg(not(loom))]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod any_array;
mod any_value;
mod array;
mod array_control;
mod array_guard;
mod array_memory;
mod chunk;
mod chunks;
mod elements;
mod first;
mod frozen_array;
mod frozen_nd_array;
mod initial_elements;
mod latest;
mod list_item;
mod nd_array;
mod nd_reader;
mod npy_header;
mod number;
mod numpy;
mod partition;
mod raw_array;
mod raw_value;
mod scalar;
mod shareable_list;
mod value;
mod value_control;
mod value_guard;
#[cfg(feature = "ndarray")]
mod views;
mod with_lock;

pub use any_array::{AnyArray, Contents};
pub use any_value::AnyValue;
pub use array::Array;
pub use array_guard::{ArrayGuard, ArrayLock};
pub use chunk::Chunk;
pub use chunks::{Chunks, Claim};
pub use frozen_array::FrozenArray;
pub use frozen_nd_array::FrozenNdArray;
pub use latest::{Latest, LatestWriter};
pub use list_item::ListItem;
pub use mp_os::clock::Deadline;
pub use nd_array::{NdArray, NotFrozen};
pub use nd_reader::NdReader;
pub use npy_header::NpyHeader;
pub use number::{Integer, Number};
pub use raw_array::RawArray;
pub use raw_value::RawValue;
pub use scalar::Scalar;
pub use shareable_list::ShareableList;
pub use value::Value;
pub use value_guard::{ValueGuard, ValueLock};
pub use with_lock::{BothLocked, WithLock};

/// The tables of this crate's structures in `docs/memory-layout.md`.
pub const TABLES: &[mp_layout::Table] = &[
    value_control::ValueControl::TABLE,
    array_control::ArrayControl::TABLE,
];

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
