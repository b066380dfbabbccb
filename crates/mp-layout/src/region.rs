//! A borrowed stretch of shared memory.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::atomic::{AtomicU8, AtomicU32, AtomicU64};
use crate::{Error, ErrorKind, Result};

/// A structure that may be overlaid on shared bytes which other processes read and write meanwhile.
///
/// # Safety
///
/// - `#[repr(C)]`, or one of the atomics.
/// - Every field is an atomic, an `UnsafeCell` of plain data that the structure's own protocol
///   guards, or another `Place`. A plain `u32` is wrong: a peer writes it under a shared reference.
/// - Every bit pattern is a valid value, and all bytes zero is its initial state. A `bool` or an
///   enum is wrong.
/// - No pointers, references or lengths that are trusted without a check.
/// - No destructor.
pub unsafe trait Place: Sized + Send + Sync + 'static {
    /// Whether it is nothing but words that mean no more than their bits, so that safe code may
    /// overlay any number of these, also overlapping ones, on the same bytes.
    ///
    /// False for what guards other data, because bits written past it would change data that other
    /// code has a reference to, and for what is linked from elsewhere while in use, such as a
    /// lock, because its memory must then stay. These are overlaid by
    /// [`Region::place_guarded`]. A structure is bare if all its fields are; [`shared_struct!`]
    /// sees to it.
    ///
    /// [`shared_struct!`]: crate::shared_struct
    const IS_BARE: bool = false;

    /// The value that all bytes zero represent. Only the model checker calls it: its atomics are no
    /// bytes.
    fn zeroed() -> Self;
}

macro_rules! place_atomics {
    ($($atomic:ident)*) => {$(
        // SAFETY: an atomic of fixed width; every bit pattern is valid, zero is its start, it has
        // no destructor.
        unsafe impl Place for $atomic {
            const IS_BARE: bool = true;

            fn zeroed() -> Self {
                Self::new(0)
            }
        }
    )*};
}

place_atomics!(AtomicU8 AtomicU32 AtomicU64);

// SAFETY: padding adds only bytes that are never read; the rest is the inner type's promise.
unsafe impl<T: Place> Place for crate::Padded<T> {
    const IS_BARE: bool = T::IS_BARE;

    fn zeroed() -> Self {
        Self::new(T::zeroed())
    }
}

// SAFETY: an array of places has no padding; the rest is the element's promise.
unsafe impl<T: Place, const N: usize> Place for [T; N] {
    const IS_BARE: bool = T::IS_BARE;

    fn zeroed() -> Self {
        core::array::from_fn(|_| T::zeroed())
    }
}

/// A stretch of shared memory, borrowed for `'a` from what keeps it mapped.
///
/// It is a pointer and a length, not a slice: other processes may write the bytes at any time. What
/// lies in it is reached by overlaying a [`Place`] or, for payload, through raw pointers under the
/// protocol that guards it.
///
/// ```
/// use mp_layout::{Region, atomic::{AtomicU64, Ordering}};
///
/// let mut bytes = [0_u64; 4];
/// let region = Region::from_exclusive(&mut bytes);
/// let word: &AtomicU64 = region.place(8)?;
/// word.store(7, Ordering::Relaxed);
/// assert!(region.place::<AtomicU64>(28).is_err(), "past the end");
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Region<'a> {
    start: NonNull<u8>,
    len: usize,
    #[cfg(loom)]
    arena: &'a Arena,
    #[cfg(loom)]
    base: usize,
    lifetime: PhantomData<&'a ()>,
}

// SAFETY: a region is an address range; every access through it is by atomics or in an `unsafe`
// block of the caller.
unsafe impl Send for Region<'_> {}
// SAFETY: as for `Send`.
unsafe impl Sync for Region<'_> {}

#[cfg(not(loom))]
const fn assert_bare<T: Place>() {
    assert!(
        T::IS_BARE,
        "locks and what they guard are overlaid with `place_guarded`"
    );
}

