//! One value of up to 8 bytes without a lock.
//!
//! # Layout
//!
//! One 64-bit word: the value's bytes first (the low ones), then zeros.
//!
//! # Orderings
//!
//! Loads are Acquire and stores Release, so that a reader of a value that says "the array is
//! filled" sees it filled. What changes the value in one step is both.
//!
//! # Progress
//!
//! `get`, `set` and `compare_exchange` are wait-free; `fetch_add` is too for 8 bytes, and lock-free
//! for fewer.
//!
//! # If a process dies
//!
//! The word is the old or the new one.

use core::fmt;
use core::marker::PhantomData;

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{
    Error, ErrorKind, Kind, Plain, PlainSlice, Region, Result, TypeTag, bytes_of, value_of,
};
use mp_object::{Object, ObjectType, Placed, Plan};

use crate::Integer;

/// A number, `bool`, `char` or 8 bytes of plain data in shared memory, without a lock: Python's
/// `multiprocessing.RawValue`.
///
/// Each operation is one atomic step. Two of them are not: the tutorials' racy `value += 1` is a
/// [`get`](Self::get) and a [`set`](Self::set), and loses counts, as it does there;
/// [`fetch_add`](Self::fetch_add) does not.
///
/// ```
/// use mp_value::RawValue;
///
/// let hits = RawValue::new(0_i32)?;
/// hits.set(hits.get() + 1); // another process may add between the two, and one count is lost
/// hits.fetch_add(1); // never lost
/// assert_eq!(hits.get(), 2);
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// Types of other sizes need a lock and are refused by the compiler:
///
/// ```compile_fail
/// mp_value::RawValue::new([0_u64; 2])?;
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct RawValue<T> {
    word: Placed<AtomicU64>,
    holds: PhantomData<T>,
}

impl<T: Plain> RawValue<T> {
    const HAS_ATOMIC_SIZE: () = assert!(
        matches!(size_of::<T>(), 1 | 2 | 4 | 8),
        "a RawValue has 1, 2, 4 or 8 bytes; use Value for other types"
    );

    /// Makes a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotEnoughMemory`] with what is free and what was asked for,
    /// [`ErrorKind::TooManyDescriptors`], [`ErrorKind::Unsupported`] if the kernel or a sandbox has
    /// no memory files.
    pub fn new(value: T) -> Result<Self> {
        Self::create(value)
    }

    /// Makes a value under `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidName`], and those of [`RawValue::new`], of
    /// the memory of `/dev/shm`.
    pub fn create_named(name: &str, value: T) -> Result<Self> {
        ObjectType::create_named(name, value)
    }

    /// Opens the value named `name`, or makes one.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) but `NotFound`, and those of [`RawValue::new`].
    pub fn open_or_create(name: &str, value: T) -> Result<Self> {
        ObjectType::open_or_create(name, value)
    }

    /// The value, for types such as `bool` and `char`, some of whose bit patterns are no value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if the bytes are not a `T`: a foreign program wrote them.
    pub fn try_get(&self) -> Result<T> {
        from_word(self.word.load(Ordering::Acquire))
    }

    /// Stores `value`.
    #[inline]
    pub fn set(&self, value: T) {
        self.word.store(to_word(value), Ordering::Release);
    }

    /// Stores `new` if the value is `current`, bit by bit; otherwise the inner error is what it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] as for [`RawValue::try_get`].
    pub fn compare_exchange(&self, current: T, new: T) -> Result<Result<T, T>> {
        let (current, new) = (to_word(current), to_word(new));
        match self
            .word
            .compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(old) => from_word(old).map(Ok),
            Err(found) => from_word(found).map(Err),
        }
    }
}

impl<T: Plain> ObjectType for RawValue<T> {
    type Settings<'s> = T;

    fn plan(_: &T) -> Result<Plan> {
        Ok(Self::any())
    }

    fn any() -> Plan {
        Plan::new(Kind::RawValue, TypeTag::of::<T>(), size_of::<AtomicU64>())
    }

    unsafe fn initialise(payload: Region<'_>, value: T) -> Result<()> {
        let word: &AtomicU64 = payload.place(0)?;
        word.store(to_word(value), Ordering::Relaxed);
        Ok(())
    }

    unsafe fn attach(object: Object) -> Result<Self> {
        let () = Self::HAS_ATOMIC_SIZE;
        Ok(Self {
            // SAFETY: a raw value starts with a word, which is bare.
            word: unsafe { Placed::new(object) }?,
            holds: PhantomData,
        })
    }

    fn object(&self) -> &Object {
        self.word.object()
    }
}

mp_object::handle!([T: Plain] RawValue<T>);

impl<T: PlainSlice> RawValue<T> {
    /// The value.
    #[inline]
    pub fn get(&self) -> T {
        bits_of(self.word.load(Ordering::Acquire))
    }
}

impl<T: Integer> RawValue<T> {
    /// Adds `number` in one step, wrapping around, and returns the value before.
    #[inline]
    pub fn fetch_add(&self, number: T) -> T {
        if size_of::<T>() == 8 {
            return bits_of(self.word.fetch_add(to_word(number), Ordering::AcqRel));
        }
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let new = to_word(bits_of::<T>(word).plus(number));
            match self
                .word
                .compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return bits_of(word),
                Err(found) => word = found,
            }
        }
    }
}

/// The value's bytes and zeros.
#[inline]
fn to_word<T: Plain>(value: T) -> u64 {
    let mut bytes = [0; 8];
    for (byte, own) in bytes.iter_mut().zip(bytes_of(&value)) {
        *byte = *own;
    }
    u64::from_ne_bytes(bytes)
}

#[inline]
fn bits_of<T: PlainSlice>(word: u64) -> T {
    let bytes = word.to_ne_bytes();
    value_of(&bytes[..size_of::<T>()]).unwrap_or_else(|| unreachable!("any bytes are a value"))
}

fn from_word<T: Plain>(word: u64) -> Result<T> {
    let bytes = word.to_ne_bytes();
    value_of(&bytes[..size_of::<T>()]).ok_or_else(|| {
        let name = core::any::type_name::<T>();
        Error::new(ErrorKind::Corrupt, "read", "raw value")
            .with_detail(format!("its bytes are not a {name}"))
    })
}

impl<T> Clone for RawValue<T> {
    fn clone(&self) -> Self {
        Self {
            word: self.word.clone(),
            holds: PhantomData,
        }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for RawValue<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("RawValue")
            .field(&self.try_get())
            .finish()
    }
}
