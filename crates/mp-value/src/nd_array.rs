//! Arrays of any number of axes, which are `.npy` files.
//!
//! # Layout
//!
//! ```text
//! data file     header of `.npy`, up to a multiple of 4096 in files of ours; the elements
//! control       an object of its own: array_control, owner words (memory/layout of an Array, without its elements)
//! ```
//!
//! # Invariants
//!
//! - I1: the header, once read, is trusted no more: a handle keeps its own copy and has checked it
//!   against the file's size.
//! - I2: every handle of an opening, in whatever process, has the same control; the invariants of
//!   [`crate::array_control`] hold among them.
//! - I3: a file has one opening that writes at a time: the kernel locks it
//!   ([`mp_os::file::lock_for_writing`]) for as long as a descriptor of the opening lives. This
//!   holds for an anonymous file too, which has a path in `/proc`. So I2 is enough.
//!
//! # If a process dies
//!
//! As for [`crate::array_control`]. The lock of the file goes with the opening's last descriptor,
//! and the control with its own: the next opening starts with elements that may be half written,
//! and no record of it.

mod freeze;
mod handle;

use core::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mp_layout::{Cells, Error, ErrorKind, Plain, PlainSlice, Region, Result, assert_zeros};
use mp_object::Object;
use mp_os::file;
use mp_shm::Segment;

pub use self::freeze::NotFrozen;

use crate::array_memory::ArrayMemory;
use crate::npy_header::{MOST_BYTES, NpyHeader};
use crate::numpy::python_string;
use crate::{Array, Chunks};

/// Numbers along any number of axes in shared memory: numpy's `ndarray`, as an `.npy` file that
/// processes map.
///
/// Without a name it lies in memory; under a name it is a file in `/dev/shm`, and by a path any
/// `.npy` file on disk, which is mapped and not read. numpy opens each of them in place, see
/// [`numpy_line`](Self::numpy_line), and sees what is written while it is written. Elements are
/// numbers, `bool`, [`Complex`](mp_layout::Complex), and structures that derive [`Plain`].
///
/// All elements in the order of the file are an [`Array`], with its lock, claims and rules:
/// [`flat`](Self::flat). [`blocks`](Self::blocks) hands rows to processes that write side by side.
///
/// ```
/// use mp_value::NdArray;
///
/// let grid = NdArray::<f64>::zeros(&[3, 4])?;
/// grid.set(&[1, 2], 0.5)?;
/// let rows = grid.blocks(1)?;
/// rows.claim(2)?.claimed().expect("no other process is here").fill(7.0);
/// assert_eq!(grid.flat().to_vec()?, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 7.0, 7.0, 7.0, 7.0]);
/// println!("{}", grid.numpy_line()); // paste it into Python while this program runs
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # Who writes
///
/// Clones, handles that were passed to other processes, and what a forked child has of them are one
/// opening: its locks and claims keep them apart. A name or a path, the one in
/// [`numpy_line`](Self::numpy_line) included, has one opening that writes at a time; a second is
/// refused with [`ErrorKind::Claimed`] until the last handle of the first is gone, also by a kill.
/// [`NdReader`](crate::NdReader) opens it for reading meanwhile.
///
/// # If a process dies
///
/// As for [`Array`]: the next user of the same opening learns what may be half written.
///
/// # Limits
///
/// - Other programs, such as numpy, know nothing of the lock: their writes and Rust's slices must
///   not be at work together. Nor does `mp_shm::SharedMemory` ask for it: one that is opened by the
///   name of an array writes the same bytes.
/// - A file with a name or a path can be cut by any program of the same user; an access then ends
///   this process with SIGBUS. The same happens on a full disk whose file system reserves no
///   blocks. Without a name neither can happen.
pub struct NdArray<T> {
    flat: Array<T>,
    data: Segment,
    header: Arc<NpyHeader>,
    /// Where it is for other programs, if it has a name or a path.
    path: Option<Arc<Path>>,
}

impl<T: Plain> NdArray<T> {
    /// Makes an array of zeros without a name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for more than 64 axes, more elements than addresses, or elements
    /// that numpy has no type for; [`ErrorKind::NotEnoughMemory`] with what is free and what
    /// was asked for, [`ErrorKind::TooManyDescriptors`], [`ErrorKind::Unsupported`] if the
    /// kernel or a sandbox has no memory files.
    pub fn zeros(shape: &[usize]) -> Result<Self> {
        const { assert_zeros::<T>() };
        Self::filled_by(shape, |_| Ok(()))
    }

