//! Own mutexes linked into libc's per-thread robust futex list.
//!
//! The kernel walks the list of a thread that ends, however it ends, and marks each futex word on
//! it that still names the thread with `OWNER_DIED`. libc has registered a list for each thread
//! and a thread can have only one, so we link our locks into libc's list, in libc's geometry,
//! next to its own robust mutexes. The algorithm of a lock lives elsewhere; here is what it needs
//! from the thread.
//!
//! # Source
//! glibc `nptl/descr.h` (`ENQUEUE_MUTEX`, `DEQUEUE_MUTEX`) and the kernel's
//! `Documentation/locking/robust-futex-ABI.rst`. Changed: pointers that lie in shared memory are
//! compared with a private record before anything is written through them.
//!
//! # Layout
//! ```text
//! thread (private, libc's)              lock (shared)
//! head-8 | prev  -> last entry           0 | futex word          <- entry - 32
//! head   | next  -> first entry ----.   24 | prev -> next of the entry before, or head
//!        | futex offset (-32)        '-> 32 | next -> next of the entry behind, or head
//!        | pending entry, 0             40 | free for the lock
//! ```
//! Bit 0 of a `next` marks a priority-inheriting pthread mutex; it is kept and masked.
//!
//! # Invariants
//! - I1 The head lies in libc's private memory; only this thread writes it.
//! - I2 Each of our linked entries is in the thread's record, in the order of linking, with the
//!   `next` we know of. The record lies in private memory.
//! - I3 Nothing is written through a shared `prev` or `next` that has not been compared with the
//!   head, with the record, or (a pthread neighbour) with that neighbour's own pointer back.
//! - I4 While an entry is being linked or unlinked it is the pending one, so a death in between is
//!   seen either by the list or by the pending slot.
//! - I5 The `prev` of an entry that has another in front of it is right: linking and unlinking in
//!   front set it. That of the first entry and of the head is neither read nor kept, except a
//!   pthread mutex's, whose unlinking reads it.
//!
//! # Orderings
//! Only the kernel reads the list, after the thread has stopped: it sees a prefix of program
//! order. So compiler fences suffice between the stores, and all accesses are relaxed atomics.
//!
//! # Progress
//! `begin`, `link`, `unlink` in the order of a stack, and `end` are wait-free, a handful of
//! plain stores. Unlinking out of order searches the record (at most [`MAX_HELD`]).
//!
//! # If a process dies
//! The kernel marks the linked locks it held, at whatever instruction it died (I4), and wakes one
//! waiter of each. If a linked lock's memory was unmapped the walk stops there; hence
//! [`holds_within`].
//!
//! # What children inherit
//! Nothing. A context lies on pages the kernel wipes on fork (this covers a raw `clone`), and an
//! atfork hook clears what older kernels do not; so in a child [`current`] starts empty. A child
//! of `vfork` that shares the memory must not use this module.

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use crate::process_id::ProcessIdentity;

mod mappings;
mod neighbour;
mod node;
mod thread;

pub mod liveness;

pub use liveness::{process_of_thread, thread_is_dead, thread_name, thread_start_time};
pub use mappings::thread_maps;
pub use node::{Links, Node};
pub(crate) use thread::{Thread, forget_thread};

use node::{Head, keep_order};

/// The most of our locks that one thread may hold together.
///
/// The kernel walks at most 2048 entries of a list; half of them are left to pthread mutexes.
pub const MAX_HELD: usize = 1024;

/// Why [`ThreadList::unlink`] refused; the entry stays linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnlinkError {
    /// This thread has not linked the entry.
    NotHeld,
    /// The pointers next to the entry in shared memory were overwritten.
    Corrupt,
}

impl std::fmt::Display for UnlinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotHeld => "the lock is not held by this thread",
            Self::Corrupt => "the lock's list pointers were overwritten in shared memory",
        })
    }
}

impl std::error::Error for UnlinkError {}

