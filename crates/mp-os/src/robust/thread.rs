//! One context per thread: its list head, its id, and the record of the locks it holds.
//!
//! Contexts lie on pages that are wiped on fork, are chained in one list per process (pushed
//! once, never removed), and are reused by later threads. A thread finds its own through one
//! pointer in thread-local storage without destructor; a second thread-local, touched once, gives
//! the context back when the thread ends.

use std::cell::Cell;
use std::ops::Range;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use super::node::{FUTEX_OFFSET, Head};
use super::{MAX_HELD, liveness};
use crate::{fork_page, futex};

/// A thread's context. All zero is a free one; `tid` becomes non-zero last.
#[repr(C, align(64))]
pub(crate) struct Thread {
    tid: AtomicU32,
    state: AtomicU32,
    /// Null where the kernel's list cannot be used.
    head: AtomicPtr<Head>,
    /// The next context in the list of all.
    next: AtomicPtr<Thread>,
    /// The word of the process's identity, or [`UNKNOWN`].
    pub(super) process: AtomicU64,
    pub(super) held: Held,
}

/// The locks a thread holds, in the order of linking. Written by the thread alone.
#[repr(C)]
pub(super) struct Held {
    len: AtomicUsize,
    /// Odd while entries move, so that a reader on another thread starts over.
    version: AtomicUsize,
    slots: [Slot; MAX_HELD],
}

#[repr(C)]
struct Slot {
    entry: AtomicUsize,
    /// The next entry on the list, as far as this record knows.
    next: AtomicUsize,
}

/// Of a process that has not been asked for its identity: no process has this word.
pub(super) const UNKNOWN: u64 = u64::MAX;

const FREE: u32 = 0;
/// In use; the thread gives it back when it ends.
const USED: u32 = 1;
/// In use or left over: the thread cannot give it back, look whether it lives.
const ORPHAN: u32 = 2;

thread_local! {
    static CURRENT: Cell<*const Thread> = const { Cell::new(std::ptr::null()) };
    static AT_EXIT: GiveBack = const { GiveBack };
}

struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        let Some(thread) = installed() else { return };
        if thread.held.len() > 0 {
            // Leaked guards: the kernel marks their words when the thread has gone.
            thread.state.store(ORPHAN, Ordering::Release);
            return;
        }
        CURRENT.set(std::ptr::null());
        thread.tid.store(0, Ordering::Relaxed);
        thread.head.store(null_mut(), Ordering::Relaxed);
        thread.state.store(FREE, Ordering::Release);
    }
}

/// Forgets the context that a forked child sees its parent's thread-local pointing to.
pub(crate) fn forget_thread() {
    CURRENT.set(std::ptr::null());
}

/// The thread's context, list head and id; `None` if there is no usable list.
#[inline]
pub(super) fn current() -> Option<(&'static Thread, NonNull<Head>, u32)> {
    current_if_cached().or_else(current_cold)
}

/// The same; `None` also if the thread has not been asked before, or has become a child's.
#[inline]
pub(super) fn current_if_cached() -> Option<(&'static Thread, NonNull<Head>, u32)> {
    let thread = installed()?;
    let head = NonNull::new(thread.head.load(Ordering::Relaxed))?;
    Some((thread, head, thread.tid.load(Ordering::Relaxed)))
}

#[inline]
pub(super) fn tid() -> u32 {
    if let Some(thread) = installed() {
        let tid = thread.tid.load(Ordering::Relaxed);
        if tid != 0 {
            return tid;
        }
    }
    install().map_or_else(gettid, |thread| thread.tid.load(Ordering::Relaxed))
}

#[inline]
fn installed() -> Option<&'static Thread> {
    let thread = CURRENT.get();
    // SAFETY: CURRENT is null or a context, which is never freed and only reached by `&`.
    unsafe { thread.as_ref() }
}

#[cold]
fn current_cold() -> Option<(&'static Thread, NonNull<Head>, u32)> {
    let thread = match installed() {
        Some(thread) if thread.tid.load(Ordering::Relaxed) != 0 => thread,
        // No context yet, or one that was wiped because this is a forked child.
        _ => install()?,
    };
    let head = NonNull::new(thread.head.load(Ordering::Relaxed))?;
    Some((thread, head, thread.tid.load(Ordering::Relaxed)))
}

