//! The geometry of a lock on the robust list, and of the list's head.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, compiler_fence};

/// The pair of pointers through which a lock is linked.
///
/// Only the owner of the lock touches them, but they lie in shared memory: they are hints, not
/// truth.
///
/// `next` is 0 from the unlinking to the next linking. So a new owner that finds it otherwise
/// knows that the last one got as far as linking the lock and not as far as unlinking it.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Links {
    prev: AtomicUsize,
    next: AtomicUsize,
}

/// The first 48 bytes of a lock, in glibc's geometry for 64-bit machines.
///
/// | bytes | what | whose |
/// |---|---|---|
/// | 0..4 | futex word: bit 31 waiters, bit 30 owner died, bits 0..29 the owner's thread id | the lock's and the kernel's |
/// | 4..24 | five words | the lock's; 4..8 is where musl would have the futex word |
/// | 24..40 | links | the owner's |
/// | 40..48 | two words | the lock's |
///
/// A bell has the same shape: its word is always 0 and only its entry is announced.
///
/// # Examples
///
/// ```
/// let lock = mp_os::robust::Node::default();
/// assert_eq!(size_of_val(&lock), 48);
/// ```
#[repr(C)]
#[derive(Debug, Default)]
pub struct Node {
    /// The futex word.
    pub word: AtomicU32,
    /// Free for the lock.
    pub front: [AtomicU32; 5],
    /// The lock's place on the list.
    pub links: Links,
    /// Free for the lock.
    pub back: [AtomicU32; 2],
}

const _: () = assert!(size_of::<Node>() == 48 && align_of::<Node>() == 8);
const _: () = assert!(offset_of!(Node, word) == 0);
const _: () = assert!(offset_of!(Node, links) + offset_of!(Links, prev) == 24);
const _: () = assert!(offset_of!(Node, links) + offset_of!(Links, next) == 32);

/// From a list entry to its futex word.
pub(super) const FUTEX_OFFSET: isize = -32;

/// From a list entry to its `prev`.
const PREV_OFFSET: usize = 8;

impl Links {
    /// Links that are not linked.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            prev: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
        }
    }

    /// Whether the last owner got as far as linking the lock, or occupying it, and no further.
    #[inline]
    #[must_use]
    pub fn are_occupied(&self) -> bool {
        self.next() != 0
    }

    /// Writes what linking would, for an owner without a list.
    pub fn occupy(&self) {
        self.set_next(usize::MAX & !1);
    }

    /// Writes what unlinking would, for an owner without a list.
    pub fn vacate(&self) {
        self.set_next(0);
    }

    /// The address by which the list and the kernel know this lock: that of its `next`.
    #[inline]
    pub(super) fn entry(&self) -> usize {
        self.next.as_ptr().expose_provenance()
    }

    #[inline]
    pub(super) fn prev(&self) -> usize {
        self.prev.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn next(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_next(&self, entry: usize) {
        self.next.store(entry, Ordering::Relaxed);
    }
}

/// The kernel's `struct robust_list_head`, in libc's thread descriptor.
#[repr(C)]
pub(super) struct Head {
    next: AtomicUsize,
    futex_offset: isize,
    pending: AtomicUsize,
}

const _: () = assert!(size_of::<Head>() == 24);

impl Head {
    /// The head as a list entry: the end of the list points back to it.
    #[inline]
    pub(super) fn entry(&self) -> usize {
        self.next.as_ptr().expose_provenance()
    }

    #[inline]
    pub(super) fn next(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_next(&self, entry: usize) {
        self.next.store(entry, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_pending(&self, entry: usize) {
        self.pending.store(entry, Ordering::Relaxed);
    }

    pub(super) fn futex_offset(&self) -> isize {
        self.futex_offset
    }
}

/// An entry without bit 0, which marks a priority-inheriting pthread mutex.
#[inline]
pub(super) fn unmarked(entry: usize) -> usize {
    entry & !1
}

/// Keeps the compiler from moving list stores across: the kernel may look after any of them.
#[inline]
pub(super) fn keep_order() {
    compiler_fence(Ordering::SeqCst);
}

/// Sets the `prev` of the list head or lock whose entry is `entry`.
///
/// # Safety
///
/// `entry` (bit 0 aside) is a robust list head or an entry linked on the calling thread's list.
#[inline]
pub(super) unsafe fn set_prev_of(entry: usize, value: usize) {
    let prev = std::ptr::with_exposed_provenance_mut(unmarked(entry) - PREV_OFFSET);
    // SAFETY: the caller's promise; both kinds keep an aligned pointer right before the entry
    // that only this thread uses.
    let prev = unsafe { AtomicUsize::from_ptr(prev) };
    prev.store(value, Ordering::Relaxed);
}

/// Sets the `next` of the list head or lock whose entry is `entry`.
///
/// # Safety
///
/// As for [`set_prev_of`].
#[inline]
pub(super) unsafe fn set_next_of(entry: usize, value: usize) {
    let next = std::ptr::with_exposed_provenance_mut(unmarked(entry));
    // SAFETY: the caller's promise; the entry is an aligned pointer that only this thread uses.
    let next = unsafe { AtomicUsize::from_ptr(next) };
    next.store(value, Ordering::Relaxed);
}
