//! Elements without a lock.

use core::fmt;
use std::os::fd::AsFd;

#[cfg(doc)]
use mp_layout::ErrorKind;
use mp_layout::{Cells, Kind, Plain, PlainSlice, Region, Result, TypeTag, assert_zeros};
use mp_object::{Object, ObjectType, Plan};

use crate::array_memory::refused_len;
use crate::elements::Elements;
use crate::initial_elements::InitialElements;
use crate::numpy;

/// Numbers in shared memory without a lock: Python's `multiprocessing.RawArray`.
///
/// Any process may read and write elements at any time, by atomic loads and stores that order
/// nothing (Relaxed). An element of 1, 2, 4 or 8 bytes is always a whole one; larger ones may be a
/// mixture of two writes.
///
/// ```
/// use mp_value::RawArray;
///
/// let counts = RawArray::<u32>::new(3)?;
/// counts.set(1, counts.get(1) + 5);
/// assert_eq!(counts.iter().sum::<u32>(), 5);
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct RawArray<T> {
    object: Object,
    elements: Elements<T>,
}

impl<T: Plain> RawArray<T> {
    /// Makes an array of `len` zeros.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if that is more than there are addresses,
    /// [`ErrorKind::NotEnoughMemory`] with what is free and what was asked for,
    /// [`ErrorKind::TooManyDescriptors`], [`ErrorKind::Unsupported`] if the kernel or a sandbox has
    /// no memory files.
    pub fn new(len: usize) -> Result<Self> {
        const { assert_zeros::<T>() };
        Self::create(InitialElements::Zeros(len))
    }

    /// Makes an array with a copy of `elements`.
    ///
    /// # Errors
    ///
    /// As for [`RawArray::new`].
    pub fn from_slice(elements: &[T]) -> Result<Self> {
        Self::create(InitialElements::Copies(elements))
    }

    /// Makes an array of what `elements` yields; they are collected first.
    ///
    /// # Errors
    ///
    /// As for [`RawArray::new`].
    #[expect(clippy::should_implement_trait, reason = "it can fail")]
    pub fn from_iter(elements: impl IntoIterator<Item = T>) -> Result<Self> {
        Self::from_slice(&elements.into_iter().collect::<Vec<T>>())
    }

    /// Makes an array of `len` zeros under `name`.
    ///
    /// # Errors
    ///
    /// As for [`RawArray::new`], and [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidName`].
    pub fn create_named(name: &str, len: usize) -> Result<Self> {
        const { assert_zeros::<T>() };
        ObjectType::create_named(name, InitialElements::Zeros(len))
    }

    /// Opens the array of `len` elements named `name`, or makes one of zeros.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) but `NotFound`, and of [`RawArray::new`];
    /// [`ErrorKind::WrongSize`] if it has another length.
    pub fn open_or_create(name: &str, len: usize) -> Result<Self> {
        const { assert_zeros::<T>() };
        ObjectType::open_or_create(name, InitialElements::Zeros(len))
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.cells().len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, to hand on without the handle; [`Cells::slice`] is Python's `a[i:j]`.
    ///
    /// ```
    /// let counts = mp_value::RawArray::<u32>::new(6)?;
    /// counts.cells().slice(2..4).fill(7);
    /// assert_eq!(counts.to_vec(), [0, 0, 7, 7, 0, 0]);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    #[inline]
    pub fn cells(&self) -> Cells<'_, T> {
        // SAFETY: `object` keeps the payload mapped, and no slice of the elements is ever formed.
        unsafe { self.elements.cells() }
    }

    /// Loads the element at `index`, for types such as `bool` and `char`, some of whose bit
    /// patterns are no value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is no such element, [`ErrorKind::Corrupt`] if its bytes
    /// are not a `T`.
    pub fn try_get(&self, index: usize) -> Result<T> {
        self.cells().try_get(index)
    }

    /// Stores `value` at `index`.
    ///
    /// # Panics
    ///
    /// If there is no such element.
    #[track_caller]
    #[inline]
    pub fn set(&self, index: usize, value: T) {
        self.cells().set(index, value);
    }

    /// The line of Python that opens the same elements with numpy, see
    /// [`Array::numpy_line`](crate::Array::numpy_line).
    pub fn numpy_line(&self) -> String {
        numpy::line::<T>(
            &self.object,
            self.object.as_fd(),
            self.object.payload_offset(),
            self.len(),
        )
    }
}

impl<T: Plain> ObjectType for RawArray<T> {
    type Settings<'s> = InitialElements<'s, T>;

    fn plan(elements: &InitialElements<'_, T>) -> Result<Plan> {
        let len = elements.len();
        let size = len
            .checked_mul(size_of::<T>())
            .filter(|_| size_of::<T>() != 0);
        let size = size.ok_or_else(|| refused_len::<T>(len))?;
        Ok(Plan::new(Kind::RawArray, TypeTag::of::<T>(), size)
            .item_count(len)
            .page_aligned())
    }

    fn any() -> Plan {
        Plan::new(Kind::RawArray, TypeTag::of::<T>(), 0)
    }

    unsafe fn initialise(payload: Region<'_>, elements: InitialElements<'_, T>) -> Result<()> {
        elements.write(Cells::new(payload)?)
    }

    unsafe fn attach(object: Object) -> Result<Self> {
        let len = usize::try_from(object.header().item_count())
            .map_err(|_| refused_len::<T>(usize::MAX))?;
        Self::plan(&InitialElements::Zeros(len))?;
        Ok(Self {
            // SAFETY: a raw array is its elements, reached by atomics only.
            elements: Elements::locate(unsafe { object.payload() }, 0, len)?,
            object,
        })
    }

    fn object(&self) -> &Object {
        &self.object
    }
}

mp_object::handle!([T: Plain] RawArray<T>);

impl<T: PlainSlice> RawArray<T> {
    /// Loads the element at `index`.
    ///
    /// # Panics
    ///
    /// If there is no such element.
    #[track_caller]
    #[inline]
    pub fn get(&self, index: usize) -> T {
        self.cells().get(index)
    }

    /// Loads every element, one after another; others may write meanwhile.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = T> + ExactSizeIterator + '_ {
        self.cells().iter()
    }

    /// A copy of all elements, which others may write meanwhile.
    pub fn to_vec(&self) -> Vec<T> {
        self.iter().collect()
    }
}

impl<T> Clone for RawArray<T> {
    fn clone(&self) -> Self {
        Self {
            object: self.object.clone(),
            elements: self.elements,
        }
    }
}

impl<T> fmt::Debug for RawArray<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RawArray")
            .field("len", &self.elements.len())
            .finish_non_exhaustive()
    }
}
