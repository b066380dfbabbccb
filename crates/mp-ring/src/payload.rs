//! The bytes of a ring that hold its elements or records.

use core::mem::MaybeUninit;
use core::ops::Range;

#[cfg(not(loom))]
use mp_layout::CACHE_LINE;
#[cfg(loom)]
use mp_layout::{Place, model};
use mp_layout::{Plain, Region};

use crate::PopError;

/// Payload bytes: reached through raw pointers, because the peer writes its part of them meanwhile.
///
/// Under loom they are cells of a word each, which it watches: an ordering missing from head or
/// tail shows as a write that does not come after the other side's last access.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'a> {
    #[cfg(not(loom))]
    region: Region<'a>,
    #[cfg(loom)]
    words: &'a [Word],
}

/// A word of payload under the model checker.
#[cfg(loom)]
#[derive(Debug)]
struct Word(model::cell::UnsafeCell<u64>);

// SAFETY: loom panics in an access that is not ordered with the ones before it.
#[cfg(loom)]
unsafe impl Sync for Word {}

// SAFETY: a word, zero is valid, no destructor that matters to a model.
#[cfg(loom)]
unsafe impl Place for Word {
    fn zeroed() -> Self {
        Self(model::cell::UnsafeCell::new(0))
    }
}

#[cfg(not(loom))]
impl<'a> Payload<'a> {
    pub(crate) fn new(region: Region<'a>, offset: usize, size: usize) -> mp_layout::Result<Self> {
        let region = region.subregion(offset, size)?;
        Ok(Self { region })
    }

    /// Copies `size` bytes from `source` to `offset`.
    ///
    /// # Safety
    ///
    /// `offset + size` is within the payload, these bytes are the caller's alone by the ring's
    /// protocol, and `source` has as many bytes, initialised and elsewhere.
    pub(crate) unsafe fn write(&self, offset: usize, source: *const u8, size: usize) {
        // SAFETY: within the payload, by the contract.
        let target = unsafe { self.pointer(offset) };
        // SAFETY: valid and exclusive on both sides, not overlapping, by the contract.
        unsafe { target.copy_from_nonoverlapping(source, size) };
    }

    /// Copies `size` bytes from `offset` to `target`.
    ///
    /// # Safety
    ///
    /// As for [`write`](Self::write), with `target` in place of `source`.
    pub(crate) unsafe fn read(&self, offset: usize, target: *mut u8, size: usize) {
        // SAFETY: within the payload, by the contract.
        let source = unsafe { self.pointer(offset) };
        // SAFETY: valid and exclusive on both sides, not overlapping, by the contract.
        unsafe { target.copy_from_nonoverlapping(source, size) };
    }

    /// Moves `value` to `offset`. A large one is copied once, which [`write`](Self::write) does not
    /// reach.
    ///
    /// # Safety
    ///
    /// As [`write`](Self::write) of the size of `T`, and `offset` is aligned to it.
    #[inline]
    pub(crate) unsafe fn put<T: Plain>(&self, offset: usize, value: T) {
        // SAFETY: within the payload, by the contract.
        let target = unsafe { self.pointer(offset) }.cast::<T>();
        // SAFETY: exclusive and aligned, by the contract.
        unsafe { target.write(value) };
    }

    /// Copies the value at `offset`, or says that its bytes are not a `T`.
    ///
    /// # Safety
    ///
    /// As [`put`](Self::put).
    #[inline]
    pub(crate) unsafe fn take<T: Plain>(&self, offset: usize) -> Result<T, PopError> {
        // SAFETY: within the payload, by the contract.
        let source = unsafe { self.pointer(offset) };
        // unchecked, a large one is copied once instead of twice
        if const { T::LAYOUT.takes_any_bytes() } {
            // SAFETY: exclusive and aligned by the contract, and any bytes are a `T`.
            return Ok(unsafe { source.cast::<T>().read() });
        }
        // SAFETY: exclusive and aligned by the contract.
        checked(unsafe { source.cast::<MaybeUninit<T>>().read() })
    }

    /// Lets the core fetch the lines that start in `bytes`, to write them soon. It is a hint:
    /// nothing is read or written.
    #[inline]
    pub(crate) fn fetch_to_write(&self, bytes: Range<usize>) {
        self.lines_in(bytes).for_each(hint_write);
    }

    /// Lets the core fetch the lines that start in `bytes`, to read them soon: a hint, too.
    #[inline]
    pub(crate) fn fetch_to_read(&self, bytes: Range<usize>) {
        self.lines_in(bytes).for_each(hint_read);
    }

    #[inline]
    fn lines_in(&self, bytes: Range<usize>) -> impl Iterator<Item = *const u8> {
        let start = self.region.as_ptr();
        (bytes.start.next_multiple_of(LINE)..bytes.end)
            .step_by(LINE)
            .map(move |offset| start.wrapping_add(offset).cast_const())
    }

