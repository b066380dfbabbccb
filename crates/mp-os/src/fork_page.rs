//! Process-wide state that is empty again in a forked child.
//!
//! The page asks the kernel to be wiped on fork (`MADV_WIPEONFORK`), which also covers children
//! made by a raw `clone` that no library hears of. A `pthread_atfork` hook clears it as well, for
//! kernels before 4.14.

use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::robust::Thread;

/// What this process knows about itself and a child must not inherit. All zero is empty.
#[repr(C)]
pub(crate) struct ForkPage {
    /// The first context in the list of all threads.
    pub(crate) threads: AtomicPtr<Thread>,
    /// The word of the process's own identity, 0 if not yet asked.
    pub(crate) identity: AtomicU64,
    /// The program image it runs; valid once `identity` is.
    pub(crate) image: AtomicU32,
    /// See [`generation`]; 0 before it is drawn.
    generation: AtomicU64,
}

static PAGE: AtomicPtr<ForkPage> = AtomicPtr::new(std::ptr::null_mut());

/// The page of this process; `None` only if the kernel has not one page left to give.
#[inline]
pub(crate) fn get() -> Option<&'static ForkPage> {
    let page = PAGE.load(Ordering::Acquire);
    let page = if page.is_null() { create()? } else { page };
    // SAFETY: `page` is a zeroed allocation of at least a ForkPage (all-zero is valid for its
    // atomics) that is never freed, and it is only ever reached through shared references.
    Some(unsafe { &*page })
}

/// A number that differs from that of the process this one was forked from, and of those before it.
///
/// 0 if the kernel has not one page left to give.
pub(crate) fn generation() -> u64 {
    /// The last number drawn by this process or by one that it was forked from.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let Some(page) = get() else { return 0 };
    // Relaxed: the number alone matters.
    let known = page.generation.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let drawn = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    let stored = page
        .generation
        .compare_exchange(0, drawn, Ordering::Relaxed, Ordering::Relaxed);
    stored.map_or_else(|faster| faster, |_| drawn)
}

#[cold]
fn create() -> Option<*mut ForkPage> {
    let fresh = wiped_memory(size_of::<ForkPage>())?.cast::<ForkPage>();
    match PAGE.compare_exchange(
        std::ptr::null_mut(),
        fresh,
        Ordering::AcqRel,
        Ordering::Acquire,
    ) {
        Ok(_) => {
            register_fork_hook();
            Some(fresh)
        }
        // Another thread was faster. The page we made stays unused: once in the life of a
        // process, and cheaper than an unmap that would have to be proved right.
        Err(winner) => Some(winner),
    }
}

/// Zeroed memory, 64-byte aligned, never freed, that reads as zero again in a forked child.
pub(crate) fn wiped_memory(size: usize) -> Option<*mut u8> {
    #[repr(align(64))]
    #[derive(Clone)]
    struct Line {
        _bytes: [u8; 64],
    }

    if cfg!(miri) {
        let lines = vec![Line { _bytes: [0; 64] }; size.div_ceil(64)];
        return Some(Vec::leak(lines).as_mut_ptr().cast());
    }
    mapped_memory(size)
}

fn mapped_memory(size: usize) -> Option<*mut u8> {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let place = std::ptr::null_mut();
    // SAFETY: a new private mapping at an address of the kernel's choice overlaps nothing.
    let memory = unsafe { mmap_anonymous(place, size, protection, MapFlags::PRIVATE) }.ok()?;
    // SAFETY: the range is the mapping just made. The advice changes what a child sees only.
    // Kernels before 4.14 refuse; there the fork hook alone keeps children right.
    let _wiped = unsafe { madvise(memory, size, Advice::LinuxWipeOnFork) };
    Some(memory.cast())
}

fn register_fork_hook() {
    if cfg!(miri) {
        return;
    }
    // SAFETY: `in_child` only stores to atomics and to a thread-local without destructor, which
    // is allowed between fork and exec. If the registration fails (out of memory), the wiped
    // page still covers the child.
    let _registered = unsafe { pthread_atfork(None, None, Some(in_child)) };
}

type Hook = Option<extern "C" fn()>;

unsafe extern "C" {
    /// POSIX; the libc crate lacks it for Linux.
    fn pthread_atfork(prepare: Hook, parent: Hook, child: Hook) -> libc::c_int;
}

extern "C" fn in_child() {
    if let Some(page) = get() {
        page.threads.store(std::ptr::null_mut(), Ordering::Relaxed);
        page.identity.store(0, Ordering::Relaxed);
        page.generation.store(0, Ordering::Relaxed);
    }
    crate::robust::forget_thread();
}
