//! A handle that is passed to another process.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use mp_layout::{Expected, Plain, Result};
use mp_object::{Object, transfer};
use mp_shm::Segment;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{MEMORY, NdArray, read_header};
use crate::array_memory::ArrayMemory;

/// The control of a handle that is received.
struct Control<T>(Object, core::marker::PhantomData<T>);

impl<'de, T: Plain> Deserialize<'de> for Control<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected: Expected = *ArrayMemory::<T>::any_control().expected();
        let object = Object::deserialize(deserializer, &expected)?;
        Ok(Self(object, core::marker::PhantomData))
    }
}

impl<T: Plain> Serialize for NdArray<T> {
    /// Writes the handle, see [`mp_object::transfer`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = transfer::put(&self.data.descriptor(), None)
            .map_err(|error| transfer::refuse(error, S::Error::custom))?;
        let path = self.path.as_deref().map(|path| path.as_os_str().as_bytes());
        (self.flat.object(), data, path).serialize(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for NdArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (control, data, path) =
            <(Control<T>, Option<u32>, Option<Vec<u8>>)>::deserialize(deserializer)?;
        let path = path.map(|path| PathBuf::from(OsString::from_vec(path)));
        Self::received(control.0, data, path)
            .map_err(|error| transfer::refuse(error, D::Error::custom))
    }
}

impl<T: Plain> NdArray<T> {
    fn received(control: Object, data: Option<u32>, path: Option<PathBuf>) -> Result<Self> {
        let descriptor = transfer::take(data.unwrap_or(u32::MAX))?;
        let (data, object) = match &path {
            None => (Segment::from_descriptor(descriptor)?, MEMORY.to_owned()),
            Some(path) => {
                let object = format!("{path:?}");
                (Segment::from_named_descriptor(descriptor, &object)?, object)
            }
        };
        let header = read_header::<T>(data.region(), &object)?;
        Self::of_parts(control, data, header, path.map(Into::into))
    }
}
