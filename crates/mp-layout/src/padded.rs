//! One writer's hot word on lines of its own.

use core::ops::Deref;

/// Bytes that two cores do not share by accident: two 64-byte lines on x86_64, because its
/// prefetcher pulls pairs, and the line of the larger aarch64 cores.
pub const CACHE_LINE: usize = 128;

/// A value alone on its [`CACHE_LINE`].
///
/// ```
/// use mp_layout::{CACHE_LINE, Padded};
///
/// assert_eq!((size_of::<Padded<u32>>(), align_of::<Padded<u32>>()), (CACHE_LINE, CACHE_LINE));
/// ```
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Padded<T>(T);

const _: () = assert!(align_of::<Padded<u64>>() == CACHE_LINE);

impl<T> Padded<T> {
    /// Puts `value` on a line of its own.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
