//! Objects whose payload is one structure.

use core::fmt;
use core::ops::Deref;

#[cfg(doc)]
use mp_layout::ErrorKind;
use mp_layout::{Described, PlainSlice, Region, Result};

use crate::{Object, ObjectType, Placed, Plan};

/// A lock that several processes share; see [`mp_sync::Lock`] for what it does.
pub type Lock = Shared<mp_sync::Lock>;

/// A flag that several processes wait for; see [`mp_sync::Event`] for what it does.
pub type Event = Shared<mp_sync::Event>;

/// A lock that its owner may acquire again; see [`mp_sync::RLock`] for what it does.
pub type RLock = Shared<mp_sync::RLock>;

/// A lock whose owners wait for each other's notifications; see [`mp_sync::Condition`] for what it
/// does.
pub type Condition = Shared<mp_sync::Condition>;

/// A point at which parties wait until all have arrived; see [`mp_sync::Barrier`] for what it does.
pub type Barrier = Shared<mp_sync::Barrier>;

/// A lock that many processes hold to read, or one to write; see [`mp_sync::RwLock`] for what it
/// does.
pub type RwLock = Shared<mp_sync::RwLock>;

/// Permits that come back when their owner dies; see [`mp_sync::PermitSemaphore`] for what it does.
pub type PermitSemaphore = Shared<mp_sync::PermitSemaphore>;

/// Permits that several processes take and release; see [`mp_sync::Semaphore`] for what it does.
pub type Semaphore = Shared<mp_sync::Semaphore>;

/// Permits of which there are never more than at first; see [`mp_sync::BoundedSemaphore`].
pub type BoundedSemaphore = Shared<mp_sync::BoundedSemaphore>;

/// A value that several processes lock; see [`mp_sync::Mutex`] for what it does.
pub type Mutex<T> = Shared<mp_sync::Mutex<T>>;

/// A handle of a `T` in shared memory, for as long as a clone of the handle lives. Clones are the
/// same `T`.
///
/// It is passed to a process as an argument; other programs open it by name.
///
/// ```
/// use mp_object::Lock;
///
/// let lock = Lock::new()?;
/// let same = lock.clone();
/// let guard = lock.lock()?;
/// assert!(same.try_lock().is_err(), "this thread holds it already");
/// drop(guard);
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct Shared<T>(Placed<T>);

impl<T: Described> ObjectType for Shared<T> {
    type Settings<'s> = T::Initial;

    fn plan(_: &T::Initial) -> Result<Plan> {
        Ok(Self::any())
    }

    fn any() -> Plan {
        Plan::new(T::KIND, T::tag(), size_of::<T>())
    }

    unsafe fn initialise(payload: Region<'_>, initial: T::Initial) -> Result<()> {
        // SAFETY: no other process reaches the payload yet; it stays mapped meanwhile, and will be
        // this `T` only.
        unsafe { payload.place_guarded::<T>(0) }?.initialise(initial)
    }

    unsafe fn attach(object: Object) -> Result<Self> {
        // SAFETY: an object of this kind and tag is a `T`, and nothing else.
        unsafe { Placed::new(object) }.map(Self)
    }

    fn object(&self) -> &Object {
        self.0.object()
    }
}

crate::handle!([T: Described] Shared<T>);

macro_rules! starts_as {
    ([$($bound:tt)*] $type:ty, $words:literal $(, $value:ident: $of:ty)?) => {
        impl<$($bound)*> Shared<$type> {
            #[doc = concat!("Makes ", $words, ".")]
            ///
            /// # Errors
            ///
            /// [`ErrorKind::NotEnoughMemory`] with what is free and what was asked for,
            /// [`ErrorKind::TooManyDescriptors`], [`ErrorKind::InvalidInput`] if it cannot start
            /// so, [`ErrorKind::Unsupported`] if the kernel or a sandbox has no memory files.
            pub fn new($($value: $of)?) -> Result<Self> {
                Self::create(($($value)?))
            }

            #[doc = concat!("Makes ", $words, " under `name`.")]
            ///
            /// # Errors
            ///
            /// [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidName`], and those of
            /// [`new`](Self::new), of the memory of `/dev/shm`.
            pub fn create_named(name: &str $(, $value: $of)?) -> Result<Self> {
                ObjectType::create_named(name, ($($value)?))
            }

            #[doc = concat!("Opens `name`, or makes ", $words, " under it.")]
            ///
            /// # Errors
            ///
            /// Those of [`open`](Self::open) but `NotFound`, and those of [`new`](Self::new).
            pub fn open_or_create(name: &str $(, $value: $of)?) -> Result<Self> {
                ObjectType::open_or_create(name, ($($value)?))
            }
        }
    };
}

starts_as!([] mp_sync::Lock, "a lock that no thread holds");
starts_as!([] mp_sync::Event, "an event that is not set");
starts_as!([] mp_sync::RLock, "a recursive lock that no thread holds");
starts_as!([] mp_sync::Condition, "a condition whose lock no thread holds");
starts_as!([] mp_sync::Barrier, "a barrier of so many parties", parties: u32);
starts_as!([] mp_sync::RwLock, "a reader-writer lock that no thread holds");
starts_as!([] mp_sync::PermitSemaphore, "a semaphore with so many owned permits", permits: u32);
starts_as!([] mp_sync::Semaphore, "a semaphore with so many permits", permits: u32);
starts_as!([] mp_sync::BoundedSemaphore, "a semaphore with so many permits and never more", permits: u32);
starts_as!([T: PlainSlice] mp_sync::Mutex<T>, "a mutex that owns `value`", value: T);

impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}
