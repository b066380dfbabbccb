//! What all handles have in common.

use mp_layout::{Error, Region, Result};
use serde::{Deserializer, de};

use crate::{Object, Plan};

/// The handle of a shared object: what the object is made of, and how its parts are found again.
///
/// From that follow the ways to make it, to open it by name and to receive it.
/// [`handle!`](crate::handle) adds what Rust wants as methods and traits of the type itself.
pub trait ObjectType: Sized {
    /// What its creator decides: a first value, a length, a bound.
    type Settings<'s>;

    /// What is made by these settings.
    ///
    /// # Errors
    ///
    /// If there can be no such object: [`InvalidInput`](mp_layout::ErrorKind::InvalidInput).
    fn plan(settings: &Self::Settings<'_>) -> Result<Plan>;

    /// What every object of this type is, whatever its settings: the plan by which one is opened or
    /// received.
    fn any() -> Plan;

    /// Fills the payload, which is zero and which no other process can reach yet.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being filled; then nothing is made.
    ///
    /// # Safety
    ///
    /// `payload` is that of an object which is being made by [`plan`](Self::plan) of these
    /// settings, and which nothing else reaches during the call.
    unsafe fn initialise(payload: Region<'_>, settings: Self::Settings<'_>) -> Result<()>;

    /// Finds the parts of an object.
    ///
    /// # Errors
    ///
    /// If the payload contradicts the header.
    ///
    /// # Safety
    ///
    /// The header of `object` was checked against [`any`](Self::any), or against a plan made by
    /// settings.
    unsafe fn attach(object: Object) -> Result<Self>;

    /// The object that the handle is of.
    fn object(&self) -> &Object;

    /// Refuses a handle that another process could not use with the object alone. It is asked
    /// before serialising, so that the process that passes the handle on gets the error.
    ///
    /// # Errors
    ///
    /// Why it cannot be passed on, and what can be instead.
    fn check_transfer(&self) -> Result<()> {
        Ok(())
    }

    /// Adds to an error what only users of this type can do about it.
    #[must_use]
    fn explain(error: Error) -> Error {
        error
    }

    /// Makes an object without a name.
    ///
    /// # Errors
    ///
    /// Those of [`Object::create`]; [`InvalidInput`](mp_layout::ErrorKind::InvalidInput) also if
    /// there can be no object of these settings.
    fn create(settings: Self::Settings<'_>) -> Result<Self> {
        let plan = Self::plan(&settings)?;
        // SAFETY: an `Object` calls it for the payload that it makes by this plan, before it
        // publishes it.
        let fill = |payload: Region<'_>| unsafe { Self::initialise(payload, settings) };
        attached(Object::create(&plan, fill))
    }

    /// Makes an object under `name`.
    ///
    /// # Errors
    ///
    /// Those of [`Object::create_named`]; [`InvalidInput`](mp_layout::ErrorKind::InvalidInput) also
    /// if there can be no object of these settings.
    fn create_named(name: &str, settings: Self::Settings<'_>) -> Result<Self> {
        let plan = Self::plan(&settings)?;
        // SAFETY: an `Object` calls it for the payload that it makes by this plan, before it
        // publishes it.
        let fill = |payload: Region<'_>| unsafe { Self::initialise(payload, settings) };
        attached(Object::create_named(name, &plan, fill))
    }

    /// Opens the object named `name`.
    ///
    /// # Errors
    ///
    /// Those of [`Object::open`].
    fn open(name: &str) -> Result<Self> {
        attached(Object::open(name, &Self::any()))
    }

    /// Opens the object named `name`, or makes one.
    ///
    /// # Errors
    ///
    /// Those of [`Object::open`] and [`Object::create_named`] but `NotFound` and `AlreadyExists`;
    /// [`InvalidInput`](mp_layout::ErrorKind::InvalidInput) also if there can be no object of these
    /// settings.
    fn open_or_create(name: &str, settings: Self::Settings<'_>) -> Result<Self> {
        let plan = Self::plan(&settings)?;
        // SAFETY: an `Object` calls it for the payload that it makes by this plan, before it
        // publishes it.
        let fill = |payload: Region<'_>| unsafe { Self::initialise(payload, settings) };
        attached(Object::open_or_create(name, &plan, fill))
    }

    /// The handle of an object that this process has open already.
    ///
    /// # Errors
    ///
    /// [`WrongKind`](mp_layout::ErrorKind::WrongKind),
    /// [`WrongType`](mp_layout::ErrorKind::WrongType) or
    /// [`WrongSize`](mp_layout::ErrorKind::WrongSize) if it is another type's.
    fn of_object(object: &Object) -> Result<Self> {
        object.expect(Self::any().expected())?;
        attached(Ok(object.clone()))
    }

    /// Reads a handle that was serialised.
    ///
    /// # Errors
    ///
    /// Those of [`Object::deserialize`].
    fn receive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Object::deserialize(deserializer, Self::any().expected())?;
        attached(Ok(object)).map_err(de::Error::custom)
    }
}

