//! Objects whose payload is one structure.

use core::fmt;
use core::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};

use mp_layout::{Described, PlainSlice, Region, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Object, Placed, Plan};

/// A lock that several processes share; see [`mp_sync::Lock`] for what it does.
pub type Lock = Shared<mp_sync::Lock>;

/// A flag that several processes wait for; see [`mp_sync::Event`] for what it does.
pub type Event = Shared<mp_sync::Event>;

/// A value that several processes lock; see [`mp_sync::Mutex`] for what it does.
pub type Mutex<T> = Shared<mp_sync::Mutex<T>>;

/// A handle of a `T` in shared memory, for as long as a clone of the handle lives. Clones are the same `T`.
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

impl<T: Described> Shared<T> {
    /// Opens the one named `name`.
    ///
    /// # Errors
    ///
    /// Those of [`Object::open`].
    pub fn open(name: &str) -> Result<Self> {
        Object::open(name, &plan::<T>()).and_then(Self::from_object)
    }

    /// Removes `name`; who has it open keeps it.
    ///
    /// # Errors
    ///
    /// Those of [`Object::unlink`].
    pub fn unlink(name: &str) -> Result<()> {
        Object::unlink(name)
    }

    /// The object behind the handle.
    pub fn object(&self) -> &Object {
        self.0.object()
    }

    fn from_object(object: Object) -> Result<Self> {
        // SAFETY: an object of this kind and tag is a `T`, which `plan` made sure of, and nothing else.
        unsafe { Placed::new(object) }.map(Self)
    }

    fn create(initialise: impl FnOnce(Region<'_>) -> Result<()>) -> Result<Self> {
        Object::create(&plan::<T>(), initialise).and_then(Self::from_object)
    }

    fn create_at(name: &str, initialise: impl FnOnce(Region<'_>) -> Result<()>) -> Result<Self> {
        Object::create_named(name, &plan::<T>(), initialise).and_then(Self::from_object)
    }

    fn open_or_create_at(
        name: &str,
        initialise: impl FnOnce(Region<'_>) -> Result<()>,
    ) -> Result<Self> {
        Object::open_or_create(name, &plan::<T>(), initialise).and_then(Self::from_object)
    }
}

macro_rules! starts_zeroed {
    ($type:ty, $words:literal) => {
        impl Shared<$type> {
            #[doc = concat!("Makes ", $words, ".")]
            ///
            /// # Errors
            ///
            /// Those of [`Object::create`].
            pub fn new() -> Result<Self> {
                Self::create(|_| Ok(()))
            }

            #[doc = concat!("Makes ", $words, " under `name`.")]
            ///
            /// # Errors
            ///
            /// Those of [`Object::create_named`].
            pub fn create_named(name: &str) -> Result<Self> {
                Self::create_at(name, |_| Ok(()))
            }

            #[doc = concat!("Opens `name`, or makes ", $words, " under it.")]
            ///
            /// # Errors
            ///
            /// Those of [`Object::open_or_create`].
            pub fn open_or_create(name: &str) -> Result<Self> {
                Self::open_or_create_at(name, |_| Ok(()))
            }
        }
    };
}

starts_zeroed!(mp_sync::Lock, "a lock that nobody holds");
starts_zeroed!(mp_sync::Event, "an event that is not set");

impl<T: PlainSlice> Shared<mp_sync::Mutex<T>> {
    /// Makes a mutex that owns `value`.
    ///
    /// # Errors
    ///
    /// Those of [`Object::create`].
    pub fn new(value: T) -> Result<Self> {
        Self::create(|payload| initialise(payload, value))
    }

    /// Makes a mutex that owns `value`, under `name`.
    ///
    /// # Errors
    ///
    /// Those of [`Object::create_named`].
    pub fn create_named(name: &str, value: T) -> Result<Self> {
        Self::create_at(name, |payload| initialise(payload, value))
    }

    /// Opens `name`, or makes a mutex that owns `value` under it.
    ///
    /// # Errors
    ///
    /// Those of [`Object::open_or_create`].
    pub fn open_or_create(name: &str, value: T) -> Result<Self> {
        Self::open_or_create_at(name, |payload| initialise(payload, value))
    }
}

fn initialise<T: PlainSlice>(payload: Region<'_>, value: T) -> Result<()> {
    // SAFETY: the segment is not published yet; it stays mapped while this guard lives, and will be this mutex only.
    *unsafe { payload.place_guarded::<mp_sync::Mutex<T>>(0) }?.lock()? = value;
    Ok(())
}

fn plan<T: Described>() -> Plan {
    Plan::new(T::KIND, T::tag(), size_of::<T>())
}

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

impl<T> AsFd for Shared<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.object().as_fd()
    }
}

impl<T> Serialize for Shared<T> {
    /// Writes the handle, see [`transfer`](crate::transfer).
    fn serialize<S: Serializer>(&self, serializer: S) -> core::result::Result<S::Ok, S::Error> {
        self.0.object().serialize(serializer)
    }
}

impl<'de, T: Described> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        let object = Object::deserialize(deserializer, plan::<T>().expected())?;
        Self::from_object(object).map_err(serde::de::Error::custom)
    }
}
