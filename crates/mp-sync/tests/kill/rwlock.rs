//! The reader-writer lock: no death leaves a share taken, and none in a change is hidden.

use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use killcheck::{Check, SharedArea};
use mp_sync::{LockError, RwLock};

use super::{check, check_pairs, learn_who_one_is};

/// What the lock guards: two words that are changed together.
#[repr(C)]
pub(super) struct Guarded {
    lock: RwLock,
    words: [AtomicU64; 2],
}

type Area = SharedArea<Guarded>;

fn area() -> Area {
    // SAFETY: a `Place` and atomics: zero is valid.
    unsafe { SharedArea::zeroed() }.expect("five pages")
}

fn write(guarded: &Area) {
    let held = match guarded.lock.write() {
        Err(LockError::OwnerDied(held)) => {
            let first = guarded.words[0].load(Ordering::Relaxed);
            guarded.words[1].store(first, Ordering::Relaxed);
            held
        }
        other => other.expect("the lock is there to be had"),
    };
    guarded.words[0].fetch_add(1, Ordering::Relaxed);
    // A death between them must be told.
    compiler_fence(Ordering::SeqCst);
    guarded.words[1].fetch_add(1, Ordering::Relaxed);
    drop(held);
}

fn read(guarded: &Area) {
    drop(guarded.lock.read().or_else(LockError::into_guard));
}

/// The lock can be had both ways, and what it guards is whole or said to be torn.
fn whole_or_told(guarded: &Area) -> Result<(), String> {
    let (share, told) = match guarded.lock.read() {
        Ok(share) => (share, false),
        Err(LockError::OwnerDied(share)) => (share, true),
        Err(error) => return Err(error.to_string()),
    };
    let words = guarded.words.each_ref().map(|w| w.load(Ordering::Relaxed));
    if words[0] != words[1] && !told {
        return Err(format!("torn, and nobody said so: {words:?}"));
    }
    drop(share);
    match guarded.lock.write() {
        Ok(_guard) if !told => Ok(()),
        Err(LockError::OwnerDied(_guard)) if told => Ok(()),
        other => Err(format!("a reader was told {told}, a writer {other:?}")),
    }
}

fn of_one<'a>(name: &str, victim: fn(&Area)) -> Check<'a, Area> {
    check(name)
        .setup(|guarded: &Area| guarded.reset())
        .warm_up(|_| learn_who_one_is())
        .victim(victim)
        .survivor(whole_or_told)
        .invariant(|guarded| match guarded.lock.write() {
            Ok(_guard) => Ok(()),
            other => Err(format!("{other:?}")),
        })
}

#[test]
fn reader_and_writer_alone() {
    for (name, victim) in [
        ("rwlock: read", read as fn(&Area)),
        ("rwlock: write", write),
    ] {
        of_one(name, victim).assert_safe(&area());
    }
}

/// The victim holds the lock, and dies before or while it releases it: those who wait must get it
/// without the others' help.
#[test]
fn holder_with_sleepers() {
    let hold_and_release = |guarded: &Area| {
        let held = guarded.lock.write();
        drop(held);
    };
    for sleepers in [1, 2] {
        for (name, sleeper) in [
            ("rwlock: woken writer; writers sleep", write as fn(&Area)),
            ("rwlock: woken writer; readers sleep", read),
        ] {
            held_by_the_harness(name)
                .victim(hold_and_release)
                .sleepers(sleepers, sleeper)
                .assert_safe(&area());
        }
    }
}

/// A reader that came while a writer held the lock is woken, and others sleep.
#[test]
fn woken_reader_with_others_asleep() {
    for sleepers in [1, 2] {
        held_by_the_harness("rwlock: woken reader; writers sleep")
            .victim(read)
            .sleepers(sleepers, write)
            .assert_safe(&area());
    }
}

/// The writer's mutex is held in this process's name, until the waker releases it as its owner
/// would.
fn held_by_the_harness<'a>(name: &str) -> Check<'a, Area> {
    check(name)
        .setup(|guarded: &Area| {
            guarded.reset();
            word(guarded, 0).store(mp_os::robust::tid(), Ordering::Release);
            word(guarded, 48).store(1, Ordering::Release);
        })
        .warm_up(|_| learn_who_one_is())
        .waker(|guarded| {
            word(guarded, 48).store(0, Ordering::Release);
            if word(guarded, 0).swap(0, Ordering::Release) >> 31 == 1 {
                mp_os::futex::wake(word(guarded, 0), 1);
            }
        })
        .must_wake(|_| true)
        .survivor(whole_or_told)
}

fn word(guarded: &Area, offset: usize) -> &std::sync::atomic::AtomicU32 {
    let word = guarded.as_ptr().cast::<u8>().wrapping_add(offset).cast();
    // SAFETY: an atomic within the structure, see `docs/memory-layout.md`.
    unsafe { std::sync::atomic::AtomicU32::from_ptr(word) }
}

/// One dies in its change, and the one that mends it in that.
#[test]
fn recoverer_dies_after_the_writer() {
    check_pairs("rwlock: write; then one that mends what that left")
        .setup(|guarded: &Area| guarded.reset())
        .warm_up(|_| learn_who_one_is())
        .victim(write)
        .recoverer(write)
        .survivor(whole_or_told)
        .assert_safe(&area());
}

#[test]
fn storm_of_kills() {
    killcheck::storm("rwlock: two read, two write")
        .setup(|guarded: &Area| guarded.reset())
        .worker(|guarded: &Area, worker| match worker % 2 {
            0 => write(guarded),
            _ => {
                let share = guarded.lock.read();
                let words = guarded.words.each_ref().map(|w| w.load(Ordering::Relaxed));
                assert!(share.is_err() || words[0] == words[1], "{words:?}");
            }
        })
        .invariant(whole_or_told)
        .assert_safe(&area());
}
