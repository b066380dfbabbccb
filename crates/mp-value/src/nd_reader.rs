//! Arrays of any number of axes that another opening writes.

use core::fmt;
use core::marker::PhantomData;
use std::path::Path;

use mp_layout::{Error, Plain, PlainSlice, ReadCells, Result};
use mp_os::file;
use mp_shm::ReadOnlyMemory;

use crate::NpyHeader;
use crate::nd_array::{checked_header, named_path};
use crate::npy_header::MOST_BYTES;

/// An `.npy` file, under a name or a path, mapped for reading while other programs write it: ours
/// or numpy.
///
/// Elements are loaded one by one, without a lock. One of 1, 2, 4 or 8 bytes is always a whole one;
/// larger ones, and several together, may be a mixture of old and new.
///
/// ```
/// use mp_value::{NdArray, NdReader};
///
/// let name = format!("mp-doc-reader-{}.npy", std::process::id());
/// let grid = NdArray::<f32>::create_named(&name, &[2, 3])?;
/// let seen = NdReader::<f32>::open(&name)?; // in any process
/// grid.set(&[1, 1], 2.5)?;
/// assert_eq!((seen.shape(), seen.get(&[1, 1])?), (&[2, 3][..], 2.5));
/// NdArray::<f32>::unlink(&name)?;
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # Limits
///
/// As for [`NdArray`](crate::NdArray): a program that cuts the file ends this process with SIGBUS.
#[derive(Clone)]
pub struct NdReader<T> {
    memory: ReadOnlyMemory,
    header: NpyHeader,
    holds: PhantomData<T>,
}

impl<T: Plain> NdReader<T> {
    /// Opens the array under `name` for reading.
    ///
    /// # Errors
    ///
    /// Those of [`NdArray::open`](crate::NdArray::open) but `Claimed`.
    pub fn open(name: &str) -> Result<Self> {
        Self::of(ReadOnlyMemory::open(name)?, &format!("{name:?}"))
    }

    /// Opens the `.npy` file `path` for reading; nothing is read but its header.
    ///
    /// # Errors
    ///
    /// Those of [`NdArray::open_file`](crate::NdArray::open_file) but `Claimed`.
    pub fn open_file(path: impl AsRef<Path>) -> Result<Self> {
        let (path, object) = named_path(path.as_ref())?;
        let descriptor =
            file::open_read_only(&path).map_err(|source| Error::os("open", &object, source))?;
        Self::of(ReadOnlyMemory::map(descriptor, &object)?, &object)
    }

    fn of(memory: ReadOnlyMemory, object: &str) -> Result<Self> {
        let header = header_of::<T>(&memory, object)?;
        memory.pointer_to::<T>(header.data_offset(), header.len())?;
        let holds = PhantomData;
        Ok(Self {
            memory,
            header,
            holds,
        })
    }

    /// Elements along each axis.
    pub fn shape(&self) -> &[usize] {
        self.header.shape()
    }

    /// Elements from one index to the next, for each axis.
    pub fn strides(&self) -> Vec<usize> {
        self.header.strides()
    }

    /// Whether the first index changes fastest along the memory, as in Fortran, and not the last.
    pub fn is_fortran_order(&self) -> bool {
        self.header.is_fortran_order()
    }

    /// All elements in the order of the file.
    pub fn cells(&self) -> ReadCells<'_, T> {
        let cells = self
            .memory
            .cells(self.header.data_offset(), self.header.len());
        cells.unwrap_or_else(|_| unreachable!("`of` has located them once"))
    }

    /// Loads the element at `index`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](mp_layout::ErrorKind::InvalidInput) if there is no such element,
    /// [`Corrupt`](mp_layout::ErrorKind::Corrupt) if its bytes are not a `T`.
    pub fn get(&self, index: &[usize]) -> Result<T> {
        self.cells().try_get(self.header.place_of(index)?)
    }
}

impl<T: PlainSlice> NdReader<T> {
    /// A copy of all elements in the order of the file, which others may write meanwhile.
    pub fn to_vec(&self) -> Vec<T> {
        self.cells().to_vec()
    }
}

/// The header of a file, checked against its size.
pub(crate) fn header_of<T: Plain>(memory: &ReadOnlyMemory, object: &str) -> Result<NpyHeader> {
    let bytes = memory.cells::<u8>(0, memory.len().min(MOST_BYTES))?;
    let read = |range: core::ops::RangeTo<usize>| bytes.iter().take(range.end).collect();
    checked_header::<T>(read, bytes.len(), memory.len(), object)
}

impl<T> fmt::Debug for NdReader<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NdReader")
            .field("dtype", &self.header.dtype())
            .field("shape", &self.header.shape())
            .finish_non_exhaustive()
    }
}