    /// Makes an array with a copy of `elements`, the last index changing fastest, without a name.
    ///
    /// # Errors
    ///
    /// As for [`NdArray::zeros`], and [`ErrorKind::WrongSize`] if they are not as many as `shape`
    /// says.
    pub fn from_slice(shape: &[usize], elements: &[T]) -> Result<Self> {
        Self::filled_by(shape, |cells| {
            if cells.len() != elements.len() {
                return Err(Error::mismatch(
                    ErrorKind::WrongSize,
                    "create",
                    MEMORY,
                    format_args!("{} elements", elements.len()),
                    format_args!("{}, as the shape says", cells.len()),
                ));
            }
            cells.copy_from_slice(elements);
            Ok(())
        })
    }

    fn filled_by(shape: &[usize], fill: impl FnOnce(Cells<'_, T>) -> Result<()>) -> Result<Self> {
        let header = NpyHeader::of(T::LAYOUT, shape, MEMORY)?;
        let size = size_of_file::<T>(&header, MEMORY)?;
        let data = Segment::sealable("nd-array", size)?;
        // `/proc/PID/fd` is a path to it, by which `open_file` makes an opening of its own (I3).
        lock(data.as_fd(), MEMORY)?;
        write_header(data.region(), &header)?;
        fill(elements_of(data.region(), &header)?)?;
        Self::opened(data, header, None)
    }

    /// Makes an array of zeros under `name`, the file `/dev/shm/NAME`, which appears in one step.
    ///
    /// # Errors
    ///
    /// As for [`NdArray::zeros`], and [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidName`].
    pub fn create_named(name: &str, shape: &[usize]) -> Result<Self> {
        const { assert_zeros::<T>() };
        let object = format!("{name:?}");
        let header = NpyHeader::of(T::LAYOUT, shape, &object)?;
        let data = Segment::unpublished(name, size_of_file::<T>(&header, &object)?)?;
        write_header(data.region(), &header)?;
        lock(data.as_fd(), &object)?;
        let array = Self::opened(data.clone(), header, Some(path_of_name(name)))?;
        // Last: an error leaves no name.
        data.publish(name)?;
        Ok(array)
    }

    /// Opens the array under `name`, whichever program made it, for writing.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::NotFound`], [`ErrorKind::InvalidName`], [`ErrorKind::PermissionDenied`].
    /// - [`ErrorKind::Claimed`] if there is another opening that writes.
    /// - Those of [`NpyHeader::parse`]; [`ErrorKind::WrongType`] if it has other elements,
    ///   big-endian ones included; [`ErrorKind::Truncated`] if it ends before its last element.
    ///   Each names what was found and what was expected.
    pub fn open(name: &str) -> Result<Self> {
        let data = Segment::open(name)?;
        let object = format!("{name:?}");
        lock(data.as_fd(), &object)?;
        let header = read_header::<T>(data.region(), &object)?;
        Self::opened(data, header, Some(path_of_name(name)))
    }

    /// Removes `name`. Handles that have the array open stay valid.
    ///
    /// # Errors
    ///
    /// Those of [`Segment::unlink`].
    pub fn unlink(name: &str) -> Result<()> {
        Segment::unlink(name)
    }

    /// Makes the `.npy` file `path` with zeros.
    ///
    /// If the process dies meanwhile there may be a file of zeros without a header, which opens as
    /// [`ErrorKind::Foreign`].
    ///
    /// # Errors
    ///
    /// As for [`NdArray::zeros`]; [`ErrorKind::AlreadyExists`], and what else the system says of
    /// the path, for instance that its file system has no locks. The file is removed again.
    pub fn create_file(path: impl AsRef<Path>, shape: &[usize]) -> Result<Self> {
        const { assert_zeros::<T>() };
        let (path, object) = named_path(path.as_ref())?;
        let header = NpyHeader::of(T::LAYOUT, shape, &object)?;
        let size = size_of_file::<T>(&header, &object)?;
        let control = Self::control_of(&header)?;
        let descriptor = file::create_new(&path, size as u64)
            .map_err(|source| Error::os("create", &object, source))?;
        Self::in_new_file(control, descriptor, header, &path, &object).map_err(|error| {
            // What is left otherwise is a file of our own that is no use.
            match std::fs::remove_file(&path) {
                Ok(()) => error,
                Err(stays) => {
                    let detail = format!("{error}; and its file cannot be removed: {stays}");
                    error.with_detail(detail)
                }
            }
        })
    }

    fn in_new_file(
        control: Object,
        descriptor: OwnedFd,
        header: NpyHeader,
        path: &Path,
        object: &str,
    ) -> Result<Self> {
        lock(descriptor.as_fd(), object)?;
        let data = Segment::from_named_descriptor(descriptor, object)?;
        write_header(data.region(), &header)?;
        Self::of_parts(control, data, header, Some(path.into()))
    }

    /// Opens the `.npy` file `path` for writing; nothing is read but its header.
    ///
    /// # Errors
    ///
    /// What the system says of the path, and those of [`NdArray::open`].
    pub fn open_file(path: impl AsRef<Path>) -> Result<Self> {
        let (path, object) = named_path(path.as_ref())?;
        let descriptor = file::open(&path).map_err(|source| Error::os("open", &object, source))?;
        lock(descriptor.as_fd(), &object)?;
        let data = Segment::from_named_descriptor(descriptor, &object)?;
        let header = read_header::<T>(data.region(), &object)?;
        Self::opened(data, header, Some(path.into()))
    }

    /// The first handle of an opening.
    fn opened(data: Segment, header: NpyHeader, path: Option<Arc<Path>>) -> Result<Self> {
        Self::of_parts(Self::control_of(&header)?, data, header, path)
    }

    fn control_of(header: &NpyHeader) -> Result<Object> {
        Object::create(&ArrayMemory::<T>::control_plan(header.len()), |_| Ok(()))
    }

    fn of_parts(
        control: Object,
        data: Segment,
        header: NpyHeader,
        path: Option<Arc<Path>>,
    ) -> Result<Self> {
        let (offset, len) = (header.data_offset(), header.len());
        let memory = ArrayMemory::of_parts(control, data.clone(), offset, len)?;
        Ok(Self {
            flat: Array::of_memory(memory),
            data,
            header: Arc::new(header),
            path,
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

    /// Number of axes.
    pub fn ndim(&self) -> usize {
        self.shape().len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.header.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements from one index to the next, for each axis.
    pub fn strides(&self) -> Vec<usize> {
        self.header.strides()
    }

    /// Whether the first index changes fastest along the memory, as in Fortran, and not the last.
    pub fn is_fortran_order(&self) -> bool {
        self.header.is_fortran_order()
    }

    /// All elements along one axis, in the order of the file: numpy's `a.ravel("K")`, without a
    /// copy. They are passed to other processes as the `NdArray` only.
    pub fn flat(&self) -> &Array<T> {
        &self.flat
    }

    /// The element at `index`, read under the lock, see [`Array::get`].
    ///
    /// # Errors
    ///
    /// Those of [`Array::get`]; `InvalidInput` if there is no such element.
    pub fn get(&self, index: &[usize]) -> Result<T> {
        self.flat.get(self.header.place_of(index)?)
    }

    /// Stores `value` at `index` under the lock, see [`Array::set`].
    ///
    /// # Errors
    ///
    /// Those of [`Array::set`]; `InvalidInput` if there is no such element.
    pub fn set(&self, index: &[usize], value: T) -> Result<()> {
        self.flat.set(self.header.place_of(index)?, value)
    }

    /// The line of Python that opens the same array with numpy, for as long as this process has it
    /// open (or, for one with a name or a path, until that is removed).
    ///
    /// ```
    /// let line = mp_value::NdArray::<u8>::zeros(&[2, 2])?.numpy_line();
    /// assert!(line.starts_with("numpy.load(\"/proc/") && line.ends_with(", mmap_mode=\"r+\")"), "{line}");
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn numpy_line(&self) -> String {
        let path = match &self.path {
            Some(path) => python_string(path.as_os_str().as_bytes()),
            None => python_string(path_of_descriptor(self.as_fd()).as_bytes()),
        };
        format!(r#"numpy.load({path}, mmap_mode="r+")"#)
    }
}

impl<T: PlainSlice> NdArray<T> {
    /// Divides the array into blocks of `count` indices of its slowest axis, to be claimed by
    /// processes that write side by side: rows, or in Fortran's order columns.
    ///
    /// A block is one slice. Its place along the axis is [`Chunk::index`](crate::Chunk::index)
    /// times `count`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for blocks of 0 indices, for an array without axes or without
    /// elements, or if there would be more blocks than an array may have
    /// [chunks](Array::chunks).
    pub fn blocks(&self, count: usize) -> Result<Chunks<T>> {
        let refused = |reason: &str| {
            Error::new(ErrorKind::InvalidInput, "divide", MEMORY).with_detail(reason)
        };
        let strides = self.strides();
        let slowest = strides.iter().max().filter(|_| !self.is_empty());
        let row = slowest.ok_or_else(|| refused("it has no axis, or no elements"))?;
        let len = row.checked_mul(count).unwrap_or(self.len());
        Chunks::of_blocks(self.clone(), len)
    }
}

/// What errors call an array without a name.
pub(crate) const MEMORY: &str = "an n-dimensional array";

/// Bytes of the file.
fn size_of_file<T>(header: &NpyHeader, object: &str) -> Result<usize> {
    let size = header.len().checked_mul(size_of::<T>());
    let size = size.and_then(|size| size.checked_add(header.data_offset()));
    size.filter(|size| *size <= isize::MAX as usize)
        .ok_or_else(|| {
            let (len, size) = (header.len(), size_of::<T>());
            Error::new(ErrorKind::InvalidInput, "create", object).with_detail(format!(
                "{len} elements of {size} bytes are more than there are addresses"
            ))
        })
}

/// Writes the header of a file that no other process has open.
fn write_header(file: Region<'_>, header: &NpyHeader) -> Result<()> {
    let bytes = header.to_bytes();
    Cells::<u8>::new(file.subregion(0, bytes.len())?)?.copy_from_slice(&bytes);
    Ok(())
}

/// The header of a mapped file, checked against its size.
fn read_header<T: Plain>(file: Region<'_>, object: &str) -> Result<NpyHeader> {
    let bytes = Cells::<u8>::new(file.subregion(0, file.len().min(MOST_BYTES))?)?;
    checked_header::<T>(
        |range| bytes.slice(range).to_vec(),
        bytes.len(),
        file.len(),
        object,
    )
}

/// The header of a file of `size` bytes, of which `read` gives the first `most`.
pub(crate) fn checked_header<T: Plain>(
    read: impl Fn(core::ops::RangeTo<usize>) -> Vec<u8>,
    most: usize,
    size: usize,
    object: &str,
) -> Result<NpyHeader> {
    // Enough for nearly all; a header may be longer.
    let few = read(..most.min(4096));
    let header = match NpyHeader::parse(&few, object) {
        Err(error) if error.kind() == ErrorKind::Truncated && most > few.len() => {
            NpyHeader::parse(&read(..most), object)
        }
        parsed => parsed,
    }?;
    header.check(T::LAYOUT, size, object)?;
    Ok(header)
}

fn elements_of<'a, T: Plain>(file: Region<'a>, header: &NpyHeader) -> Result<Cells<'a, T>> {
    Cells::new(file.subregion(header.data_offset(), header.len() * size_of::<T>())?)
}

/// Makes the opening the one that writes (I3).
fn lock(descriptor: BorrowedFd<'_>, object: &str) -> Result<()> {
    match file::lock_for_writing(descriptor) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(ErrorKind::Claimed, "open", object).with_detail(
            "another opening writes it; pass its handle to this process, or open it with NdReader to read",
        )),
        Err(source) => Err(Error::os("lock", object, source)),
    }
}

/// An absolute path, and what errors call it.
pub(crate) fn named_path(path: &Path) -> Result<(PathBuf, String)> {
    let object = format!("{path:?}");
    let path = std::path::absolute(path).map_err(|source| Error::os("find", &object, source))?;
    Ok((path, object))
}

/// Where other programs find a name.
pub(crate) fn path_of_name(name: &str) -> Arc<Path> {
    let path = format!("/dev/shm/{}", name.strip_prefix('/').unwrap_or(name));
    PathBuf::from(path).into()
}

/// Where other programs find what this process has open.
pub(crate) fn path_of_descriptor(descriptor: BorrowedFd<'_>) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), descriptor.as_raw_fd())
}

impl<T> AsFd for NdArray<T> {
    /// The file with the elements.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.data.as_fd()
    }
}

impl<T> Clone for NdArray<T> {
    fn clone(&self) -> Self {
        Self {
            flat: self.flat.clone(),
            data: self.data.clone(),
            header: Arc::clone(&self.header),
            path: self.path.clone(),
        }
    }
}

impl<T> fmt::Debug for NdArray<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NdArray")
            .field("dtype", &self.header.dtype())
            .field("shape", &self.header.shape())
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