#[cfg(not(loom))]
impl<'a> Region<'a> {
    /// Borrows `len` bytes at `start`.
    ///
    /// # Safety
    ///
    /// The bytes are mapped, readable and writable for `'a`, and for `'a` no code of this process
    /// holds a Rust reference to them other than to atomics and through regions.
    /// Counter-example: a region over a `Vec` that is also read as a slice.
    pub const unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        Self {
            start,
            len,
            lifetime: PhantomData,
        }
    }

    /// Lends memory of this process, for tests and for threads.
    pub fn from_exclusive(words: &'a mut [u64]) -> Self {
        let len = size_of_val(words);
        let start = NonNull::from(words).cast();
        // SAFETY: the exclusive borrow lasts for `'a`, so the bytes are reached through this region
        // only.
        unsafe { Self::new(start, len) }
    }

    /// Overlays a [bare](Place::IS_BARE) `T` on the bytes at `offset`; of others the compiler says
    /// that they need [`place_guarded`](Self::place_guarded).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if it would not fit or not be aligned.
    pub fn place<T: Place>(self, offset: usize) -> Result<&'a T> {
        const { assert_bare::<T>() };
        // SAFETY: a bare `T` asks for nothing beyond what `new` promised.
        unsafe { self.place_guarded(offset) }
    }

    /// Overlays a `T` on the bytes at `offset`, also one that is not [bare](Place::IS_BARE).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if it would not fit or not be aligned.
    ///
    /// # Safety
    ///
    /// If `T` is not bare: these bytes are used for nothing but this `T`, by any process, from
    /// their zeroing on, and they stay mapped while a lock in them is held, also by a leaked
    /// guard. Counter-examples: a mutex placed 8 bytes further on as well; an atomic placed
    /// over the data that a mutex guards; a mutex in a `Vec` that is freed while a guard is leaked.
    pub unsafe fn place_guarded<T: Place>(self, offset: usize) -> Result<&'a T> {
        let start = self.pointer_to::<T>(offset, 1)?;
        // SAFETY: in bounds and aligned by `pointer_to`, alive for `'a` by the contract of `new`;
        // `Place` promises that shared references to it are valid over whatever bytes peers
        // write.
        Ok(unsafe { start.as_ref() })
    }

    /// Overlays `count` [bare](Place::IS_BARE) `T`s on the bytes from `offset`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if they would not fit or not be aligned.
    pub fn place_slice<T: Place>(self, offset: usize, count: usize) -> Result<&'a [T]> {
        const { assert_bare::<T>() };
        let start = self.pointer_to::<T>(offset, count)?;
        // SAFETY: as in `place`, for `count` elements.
        Ok(unsafe { core::slice::from_raw_parts(start.as_ptr(), count) })
    }
}

impl Region<'_> {
    /// Bytes of the region.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address of the first byte.
    pub const fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// The `len` bytes from `offset`, as a region of its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if they are not within this one.
    pub fn subregion(self, offset: usize, len: usize) -> Result<Self> {
        let start = self.pointer_to::<u8>(offset, len)?;
        #[cfg(not(loom))]
        return Ok(Self { start, len, ..self });
        #[cfg(loom)]
        return Ok(Self {
            start,
            len,
            base: self.base + offset,
            ..self
        });
    }

    /// Address of `count` elements of `T` from `offset`, checked to be within the region and
    /// aligned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if they would not fit or not be aligned.
    pub fn pointer_to<T>(&self, offset: usize, count: usize) -> Result<NonNull<T>> {
        let end = count
            .checked_mul(size_of::<T>())
            .and_then(|size| size.checked_add(offset));
        if end.is_none_or(|end| end > self.len) {
            return Err(Error::mismatch(
                ErrorKind::WrongSize,
                "place",
                core::any::type_name::<T>(),
                format_args!("{} bytes", self.len),
                format_args!("{count} times {} bytes from {offset}", size_of::<T>()),
            ));
        }
        // SAFETY: `offset` is at most `len`, so the result is within the region or one past it.
        let start = unsafe { self.start.add(offset) }.cast::<T>();
        #[cfg(not(loom))]
        if !start.is_aligned() {
            return Err(Error::mismatch(
                ErrorKind::WrongSize,
                "place",
                core::any::type_name::<T>(),
                format_args!("address {start:p}"),
                format_args!("a multiple of {}", align_of::<T>()),
            ));
        }
        Ok(start)
    }
}

#[cfg(loom)]
pub use model::Arena;

#[cfg(loom)]
mod model {
    //! Under loom an atomic is no bytes: a region is backed by boxed values, one per place, kept by
    //! an [`Arena`].

    use std::any::Any;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::{NonNull, PhantomData, Place, Region, Result};

    /// What stands for a shared segment under the model checker: one boxed value per overlaid
    /// place.
    #[derive(Debug, Default)]
    pub struct Arena {
        places: Mutex<BTreeMap<(usize, usize), &'static (dyn Any + Send + Sync)>>,
    }

    impl Arena {
        /// A region of `len` bytes whose places are kept here. `len` and offsets are those of
        /// production.
        pub fn region(&self, len: usize) -> Region<'_> {
            Region {
                start: NonNull::dangling(),
                len,
                arena: self,
                base: 0,
                lifetime: PhantomData,
            }
        }
    }

    impl<'a> Region<'a> {
        /// The value that stands for the `T` at `offset`.
        ///
        /// # Safety
        ///
        /// None here: a boxed value overlaps nothing.
        pub unsafe fn place_guarded<T: Place>(self, offset: usize) -> Result<&'a T> {
            self.place(offset)
        }

        /// The value that stands for the `T` at `offset`, made at the first call.
        pub fn place<T: Place>(self, offset: usize) -> Result<&'a T> {
            Ok(&self.place_slice(offset, 1)?[0])
        }

        /// The values that stand for the `count` `T`s from `offset`, made at the first call.
        ///
        /// They are leaked: a model checks a bounded number of executions.
        pub fn place_slice<T: Place>(self, offset: usize, count: usize) -> Result<&'a [T]> {
            let mut places = self
                .arena
                .places
                .lock()
                .unwrap_or_else(|poison| poison.into_inner());
            let key = (self.base + offset, count);
            let boxed = places.entry(key).or_insert_with(|| {
                let values: Vec<T> = (0..count).map(|_| T::zeroed()).collect();
                Box::leak(Box::new(values))
            });
            let values = boxed.downcast_ref::<Vec<T>>();
            Ok(values.unwrap_or_else(|| unreachable!("two types at offset {}", key.0)))
        }
    }
}