/// Gives the calling thread a context; `None` only without memory for one.
#[cold]
fn install() -> Option<&'static Thread> {
    let thread = take_free().or_else(push_new)?;
    // Fails when the thread is already past its thread-local destructors.
    if AT_EXIT.try_with(|_| ()).is_err() {
        thread.state.store(ORPHAN, Ordering::Relaxed);
    }
    thread.process.store(UNKNOWN, Ordering::Relaxed);
    thread.head.store(list_head(), Ordering::Relaxed);
    thread.tid.store(gettid(), Ordering::Relaxed);
    CURRENT.set(thread);
    Some(thread)
}

fn take_free() -> Option<&'static Thread> {
    all().find(|thread| {
        thread
            .state
            .compare_exchange(FREE, USED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    })
}

fn push_new() -> Option<&'static Thread> {
    let first = &fork_page::get()?.threads;
    let fresh = fork_page::wiped_memory(size_of::<Thread>())?.cast::<Thread>();
    // SAFETY: zeroed memory of the right size and alignment, never freed; all-zero is valid for
    // a struct of atomics.
    let thread = unsafe { &*fresh };
    thread.state.store(USED, Ordering::Relaxed);
    let mut head = first.load(Ordering::Relaxed);
    loop {
        thread.next.store(head, Ordering::Relaxed);
        // Release pairs with the Acquire in `all`.
        match first.compare_exchange_weak(head, fresh, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return Some(thread),
            Err(now) => head = now,
        }
    }
}

/// All contexts of this process.
fn all() -> impl Iterator<Item = &'static Thread> {
    let first = fork_page::get().map_or(null_mut(), |page| page.threads.load(Ordering::Acquire));
    // SAFETY: the list holds contexts only, which are never freed.
    let first = unsafe { first.as_ref() };
    std::iter::successors(first, |thread: &&Thread| {
        let next = thread.next.load(Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { next.as_ref() }
    })
}

pub(super) fn holds_within(range: &Range<usize>) -> bool {
    all().any(|thread| match thread.state.load(Ordering::Acquire) {
        FREE => false,
        USED => thread.held.any_within(range),
        _ => thread.held.any_within(range) && thread.is_alive(),
    })
}

impl Thread {
    /// Whether the thread of an orphaned context still runs; its id may have a new bearer, then
    /// the answer errs on the careful side.
    fn is_alive(&self) -> bool {
        let tid = self.tid.load(Ordering::Relaxed);
        liveness::process_of_thread(tid) == Some(std::process::id())
            && !liveness::thread_is_dead(tid, None)
    }
}

impl Held {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Appends an entry. The caller has asked for room; without, it is linked unrecorded.
    #[inline]
    pub(super) fn push(&self, entry: usize, next: usize) {
        let len = self.len();
        if let Some(slot) = self.slots.get(len) {
            slot.entry.store(entry, Ordering::Relaxed);
            slot.next.store(next, Ordering::Relaxed);
            self.len.store(len + 1, Ordering::Relaxed);
        }
    }

    /// Whether `entry`, followed by `next`, is the last one appended.
    #[inline]
    pub(super) fn top_is(&self, entry: usize, next: usize) -> bool {
        let top = self.len().wrapping_sub(1);
        self.slots.get(top).is_some_and(|slot| {
            slot.entry.load(Ordering::Relaxed) == entry && slot.next.load(Ordering::Relaxed) == next
        })
    }

    /// Takes the last entry off.
    #[inline]
    pub(super) fn pop(&self) {
        self.len
            .store(self.len().saturating_sub(1), Ordering::Relaxed);
    }

    pub(super) fn position(&self, entry: usize) -> Option<usize> {
        self.recorded()
            .iter()
            .rposition(|slot| slot.entry.load(Ordering::Relaxed) == entry)
    }

    pub(super) fn next_at(&self, index: usize) -> usize {
        self.slots[index].next.load(Ordering::Relaxed)
    }

