//! Arrays that no process writes any more.

use core::fmt;
use core::ops::Deref;

use mp_layout::{Error, ErrorKind, PlainSlice, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Array;

/// An [`Array`] that was [frozen](Array::freeze): a slice for every process, without a lock.
///
/// ```
/// use mp_value::Array;
///
/// let table = Array::from_slice(&[1_u64, 1, 2, 3, 5])?;
/// let frozen = table.freeze()?;
/// assert_eq!(frozen.iter().sum::<u64>(), 12);
/// assert!(table.set(0, 9).is_err());
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct FrozenArray<T> {
    array: Array<T>,
}

impl<T: PlainSlice> FrozenArray<T> {
    /// Opens the frozen array named `name`.
    ///
    /// # Errors
    ///
    /// Those of [`Array::open`]; [`ErrorKind::InvalidState`] if it is not frozen.
    pub fn open(name: &str) -> Result<Self> {
        Array::open(name).and_then(Self::new)
    }

    /// The array, whose elements can be read one by one.
    pub fn array(&self) -> &Array<T> {
        &self.array
    }

    pub(crate) fn new(array: Array<T>) -> Result<Self> {
        if array.is_frozen() {
            return Ok(Self { array });
        }
        Err(Error::new(ErrorKind::InvalidState, "attach", "array")
            .with_detail("it is not frozen; open it as an Array and freeze() it"))
    }
}

impl<T: PlainSlice> Deref for FrozenArray<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        let memory = self.array.memory();
        // SAFETY: `new` has seen that the array is frozen, so no process writes elements any more
        // (I4 of array_control).
        unsafe { memory.slice(0..memory.len()) }
    }
}

impl<T> Clone for FrozenArray<T> {
    fn clone(&self) -> Self {
        Self {
            array: self.array.clone(),
        }
    }
}

impl<T: PlainSlice + fmt::Debug> fmt::Debug for FrozenArray<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

impl<T: PlainSlice> Serialize for FrozenArray<T> {
    /// Writes the handle, see [`mp_object::transfer`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.array.serialize(serializer)
    }
}

impl<'de, T: PlainSlice> Deserialize<'de> for FrozenArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Array::deserialize(deserializer)
            .and_then(|array| Self::new(array).map_err(serde::de::Error::custom))
    }
}
