//! What the bytes of `mp`'s shared segments mean.
//!
//! Floor 0 of the workspace. Nothing here calls the operating system: this crate says which types
//! may live in shared memory ([`Plain`], [`Place`]), how a segment describes itself ([`Header`]),
//! how a type is named in it ([`TypeCode`], [`TypeLayout`], [`TypeTag`]), how a borrowed stretch of
//! memory is cut and overlaid ([`Region`]), and what an error of any crate looks like ([`Error`]).
//!
//! ```
//! use mp_layout::{TypeCode, TypeTag};
//!
//! assert_eq!(TypeCode::from_char('d')?.item_size(), 8);
//! assert!(TypeTag::of::<i64>().accepts(TypeTag::of_code(TypeCode::from_char('l')?)));
//! # Ok::<(), mp_layout::Error>(())
//! ```
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

pub mod atomic;
mod cells;
mod complex;
mod described;
mod error;
mod fnv;
mod header;
mod kind;
#[cfg(loom)]
#[doc(hidden)] // for the crates above
pub mod model;
mod owner_word;
mod padded;
mod plain;
mod read_cells;
mod region;
mod shared_struct;
mod table;
mod type_code;
mod type_layout;
mod type_tag;

pub use cells::Cells;
pub use complex::Complex;
pub use described::Described;
pub use error::{Error, ErrorKind, Result};
pub use header::{Environment, Expected, HEADER_SIZE, Header, Libc};
pub use kind::Kind;
pub use owner_word::OwnerWord;
pub use padded::{CACHE_LINE, Padded};
pub use plain::{Plain, PlainSlice, assert_zeros, bytes_of, checked, value_of, zeroed};
pub use read_cells::ReadCells;
#[cfg(loom)]
pub use region::Arena;
pub use region::{Place, Region};
pub use table::{Field, Table};
pub use type_code::{Class, TypeCode};
#[doc(hidden)] // for the crates above
pub use type_layout::numpy_tuple;
pub use type_layout::{TypeField, TypeLayout};
pub use type_tag::TypeTag;

#[doc(hidden)]
pub use fnv::hash_of_text;
#[cfg(feature = "derive")]
pub use mp_derive::Plain;
#[doc(hidden)]
pub use table::size_of_field;
#[doc(hidden)]
pub use type_layout::generated;

/// The shared structures of this crate, for `docs/memory-layout.md`.
#[doc(hidden)]
#[cfg(not(loom))]
pub const TABLES: &[Table] = &[Header::TABLE, OwnerWord::TABLE];

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
