//! Shared memory whose size never changes.
//!
//! # If a process dies
//!
//! The kernel frees an anonymous segment with its last descriptor and mapping. A segment that was
//! never published under a name is freed in the same way, so a creator that dies half-way leaves
//! nothing.

use core::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Region, Result};
use mp_os::commit::{Commit, CreateError};
use mp_os::{memfd, named};

use crate::mapping::{Home, Mapping};
use crate::refusal;
use crate::transfer::Descriptor;

/// A segment of shared memory, mapped for as long as a clone of this handle lives.
///
/// ```
/// use mp_layout::atomic::{AtomicU64, Ordering};
/// use mp_shm::Segment;
///
/// let segment = Segment::anonymous("counter", 4096)?;
/// segment.region().place::<AtomicU64>(0)?.fetch_add(1, Ordering::Relaxed);
///
/// let descriptor = std::os::fd::AsFd::as_fd(&segment).try_clone_to_owned()?; // passed to another process
/// let other = Segment::from_descriptor(descriptor)?;
/// assert_eq!(other.region().place::<AtomicU64>(0)?.load(Ordering::Relaxed), 1);
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// What lies in it cannot be used after the last handle is gone:
///
/// ```compile_fail
/// use mp_layout::atomic::{AtomicU64, Ordering};
///
/// let segment = mp_shm::Segment::anonymous("counter", 4096)?;
/// let word = segment.region().place::<AtomicU64>(0)?;
/// drop(segment);
/// word.load(Ordering::Relaxed);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Segment(Arc<Mapping>);

impl Segment {
    /// Makes a zeroed segment of `size` bytes without a name, its pages committed.
    ///
    /// `/proc/PID/maps` calls it `mp:` and the `label`: at most 246 bytes, none of them NUL.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for 0 bytes, [`ErrorKind::NotEnoughMemory`] with what is free
    /// and what was asked for (of memory, of addresses, or of what a file of this process may
    /// have), [`ErrorKind::TooManyDescriptors`], [`ErrorKind::Unsupported`] if the kernel or a
    /// sandbox has no memfd or nothing to commit pages with, [`ErrorKind::Os`].
    pub fn anonymous(label: &str, size: usize) -> Result<Self> {
        Self::memfd(label, size, Commit::Now, memfd::create)
    }

    /// As [`Segment::anonymous`], a segment whose descriptor the kernel will seal against writing,
    /// see [`mp_os::memfd::seal_writes`].
    ///
    /// # Errors
    ///
    /// As for [`Segment::anonymous`].
    pub fn sealable(label: &str, size: usize) -> Result<Self> {
        Self::memfd(label, size, Commit::Now, memfd::create_sealable)
    }

    /// Makes a zeroed segment of `size` bytes of address space with no page committed.
    ///
    /// A writer reserves the pages first with [`Segment::reserve`]; a write without that may end
    /// the process when memory is exhausted.
    ///
    /// # Errors
    ///
    /// Those of [`Segment::anonymous`], of which `NotEnoughMemory` means addresses or the size that
    /// a file of this process may have: no memory is taken yet.
    pub fn sparse(label: &str, size: usize) -> Result<Self> {
        Self::memfd(label, size, Commit::Sparse, memfd::create)
    }

    fn memfd(
        label: &str,
        size: usize,
        commit: Commit,
        create: impl FnOnce(&str, u64, Commit) -> Result<OwnedFd, CreateError>,
    ) -> Result<Self> {
        refuse_empty(label, size)?;
        let shown = format!("mp:{label}");
        let descriptor = create(&shown, size as u64, commit)
            .map_err(|error| refusal::memory("create", error, label))?;
        Self::map(descriptor, size, Home::Memory, label)
    }