/// The calling thread, ready to link locks: fetched once per lock operation.
///
/// Neither `Send` nor meant to be kept: fetch it again with [`current`] for the unlock, since the
/// thread may have become a forked child's in between.
#[derive(Clone, Copy)]
pub struct ThreadList {
    head: NonNull<Head>,
    thread: &'static Thread,
    tid: u32,
}

/// An operation in progress: if the thread dies before this is dropped, the kernel looks at the
/// entry it names, too. Dropping it restores the operation around it.
#[must_use = "the kernel looks at the entry only until this is dropped"]
pub struct PendingOp {
    head: NonNull<Head>,
    previous: usize,
    not_send: PhantomData<*const ()>,
}

/// The calling thread's context; `None` if the robust list cannot be used and locks must prove
/// deaths by [`thread_is_dead`] instead.
///
/// # Examples
///
/// ```
/// use mp_os::robust;
///
/// if let Some(thread) = robust::current() {
///     assert_eq!(thread.tid(), robust::tid());
/// }
/// ```
#[inline]
#[must_use]
pub fn current() -> Option<ThreadList> {
    let (thread, head, tid) = thread::current()?;
    Some(ThreadList { head, thread, tid })
}

/// The same without the first call's work: `None` also for a thread that has not called
/// [`current`] before, or not since it became a forked child's.
#[inline]
#[must_use]
pub fn current_if_cached() -> Option<ThreadList> {
    let (thread, head, tid) = thread::current_if_cached()?;
    Some(ThreadList { head, thread, tid })
}

/// The calling thread's id as a futex word names its owner; right in a forked child, too.
#[inline]
#[must_use]
pub fn tid() -> u32 {
    thread::tid()
}

/// Whether locks of this thread are cleaned up by the kernel when it dies.
#[must_use]
pub fn supported() -> bool {
    current().is_some()
}

/// Whether any thread of this process holds a linked lock at an address in `range`.
///
/// Such memory must stay mapped: the kernel's walk over a dead thread's list would stop at the
/// hole, and all its other locks would stay locked.
///
/// What was linked or unlinked before this call (as ordered by whatever handed the range over) is
/// seen; what other threads do meanwhile may or may not be.
#[must_use]
pub fn holds_within(range: Range<usize>) -> bool {
    thread::holds_within(&range)
}

impl ThreadList {
    /// The thread's id, as the lock's futex word must name it.
    #[inline]
    #[must_use]
    pub fn tid(self) -> u32 {
        self.tid
    }

    /// The word of this process's identity; `u64::MAX`, which is none, until
    /// [`ThreadList::learn_process`] has been called on this thread.
    #[inline]
    #[must_use]
    pub fn process(self) -> u64 {
        self.thread.process.load(Ordering::Relaxed)
    }

    /// Remembers this process's identity for [`ThreadList::process`].
    pub fn learn_process(self, me: ProcessIdentity) {
        self.thread.process.store(me.word(), Ordering::Relaxed);
    }

    /// Whether another lock may be linked; ask before acquiring one.
    #[inline]
    #[must_use]
    pub fn has_room(self) -> bool {
        self.thread.held.len() < MAX_HELD
    }

    /// The number of our locks that this thread holds.
    #[inline]
    #[must_use]
    pub fn held(self) -> usize {
        self.thread.held.len()
    }

    /// Announces an operation on the lock or bell around `links` until the [`PendingOp`] is
    /// dropped.
    ///
    /// If the thread dies meanwhile the kernel examines the futex word 32 bytes before the entry:
    /// if it names this thread it is marked, if it is 0 one sleeper is woken.
    ///
    /// # Safety
    ///
    /// `links` stays mapped until the returned value is dropped; that happens on this thread, and
    /// nested operations end in the reverse order of their beginning.
    #[inline]
    pub unsafe fn begin(self, links: &Links) -> PendingOp {
        let head = self.head();
        let previous = head.pending();
        head.set_pending(links.entry());
        keep_order();
        PendingOp {
            head: self.head,
            previous,
            not_send: PhantomData,
        }
    }

