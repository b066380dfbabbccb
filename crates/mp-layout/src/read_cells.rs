//! Elements in shared memory that this process may only read.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::cells::{element_out_of_range, load, not_a_value, refuse_index};
use crate::{Plain, PlainSlice, Result, checked};

/// A run of `T`s in memory that this process has mapped for reading, and that others may write
/// meanwhile: [`Cells`] without a way to store.
///
/// [`Cells`]: crate::Cells
#[derive(Clone, Copy, Debug)]
pub struct ReadCells<'a, T> {
    start: NonNull<T>,
    len: usize,
    lifetime: PhantomData<&'a T>,
}

// SAFETY: all access is by atomic loads, and `T: Plain` is itself `Send + Sync`.
unsafe impl<T: Plain> Send for ReadCells<'_, T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Plain> Sync for ReadCells<'_, T> {}

impl<'a, T: Plain> ReadCells<'a, T> {
    /// Views `len` elements at `start`.
    ///
    /// # Safety
    ///
    /// They are mapped and readable for `'a`, `start` is aligned for `T`, `T` has bytes, and for
    /// `'a` no code of this process has a `&mut` to them.
    #[inline]
    pub const unsafe fn from_raw_parts(start: NonNull<T>, len: usize) -> Self {
        Self {
            start,
            len,
            lifetime: PhantomData,
        }
    }

    /// Number of elements.
    #[inline]
    pub const fn len(&self) -> usize {
        // SAFETY: as in `Cells::len`.
        unsafe { core::hint::assert_unchecked(self.len <= isize::MAX as usize) };
        self.len
    }

    /// Whether there is no element.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Loads the element at `index`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is no such element,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if its bytes are not a `T`.
    pub fn try_get(&self, index: usize) -> Result<T> {
        if index >= self.len {
            return Err(element_out_of_range(index, self.len));
        }
        // SAFETY: `index` was checked, and the elements are mapped by the contract of
        // `from_raw_parts`.
        let element = unsafe { self.start.add(index) };
        // SAFETY: `load` initialises every byte.
        unsafe { checked(load(element)) }.ok_or_else(|| not_a_value::<T>(index))
    }
}

impl<'a, T: PlainSlice> ReadCells<'a, T> {
    /// Loads the element at `index`.
    ///
    /// # Panics
    ///
    /// If there is no such element.
    #[track_caller]
    #[inline]
    pub fn get(&self, index: usize) -> T {
        if index >= self.len {
            refuse_index(index, self.len);
        }
        // SAFETY: `index` was checked, and the elements are mapped by the contract of
        // `from_raw_parts`.
        let value = load(unsafe { self.start.add(index) });
        // SAFETY: `load` initialises every byte, and every bit pattern is a `T`.
        unsafe { value.assume_init() }
    }

    /// Loads every element, one after another.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = T> + ExactSizeIterator + use<'a, T> {
        let cells = *self;
        (0..self.len()).map(move |index| cells.get(index))
    }

    /// A copy of all elements, loaded one after another.
    pub fn to_vec(&self) -> Vec<T> {
        self.iter().collect()
    }
}