/// The handle of an object that was checked while it was made, opened or received.
fn attached<T: ObjectType>(object: Result<Object>) -> Result<T> {
    object
        // SAFETY: every caller above checked it against a plan of `T`.
        .and_then(|object| unsafe { T::attach(object) })
        .map_err(T::explain)
}

/// Gives a handle the methods and traits that all handles have: `open`, `unlink`, `object`, `AsFd`,
/// `Serialize` and `Deserialize`.
///
/// ```
/// use mp_layout::{Kind, Region, Result, TypeTag, atomic::{AtomicU64, Ordering}};
/// use mp_object::{Object, ObjectType, Placed, Plan};
///
/// /// Counts visitors.
/// #[derive(Clone, Debug)]
/// struct Counter(Placed<AtomicU64>);
///
/// const PLAN: Plan = Plan::new(Kind::RawValue, TypeTag::NONE, 8);
///
/// impl ObjectType for Counter {
///     type Settings<'s> = u64;
///
///     fn plan(_: &u64) -> Result<Plan> {
///         Ok(PLAN)
///     }
///
///     fn any() -> Plan {
///         PLAN
///     }
///
///     unsafe fn initialise(payload: Region<'_>, first: u64) -> Result<()> {
///         payload.place::<AtomicU64>(0)?.store(first, Ordering::Relaxed);
///         Ok(())
///     }
///
///     unsafe fn attach(object: Object) -> Result<Self> {
///         // SAFETY: such an object is a word, reached by atomics only.
///         unsafe { Placed::new(object) }.map(Self)
///     }
///
///     fn object(&self) -> &Object {
///         self.0.object()
///     }
/// }
///
/// mp_object::handle!([] Counter);
///
/// let counter = Counter::create(41)?;
/// counter.clone().0.fetch_add(1, Ordering::Relaxed);
/// assert_eq!(counter.0.load(Ordering::Relaxed), 42);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[macro_export]
macro_rules! handle {
    ([$($generics:tt)*] $handle:ty) => {
        impl<$($generics)*> $handle {
            /// Opens the one named `name`.
            ///
            /// # Errors
            ///
            /// Each says what was found and what was expected.
            ///
            /// - The name: `NotFound`, `InvalidName`, `PermissionDenied` if it is another user's.
            /// - The bytes: `Foreign` if they are not an object of this toolkit, `Truncated`,
            ///   `NotReady` if the creator has not finished or died before, `Corrupt`,
            ///   `WrongVersion`.
            /// - Where it was made: `WrongBoot`, `WrongNamespace`, `WrongLibc`.
            /// - What it is: `WrongKind`, `WrongType`, `WrongSize`.
            /// - This process: `TooManyDescriptors`, `NotEnoughMemory` of addresses, `Os`.
            pub fn open(name: &str) -> ::mp_layout::Result<Self> {
                <Self as $crate::ObjectType>::open(name)
            }

            /// Removes `name`. Handles that have the object open stay valid.
            ///
            /// # Errors
            ///
            /// `NotFound`, `InvalidName`, `PermissionDenied` if it is another user's, `Foreign` if
            /// it is anything else but a file.
            pub fn unlink(name: &str) -> ::mp_layout::Result<()> {
                $crate::Object::unlink(name)
            }

            /// The object that the handle is of.
            pub fn object(&self) -> &$crate::Object {
                <Self as $crate::ObjectType>::object(self)
            }
        }

        impl<$($generics)*> ::std::os::fd::AsFd for $handle {
            fn as_fd(&self) -> ::std::os::fd::BorrowedFd<'_> {
                self.object().as_fd()
            }
        }

        impl<$($generics)*> $crate::serde::Serialize for $handle {
            /// Writes the handle, see [`transfer`]($crate::transfer).
            fn serialize<S: $crate::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                $crate::ObjectType::check_transfer(self).map_err(|error| {
                    let custom = <S::Error as $crate::serde::ser::Error>::custom;
                    $crate::transfer::refuse(error, custom)
                })?;
                self.object().serialize(serializer)
            }
        }

        impl<'de, $($generics)*> $crate::serde::Deserialize<'de> for $handle {
            fn deserialize<D: $crate::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                <Self as $crate::ObjectType>::receive(deserializer)
            }
        }
    };
}