    /// Takes the entry at `index` out, which stood between `before` and `behind` on the list.
    pub(super) fn remove(&self, index: usize, before: usize, behind: usize) {
        if let Some(before) = self.position(before) {
            self.slots[before].next.store(behind, Ordering::Relaxed);
        }
        let version = self.version.load(Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Relaxed);
        // Pairs with the Acquire fence in `any_within`: a reader that sees a moved slot sees an odd
        // version, or a later one.
        fence(Ordering::Release);
        let recorded = self.recorded();
        for pair in recorded[index..].windows(2) {
            pair[0]
                .entry
                .store(pair[1].entry.load(Ordering::Relaxed), Ordering::Relaxed);
            pair[0]
                .next
                .store(pair[1].next.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.len.store(recorded.len() - 1, Ordering::Relaxed);
        // Pairs with the Acquire load in `any_within`.
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
    }

    fn recorded(&self) -> &[Slot] {
        &self.slots[..self.len().min(MAX_HELD)]
    }

    fn any_within(&self, range: &Range<usize>) -> bool {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let found = self
                .recorded()
                .iter()
                .any(|slot| range.contains(&slot.entry.load(Ordering::Relaxed)));
            // Pairs with the Release fence in `remove`.
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return found;
            }
            std::thread::yield_now();
        }
    }
}

fn gettid() -> u32 {
    // SAFETY: takes nothing and always succeeds.
    let tid = unsafe { libc::gettid() };
    tid.unsigned_abs()
}

/// The list that libc registered for this thread, if it is one we know how to use.
fn list_head() -> *mut Head {
    static SUPPORTED: AtomicU8 = AtomicU8::new(0);
    if cfg!(not(target_env = "gnu")) || cfg!(miri) {
        return null_mut();
    }
    if !futex::cached(&SUPPORTED, || {
        !futex::fallback_forced() && !registered_head().is_null()
    }) {
        return null_mut();
    }
    registered_head()
}

/// Asks the kernel for this thread's list; null if libc registered none of the known shape.
fn registered_head() -> *mut Head {
    let mut head: *mut Head = null_mut();
    let mut size: usize = 0;
    // SAFETY: the kernel writes one pointer and one size, to the two locals.
    let failed =
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut size) } != 0;
    if failed || head.is_null() || size != size_of::<Head>() {
        return null_mut();
    }
    // SAFETY: the kernel accepted this head from libc for this very thread, so it points to a
    // live `struct robust_list_head` in the thread's descriptor.
    let offset = unsafe { &*head }.futex_offset();
    if offset == FUTEX_OFFSET {
        head
    } else {
        null_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_HELD, Thread};

    /// A context on zeroed memory, as threads have it.
    fn context() -> Box<Thread> {
        let layout = std::alloc::Layout::new::<Thread>();
        // SAFETY: the layout is not empty.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        assert!(!memory.is_null());
        // SAFETY: just allocated for this layout; all-zero is a free context.
        unsafe { Box::from_raw(memory.cast()) }
    }

    #[test]
    fn record_is_a_stack() {
        let context = context();
        let held = &context.held;
        held.push(100, 0);
        held.push(200, 100);
        assert!(held.top_is(200, 100));
        assert!(!held.top_is(200, 0) && !held.top_is(100, 0));
        held.pop();
        assert!(held.top_is(100, 0));
        held.pop();
        assert!(!held.top_is(100, 0));
        assert_eq!(held.len(), 0);
    }

    #[test]
    fn removal_closes_the_gap_and_mends_the_neighbour() {
        let context = context();
        let held = &context.held;
        held.push(100, 0);
        held.push(200, 100);
        held.push(300, 200);
        held.remove(1, 300, 100);
        assert_eq!(held.len(), 2);
        assert_eq!(held.position(200), None);
        assert!(held.top_is(300, 100));
    }

    #[test]
    fn full_record_takes_no_more() {
        let context = context();
        let held = &context.held;
        for entry in 1..=MAX_HELD + 1 {
            held.push(entry * 8, 0);
        }
        assert_eq!(held.len(), MAX_HELD);
    }

    /// 100 is held all the time, wherever it moves.
    #[test]
    fn readers_never_miss_what_moves() {
        let context = context();
        let held = &context.held;
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..rounds {
                    held.push(50, 0);
                    if held.position(100).is_none() {
                        held.push(100, 50);
                    }
                    held.push(60, 0);
                    held.push(70, 0);
                    if let Some(index) = held.position(50) {
                        held.remove(index, 0, 0);
                    }
                    held.pop();
                    held.pop();
                }
            });
            while held.position(100).is_none() && !writer.is_finished() {
                std::hint::spin_loop();
            }
            while !writer.is_finished() {
                assert!(held.any_within(&(100..101)));
            }
        });
    }
}
