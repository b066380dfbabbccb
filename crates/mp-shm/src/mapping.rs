//! One mapping of a descriptor, unmapped when nothing of it is locked.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memmap2::{MmapOptions, MmapRaw};
use mp_layout::{Error, ErrorKind, Region, Result};
use mp_os::robust;

use crate::refusal;

/// Where a mapped file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// Nowhere: it is a memfd.
    Memory,
    /// In `/dev/shm`.
    DevShm,
}

/// A whole file mapped readable and writable, with its descriptor.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: ManuallyDrop<MmapRaw>,
    descriptor: OwnedFd,
    home: Home,
    /// What errors call it.
    label: String,
}

impl Mapping {
    /// Maps the first `len` bytes of `descriptor`, which has at least as many.
    pub(crate) fn new(
        descriptor: OwnedFd,
        len: usize,
        home: Home,
        label: impl Into<String>,
    ) -> Result<Self> {
        let label = label.into();
        if len == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "map", label)
                .with_detail("a segment has at least one byte"));
        }
        let map = MmapOptions::new()
            .len(len)
            .map_raw(&descriptor)
            .map_err(|source| refusal::map(source, len, &label))?;
        Ok(Self {
            map: ManuallyDrop::new(map),
            descriptor,
            home,
            label,
        })
    }

    pub(crate) fn home(&self) -> Home {
        self.home
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn region(&self) -> Region<'_> {
        // SAFETY: memmap2 never returns a null mapping.
        let start = unsafe { NonNull::new_unchecked(self.map.as_mut_ptr()) };
        // SAFETY: the bytes stay mapped while `self` is borrowed, and this crate makes references
        // to them only in `SharedMemory::as_slice` and `as_mut_slice`, whose callers
        // promise that no other code writes.
        unsafe { Region::new(start, self.len()) }
    }
}

impl AsFd for Mapping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Mapping {
    /// Unmaps, unless a lock in here is still held by a leaked guard of this process: the kernel
    /// walks the list of a dying thread's locks through their memory, and a hole would end the
    /// walk before the thread's other locks.
    fn drop(&mut self) {
        let start = self.map.as_mut_ptr().addr();
        if robust::holds_within(start..start + self.map.len()) {
            return;
        }
        // SAFETY: dropped here once; `self` is not used again.
        unsafe { ManuallyDrop::drop(&mut self.map) };
    }
}
