//! Memory that stays shared across `fork`, for what is being checked.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Error;

/// The mapping is a whole number of these, and no stricter alignment can be promised.
const PAGE: usize = 4096;

/// A `T` in zeroed memory that every forked process shares.
///
/// It is a convenience: a check may as well work on a mapping of its own that its closures capture.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// // SAFETY: zero is a valid AtomicU64, and an atomic may be written through a shared reference.
/// let area = unsafe { killcheck::SharedArea::<AtomicU64>::zeroed() }?;
/// area.store(7, Ordering::Relaxed);
/// area.reset();
/// assert_eq!(area.load(Ordering::Relaxed), 0);
/// # Ok::<(), killcheck::Error>(())
/// ```
pub struct SharedArea<T> {
    base: NonNull<u8>,
    size: usize,
    value: PhantomData<T>,
}

impl<T: Sync> SharedArea<T> {
    /// Maps a zeroed `T`.
    ///
    /// # Safety
    ///
    /// - All bytes zero must be a valid `T`.
    /// - Every byte of `T` that is ever read must lie in an atomic or an `UnsafeCell`, since other
    ///   processes and [`reset`](Self::reset) write it. A plain `u64` field is wrong, a `Cell`-like
    ///   wrapper around one that is `Sync` is right.
    /// - `T` must hold no pointer into memory private to one process, such as a `Box`. It is never
    ///   dropped.
    ///
    /// # Errors
    ///
    /// When the kernel has no memory to map.
    ///
    /// # Panics
    ///
    /// If `T` asks for an alignment of more than 4096 bytes.
    pub unsafe fn zeroed() -> Result<Self, Error> {
        assert!(
            align_of::<T>() <= PAGE,
            "the alignment of the shared type exceeds a page"
        );
        let size = size_of::<T>().max(1).next_multiple_of(PAGE);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(Self {
                base,
                size,
                value: PhantomData,
            }),
            _ => Err(Error::last_os(format!(
                "mapping {size} bytes of shared memory"
            ))),
        }
    }

    /// Returns the address of the `T`, which is the same in every forked process.
    #[must_use]
    pub fn as_ptr(&self) -> *mut T {
        self.base.as_ptr().cast()
    }

    /// Zeroes every byte, as a check's set-up wants it before each kill.
    pub fn reset(&self) {
        for word in self.as_words() {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Returns a copy of every byte.
    pub(crate) fn words(&self) -> Vec<u64> {
        let words = self.as_words().iter();
        words.map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn as_words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page aligned, `size` is a multiple of 8, it lives as long as
        // `self`, and `zeroed` promises that its bytes may be written through shared references.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast::<AtomicU64>(), self.size / 8) }
    }
}

impl<T: Sync> Deref for SharedArea<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mapping is large and aligned enough, and `zeroed` promises that zeroed bytes
        // are a `T` all of whose bytes others may change.
        unsafe { self.base.cast().as_ref() }
    }
}

impl<T> Drop for SharedArea<T> {
    fn drop(&mut self) {
        // SAFETY: base and size are those of the mapping made in `zeroed`; no borrow outlives self.
        let unmapped = unsafe { libc::munmap(self.base.as_ptr().cast(), self.size) };
        debug_assert_eq!(unmapped, 0);
    }
}

impl<T> fmt::Debug for SharedArea<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedArea")
            .field("base", &self.base)
            .field("size", &self.size)
            .finish()
    }
}

// SAFETY: the area only lends `&T`, and the mapping belongs to no thread in particular.
unsafe impl<T: Sync> Send for SharedArea<T> {}
// SAFETY: as above; `T: Sync` allows `&T` in many threads, `reset` writes atomically.
unsafe impl<T: Sync> Sync for SharedArea<T> {}
