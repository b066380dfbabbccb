//! Segments of shared memory.
//!
//! - [`Segment`]: anonymous. A memfd that is sealed against shrinking and growing and whose pages
//!   are committed when it is made, so that no access can fail later; the kernel frees it with its
//!   last user, however that one ends.
//! - [`SharedMemory`]: named and raw. The payload starts at offset 0 and is exactly as long as
//!   asked, so programs in any language open it with `shm_open`.
//! - [`ReadOnlyMemory`]: a file mapped for reading only, so that a bug of the reader cannot change
//!   it.
//! - [`transfer`]: how handles cross to another process inside serialised values.
//! - [`unused_names`] and [`unlink_unused`]: names whose users are all gone, proven by the kernel.
//!
//! ```
//! use mp_shm::SharedMemory;
//!
//! let name = format!("mp-doc-{}", std::process::id());
//! let memory = SharedMemory::create(&name, 800)?;
//! memory.cells::<f64>()?.set(99, 2.5);
//!
//! let other = SharedMemory::open(&name)?; // in any process
//! assert_eq!((other.len(), other.cells::<f64>()?.get(99)), (800, 2.5));
//! SharedMemory::unlink(&name)?;
//! # Ok::<(), mp_layout::Error>(())
//! ```
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod copy;
mod mapping;
mod read_only_memory;
mod refusal;
mod segment;
mod shared_memory;
#[cfg(feature = "shared_memory")]
mod shmem;
pub mod transfer;
mod unused;

pub use read_only_memory::ReadOnlyMemory;
pub use segment::Segment;
pub use shared_memory::SharedMemory;
pub use unused::{unlink_unused, unused_names};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