    /// Makes a zeroed segment of `size` bytes that is to have this name: no process sees it before
    /// [`Segment::publish`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for 0 bytes, [`ErrorKind::InvalidName`],
    /// [`ErrorKind::NotEnoughMemory`] with what is free in `/dev/shm` and what was asked for,
    /// [`ErrorKind::TooManyDescriptors`], [`ErrorKind::Unsupported`] if there is no `/dev/shm`,
    /// [`ErrorKind::Os`].
    pub fn unpublished(name: &str, size: usize) -> Result<Self> {
        Self::in_dev_shm(name, size, Commit::Now)
    }

    /// As [`Segment::unpublished`], with no page committed as in [`Segment::sparse`].
    ///
    /// # Errors
    ///
    /// Those of [`Segment::unpublished`], of which `NotEnoughMemory` means addresses or the size
    /// that a file of this process may have: no memory is taken yet.
    pub fn unpublished_sparse(name: &str, size: usize) -> Result<Self> {
        Self::in_dev_shm(name, size, Commit::Sparse)
    }

    fn in_dev_shm(name: &str, size: usize, commit: Commit) -> Result<Self> {
        refusal::valid_name("create", name)?;
        let object = format!("{name:?}");
        refuse_empty(&object, size)?;
        let descriptor = named::create_unpublished(size as u64, commit)
            .map_err(|error| refusal::memory("create", error, &object))?;
        Self::map(descriptor, size, Home::DevShm, &object)
    }

    fn map(descriptor: OwnedFd, size: usize, home: Home, label: &str) -> Result<Self> {
        Mapping::new(descriptor, size, home, label).map(|mapping| Self(Arc::new(mapping)))
    }

    /// Gives an [unpublished](Segment::unpublished) segment its name, in one step.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidName`], [`ErrorKind::Os`].
    pub fn publish(&self, name: &str) -> Result<()> {
        let valid = refusal::valid_name("publish", name)?;
        named::publish(self.as_fd(), &valid)
            .map_err(|source| Error::os("publish", format!("{name:?}"), source))
    }

    /// Opens the segment published as `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidName`], [`ErrorKind::PermissionDenied`] if it
    /// is another user's, [`ErrorKind::Foreign`] if it is a symbolic link, a directory or
    /// anything else but a file (nothing is followed), [`ErrorKind::Truncated`] if it has no
    /// bytes.
    pub fn open(name: &str) -> Result<Self> {
        Self::from_named_descriptor(Self::open_file(name)?, name)
    }

    /// Opens the file of the segment published as `name`, and maps nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Segment::open`] but `Truncated`.
    pub fn open_file(name: &str) -> Result<OwnedFd> {
        let valid = refusal::valid_name("open", name)?;
        named::open(&valid).map_err(|error| refusal::open("open", error, name))
    }

    /// Removes `name`; processes that have the segment open keep it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidName`], [`ErrorKind::PermissionDenied`] if it
    /// is another user's, [`ErrorKind::Foreign`] if it is anything else but a file.
    pub fn unlink(name: &str) -> Result<()> {
        let valid = refusal::valid_name("unlink", name)?;
        named::unlink(&valid).map_err(|error| refusal::open("unlink", error, name))
    }

    /// Removes `name` if no process has the segment open, and returns whether it did; see
    /// [`unlink_unused`](crate::unlink_unused).
    ///
    /// # Errors
    ///
    /// Those of [`unlink_unused`](crate::unlink_unused).
    pub fn unlink_unused(name: &str) -> Result<bool> {
        crate::unlink_unused(name)
    }

    /// Maps a segment that another process passed as a descriptor.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Foreign`] if it is not a memfd sealed against shrinking: its owner could then
    /// pull the memory away from under the mapping.
    pub fn from_descriptor(descriptor: OwnedFd) -> Result<Self> {
        let sealed = memfd::check_seals(descriptor.as_fd())
            .map_err(|source| Error::os("read the seals of", "a descriptor", source))?;
        if !sealed {
            return Err(Error::mismatch(
                ErrorKind::Foreign,
                "map",
                "a descriptor",
                "a file that can be truncated",
                "a sealed memfd",
            ));
        }
        Self::map_file(descriptor, Home::Memory, "a descriptor")
    }

