//! Five hundred processes at one object: each gets its turn, and none is forgotten.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mp::{Barrier, Condition, Event, Lock, RawValue, Result, Semaphore};
use mp_testkit::{Forked, Watchdog};

const CROWD: u32 = 500;

/// One crowd at a time.
fn alone() -> (MutexGuard<'static, ()>, Watchdog) {
    static CROWDS: Mutex<()> = Mutex::new(());
    let alone = CROWDS.lock().unwrap_or_else(PoisonError::into_inner);
    (alone, Watchdog::new(Duration::from_secs(100)))
}

/// Forks a crowd that runs `work`; all of them, once they have been let go.
fn crowd(work: impl Fn(u32) -> bool) -> Vec<Forked> {
    (0..CROWD)
        .map(|number| Forked::new(|| work(number)))
        .collect()
}

#[track_caller]
fn assert_all_succeed(crowd: Vec<Forked>) {
    for (number, process) in crowd.into_iter().enumerate() {
        assert!(process.succeeds(), "process {number}");
    }
}

/// The event lets them all go in one step, and they meet at the lock.
#[test]
fn five_hundred_processes_wait_for_one_event_and_take_one_lock() -> Result<()> {
    let _alone = alone();
    let (ready, go) = (Semaphore::new(0)?, Event::new()?);
    let (lock, total) = (Lock::new()?, RawValue::new(0_u64)?);
    let crowd = crowd(|number| {
        ready.release().expect("room");
        go.wait();
        for _ in 0..20 {
            let guard = lock.lock().expect("nobody dies");
            // Two steps, which the lock alone makes one.
            total.set(total.get() + u64::from(number));
            drop(guard);
        }
        true
    });
    (0..CROWD).for_each(|_| ready.acquire());
    assert_eq!(total.get(), 0, "none went before the event");
    go.set();
    assert_all_succeed(crowd);
    assert_eq!(total.get(), 20 * (0..u64::from(CROWD)).sum::<u64>());
    assert!(lock.holder().is_none());
    Ok(())
}

/// Half of them are killed while they sleep: the others are woken all the same.
#[test]
fn of_five_hundred_sleepers_the_killed_keep_none_from_waking() -> Result<()> {
    let _alone = alone();
    let (ready, go) = (Semaphore::new(0)?, Event::new()?);
    let mut crowd = crowd(|_| {
        ready.release().expect("room");
        go.wait();
        true
    });
    (0..CROWD).for_each(|_| ready.acquire());
    let killed: Vec<_> = crowd.drain(..CROWD as usize / 2).collect();
    killed.iter().for_each(Forked::kill);
    go.set();
    assert_all_succeed(crowd);
    Ok(())
}

#[test]
fn five_hundred_processes_are_notified_and_meet() -> Result<()> {
    let _alone = alone();
    let (condition, done) = (Condition::new()?, RawValue::new(0_u32)?);
    let barrier = Barrier::new(CROWD)?;
    let crowd = crowd(|_| {
        let guard = condition.lock().expect("nobody dies");
        let guard = guard.wait().expect("there is room for all");
        done.set(done.get() + 1);
        drop(guard);
        let number = barrier.wait().expect("nobody dies");
        number < CROWD as usize && done.get() == CROWD
    });
    while condition.waiting() < CROWD as usize {
        std::thread::yield_now();
    }
    // In parts: the first hundred one by one.
    for _ in 0..100 {
        condition.lock()?.notify(1);
    }
    condition.lock()?.notify_all();
    assert_all_succeed(crowd);
    assert_eq!((condition.waiting(), barrier.waiting()), (0, 0));
    Ok(())
}
