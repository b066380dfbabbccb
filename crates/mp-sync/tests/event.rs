//! `Event`: no set is lost, whoever waits how.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mp_os::clock::Deadline;
use mp_sync::{Event, EventCount, Wait};
use mp_testkit::{Forked, PATIENCE, Watchdog};

#[path = "shared/processes.rs"]
mod processes;
use processes::{child, place, shared_memory, until};

#[test]
fn wakes_waiters_of_every_policy() {
    let memory = shared_memory();
    for (index, wait) in [Wait::Adaptive, Wait::Spin, Wait::Sleep]
        .into_iter()
        .enumerate()
    {
        let ready: &Event = place(memory, index * 64);
        let waiting: &AtomicU32 = place(memory, 1024 + index * 64);
        let waiters = [(); 2].map(|()| {
            child(|| {
                waiting.fetch_add(1, Ordering::Release);
                assert!(ready.wait_with(wait, Deadline::NEVER));
            })
        });
        until(|| waiting.load(Ordering::Acquire) == 2);
        ready.set();
        waiters.into_iter().for_each(processes::Child::join);
        assert!(ready.is_set());
        ready.clear();
        assert!(!ready.is_set());
    }
}

#[test]
fn ping_pong_loses_no_set() {
    let memory = shared_memory();
    let [ping, pong]: [&Event; 2] = [place(memory, 0), place(memory, 64)];
    for wait in [Wait::Adaptive, Wait::Sleep] {
        let other = child(|| {
            for _ in 0..2000 {
                ping.wait_with(wait, Deadline::NEVER);
                ping.clear();
                pong.set();
            }
        });
        for _ in 0..2000 {
            ping.set();
            assert!(pong.wait_with(wait, Deadline::after(Duration::from_secs(20))));
            pong.clear();
        }
        other.join();
    }
}

#[test]
fn timeouts_of_zero_some_and_max() {
    let memory = shared_memory();
    let ready: &Event = place(memory, 0);
    assert!(!ready.wait_timeout(Duration::ZERO));
    for wait in [Wait::Adaptive, Wait::Spin, Wait::Sleep] {
        let start = Instant::now();
        assert!(!ready.wait_with(wait, Deadline::after(Duration::from_millis(20))));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
    let waiter = child(|| assert!(ready.wait_timeout(Duration::MAX)));
    ready.set();
    waiter.join();
    assert!(ready.wait_timeout(Duration::ZERO));
}

#[test]
fn killed_sleepers_do_not_disturb() {
    let memory = shared_memory();
    let ready: &Event = place(memory, 0);
    let ev: &AtomicU32 = place(memory, 8);
    let waiters = [(); 3].map(|()| child(|| ready.wait()));
    until(|| ev.load(Ordering::Relaxed) & 1 == 1);
    let [first, second, third] = waiters;
    first.kill();
    second.kill();
    ready.set();
    third.join();
    ready.set();
    assert_eq!(
        ev.load(Ordering::Relaxed) & 1,
        0,
        "nobody sleeps, and the word says so"
    );
}

#[test]
fn one_set_wakes_five_hundred_waiters() {
    let event: &Event = place(shared_memory(), 0);
    let asleep = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..500 {
            std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn_scoped(scope, || {
                    asleep.fetch_add(1, Ordering::SeqCst);
                    assert!(event.wait_with(Wait::Sleep, Deadline::NEVER));
                })
                .expect("a thread");
        }
        until(|| asleep.load(Ordering::SeqCst) == 500);
        event.set();
    });
}

/// Each wake begins a new sleep, but not a new period after which the dead are looked for.
#[test]
fn a_waiter_that_is_woken_in_vain_again_and_again_looks_for_the_dead() {
    let _watchdog = Watchdog::new(PATIENCE);
    let memory = shared_memory();
    let [count, busy]: [&EventCount; 2] = [place(memory, 0), place(memory, 64)];
    let has_looked = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !has_looked.load(Ordering::Acquire) {
                count.notify_all();
                busy.wait_until(
                    Wait::Sleep,
                    Deadline::after(Duration::from_millis(5)),
                    || None::<()>,
                );
            }
        });
        let looked = || has_looked.load(Ordering::Acquire).then_some(());
        let suspect = || has_looked.store(true, Ordering::Release);
        let ended = count.wait_until_or_suspect(Wait::Sleep, Deadline::NEVER, looked, suspect);
        assert!(ended.is_some());
    });
}

/// How long eight sleeps take that are as long as the pauses between looks for the dead.
fn pauses() -> Duration {
    let start = Instant::now();
    (0..8).for_each(|n| std::thread::sleep(Duration::from_millis(1 << n)));
    start.elapsed()
}

/// Threads of a dying process may not know of it when the bell rings. Eight more looks take some
/// 255 ms; at one in each recheck period of 250 ms they would take 2 s at least. Sleeps as long as
/// the pauses between them say what a busy machine adds.
#[test]
fn after_the_bell_a_waiter_looks_for_the_dead_again_soon() {
    let _watchdog = Watchdog::new(PATIENCE);
    let count: &EventCount = place(shared_memory(), 0);
    let is_soon = || {
        // Wakes none, and the word no longer says that the last try's waiter sleeps.
        count.notify_all();
        assert!(!count.has_sleepers());
        let dying = Forked::arriving(|arrival| count.under_bell(|| arrival.stay()));
        let looks = AtomicU32::new(0);
        let enough = || (looks.load(Ordering::Acquire) >= 9).then_some(());
        let look = || {
            looks.fetch_add(1, Ordering::Release);
        };
        let (took, pauses) = std::thread::scope(|scope| {
            let waiting = scope
                .spawn(|| count.wait_until_or_suspect(Wait::Sleep, Deadline::NEVER, enough, look));
            until(|| count.has_sleepers());
            let pauses = scope.spawn(pauses);
            let start = Instant::now();
            dying.kill_and_reap();
            assert!(waiting.join().expect("no panic").is_some());
            (start.elapsed(), pauses.join().expect("no panic"))
        });
        took < Duration::from_secs(2).max(4 * pauses)
    };
    // A busy machine may take so long, but not each time. Five tries that take periods of 250 ms
    // end before the watchdog does.
    assert!((0..5).any(|_| is_soon()));
}