    /// Maps a segment that another process had open under `name` and passed as a descriptor.
    ///
    /// It is as [`Segment::open`] without a look at the name, which may be gone or another's by
    /// now: the file can be truncated. The process that passed the descriptor is trusted to
    /// have opened it by name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Truncated`] if it has no bytes, [`ErrorKind::PermissionDenied`] if it is not
    /// open for writing, [`ErrorKind::Os`] if it cannot be mapped.
    pub fn from_named_descriptor(descriptor: OwnedFd, name: &str) -> Result<Self> {
        Self::map_file(descriptor, Home::DevShm, &format!("{name:?}"))
    }

    fn map_file(descriptor: OwnedFd, home: Home, object: &str) -> Result<Self> {
        let size = size_of_file(&descriptor, object)?;
        if size == 0 {
            return Err(Error::new(ErrorKind::Truncated, "map", object)
                .with_detail("it has no bytes; its creator has not finished it or died before"));
        }
        Self::map(descriptor, size, home, object)
    }

    /// Commits the pages of `size` bytes from `offset` of a [sparse](Segment::sparse) segment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotEnoughMemory`] with what is free and what was asked for, after which some of
    /// the pages may be committed; [`ErrorKind::WrongSize`] if they are not all within the
    /// segment.
    pub fn reserve(&self, offset: usize, size: usize) -> Result<()> {
        let range = self.range("reserve pages of", offset, size)?;
        let reserved = match self.0.home() {
            Home::Memory => memfd::reserve(self.as_fd(), range),
            Home::DevShm => named::reserve(self.as_fd(), range),
        };
        reserved.map_err(|error| refusal::memory("reserve memory for", error, self.0.label()))
    }

    /// Gives the whole pages within `size` bytes from `offset` back to the system; they read as
    /// zero afterwards.
    ///
    /// For every process that has the segment mapped this is a write of zeros: the bytes must be
    /// the caller's by whatever protocol guards them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if they are not all within the segment, [`ErrorKind::Os`]; the
    /// pages are kept then.
    pub fn give_back(&self, offset: usize, size: usize) -> Result<()> {
        let range = self.range("give back pages of", offset, size)?;
        memfd::give_back(self.as_fd(), range)
            .map_err(|source| Error::os("give back pages of", self.0.label(), source))
    }

    /// Pages past the end belong to no process: a file in `/dev/shm` would keep them, invisible,
    /// until it is gone.
    fn range(&self, operation: &'static str, offset: usize, size: usize) -> Result<Range<u64>> {
        match offset.checked_add(size) {
            Some(end) if end <= self.len() => Ok(offset as u64..end as u64),
            _ => Err(Error::mismatch(
                ErrorKind::WrongSize,
                operation,
                self.0.label(),
                format_args!("{} bytes", self.len()),
                format_args!("at least {size} from {offset}"),
            )),
        }
    }

    /// Bytes of the segment.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Always false: a segment has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes, borrowed from this handle.
    pub fn region(&self) -> Region<'_> {
        self.0.region()
    }

    /// The descriptor of the segment, for a handle to travel with.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(Arc::clone(&self.0))
    }

    /// Whether the segment is the file of `descriptor`.
    pub fn is_of(&self, descriptor: BorrowedFd<'_>) -> bool {
        memfd::is_same_file(self.as_fd(), descriptor)
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn refuse_empty(label: &str, size: usize) -> Result<()> {
    if size == 0 {
        return Err(Error::new(ErrorKind::InvalidInput, "create", label)
            .with_detail("a segment has at least one byte"));
    }
    Ok(())
}

pub(crate) fn size_of_file(descriptor: &OwnedFd, object: &str) -> Result<usize> {
    let size = memfd::size_of_file(descriptor.as_fd())
        .map_err(|source| Error::os("read the size of", object, source))?;
    usize::try_from(size).map_err(|_| {
        Error::new(ErrorKind::WrongSize, "map", object)
            .with_detail(format!("{size} bytes are more than addresses"))
    })
}
