//! An object and the structure at the start of its payload.

use core::ops::Deref;
use core::ptr::NonNull;

use mp_layout::{Place, Result};
use mp_object::Object;

/// A `C` in shared memory, for as long as a clone lives.
pub(crate) struct Placed<C> {
    object: Object,
    place: NonNull<C>,
}

// SAFETY: it is a mapping that any thread may use and drop, and `C: Place` is `Send + Sync`.
unsafe impl<C: Place> Send for Placed<C> {}
// SAFETY: as for `Send`.
unsafe impl<C: Place> Sync for Placed<C> {}

impl<C: Place> Placed<C> {
    pub(crate) fn new(object: Object) -> Result<Self> {
        let place = NonNull::from(object.payload().place::<C>(0)?);
        Ok(Self { object, place })
    }
}

impl<C> Placed<C> {
    pub(crate) fn object(&self) -> &Object {
        &self.object
    }
}

impl<C> Deref for Placed<C> {
    type Target = C;

    #[inline]
    fn deref(&self) -> &C {
        // SAFETY: `place` was checked by `new` to lie in the payload, which `object` keeps mapped.
        unsafe { self.place.as_ref() }
    }
}

impl<C> Clone for Placed<C> {
    fn clone(&self) -> Self {
        Self {
            object: self.object.clone(),
            place: self.place,
        }
    }
}
