//! Files mapped for reading.
//!
//! # If a process dies
//!
//! A reader leaves nothing. What a writer that dies leaves is the writer's protocol.

use core::ptr::NonNull;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use mp_layout::{Error, ErrorKind, Plain, ReadCells, Result};
use mp_os::named;

use crate::refusal;
use crate::segment::size_of_file;
use crate::transfer::Descriptor;

/// A file that this process has opened and mapped for reading only, while others write it:
/// [`SharedMemory`] under a name, or any other file. Clones are the same mapping.
///
/// The kernel ends a process that writes to it, and the descriptor writes nothing either.
///
/// ```
/// use mp_shm::{ReadOnlyMemory, SharedMemory};
///
/// let memory = SharedMemory::new(80)?;
/// let seen = ReadOnlyMemory::open(memory.name())?;
/// memory.cells::<f64>()?.set(9, 2.5);
/// assert_eq!(seen.cells::<f64>(0, 10)?.get(9), 2.5);
/// SharedMemory::unlink(memory.name())?;
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # Limits
///
/// A file that another program truncates ends this process with SIGBUS when the bytes that are gone
/// are read, see [`SharedMemory`].
///
/// [`SharedMemory`]: crate::SharedMemory
#[derive(Clone, Debug)]
pub struct ReadOnlyMemory(Arc<Mapped>);

#[derive(Debug)]
struct Mapped {
    map: MmapRaw,
    descriptor: OwnedFd,
    /// What errors call it.
    label: String,
}

impl ReadOnlyMemory {
    /// Opens the bytes under `name` for reading, whichever program made them.
    ///
    /// # Errors
    ///
    /// Those of [`SharedMemory::open`](crate::SharedMemory::open).
    pub fn open(name: &str) -> Result<Self> {
        let valid = refusal::valid_name("open", name)?;
        let descriptor =
            named::open_read_only(&valid).map_err(|error| refusal::open("open", error, name))?;
        Self::map(descriptor, &format!("{name:?}"))
    }

    /// Maps a file that is open for reading; errors call it `label`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Truncated`] if it has no bytes, [`ErrorKind::Os`] if it cannot be mapped.
    pub fn map(descriptor: OwnedFd, label: &str) -> Result<Self> {
        let size = size_of_file(&descriptor, label)?;
        if size == 0 {
            return Err(Error::new(ErrorKind::Truncated, "map", label)
                .with_detail("it has no bytes; its creator has not finished it or died before"));
        }
        let map = MmapOptions::new()
            .len(size)
            .map_raw_read_only(&descriptor)
            .map_err(|source| refusal::map(source, size, label))?;
        let label = label.to_owned();
        Ok(Self(Arc::new(Mapped {
            map,
            descriptor,
            label,
        })))
    }

    /// Its descriptor, to be kept open without another one.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(Arc::clone(&self.0))
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.0.map.len()
    }

    /// Always false: there is at least one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` elements of `T` from byte `offset` on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if they are not all there, or `offset` is not aligned for `T`;
    /// [`ErrorKind::InvalidInput`] if `T` has no bytes.
    pub fn cells<T: Plain>(&self, offset: usize, len: usize) -> Result<ReadCells<'_, T>> {
        let start = self.pointer_to::<T>(offset, len)?;
        // SAFETY: within the mapping and aligned by `pointer_to`, mapped while `self` is borrowed;
        // nothing in this process has a `&mut` to a mapping that cannot be written.
        Ok(unsafe { ReadCells::from_raw_parts(start, len) })
    }

    /// Address of `len` elements of `T` from byte `offset` on, checked to be within the mapping and
    /// aligned; they stay mapped while a clone of this handle lives.
    ///
    /// # Errors
    ///
    /// Those of [`ReadOnlyMemory::cells`].
    pub fn pointer_to<T: Plain>(&self, offset: usize, len: usize) -> Result<NonNull<T>> {
        let name = core::any::type_name::<T>();
        if size_of::<T>() == 0 {
            return Err(
                Error::new(ErrorKind::InvalidInput, "view elements of", name)
                    .with_detail("a type without bytes cannot be shared"),
            );
        }
        let refused = |found: String, expected: String| {
            Error::mismatch(
                ErrorKind::WrongSize,
                "view",
                &self.0.label,
                found,
                format_args!("{expected} for {len} {name}"),
            )
        };
        let end = len
            .checked_mul(size_of::<T>())
            .and_then(|size| size.checked_add(offset));
        if end.is_none_or(|end| end > self.len()) {
            let expected = format!("{len} times {} bytes from {offset}", size_of::<T>());
            return Err(refused(format!("{} bytes", self.len()), expected));
        }
        let start = self.0.map.as_mut_ptr().wrapping_add(offset).cast::<T>();
        NonNull::new(start)
            .filter(|start| start.is_aligned())
            .ok_or_else(|| {
                let expected = format!("a multiple of {}", align_of::<T>());
                refused(format!("offset {offset}"), expected)
            })
    }

    /// Copies bytes out, from `offset`; the copy may be a mixture of old and new where others write
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if they are not all within the memory; nothing is copied then.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        let bytes = self.cells::<u8>(offset, into.len())?;
        for (byte, shared) in into.iter_mut().zip(bytes.iter()) {
            *byte = shared;
        }
        Ok(())
    }
}

impl AsFd for Mapped {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsFd for ReadOnlyMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.descriptor.as_fd()
    }
}
