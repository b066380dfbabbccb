//! The entries before and after an entry, where the order of a stack does not say.
//!
//! A neighbour is the list head, one of our own locks (in the record), or a pthread mutex that
//! libc linked. Of the last kind we know nothing, so it must point back at the entry; its memory
//! is read through the kernel, which answers with an error where a wild pointer would fault.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::node::{Head, Links, unmarked};
use super::thread::Held;

/// The entry whose `next` is `links`, or `None` if shared memory contradicts that.
///
/// # Safety
///
/// The memory of all entries in `held` is mapped.
pub(super) unsafe fn before(head: &Head, held: &Held, links: &Links) -> Option<usize> {
    let entry = links.entry();
    if unmarked(head.next()) == entry {
        return Some(head.entry());
    }
    let before = unmarked(links.prev());
    if before == head.entry() {
        return None;
    }
    let ours = held.position(before).is_some();
    let next = if ours {
        // SAFETY: an entry of the record is mapped, by the caller's promise.
        Some(unsafe { read(before) })
    } else {
        read_unknown(before)
    };
    (next.map(unmarked) == Some(entry)).then_some(before)
}

/// The entry after `links` with its mark, or `None` if shared memory contradicts that.
///
/// # Safety
///
/// The memory of all entries in `held` is mapped.
pub(super) unsafe fn behind(
    head: &Head,
    held: &Held,
    index: usize,
    links: &Links,
) -> Option<usize> {
    let behind = links.next();
    if behind == held.next_at(index) || behind == head.entry() {
        return Some(behind);
    }
    let prev = unmarked(behind).checked_sub(size_of::<usize>())?;
    let ours = held.position(unmarked(behind)).is_some();
    let back = if ours {
        // SAFETY: the `prev` of an entry of the record is mapped, by the caller's promise.
        Some(unsafe { read(prev) })
    } else {
        read_unknown(prev)
    };
    (back.map(unmarked) == Some(links.entry())).then_some(behind)
}

/// The pointer at `address`.
///
/// # Safety
///
/// It is mapped, aligned, and changed by this thread only.
unsafe fn read(address: usize) -> usize {
    let pointer = std::ptr::with_exposed_provenance_mut(address);
    // SAFETY: the caller's promise.
    let pointer = unsafe { AtomicUsize::from_ptr(pointer) };
    pointer.load(Ordering::Relaxed)
}

/// The pointer at an `address` that shared memory claims to be a neighbour's; `None` if it cannot
/// be one.
fn read_unknown(address: usize) -> Option<usize> {
    if address == 0 || !address.is_multiple_of(align_of::<usize>()) {
        return None;
    }
    let mut value = 0usize;
    let local = libc::iovec {
        iov_base: (&raw mut value).cast(),
        iov_len: size_of::<usize>(),
    };
    let remote = libc::iovec {
        iov_base: std::ptr::with_exposed_provenance_mut(address),
        iov_len: size_of::<usize>(),
    };
    let me = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: the only memory written is `value`; a bad `remote` is answered with EFAULT.
    let count = unsafe { libc::process_vm_readv(me, &raw const local, 1, &raw const remote, 1, 0) };
    if count == size_of::<usize>() as isize {
        return Some(value);
    }
    match std::io::Error::last_os_error().raw_os_error() {
        // A sandbox forbids the careful way: trust the pointer, as libc itself would.
        // SAFETY: it cannot be proved here; it is what libc does when it unlinks a neighbour.
        Some(libc::EPERM | libc::ENOSYS) => Some(unsafe { read(address) }),
        _ => None,
    }
}
