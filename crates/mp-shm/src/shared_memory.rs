//! Named memory as every POSIX program knows it.
//!
//! # If a process dies
//!
//! The name and the bytes stay until the name is unlinked, as with `shm_open` in any language: no
//! process can know whether another program, perhaps one not started yet, still wants them. So
//! [`SharedMemory::create`] never replaces a name. The kernel knows whether a process has the bytes
//! open: [`SharedMemory::unlink_unused`] removes a name that none uses.

use std::os::fd::{AsFd, BorrowedFd};

use mp_layout::{Cells, Error, ErrorKind, Plain, PlainSlice, Region, Result};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::copy::{copy_in, copy_out};
use crate::{Segment, transfer};

/// A named block of bytes in `/dev/shm`, as Python's `multiprocessing.shared_memory.SharedMemory`.
///
/// It is raw: no header, the payload at offset 0, exactly as many bytes as asked for. Other
/// processes may write at any time, so bytes are copied in and out or reached through [`Cells`]; a
/// slice needs `unsafe` and a protocol of yours. Clones are the same bytes, and dropping the last
/// unmaps; the name stays until [`SharedMemory::unlink`]. It is passed to a process as an argument,
/// as a result or in a message of a queue; other programs open it by name.
///
/// # Python
///
/// `shared_memory.SharedMemory(name)` opens it. A Python before 3.13 takes a name that it merely
/// attached for its own and unlinks it when it exits; open handles stay valid, but the name is not
/// found any more. Three ways around:
///
/// - From 3.13 on, `SharedMemory(name, track=False)`.
/// - Before, `resource_tracker.unregister(shm._name, "shared_memory")` right after attaching
///   (`resource_tracker` is of `multiprocessing`).
/// - `mmap.mmap(os.open("/dev/shm/" + name, os.O_RDWR), 0)`, or `numpy.memmap("/dev/shm/" + name,
///   ...)`, which no tracker hears of. While this process lives, `/proc/PID/fd/N` (`as_fd()`) opens
///   the same bytes, also without a name.
///
/// # Limits
///
/// The memory of a *named* object can be truncated by any program of the same user; an access then
/// ends this process with SIGBUS. Anonymous [`Segment`]s are sealed against that. The same happens
/// where another program made the memory without committing its pages, as `shm_open` and
/// `ftruncate` do, and `/dev/shm` is full when a page is first written.
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
#[derive(Clone, Debug)]
pub struct SharedMemory {
    segment: Segment,
    name: String,
}

/// What a handle says: its descriptor's place or, if it has none, the inode of the file under the
/// name; the name, and the number of bytes.
type Handle<Name> = (Result<u32, u64>, Name, u64);

