//! Arrays of any number of axes that the kernel lets no process write.

use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mp_layout::{Error, ErrorKind, PlainSlice, Result};
use mp_object::transfer;
use mp_os::{file, memfd};
use mp_shm::ReadOnlyMemory;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::NpyHeader;
use crate::nd_array::{MEMORY, path_of_descriptor};
use crate::nd_reader::header_of;
use crate::numpy::python_string;

/// An [`NdArray`](crate::NdArray) that was [frozen](crate::NdArray::freeze): a slice for every
/// process, which the kernel lets no process write any more. Clones and received handles are the
/// same array.
///
/// It derefs to all elements in the order of the file.
pub struct FrozenNdArray<T> {
    memory: ReadOnlyMemory,
    start: NonNull<T>,
    header: NpyHeader,
}

// SAFETY: memory that no process writes and any thread may unmap; `T: PlainSlice` is `Send + Sync`.
unsafe impl<T: PlainSlice> Send for FrozenNdArray<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: PlainSlice> Sync for FrozenNdArray<T> {}

impl<T: PlainSlice> FrozenNdArray<T> {
    /// Maps a file that is sealed.
    pub(crate) fn map(descriptor: OwnedFd, object: &str) -> Result<Self> {
        let os = |source| Error::os("open", object, source);
        if !memfd::is_read_only_for_ever(&descriptor).map_err(os)? {
            return Err(Error::mismatch(
                ErrorKind::InvalidState,
                "open",
                object,
                "a file that can be written",
                "one that is sealed",
            ));
        }
        // Kernels before 6.7 refuse to map a sealed file by a descriptor that is open for writing.
        let descriptor = file::reopen_read_only(descriptor).map_err(os)?;
        let memory = ReadOnlyMemory::map(descriptor, object)?;
        let header = header_of::<T>(&memory, object)?;
        let start = memory.pointer_to(header.data_offset(), header.len())?;
        Ok(Self {
            memory,
            start,
            header,
        })
    }

    #[cfg(feature = "ndarray")]
    pub(crate) fn header(&self) -> &NpyHeader {
        &self.header
    }

    /// Elements along each axis.
    pub fn shape(&self) -> &[usize] {
        self.header.shape()
    }

    /// Elements from one index to the next, for each axis.
    pub fn strides(&self) -> Vec<usize> {
        self.header.strides()
    }

    /// The element at `index`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is no such element.
    pub fn get_at(&self, index: &[usize]) -> Result<T> {
        self.header.place_of(index).map(|place| self[place])
    }

    /// The line of Python that opens the same array with numpy, for as long as this process has it
    /// open.
    pub fn numpy_line(&self) -> String {
        let path = path_of_descriptor(self.memory.as_fd());
        let path = python_string(path.as_bytes());
        format!(r#"numpy.load({path}, mmap_mode="r")"#)
    }
}

impl<T: PlainSlice> Deref for FrozenNdArray<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `map` has located and aligned them in the mapping that `memory` keeps; every bit
        // pattern is a `T`; the kernel proved that no process writes them from then on.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.header.len()) }
    }
}

impl<T> AsFd for FrozenNdArray<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

impl<T> Clone for FrozenNdArray<T> {
    fn clone(&self) -> Self {
        Self {
            memory: self.memory.clone(),
            start: self.start,
            header: self.header.clone(),
        }
    }
}

impl<T> fmt::Debug for FrozenNdArray<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FrozenNdArray")
            .field("dtype", &self.header.dtype())
            .field("shape", &self.header.shape())
            .finish_non_exhaustive()
    }
}

impl<T: PlainSlice> Serialize for FrozenNdArray<T> {
    /// Writes the handle, see [`mp_object::transfer`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        transfer::put(&self.memory.descriptor(), None)
            .map_err(|error| transfer::refuse(error, S::Error::custom))?
            .serialize(serializer)
    }
}

impl<'de, T: PlainSlice> Deserialize<'de> for FrozenNdArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = Option::<u32>::deserialize(deserializer)?.unwrap_or(u32::MAX);
        let received = transfer::take(index).and_then(|descriptor| Self::map(descriptor, MEMORY));
        received.map_err(|error| transfer::refuse(error, D::Error::custom))
    }
}