    /// Address of the byte at `offset`.
    ///
    /// # Safety
    ///
    /// `offset` is within the payload or its end.
    pub(crate) unsafe fn pointer(&self, offset: usize) -> *mut u8 {
        // SAFETY: within the region or its end, by the contract.
        unsafe { self.region.as_ptr().add(offset) }
    }
}

#[cfg(loom)]
impl<'a> Payload<'a> {
    pub(crate) unsafe fn put<T: Plain>(&self, offset: usize, value: T) {
        // SAFETY: by the contract of the other `put`.
        unsafe { self.write(offset, (&raw const value).cast(), size_of::<T>()) };
    }

    pub(crate) unsafe fn take<T: Plain>(&self, offset: usize) -> Result<T, PopError> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: by the contract of the other `take`.
        unsafe { self.read(offset, value.as_mut_ptr().cast(), size_of::<T>()) };
        checked(value)
    }

    pub(crate) fn new(region: Region<'a>, offset: usize, size: usize) -> mp_layout::Result<Self> {
        let words = region.place_slice(offset, size.div_ceil(8))?;
        Ok(Self { words })
    }

    pub(crate) fn fetch_to_write(&self, _bytes: Range<usize>) {}

    pub(crate) fn fetch_to_read(&self, _bytes: Range<usize>) {}

    pub(crate) unsafe fn write(&self, offset: usize, source: *const u8, size: usize) {
        for start in (0..size).step_by(8) {
            let mut bytes = [0; 8];
            let count = (size - start).min(8);
            // SAFETY: `start < size`, and the source has `size` bytes by the contract of the other
            // `write`.
            let part = unsafe { core::slice::from_raw_parts(source.add(start), count) };
            bytes[..count].copy_from_slice(part);
            let word = &self.words[(offset + start) / 8];
            // SAFETY: the caller's alone by the contract, which loom watches.
            word.0
                .with_mut(|word| unsafe { *word = u64::from_ne_bytes(bytes) });
        }
    }

    pub(crate) unsafe fn read(&self, offset: usize, target: *mut u8, size: usize) {
        for start in (0..size).step_by(8) {
            let word = &self.words[(offset + start) / 8];
            // SAFETY: the caller's alone by the contract, which loom watches.
            let bytes = word.0.with(|word| unsafe { *word }).to_ne_bytes();
            let count = (size - start).min(8);
            // SAFETY: `start < size`, and the target has `size` bytes by the contract of the other
            // `read`.
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), target.add(start), count) };
        }
    }
}

/// Bytes that a core fetches at once.
pub(crate) const LINE: usize = 64;

/// Asks for the line at `address` as a store would, without waiting for it.
#[cfg(not(loom))]
#[inline(always)]
fn hint_write(address: *const u8) {
    #[cfg(miri)]
    let _ = address;
    // The intrinsic becomes a prefetch for reading where the compiler may not assume PREFETCHW,
    // which x86-64 processors without it ignore.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch has no effect but on caches and never faults, whatever the address.
    unsafe {
        core::arch::asm!(
            "prefetchw [{}]",
            in(reg) address,
            options(nostack, preserves_flags, readonly)
        );
    };
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!(
            "prfm pstl1keep, [{}]",
            in(reg) address,
            options(nostack, preserves_flags, readonly)
        );
    };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", miri)))]
    let _ = address;
}

/// Asks for the line at `address` as a load would, without waiting for it.
#[cfg(not(loom))]
#[inline(always)]
fn hint_read(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch has no effect but on caches and never faults, whatever the address.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    };
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!(
            "prfm pldl1keep, [{}]",
            in(reg) address,
            options(nostack, preserves_flags, readonly)
        );
    };
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = address;
}

/// The part of `memory` that starts where cache lines do.
#[cfg(not(loom))]
pub(crate) fn aligned(memory: &mut [u64]) -> mp_layout::Result<Region<'_>> {
    let region = Region::from_exclusive(memory);
    let skipped = region.as_ptr().align_offset(CACHE_LINE).min(region.len());
    region.subregion(skipped, region.len() - skipped)
}

/// Words of which the [`aligned`] part has `size` bytes, wherever they start.
#[cfg(not(loom))]
pub(crate) const fn words_for(size: usize) -> usize {
    size.div_ceil(8) + CACHE_LINE / 8 - 1
}

/// The value, if its bytes, all of which were copied from shared memory, are one.
pub(crate) fn checked<T: Plain>(value: MaybeUninit<T>) -> Result<T, PopError> {
    // SAFETY: shared memory has no uninitialised bytes, and all were copied.
    unsafe { mp_layout::checked(value) }.ok_or(PopError::Invalid)
}