impl SharedMemory {
    /// Makes `len` zeroed bytes under a name that nothing else has: `mp_` and 16 hexadecimal
    /// digits.
    ///
    /// The name stays until it is unlinked, as one that was chosen does.
    ///
    /// ```
    /// use mp_shm::SharedMemory;
    ///
    /// let memory = SharedMemory::new(800)?;
    /// assert!(SharedMemory::open(memory.name())?.is_same(&memory));
    /// SharedMemory::unlink(memory.name())?;
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`SharedMemory::create`] but `AlreadyExists` and `InvalidName`.
    pub fn new(len: usize) -> Result<Self> {
        Self::create_under_free(random_name, len)
    }

    /// Makes it under the first of the names that is free.
    fn create_under_free(mut name: impl FnMut() -> Result<String>, len: usize) -> Result<Self> {
        loop {
            match Self::create(&name()?, len) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                created => return created,
            }
        }
    }

    /// Makes `len` zeroed bytes under `name`, readable and writable by this user only.
    ///
    /// One leading `/` is dropped, so `"/jobs"` and `"jobs"` are the same. The bytes are committed
    /// before the name appears, in one step.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::InvalidName`], [`ErrorKind::InvalidInput`] for 0
    /// bytes, [`ErrorKind::NotEnoughMemory`] with what is free in `/dev/shm` and what was asked
    /// for.
    pub fn create(name: &str, len: usize) -> Result<Self> {
        let segment = Segment::unpublished(name, len)?;
        segment.publish(name)?;
        Ok(Self::of(segment, name))
    }

    /// Opens the bytes under `name`, whichever program made them; their number is that of the file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidName`], [`ErrorKind::PermissionDenied`] if it
    /// is another user's, [`ErrorKind::Foreign`] if it is a symbolic link, a directory or
    /// anything else but a file, [`ErrorKind::Truncated`] if it has no bytes.
    pub fn open(name: &str) -> Result<Self> {
        Segment::open(name).map(|segment| Self::of(segment, name))
    }

    /// Opens the bytes under `name`, or makes `len` zeroed ones if there are none.
    ///
    /// # Errors
    ///
    /// Those of [`SharedMemory::open`] and [`SharedMemory::create`], and [`ErrorKind::WrongSize`]
    /// if there are bytes of that name, but not `len`.
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

    /// Removes `name`. Open handles stay valid.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidName`], [`ErrorKind::PermissionDenied`],
    /// [`ErrorKind::Foreign`].
    pub fn unlink(name: &str) -> Result<()> {
        Segment::unlink(name)
    }

    /// Removes `name` if no program has the bytes open, and returns whether it did; see
    /// [`unlink_unused`](crate::unlink_unused) and, for all names,
    /// [`unused_names`](crate::unused_names).
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

    /// Whether both handles are of the same bytes, perhaps mapped twice. The name alone does not
    /// tell: it may be another's by now.
    pub fn is_same(&self, other: &Self) -> bool {
        self.segment.is_of(other.as_fd())
    }

    /// Drops this handle; the last one unmaps the bytes.
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
    /// Where others write meanwhile the copy may be a mixture of old and new, but not within an
    /// aligned word of 8 bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if they are not all within the memory; nothing is copied then.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        copy_out(self.region().subregion(offset, into.len())?, into)
    }

    /// Copies bytes in, to `offset`.
    ///
    /// Others see them come one after another, each aligned word of 8 bytes in one step.
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
    /// While the slice lives, no thread and no process writes the bytes. A worker that was told to
    /// stop but was not waited for is a counter-example.
    pub unsafe fn as_slice<T: PlainSlice>(&self) -> Result<&[T]> {
        let cells = self.cells::<T>()?;
        let start = self.region().pointer_to::<T>(0, cells.len())?;
        // SAFETY: within the mapping and aligned by `pointer_to`, any bits are a `T`, unwritten by
        // the caller's promise.
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
    /// While the slice lives, no other handle, thread or process reads or writes the bytes.
    pub unsafe fn as_mut_slice<T: PlainSlice>(&mut self) -> Result<&mut [T]> {
        let cells = self.cells::<T>()?;
        let start = self.region().pointer_to::<T>(0, cells.len())?;
        // SAFETY: within the mapping and aligned by `pointer_to`, any bits are a `T`, exclusive by
        // the caller's promise.
        Ok(unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), cells.len()) })
    }

    /// The bytes, for placing structures of one's own.
    pub fn region(&self) -> Region<'_> {
        self.segment.region()
    }

    fn handle(&self) -> Result<Handle<&str>> {
        let place = match transfer::put(&self.segment.descriptor(), Some(&self.name))? {
            Some(index) => Ok(index),
            None => Err(inode(&self.segment, &self.name)?),
        };
        Ok((place, &self.name, self.len() as u64))
    }

    fn receive((place, name, len): Handle<String>) -> Result<Self> {
        let descriptor = match place {
            Ok(index) => transfer::take(index)?,
            Err(expected) => {
                let found = transfer::open(&name)?;
                if inode(&found, &name)? != expected {
                    return Err(Error::new(ErrorKind::Foreign, "open", format!("{name:?}"))
                        .with_detail("the name is another file's by now"));
                }
                found
            }
        };
        let segment = Segment::from_named_descriptor(descriptor, &name)?;
        let memory = Self::of(segment, &name);
        memory.expect_len(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn of(segment: Segment, name: &str) -> Self {
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

impl Serialize for SharedMemory {
    /// Writes the handle; its descriptor travels next to it, see [`transfer`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let handle = self.handle();
        handle
            .map_err(|error| transfer::refuse(error, S::Error::custom))?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    /// Maps what came with the handle, see [`transfer::incoming`]; the name may be another's by
    /// now. A handle that came by name opens the name, and refuses another file.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::receive(Handle::deserialize(deserializer)?)
            .map_err(|error| transfer::refuse(error, D::Error::custom))
    }
}

/// The number that the file of `name` has and no other one there.
fn inode(file: impl AsFd, name: &str) -> Result<u64> {
    let found = mp_os::memfd::inode(file);
    found.map_err(|source| Error::os("look at", format!("{name:?}"), source))
}

/// As Python's `psm_` and 8 digits, with enough random bits that two are never the same.
fn random_name() -> Result<String> {
    let id = mp_os::random::random_id()
        .map_err(|source| Error::os("draw", "a name for shared memory", source))?;
    Ok(id[..8]
        .iter()
        .fold("mp_".to_owned(), |name, byte| format!("{name}{byte:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_name_that_is_taken_is_drawn_again() {
        let taken = SharedMemory::new(8).unwrap();
        let mut names = [taken.name().to_owned(), random_name().unwrap()].into_iter();
        let made = SharedMemory::create_under_free(|| Ok(names.next().unwrap()), 16).unwrap();
        assert!(!made.is_same(&taken) && names.next().is_none());
        for (memory, len) in [(taken, 8), (made, 16)] {
            assert_eq!(SharedMemory::open(memory.name()).unwrap().len(), len);
            SharedMemory::unlink(memory.name()).unwrap();
        }
    }
}
