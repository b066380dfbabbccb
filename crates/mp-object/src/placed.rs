//! An object and a structure in its payload.

use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

use mp_layout::{Place, Result};

use crate::Object;

/// A `T` in an object's payload, for as long as a clone lives. Clones are the same `T`.
///
/// What shared types are built on whose payload starts with a structure of their own, or consists
/// of several.
pub struct Placed<T> {
    object: Object,
    place: NonNull<T>,
}

// SAFETY: it is a mapping that any thread may use and drop, and `T: Place` is itself `Send + Sync`.
unsafe impl<T: Place> Send for Placed<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Place> Sync for Placed<T> {}

impl<T: Place> Placed<T> {
    /// Finds the `T` of `object`.
    ///
    /// # Errors
    ///
    /// [`WrongSize`](mp_layout::ErrorKind::WrongSize) if the payload is too short for it.
    ///
    /// # Safety
    ///
    /// Objects of this kind and type start with a `T`, and reach the bytes of it in no other way.
    /// (That the memory stays while a lock in it is held, the segment sees to.)
    pub unsafe fn new(object: Object) -> Result<Self> {
        // SAFETY: the caller's promise.
        unsafe { Self::new_at(object, 0) }
    }

    /// Finds the `T` of `object` that lies `offset` bytes from the start of its payload.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Safety
    ///
    /// As [`new`](Self::new), of objects that have a `T` there.
    pub unsafe fn new_at(object: Object, offset: usize) -> Result<Self> {
        // SAFETY: the caller's promise.
        let payload = unsafe { object.payload() };
        // SAFETY: as above; the segment stays mapped as long as `object` lives or a lock in it is
        // held.
        let place = NonNull::from(unsafe { payload.place_guarded::<T>(offset) }?);
        Ok(Self { object, place })
    }
}

impl<T> Placed<T> {
    /// The object.
    pub fn object(&self) -> &Object {
        &self.object
    }
}

impl<T> Deref for Placed<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `place` was checked by `new` to lie in the payload, which `object` keeps mapped.
        unsafe { self.place.as_ref() }
    }
}

impl<T> fmt::Debug for Placed<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Placed").field(&self.object).finish()
    }
}

impl<T> Clone for Placed<T> {
    fn clone(&self) -> Self {
        Self {
            object: self.object.clone(),
            place: self.place,
        }
    }
}
