//! SIGKILL in every state that lock, unlock, set and wait leave behind.
//!
//! In release builds: `cargo test -p mp-sync --release --test kill --features raw_sync`. Sampled
//! even there: what has more than `max_points` states or pairs of states, and what takes a recheck
//! for each death. Debug builds try a sample.
#![cfg(all(target_arch = "x86_64", not(loom)))]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use killcheck::{Check, SharedArea};
use mp_os::clock::Deadline;
use mp_sync::{EventCount, Mutex};

#[path = "kill/barrier.rs"]
mod barrier;
#[path = "kill/condition.rs"]
mod condition;
#[path = "kill/event.rs"]
mod event;
#[path = "kill/event_count.rs"]
mod event_count;
#[path = "kill/handover.rs"]
mod handover;
#[path = "kill/mutex.rs"]
mod mutex;
#[path = "kill/permit_semaphore.rs"]
mod permit_semaphore;
#[path = "kill/raw_mutex.rs"]
mod raw_mutex;
#[cfg(feature = "raw_sync")]
#[path = "kill/raw_sync.rs"]
mod raw_sync;
#[path = "kill/rlock.rs"]
mod rlock;
#[path = "kill/rwlock.rs"]
mod rwlock;
#[path = "kill/semaphore.rs"]
mod semaphore;
#[path = "kill/try_wait.rs"]
mod try_wait;

/// Time stands still where the kernel hears of deaths, so that no recheck stands in for its wake;
/// the rechecks must do where it does not.
///
/// What libraries look up once in a process's life is looked up here: else each victim does it,
/// in some thousand instructions, until a test on another thread has done it for all.
///
/// A structure is all that its users share, so each state that a death leaves is tried once.
fn check<'a, T: Sync + 'a>(name: &str) -> Check<'a, SharedArea<T>> {
    std::hint::black_box(Deadline::after(Duration::ZERO));
    std::hint::black_box(mp_os::cpu::current_cpu());
    let most = match (mp_os::robust::supported(), cfg!(debug_assertions)) {
        (false, _) => 12, // each death takes a recheck to be noticed
        (true, true) => 100,
        (true, false) => usize::MAX,
    };
    let check = Check::new(name)
        .shares_only_the_area()
        .max_points(most)
        .stop_after(4);
    if mp_os::robust::supported() {
        check.without_timeouts()
    } else {
        check
    }
}

/// Asks whether the bell of the eventcount at `offset` stays silent when a thread dies that has
/// announced something else to the kernel. One that has announced nothing should have announced
/// the bell.
fn is_unheard<T: Sync>(offset: usize) -> impl Fn(&SharedArea<T>, usize) -> bool {
    move |area, pending| {
        let bell = area.as_ptr().addr() + offset;
        pending != 0 && !(bell..bell + size_of::<EventCount>()).contains(&pending)
    }
}

/// For a recoverer that dies after the victim: so many of all pairs of states.
fn check_pairs<'a, T: Sync + 'a>(name: &str) -> Check<'a, SharedArea<T>> {
    check(name).max_points(match (mp_os::robust::supported(), cfg!(debug_assertions)) {
        (false, _) => 12,
        (true, true) => 400,
        (true, false) => 1000,
    })
}

/// What a process does once: it asks who it is, by a text of `/proc` that is a little longer or
/// shorter each time.
fn learn_who_one_is() {
    // SAFETY: a `Place`: zero is valid, and all of it is atomics or in an `UnsafeCell`.
    let elsewhere: SharedArea<Mutex<u64>> = unsafe { SharedArea::zeroed() }.expect("a page");
    drop(elsewhere.lock());
}

/// The word at `offset` of `docs/memory-layout.md`.
fn word_of<T: Sync>(area: &SharedArea<T>, offset: usize) -> u64 {
    assert!(offset < size_of::<T>() && offset % 8 == 0);
    // SAFETY: within the structure, aligned, an atomic.
    let word = unsafe { &*area.as_ptr().cast::<u8>().add(offset).cast::<AtomicU64>() };
    word.load(Ordering::SeqCst)
}
