//! Elements located once.

use core::ptr::NonNull;

use mp_layout::{Cells, Plain, Region, Result};

/// Where `len` elements of an object are mapped; its user also has a handle that keeps them mapped.
pub(crate) struct Elements<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: a place and a number; what is done there is up to the `unsafe` methods, and `T: Plain` is
// `Send + Sync`.
unsafe impl<T: Plain> Send for Elements<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Plain> Sync for Elements<T> {}

impl<T> Clone for Elements<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Elements<T> {}

impl<T> Elements<T> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn start(&self) -> NonNull<T> {
        self.start
    }
}

impl<T: Plain> Elements<T> {
    /// Locates `len` elements from `offset` of `payload`.
    pub(crate) fn locate(payload: Region<'_>, offset: usize, len: usize) -> Result<Self> {
        let start = payload.pointer_to(offset, len)?;
        Cells::<T>::new(payload.subregion(offset, len * size_of::<T>())?)?;
        Ok(Self { start, len })
    }

    /// The elements, to be reached one by one.
    ///
    /// # Safety
    ///
    /// For `'a` the payload in which they were located stays mapped, and no thread of this process
    /// has a slice of them that is disturbed by what is done with the result.
    #[inline]
    pub(crate) unsafe fn cells<'a>(self) -> Cells<'a, T> {
        // SAFETY: located by `locate`, which has checked the alignment and that `T` has bytes;
        // mapped by the contract, as is that no slice is disturbed.
        unsafe { Cells::from_raw_parts(self.start, self.len) }
    }
}
