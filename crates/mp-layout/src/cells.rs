//! Elements in shared memory, one by one, while others may write them.
//!
//! # Orderings
//!
//! Every access is Relaxed: an element says nothing about its neighbours. Elements of 1, 2, 4 and 8
//! bytes are loaded and stored in one piece; larger ones in several, so that a concurrent reader
//! may see a mixture of two of them.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::{Bound, RangeBounds};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::{Error, ErrorKind, Plain, PlainSlice, Region, Result, checked};

/// A run of `T`s in shared memory that other threads and processes may write meanwhile, without
/// undefined behaviour.
///
/// This is what a slice cannot be: `&[T]` promises that nothing writes, `Cells` does not.
///
/// ```
/// use mp_layout::{Cells, Region};
///
/// let mut memory = [0_u64; 10];
/// let cells = Cells::<f64>::new(Region::from_exclusive(&mut memory))?;
/// cells.set(3, 1.5);
/// assert_eq!((cells.len(), cells.get(3)), (10, 1.5));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Cells<'a, T> {
    start: NonNull<T>,
    len: usize,
    lifetime: PhantomData<&'a T>,
}

// SAFETY: all access is atomic, and `T: Plain` is itself `Send + Sync`.
unsafe impl<T: Plain> Send for Cells<'_, T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Plain> Sync for Cells<'_, T> {}

impl<'a, T: Plain> Cells<'a, T> {
    /// Views the whole of `region` as elements; bytes that do not fill an element at the end are
    /// left out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if the region is not aligned for `T`, [`ErrorKind::InvalidInput`]
    /// if `T` has no bytes.
    pub fn new(region: Region<'a>) -> Result<Self> {
        let Some(len) = region.len().checked_div(size_of::<T>()) else {
            let name = core::any::type_name::<T>();
            return Err(
                Error::new(ErrorKind::InvalidInput, "view elements of", name)
                    .with_detail("a type without bytes cannot be shared"),
            );
        };
        Ok(Self {
            start: region.pointer_to(0, len)?,
            len,
            lifetime: PhantomData,
        })
    }

    /// Views `len` elements at `start`, which were located before; it checks nothing.
    ///
    /// # Safety
    ///
    /// What [`Region::new`] asks for, of `len` elements at `start`; `start` is aligned for `T`, and
    /// `T` has bytes.
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
        // SAFETY: elements that are mapped and have bytes, as `new` checks and `from_raw_parts`
        // asks, are at most as many. Told so, the compiler counts to `len` as it does to a
        // slice's: with signed numbers, where they are cheaper.
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
    /// [`ErrorKind::InvalidInput`] if there is no such element, [`ErrorKind::Corrupt`] if its bytes
    /// are not a `T`.
    pub fn try_get(&self, index: usize) -> Result<T> {
        let element = self
            .element(index)
            .ok_or_else(|| element_out_of_range(index, self.len))?;
        // SAFETY: `load` initialises every byte.
        unsafe { checked(load(element)) }.ok_or_else(|| not_a_value::<T>(index))
    }

    /// Stores `value` at `index`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is no such element.
    pub fn try_set(&self, index: usize, value: T) -> Result<()> {
        let element = self
            .element(index)
            .ok_or_else(|| element_out_of_range(index, self.len))?;
        store(element, &value);
        Ok(())
    }

    /// Stores `value` at `index`.
    ///
    /// # Panics
    ///
    /// If there is no such element.
    #[track_caller]
    #[inline]
    pub fn set(&self, index: usize, value: T) {
        if index >= self.len {
            refuse_index(index, self.len);
        }
        // SAFETY: `index` was checked; the element lies within the region by `new`.
        store(unsafe { self.start.add(index) }, &value);
    }

    /// The elements of `range`, as cells of their own: Python's `a[i:j]`, without a copy.
    ///
    /// ```
    /// # use mp_layout::{Cells, Region};
    /// # let mut memory = [0_u64; 10];
    /// # let cells = Cells::<u64>::new(Region::from_exclusive(&mut memory))?;
    /// cells.slice(4..).slice(..2).fill(7);
    /// assert_eq!(cells.iter().collect::<Vec<_>>(), [0, 0, 0, 0, 7, 7, 0, 0, 0, 0]);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If they are not all there.
    #[track_caller]
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let (first, last) = bounds(&range, self.len);
        match self.within(first, last) {
            Some(cells) => cells,
            None => refuse_range(first, last, self.len),
        }
    }

    /// [`slice`](Self::slice), or an error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if they are not all there.
    pub fn try_slice(&self, range: impl RangeBounds<usize>) -> Result<Self> {
        let (first, last) = bounds(&range, self.len);
        self.within(first, last).ok_or_else(|| {
            Error::mismatch(
                ErrorKind::InvalidInput,
                "reach",
                format!("elements {first}..{last}"),
                format_args!("{} elements", self.len),
                "a range within them",
            )
        })
    }

    /// Elements `first..last`, if they are all there.
    fn within(&self, first: usize, last: usize) -> Option<Self> {
        let len = last.checked_sub(first).filter(|_| last <= self.len)?;
        // SAFETY: `first` is at most `len`, so the result is within the elements or one past them.
        let start = unsafe { self.start.add(first) };
        Some(Self {
            start,
            len,
            ..*self
        })
    }

    /// Stores `value` into every element, one after another.
    pub fn fill(&self, value: T) {
        for index in 0..self.len() {
            self.set(index, value);
        }
    }

    /// Stores a copy of `elements`, one after another.
    ///
    /// # Panics
    ///
    /// If they are not as many as there are cells.
    #[track_caller]
    pub fn copy_from_slice(&self, elements: &[T]) {
        assert!(
            elements.len() == self.len,
            "{} elements do not fill {} cells",
            elements.len(),
            self.len
        );
        for (index, element) in elements.iter().enumerate() {
            self.set(index, *element);
        }
    }

    fn element(&self, index: usize) -> Option<NonNull<T>> {
        // SAFETY: `index < len`, so the element lies within the region by `new`.
        (index < self.len).then(|| unsafe { self.start.add(index) })
    }
}

