//! `Mutex<T>`: to whom the data is lent when the thread that locked it ends, and until when.

use std::cell::RefCell;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mp_layout::{ErrorKind, Region};
use mp_sync::{LockError, Mutex, MutexGuard};

#[path = "shared/processes.rs"]
mod processes;
use mp_testkit::stay;
use processes::{child, place, shared_memory, until};

type Pair = Mutex<[u64; 2]>;

const OWNER_DIED: u32 = 1 << 30;

/// How a patient caller fares.
#[derive(Debug, PartialEq)]
enum Locked {
    Cleanly,
    OwnerDied,
    Refused(ErrorKind),
}

fn lock(mutex: &Pair) -> Locked {
    match mutex.lock_timeout(Duration::from_secs(10)) {
        Ok(_) => Locked::Cleanly,
        Err(LockError::OwnerDied(mut guard)) => {
            guard.recover();
            Locked::OwnerDied
        }
        Err(error) => Locked::Refused(error.kind()),
    }
}

const CLAIMED: Locked = Locked::Refused(ErrorKind::Claimed);

fn mutex_and_flag() -> (Region<'static>, &'static Pair, &'static AtomicU32) {
    let memory = shared_memory();
    (memory, place(memory, 0), place(memory, 128))
}

fn reached(at: &AtomicU32) {
    until(|| at.swap(0, Ordering::AcqRel) == 1);
}

/// Has a child acquire the mutex, be killed, and the mutex locked as soon as the signal is sent.
fn lock_while_its_owner_is_killed(mutex: &'static Pair, at: &'static AtomicU32) -> Locked {
    let owner = child(|| {
        let _guard = mutex.lock().or_else(LockError::into_guard).unwrap();
        at.store(1, Ordering::Release);
        stay();
    });
    reached(at);
    // SAFETY: sends a signal to a child that was not reaped.
    unsafe { libc::kill(owner.pid().cast_signed(), libc::SIGKILL) };
    let locked = lock(mutex);
    owner.kill();
    locked
}

#[test]
fn guard_forgotten_in_a_scope_is_lent_to_the_process() {
    let (_, mutex, _) = mutex_and_flag();
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(mutex.lock().unwrap()));
    });
    for _ in 0..2 {
        assert_eq!(lock(mutex), CLAIMED);
    }
}

#[test]
fn guard_dropped_in_a_scope_is_not_lent() {
    let (_, mutex, at) = mutex_and_flag();
    std::thread::scope(|scope| {
        scope.spawn(|| mutex.lock().unwrap()[0] += 1);
    });
    assert_eq!(lock(mutex), Locked::Cleanly);
    assert_eq!(lock_while_its_owner_is_killed(mutex, at), Locked::OwnerDied);
}

thread_local! {
    static KEPT: RefCell<Option<MutexGuard<'static, [u64; 2]>>> = const { RefCell::new(None) };
}

/// The slot is made before the thread's first lock and so destroyed after all that belongs to
/// locks.
#[test]
fn guard_dropped_while_its_thread_ends_is_not_lent() {
    let (memory, mutex, at) = mutex_and_flag();
    let other: &'static Pair = place(memory, 256);
    let one = std::thread::spawn(|| {
        KEPT.with(|kept| {
            kept.borrow_mut();
            *kept.borrow_mut() = Some(mutex.lock().unwrap());
        });
        drop(other.lock().unwrap());
    });
    one.join().unwrap();
    assert_eq!(lock(mutex), Locked::Cleanly);
    assert_eq!(lock_while_its_owner_is_killed(mutex, at), Locked::OwnerDied);
}

#[test]
fn threads_that_end_without_their_destructors_leave_the_data_lent() {
    let (_, mutex, at) = mutex_and_flag();
    let process = child(|| {
        let _never_joined = std::thread::spawn(|| {
            let _guard = mutex.lock().unwrap();
            at.store(1, Ordering::Release);
            // SAFETY: ends this thread as a seccomp filter would; its stack stays.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        });
        stay();
    });
    reached(at);
    assert_eq!(lock(mutex), CLAIMED);
    process.kill();
    assert_eq!(lock(mutex), Locked::OwnerDied);
}

/// The last owner but one lives, and is still the one that is noted.
#[test]
fn owner_that_died_before_its_note_lent_nothing() {
    let (memory, mutex, at) = mutex_and_flag();
    let word: &AtomicU32 = place(memory, 0);
    let earlier = child(|| {
        drop(mutex.lock().unwrap());
        at.store(1, Ordering::Release);
        stay();
    });
    reached(at);
    word.store(OWNER_DIED, Ordering::Release); // as the kernel does for one between its two stores
    assert_eq!(lock(mutex), Locked::OwnerDied);
    earlier.kill();
}

#[test]
fn exec_ends_what_was_lent() {
    if !mp_os::robust::supported() {
        // The thread's number and start time stay, so nothing but the kernel can tell.
        mp_testkit::not_checked("threads have no robust list here");
        return;
    }
    let (_, mutex, at) = mutex_and_flag();
    let process = child(|| {
        std::mem::forget(mutex.lock().unwrap());
        at.store(1, Ordering::Release);
        let error = Command::new("sleep").arg("60").exec();
        panic!("{error}");
    });
    reached(at);
    assert_eq!(lock(mutex), Locked::OwnerDied);
    process.kill();
}

/// The kernel marks the lock while other threads of the process may not know yet that they die.
#[test]
fn dying_process_is_waited_for() {
    let (memory, mutex, at) = mutex_and_flag();
    let busy: &'static AtomicU32 = place(memory, 256);
    for round in 0..20 {
        let process = child(|| {
            let ballast = vec![round as u8; 8 << 20];
            for _ in 0..4 {
                std::thread::spawn(|| {
                    loop {
                        busy.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let _guard = mutex.lock().or_else(LockError::into_guard).unwrap();
            at.store(1, Ordering::Release);
            while ballast[busy.load(Ordering::Relaxed) as usize % ballast.len()] == round as u8 {}
        });
        reached(at);
        // SAFETY: sends a signal to a child that was not reaped.
        unsafe { libc::kill(process.pid().cast_signed(), libc::SIGKILL) };
        match mutex.lock_timeout(Duration::from_secs(10)) {
            Err(LockError::OwnerDied(mut guard)) => {
                let before = busy.load(Ordering::SeqCst);
                std::thread::yield_now();
                assert_eq!(busy.load(Ordering::SeqCst), before, "a thread still ran");
                guard.recover();
            }
            other => panic!("round {round}: {other:?}"),
        }
        process.kill();
    }
}
