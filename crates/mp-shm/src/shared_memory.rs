//! Named memory as every POSIX program knows it.
//!
//! # If a process dies
//!
//! The name and the bytes stay until somebody unlinks the name, as with `shm_open` in any language: nobody can know
//! whether another program, perhaps one not started yet, still wants them. So [`SharedMemory::create`] never replaces a
//! name. Whether anybody has the bytes open the kernel knows: [`SharedMemory::unlink_unused`] removes a name that nobody
//! uses.

use std::os::fd::{AsFd, BorrowedFd};

use mp_layout::{Cells, Error, ErrorKind, Plain, PlainSlice, Region, Result};

use crate::Segment;
use crate::copy::{copy_in, copy_out};

/// A named block of bytes in `/dev/shm`, as Python's `multiprocessing.shared_memory.SharedMemory`.
///
/// It is raw: no header, the payload at offset 0, exactly as many bytes as asked for. Other processes may write at any
/// time, so bytes are copied in and out or reached through [`Cells`]; a slice needs `unsafe` and a protocol of yours.
/// Dropping it unmaps; the name stays until [`SharedMemory::unlink`].
///
/// # Limits
///
/// The memory of a *named* object can be truncated by any program of the same user; an access then ends this process with
/// SIGBUS. Anonymous [`Segment`]s are sealed against that. The same happens where another program made the memory without
/// committing its pages, as `shm_open` and `ftruncate` do, and `/dev/shm` is full when a page is first written.
///
/// # Examples
///
/// ```
/// use mp_shm::SharedMemory;
///
/// let name = format!("mp-doc-view-{}", std::process::id());
/// let memory = SharedMemory::create(&name, 10 * 10 * 8)?;
/// let grid = memory.cells::<f64>()?; // 10 x 10
/// grid.set(4 * 10 + 2, 1.5);
/// assert_eq!(grid.get(42), 1.5);
/// SharedMemory::unlink(&name)?;
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// A view ends with the memory it views:
///
/// ```compile_fail
/// let memory = mp_shm::SharedMemory::create("views", 80)?;
/// let cells = memory.cells::<f64>()?;
/// memory.close();
/// cells.get(0);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
pub struct SharedMemory {
    segment: Segment,
    name: String,
}

impl SharedMemory {
    /// Makes `len` zeroed bytes under `name`, readable and writable by this user only.
    ///
    /// One leading `/` is dropped, so `"/jobs"` and `"jobs"` are the same. The bytes are committed before the name
    /// appears, in one step.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidName`], [`ErrorKind::InvalidInput`] for 0 bytes,
    /// [`ErrorKind::NotEnoughMemory`] with what is free in `/dev/shm` and what was asked for.
    pub fn create(name: &str, len: usize) -> Result<Self> {
        let segment = Segment::unpublished(name, len)?;
        segment.publish(name)?;
        Ok(Self::new(segment, name))
    }

    /// Opens the bytes under `name`, whoever made them; their number is that of the file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidName`], [`ErrorKind::PermissionDenied`] if it is another user's,
    /// [`ErrorKind::Foreign`] if it is a symbolic link, a directory or anything else but a file,
    /// [`ErrorKind::Truncated`] if it has no bytes.
    pub fn open(name: &str) -> Result<Self> {
        Segment::open(name).map(|segment| Self::new(segment, name))
    }