impl<'a, T: PlainSlice> Cells<'a, T> {
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
        // SAFETY: `index` was checked; the element lies within the region by `new`.
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

/// Apart from the loops that reach it, which are the faster for it.
#[cold]
#[inline(never)]
#[track_caller]
#[expect(
    clippy::panic,
    reason = "the caller's bug, as with a slice; documented"
)]
pub(crate) fn refuse_index(index: usize, len: usize) -> ! {
    panic!("index {index} is out of range for {len} elements")
}

#[cold]
#[track_caller]
#[expect(
    clippy::panic,
    reason = "the caller's bug, as with a slice; documented"
)]
fn refuse_range(first: usize, last: usize, len: usize) -> ! {
    panic!("elements {first}..{last} are out of range for {len} elements")
}

/// The first index of `range` and the one after its last, unchecked.
fn bounds(range: &impl RangeBounds<usize>, len: usize) -> (usize, usize) {
    let first = match range.start_bound() {
        Bound::Included(first) => *first,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let last = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(after) => *after,
        Bound::Unbounded => len,
    };
    (first, last)
}

#[cold]
pub(crate) fn element_out_of_range(index: usize, len: usize) -> Error {
    Error::mismatch(
        ErrorKind::InvalidInput,
        "reach",
        format!("element {index}"),
        format_args!("{len} elements"),
        "a smaller index",
    )
}

#[cold]
pub(crate) fn not_a_value<T>(index: usize) -> Error {
    Error::new(ErrorKind::Corrupt, "read", format!("element {index}")).with_detail(format!(
        "its bytes are not a {}",
        core::any::type_name::<T>()
    ))
}

/// Runs `$copy` once per piece of a `$type`, in the largest words its alignment allows.
macro_rules! for_each_piece {
    ($type:ty, |$index:ident, $word:ident, $atomic:ident| $copy:block) => {
        for_each_piece!(@ $type, $index, $word, $atomic, $copy,
            8 => u64 AtomicU64, 4 => u32 AtomicU32, 2 => u16 AtomicU16, 1 => u8 AtomicU8)
    };
    (@ $type:ty, $index:ident, $word:ident, $atomic:ident, $copy:block,
        $($size:literal => $w:ident $a:ident),*) => {
        match align_of::<$type>().min(8) {
            $($size => {
                type $word = $w;
                type $atomic = $a;
                for $index in 0..size_of::<$type>() / $size $copy
            })*
            _ => {}
        }
    };
}

/// Loads an element that others may store meanwhile, every byte of it.
#[inline]
pub(crate) fn load<T: Plain>(element: NonNull<T>) -> MaybeUninit<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let (shared, own) = (element.as_ptr(), value.as_mut_ptr());
    for_each_piece!(T, |index, Word, Atomic| {
        let (from, to) = (shared.cast::<Word>(), own.cast::<Word>());
        // SAFETY: piece `index` of the element, which lies within the region and is aligned for
        // `Word` as `T` is. It may be mapped for reading only: `core::sync::atomic` allows
        // Relaxed loads of up to 8 bytes there.
        let piece = unsafe { &*from.wrapping_add(index).cast::<Atomic>() };
        // SAFETY: piece `index` of the private value.
        unsafe { to.wrapping_add(index).write(piece.load(Ordering::Relaxed)) };
    });
    value
}

/// Stores an element that others may load meanwhile.
#[inline]
fn store<T: Plain>(element: NonNull<T>, value: &T) {
    let (shared, own) = (element.as_ptr(), core::ptr::from_ref(value));
    for_each_piece!(T, |index, Word, Atomic| {
        let (from, to) = (own.cast::<Word>(), shared.cast::<Word>());
        // SAFETY: piece `index` of the private value, initialised throughout because `T` has no
        // padding.
        let word = unsafe { from.wrapping_add(index).read() };
        // SAFETY: piece `index` of the element, which lies within the region and is aligned for
        // `Word` as `T` is.
        let piece = unsafe { Atomic::from_ptr(to.wrapping_add(index)) };
        piece.store(word, Ordering::Relaxed);
    });
}