    /// Links a lock that this thread has just acquired, inside its operation.
    ///
    /// # Safety
    ///
    /// The word 32 bytes before the entry names this thread, `links` is not linked already and
    /// stays mapped until it is unlinked, [`ThreadList::has_room`] was true, and this runs between
    /// [`ThreadList::begin`] on the same links and its end.
    #[inline]
    pub unsafe fn link(self, links: &Links) {
        let head = self.head();
        let first = head.next();
        let entry = links.entry();
        links.set_next(first);
        self.thread.held.push(entry, first);
        if first != head.entry() {
            // SAFETY: `first` comes from the private head (I1): it is a linked entry, whose
            // `prev` lies right before it and is mapped for as long as it is linked.
            unsafe { node::set_prev_of(first, entry) };
        }
        keep_order();
        head.set_next(entry);
        keep_order();
    }

    /// Unlinks a lock before its word is released, inside its operation.
    ///
    /// # Errors
    ///
    /// [`UnlinkError::NotHeld`] if this thread did not link it, [`UnlinkError::Corrupt`] if its
    /// pointers in shared memory contradict what this thread knows. Nothing was written then.
    ///
    /// # Safety
    ///
    /// This runs between [`ThreadList::begin`] on the same links and its end, and the memory of all
    /// locks that this thread holds is mapped.
    #[inline]
    pub unsafe fn unlink(self, links: &Links) -> Result<(), UnlinkError> {
        let head = self.head();
        let entry = links.entry();
        let next = links.next();
        if head.next() != entry || !self.thread.held.top_is(entry, next) {
            // SAFETY: the caller's promise is the same.
            return unsafe { self.unlink_inner(links) };
        }
        if next != head.entry() {
            // SAFETY: `next` equals what the private record says is behind `entry` (I2).
            unsafe { node::set_prev_of(next, head.entry()) };
        }
        keep_order();
        head.set_next(next);
        keep_order();
        links.vacate();
        self.thread.held.pop();
        Ok(())
    }

    /// Unlinks out of order, or where pthread mutexes were linked or unlinked since.
    #[cold]
    unsafe fn unlink_inner(self, links: &Links) -> Result<(), UnlinkError> {
        let entry = links.entry();
        let held = &self.thread.held;
        let index = held.position(entry).ok_or(UnlinkError::NotHeld)?;
        // SAFETY: the caller promises that the memory of all held locks is mapped.
        let before = unsafe { neighbour::before(self.head(), held, links) };
        // SAFETY: as above.
        let behind = unsafe { neighbour::behind(self.head(), held, index, links) };
        let (Some(before), Some(behind)) = (before, behind) else {
            return Err(UnlinkError::Corrupt);
        };
        // SAFETY: `behind` was just verified to be the head or linked right behind us (I3).
        unsafe { node::set_prev_of(behind, before) };
        keep_order();
        // SAFETY: `before` was just verified to be the head or linked right before us (I3).
        unsafe { node::set_next_of(before, behind) };
        keep_order();
        links.vacate();
        held.remove(index, before, behind);
        Ok(())
    }

    #[inline]
    fn head(&self) -> &Head {
        // SAFETY: `head` is this thread's robust list head, which lives in libc's thread
        // descriptor until the thread has ended; `ThreadList` is not `Send`.
        unsafe { self.head.as_ref() }
    }
}

impl std::fmt::Debug for ThreadList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadList")
            .field("tid", &self.tid)
            .field("held", &self.held())
            .finish()
    }
}

impl Drop for PendingOp {
    #[inline]
    fn drop(&mut self) {
        keep_order();
        // SAFETY: as in `ThreadList::head`; `PendingOp` is not `Send` either.
        let head = unsafe { self.head.as_ref() };
        head.set_pending(self.previous);
    }
}

impl std::fmt::Debug for PendingOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingOp").finish_non_exhaustive()
    }
}