    /// Opens the bytes under `name`, or makes `len` zeroed ones if there are none.
    ///
    /// # Errors
    ///
    /// Those of [`SharedMemory::open`] and [`SharedMemory::create`], and [`ErrorKind::WrongSize`] if there are bytes of
    /// that name, but not `len`.
    pub fn open_or_create(name: &str, len: usize) -> Result<Self> {
        loop {
            match Self::open(name) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                opened => return opened.and_then(|memory| memory.expect_len(len)),
            }
            match Self::create(name, len) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                created => return created,
            }
        }
    }

    /// Removes `name`; who has the bytes open keeps them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidName`], [`ErrorKind::PermissionDenied`], [`ErrorKind::Foreign`].
    pub fn unlink(name: &str) -> Result<()> {
        Segment::unlink(name)
    }

    /// Removes `name` if nobody has the bytes open, in whatever program, and tells whether it did; see
    /// [`unlink_unused`](crate::unlink_unused) and, for all names at once, [`unused_names`](crate::unused_names).
    ///
    /// # Errors
    ///
    /// Those of [`unlink_unused`](crate::unlink_unused).
    pub fn unlink_unused(name: &str) -> Result<bool> {
        crate::unlink_unused(name)
    }

    /// The name, without a leading `/`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of bytes, exactly as asked for when it was made.
    pub fn len(&self) -> usize {
        self.segment.len()
    }

    /// Always false: there is at least one byte.
    pub fn is_empty(&self) -> bool {
        self.segment.is_empty()
    }

    /// Unmaps the bytes, as dropping does.
    pub fn close(self) {}

    /// The bytes as elements of `T`; a remainder at the end is left out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if `T` has no bytes.
    pub fn cells<T: Plain>(&self) -> Result<Cells<'_, T>> {
        Cells::new(self.region())
    }

    /// Copies bytes out, from `offset`.
    ///
    /// Where others write meanwhile the copy may be a mixture of old and new, but not within an aligned word of 8 bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if they are not all within the memory; nothing is copied then.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        copy_out(self.region().subregion(offset, into.len())?, into)
    }

    /// Copies bytes in, to `offset`.
    ///
    /// Others see them come one after another, each aligned word of 8 bytes at once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if they do not all fit; nothing is copied then.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<()> {
        copy_in(self.region().subregion(offset, from.len())?, from)
    }

    /// The bytes as a slice of `T`.
    ///
    /// # Errors
    ///
    /// As for [`SharedMemory::cells`].
    ///
    /// # Safety
    ///
    /// While the slice lives nobody writes the bytes: no thread, and no process. A worker that was told to stop but was
    /// not waited for is a counter-example.
    pub unsafe fn as_slice<T: PlainSlice>(&self) -> Result<&[T]> {
        let cells = self.cells::<T>()?;
        let start = self.region().pointer_to::<T>(0, cells.len())?;
        // SAFETY: within the mapping and aligned by `pointer_to`, any bits are a `T`, unwritten by the caller's promise.
        Ok(unsafe { core::slice::from_raw_parts(start.as_ptr(), cells.len()) })
    }

    /// The bytes as a slice of `T` to write to.
    ///
    /// # Errors
    ///
    /// As for [`SharedMemory::cells`].
    ///
    /// # Safety
    ///
    /// While the slice lives nobody else reads or writes the bytes: no other handle, thread or process.
    pub unsafe fn as_mut_slice<T: PlainSlice>(&mut self) -> Result<&mut [T]> {
        let cells = self.cells::<T>()?;
        let start = self.region().pointer_to::<T>(0, cells.len())?;
        // SAFETY: within the mapping and aligned by `pointer_to`, any bits are a `T`, exclusive by the caller's promise.
        Ok(unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), cells.len()) })
    }

    /// The bytes, for placing structures of one's own.
    pub fn region(&self) -> Region<'_> {
        self.segment.region()
    }

    fn new(segment: Segment, name: &str) -> Self {
        Self {
            segment,
            name: name.strip_prefix('/').unwrap_or(name).to_owned(),
        }
    }

    fn expect_len(self, len: usize) -> Result<Self> {
        if self.len() == len {
            return Ok(self);
        }
        let (name, found) = (format!("{:?}", self.name), format!("{} bytes", self.len()));
        Err(Error::mismatch(
            ErrorKind::WrongSize,
            "open",
            name,
            found,
            format_args!("{len}"),
        ))
    }
}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.segment.as_fd()
    }
}
