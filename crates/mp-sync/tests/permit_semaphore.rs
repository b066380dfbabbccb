//! `PermitSemaphore`: a permit has one owner, and comes back from it, dead or alive.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mp_layout::{Described, ErrorKind, Region};
use mp_sync::PermitSemaphore;

#[path = "shared/processes.rs"]
mod processes;
use processes::{Child, child, place, shared_memory, until};

const AFTER: usize = 4224;

fn permits(count: u32) -> (Region<'static>, &'static PermitSemaphore) {
    let memory = shared_memory();
    let semaphore: &PermitSemaphore = place(memory, 0);
    semaphore.initialise(count).expect("a number of permits");
    (memory, semaphore)
}

/// A child that has `count` permits until it is killed.
fn holder(semaphore: &'static PermitSemaphore, count: usize) -> Child {
    let before = semaphore.available();
    let child = child(|| {
        let _permits: Vec<_> = (0..count)
            .map(|_| semaphore.acquire().expect("/proc is there"))
            .collect();
        loop {
            std::thread::park();
        }
    });
    until(|| semaphore.available() + count == before);
    child
}

#[test]
fn no_two_have_the_same_permit() {
    let (memory, semaphore) = permits(2);
    let [users, turns]: [&[AtomicU32; 2]; 2] = [0, 64].map(|at| place(memory, AFTER + at));
    let work = || {
        for _ in 0..500 {
            let permit = semaphore.acquire().expect("/proc is there");
            let user = &users[permit.number()];
            assert_eq!(user.swap(1, Ordering::SeqCst), 0);
            std::thread::yield_now();
            user.store(0, Ordering::SeqCst);
            turns[0].fetch_add(1, Ordering::SeqCst);
        }
    };
    let others = [(); 3].map(|()| child(work));
    work();
    others.into_iter().for_each(Child::join);
    assert_eq!(turns[0].load(Ordering::SeqCst), 2000);
    assert_eq!((semaphore.available(), semaphore.permits()), (2, 2));
}

#[test]
fn the_permits_of_a_killed_process_come_back_to_one_that_waits() {
    let (_, semaphore) = permits(2);
    let dying = holder(semaphore, 2);
    let pids: Vec<_> = semaphore.holders().iter().map(|h| h.tid()).collect();
    assert_eq!(pids, [dying.pid(); 2]);
    let waiting = child(|| assert!(semaphore.acquire().is_ok()));
    dying.kill();
    waiting.join();
    assert!(
        semaphore
            .acquire_timeout(Duration::from_secs(20))
            .is_ok_and(|p| p.is_some())
    );
}

#[test]
fn a_sweep_gives_back_what_the_dead_had_and_nothing_else() {
    let (_, semaphore) = permits(5);
    let (dying, living) = (holder(semaphore, 2), holder(semaphore, 1));
    let mine = semaphore.acquire().expect("/proc is there");
    assert_eq!(semaphore.sweep(), 0);
    dying.kill();
    assert_eq!((semaphore.sweep(), semaphore.sweep()), (2, 0));
    assert_eq!(semaphore.available(), 3);
    drop(mine);
    living.kill();
}

#[test]
fn an_attempt_finds_the_permits_of_the_dead() {
    let (_, semaphore) = permits(1);
    for _ in 0..3 {
        holder(semaphore, 1).kill();
        let permit = semaphore.try_acquire().expect("/proc is there");
        assert!(permit.is_some());
    }
}

#[test]
fn a_timeout_takes_nothing() {
    let (_, semaphore) = permits(1);
    let permit = semaphore.try_acquire().expect("/proc is there");
    assert!(permit.is_some());
    assert!(semaphore.try_acquire().is_ok_and(|p| p.is_none()));
    let start = Instant::now();
    let late = semaphore.acquire_timeout(Duration::from_millis(20));
    assert!(late.is_ok_and(|permit| permit.is_none()));
    assert!(start.elapsed() >= Duration::from_millis(20));
    drop(permit);
    assert_eq!(semaphore.available(), 1);
    assert!(
        semaphore
            .acquire_timeout(Duration::MAX)
            .is_ok_and(|p| p.is_some())
    );
}

#[test]
fn a_forked_child_does_not_give_back_its_parents_permit() {
    let (_, semaphore) = permits(1);
    let permit = RefCell::new(semaphore.try_acquire().expect("/proc is there"));
    child(|| drop(permit.take())).join();
    assert_eq!(semaphore.available(), 0);
    drop(permit);
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn another_thread_may_give_a_permit_back() {
    let (_, semaphore) = permits(1);
    let permit = semaphore.acquire().expect("/proc is there");
    std::thread::scope(|scope| {
        scope.spawn(|| drop(permit));
    });
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn none_and_too_many_are_refused() {
    let semaphore: &PermitSemaphore = place(shared_memory(), 0);
    for count in [0, 513, u32::MAX] {
        let error = semaphore.initialise(count).expect_err("not so many");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("1 to 512"), "{error}");
    }
    let error = semaphore.try_acquire().expect_err("no permits");
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    semaphore.initialise(512).expect("the most");
    let all: Vec<_> = (0..512)
        .map(|_| semaphore.acquire().expect("a permit"))
        .collect();
    assert_eq!((semaphore.available(), all.len()), (0, 512));
}

/// What a wild write leaves names no process, or no living one: the permit comes back.
#[test]
fn overwritten_words_end_every_operation() {
    for value in [u64::MAX, 1 << 22, 7] {
        let (memory, semaphore) = permits(2);
        let words: &[AtomicU64; 528] = place(memory, 0);
        for owner in [128 / 8, 128 / 8 + 1] {
            words[owner].store(value, Ordering::Relaxed);
        }
        assert_eq!(semaphore.sweep(), 2, "{value:#x}");
        assert!(semaphore.try_acquire().is_ok_and(|permit| permit.is_some()));
        words[7].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(semaphore.permits(), 512);
        assert!(semaphore.try_acquire().is_ok());
    }
}
