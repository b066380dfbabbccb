//! SIGKILL before every instruction of lock, unlock, set and wait.
//!
//! Complete in release builds: `cargo test -p mp-sync --release --test kill --features raw_sync`.
//! Debug builds try a sample of the points.
#![cfg(all(target_arch = "x86_64", not(loom)))]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence};
use std::time::Duration;

use killcheck::{Check, Failure, SharedArea};
use mp_os::clock::Deadline;
use mp_os::futex;
use mp_sync::{Event, EventCount, LockError, Mutex, Outcome, RLock, RawMutex, Semaphore, Wait};

#[path = "kill/barrier.rs"]
mod barrier;
#[path = "kill/condition.rs"]
mod condition;
#[path = "kill/handover.rs"]
mod handover;
#[path = "kill/permit_semaphore.rs"]
mod permit_semaphore;
#[path = "kill/rwlock.rs"]
mod rwlock;
#[path = "kill/try_wait.rs"]
mod try_wait;

const OWNER_DIED: u32 = 1 << 30;

/// Time stands still where the kernel hears of deaths, so that no recheck stands in for its wake;
/// the rechecks must do where it does not.
///
/// What libraries look up once in a process's life is looked up here: else each victim does it,
/// in some thousand instructions, until a test on another thread has done it for all.
fn check<'a, T>(name: &str) -> Check<'a, SharedArea<T>> {
    std::hint::black_box(Deadline::after(Duration::ZERO));
    std::hint::black_box(mp_os::cpu::current_cpu());
    let most = match (mp_os::robust::supported(), cfg!(debug_assertions)) {
        (false, _) => 12, // each death takes a recheck to be noticed
        (true, true) => 100,
        (true, false) => usize::MAX,
    };
    let check = Check::new(name).max_points(most).stop_after(4);
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

/// For a recoverer that dies after the victim: so many of all pairs of points.
fn check_pairs<'a, T>(name: &str) -> Check<'a, SharedArea<T>> {
    check(name).max_points(match (mp_os::robust::supported(), cfg!(debug_assertions)) {
        (false, _) => 12,
        (true, true) => 400,
        (true, false) => 1000,
    })
}

type Pair = SharedArea<Mutex<[u64; 2]>>;

fn pair() -> Pair {
    // SAFETY: a `Place`, which is made for this: zero is valid, and all of it is atomics or in an
    // `UnsafeCell`.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

fn word(pair: &Pair) -> &AtomicU32 {
    // SAFETY: the futex word is the first field of a mutex, and an atomic.
    unsafe { AtomicU32::from_ptr(pair.as_ptr().cast()) }
}

fn change(pair: &Pair) {
    let mut held = match pair.lock() {
        Err(LockError::OwnerDied(mut held)) => {
            *held = [0, 0];
            held.recover();
            held
        }
        other => other.expect("the lock is there to be had"),
    };
    held[0] += 1;
    // Two stores, not one of both: a death between them must be told.
    compiler_fence(Ordering::SeqCst);
    held[1] += 1;
}

/// The lock can be had, and what it guards is whole or said to be torn.
fn whole_or_told(pair: &Pair) -> Result<(), String> {
    match pair.lock() {
        Ok(held) if held[0] == held[1] => Ok(()),
        Ok(held) => Err(format!("torn, and nobody said so: {:?}", *held)),
        Err(LockError::OwnerDied(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// What a process does once: it asks who it is, by a text of `/proc` that is a little longer or
/// shorter each time.
fn learn_who_one_is() {
    drop(pair().lock());
}

#[test]
fn lock_and_unlock() {
    check("mutex: lock, change, unlock")
        .setup(|pair: &Pair| pair.reset())
        .warm_up(|pair| drop(pair.lock()))
        .victim(change)
        .survivor(whole_or_told)
        .invariant(whole_or_told)
        .run(&pair())
        .expect("the check runs")
        .assert_safe();
}

#[test]
fn lock_and_unlock_after_another_process() {
    check("mutex: lock, change, unlock; another process did before")
        .setup(|pair: &Pair| {
            pair.reset();
            drop(pair.lock());
        })
        .warm_up(|_| learn_who_one_is())
        .victim(change)
        .survivor(whole_or_told)
        .invariant(whole_or_told)
        .run(&pair())
        .expect("the check runs")
        .assert_safe();
}

#[test]
fn first_lock_of_a_process() {
    check("mutex: a process's first lock, change, unlock")
        .max_points(if mp_os::robust::supported() { 400 } else { 12 })
        .setup(|pair: &Pair| pair.reset())
        .allow_missed(0.1, "the text of /proc is not always as long")
        .victim(change)
        .survivor(whole_or_told)
        .invariant(whole_or_told)
        .run(&pair())
        .expect("the check runs")
        .assert_safe();
}

#[test]
fn recoverer() {
    check("mutex: told of a death, recover, unlock")
        .setup(|pair: &Pair| {
            pair.reset();
            pair.lock().expect("fresh")[0] = 1;
            word(pair).store(OWNER_DIED, Ordering::Release);
        })
        .warm_up(|_| learn_who_one_is())
        .victim(change)
        .survivor(whole_or_told)
        .run(&pair())
        .expect("the check runs")
        .assert_safe();
}

#[test]
fn recoverer_dies_after_the_owner() {
    let report = check_pairs("mutex: lock, change, unlock; then one that recovers what that left")
        .setup(|pair: &Pair| pair.reset())
        .warm_up(|pair| drop(pair.lock()))
        .victim(change)
        .recoverer(change)
        .survivor(whole_or_told)
        .invariant(whole_or_told)
        .run(&pair())
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

/// It is told of the death and leaves the data as it is.
#[test]
fn witness_dies_after_the_owner() {
    let report = check_pairs("mutex: lock, change, unlock; then one that only looks")
        .setup(|pair: &Pair| pair.reset())
        .warm_up(|pair| drop(pair.lock()))
        .victim(change)
        .recoverer(|pair| drop(pair.lock()))
        .survivor(whole_or_told)
        .invariant(whole_or_told)
        .run(&pair())
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

/// What structures embed: they keep their own words whole, or mend them as soon as they are told.
#[repr(C)]
struct Guarded {
    mutex: RawMutex,
    words: [AtomicU64; 2],
}

impl Guarded {
    fn area() -> SharedArea<Self> {
        // SAFETY: as in `pair`.
        unsafe { SharedArea::zeroed() }.expect("a page")
    }

    fn change(&self) {
        let mut held = self.mutex.lock().expect("not held here");
        if held.outcome() == Outcome::OwnerDied {
            let first = self.words[0].load(Ordering::Relaxed);
            self.words[1].store(first, Ordering::Relaxed);
            held.recover();
        }
        for word in &self.words {
            word.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn whole_or_told(&self) -> Result<(), String> {
        let held = self.mutex.lock().expect("not held here");
        let words = self
            .words
            .each_ref()
            .map(|word| word.load(Ordering::Relaxed));
        if held.outcome() == Outcome::OwnerDied {
            // Each death was of an owner, or the mark would not be there.
            return match self.mutex.death_epoch() {
                1 | 2 => Ok(()),
                deaths => Err(format!("{deaths} owners died")),
            };
        }
        match words {
            [first, second] if first == second => Ok(()),
            torn => Err(format!("torn, and nobody said so: {torn:?}")),
        }
    }
}

#[test]
fn recoverer_of_a_raw_mutex_dies_after_the_owner() {
    let report = check_pairs("raw mutex: lock, mend, change, unlock; then another")
        .setup(|guarded: &SharedArea<Guarded>| guarded.reset())
        .warm_up(|guarded| drop(guarded.mutex.lock()))
        .victim(|guarded| guarded.change())
        .recoverer(|guarded| guarded.change())
        .survivor(|guarded| guarded.whole_or_told())
        .run(&Guarded::area())
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

fn is_refused(pair: &Pair) -> bool {
    match pair.lock() {
        Err(LockError::Failed(error)) => error.kind() == mp_layout::ErrorKind::Claimed,
        _ => false,
    }
}

/// A thread of this process leaked its guard. A process that is refused the data for that, and dies
/// of something else meanwhile, must not leave the data to the next.
#[test]
fn refused_process_dies() {
    // In each refusal a second passes, in which the data's process could still end: no timeout may
    // be taken away, and two refusals for each point is what this takes. Almost all points are in
    // the loop of that second.
    let report = Check::new("mutex: refused, since a living process has the data")
        .max_points(if cfg!(debug_assertions) { 12 } else { 20 })
        .stop_after(2)
        .setup(|pair: &Pair| {
            pair.reset();
            std::thread::scope(|scope| {
                scope.spawn(|| std::mem::forget(pair.lock().expect("fresh")));
            });
        })
        .warm_up(|_| learn_who_one_is())
        .victim(|pair| assert!(is_refused(pair)))
        .allow_missed(0.5, "the wait for the other process looks at the clock")
        .survivor(|pair| {
            is_refused(pair)
                .then_some(())
                .ok_or_else(|| "a second reference to the data".to_owned())
        })
        .run(&pair())
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

/// Held by this process, which lives, until somebody releases it as its owner would.
fn held_by_the_harness(pair: &Pair) {
    pair.reset();
    word(pair).store(mp_os::robust::tid(), Ordering::Release);
}

fn release_for_the_harness(pair: &Pair) {
    if word(pair).swap(0, Ordering::Release) >> 31 == 1 {
        futex::wake(word(pair), 1);
    }
}

#[test]
fn woken_waiter_with_two_asleep() {
    check("mutex: woken, lock, change, unlock; two others sleep")
        .setup(held_by_the_harness)
        .warm_up(|_| learn_who_one_is())
        .victim(change)
        .sleepers(2, |pair: &Pair| drop(pair.lock()))
        .waker(release_for_the_harness)
        .must_wake(|_| true)
        .survivor(whole_or_told)
        .run(&pair())
        .expect("the check runs")
        .assert_safe();
}

fn event() -> SharedArea<Event> {
    // SAFETY: as in `pair`.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

#[test]
fn event_set_with_two_sleepers() {
    let report = check("event: set; two waiters sleep")
        .setup(|event: &SharedArea<Event>| event.reset())
        .sleepers(2, |event| {
            assert!(event.wait_with(Wait::Sleep, Deadline::NEVER))
        })
        .victim(|event| event.set())
        .must_wake(|event| event.is_set())
        .survivor(|event| {
            event.set();
            Ok(())
        })
        .run(&event())
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

#[test]
fn event_waiter_woken_with_two_asleep() {
    check("event: woken; two others sleep")
        .allow_missed(0.05, "a waiter may be woken before it sleeps")
        .setup(|event: &SharedArea<Event>| event.reset())
        .victim(|event| assert!(event.wait_with(Wait::Sleep, Deadline::NEVER)))
        .sleepers(2, |event| {
            assert!(event.wait_with(Wait::Sleep, Deadline::NEVER))
        })
        .waker(|event| event.set())
        .must_wake(|event| event.is_set())
        .survivor(|event| {
            event.set();
            Ok(())
        })
        .run(&event())
        .expect("the check runs")
        .assert_safe();
}

/// The first setter dies, then the second, which finds the flag set. Both leave the waiters to the
/// bell.
#[test]
fn event_set_again_after_its_setter_died() {
    check_pairs("event: set, set again; two waiters sleep")
        .setup(|event: &SharedArea<Event>| event.reset())
        .warm_up(|_| learn_who_one_is())
        .sleepers(2, |event| {
            assert!(event.wait_with(Wait::Sleep, Deadline::NEVER))
        })
        .victim(|event| event.set())
        .recoverer(|event| event.set())
        .must_wake(|event| event.is_set())
        .survivor(|event| {
            event.set();
            Ok(())
        })
        .run(&event())
        .expect("the check runs")
        .assert_safe();
}

/// The next owner has it once, whatever the dead owner's depth was, and then it is free.
fn is_had_once(lock: &RLock) -> Result<(), String> {
    match lock.lock() {
        Ok(guard) | Err(LockError::OwnerDied(guard)) if guard.depth() == 1 => drop(guard),
        other => return Err(format!("{other:?}")),
    }
    match lock.try_lock() {
        Ok(guard) if guard.depth() == 1 => Ok(()),
        other => Err(format!("the second time: {other:?}")),
    }
}

#[test]
fn recursive_lock_and_unlock() {
    // SAFETY: as in `pair`.
    let area: SharedArea<RLock> = unsafe { SharedArea::zeroed() }.expect("a page");
    let twice = |lock: &SharedArea<RLock>| {
        let outer = lock.lock().expect("free");
        let inner = lock.lock().expect("ours");
        drop(outer);
        drop(inner);
    };
    let report = check("rlock: lock twice, unlock twice")
        .setup(|lock: &SharedArea<RLock>| lock.reset())
        .warm_up(|lock| drop(lock.lock()))
        .victim(twice)
        .survivor(|lock| is_had_once(lock))
        .run(&area)
        .expect("the check runs");
    println!("{report}");
    report.assert_safe();
}

/// The word at `offset` of `docs/memory-layout.md`.
fn word_of<T: Sync>(area: &SharedArea<T>, offset: usize) -> u64 {
    assert!(offset < size_of::<T>() && offset % 8 == 0);
    // SAFETY: within the structure, aligned, an atomic.
    let word = unsafe { &*area.as_ptr().cast::<u8>().add(offset).cast::<AtomicU64>() };
    word.load(Ordering::SeqCst)
}

fn semaphore() -> SharedArea<Semaphore> {
    // SAFETY: as in `pair`.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

fn permits(semaphore: &Semaphore) -> usize {
    semaphore.value() as usize
}

fn sleep_and_acquire(semaphore: &Semaphore) {
    assert!(semaphore.acquire_with(Wait::Sleep, Deadline::NEVER));
}

fn release_one(semaphore: &Semaphore) -> Result<(), String> {
    semaphore.release().map_err(|error| error.to_string())
}

/// What only a process's first operation does is done after it.
fn release_and_acquire(semaphore: &SharedArea<Semaphore>) {
    semaphore.release().expect("room");
    assert!(semaphore.try_acquire());
}

fn releaser_dies<'a>(count: u32) -> Check<'a, SharedArea<Semaphore>> {
    check(&format!(
        "semaphore: release {count}; as many waiters sleep"
    ))
    .setup(|semaphore: &SharedArea<Semaphore>| semaphore.reset())
    .warm_up(release_and_acquire)
    .sleepers(count as usize, |semaphore| sleep_and_acquire(semaphore))
    .victim(move |semaphore| semaphore.release_many(count).expect("room"))
    .must_wake_count(|semaphore| permits(semaphore))
    .survivor(move |semaphore| (0..count).try_for_each(|_| release_one(semaphore)))
}

fn acquirer_dies<'a>(count: u32) -> Check<'a, SharedArea<Semaphore>> {
    check(&format!(
        "semaphore: woken by a release of {count}; as many others sleep"
    ))
    .setup(|semaphore: &SharedArea<Semaphore>| semaphore.reset())
    .victim(|semaphore| sleep_and_acquire(semaphore))
    .sleepers(count as usize, |semaphore| sleep_and_acquire(semaphore))
    .waker(move |semaphore| semaphore.release_many(count).expect("room"))
    .must_wake_count(|semaphore| permits(semaphore))
    .survivor(move |semaphore| (0..count).try_for_each(|_| release_one(semaphore)))
}

#[test]
fn releaser_of_a_permit_with_a_sleeper() {
    for count in [1, 2] {
        let report = releaser_dies(count).run(&semaphore()).expect("runs");
        println!("{report}");
        report.assert_safe();
    }
}

#[test]
fn acquirer_woken_with_others_asleep() {
    let report = acquirer_dies(1).run(&semaphore()).expect("runs");
    println!("{report}");
    report.assert_safe();
}

/// A counting semaphore, with the bell or without.
struct Units {
    count: EventCount,
    left: AtomicU32,
}

impl Units {
    fn area() -> SharedArea<Self> {
        // SAFETY: a `Place` and an atomic.
        unsafe { SharedArea::zeroed() }.expect("a page")
    }

    fn try_take(&self) -> Option<u32> {
        let less = |left: u32| left.checked_sub(1);
        let taken = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less)
            .ok()?;
        if taken > 1 && self.count.has_sleepers() {
            self.count.notify(1);
        }
        Some(taken)
    }

    fn take(&self) {
        let taken = self
            .count
            .wait_until(Wait::Sleep, Deadline::NEVER, || self.try_take());
        assert!(taken.is_some());
    }

    fn give(&self) {
        self.count.under_bell(|| self.give_without_bell());
    }

    /// Gives two and wakes one: rule (b) is for the other.
    fn give_two(&self) {
        self.count.under_bell(|| {
            self.left.fetch_add(2, Ordering::SeqCst);
            self.count.notify_committed(1);
        });
    }

    fn give_without_bell(&self) {
        self.left.fetch_add(1, Ordering::SeqCst);
        self.count.notify_committed(1);
    }

    fn take_without_bell(&self) {
        while self.try_take().is_none() {
            let ticket = self.count.prepare();
            if self.try_take().is_some() {
                return;
            }
            let _how = self.count.sleep(ticket, Deadline::NEVER);
        }
    }

    fn there(&self) -> usize {
        self.left.load(Ordering::SeqCst) as usize
    }
}

type Taking = fn(&Units);

fn giver_dies<'a>(give: Taking, take: Taking) -> Check<'a, SharedArea<Units>> {
    check("eventcount: give a unit; a taker sleeps")
        .setup(|units: &SharedArea<Units>| units.reset())
        .sleeper(move |units| take(units))
        .victim(move |units| give(units))
        .must_wake_count(|units| units.there())
        .survivor(move |units| {
            give(units);
            Ok(())
        })
}

fn taker_dies<'a>(give: Taking, take: Taking) -> Check<'a, SharedArea<Units>> {
    check("eventcount: a taker woken; another sleeps")
        .setup(|units: &SharedArea<Units>| units.reset())
        .victim(move |units| take(units))
        .sleeper(move |units| take(units))
        .waker(move |units| give(units))
        .must_wake_count(|units| units.there())
        .survivor(move |units| {
            give(units);
            Ok(())
        })
}

#[test]
fn giver_with_a_sleeper() {
    giver_dies(Units::give, Units::take)
        .run(&Units::area())
        .expect("runs")
        .assert_safe();
}

#[test]
fn woken_taker_with_another_asleep() {
    taker_dies(Units::give, Units::take)
        .run(&Units::area())
        .expect("runs")
        .assert_safe();
}

#[test]
fn giver_of_two_with_two_sleepers() {
    giver_dies(Units::give_two, Units::take)
        .warm_up(|_| learn_who_one_is())
        .sleeper(|units| units.take())
        .run(&Units::area())
        .expect("runs")
        .assert_safe();
}

#[test]
fn woken_taker_of_one_of_two_with_two_asleep() {
    taker_dies(Units::give_two, Units::take)
        .sleeper(|units| units.take())
        .run(&Units::area())
        .expect("runs")
        .assert_safe();
}

#[test]
fn control_without_the_bell_is_caught() {
    if !mp_os::robust::supported() {
        mp_testkit::not_checked("threads have no robust list here, and so no bell");
        return;
    }
    for dying in [giver_dies, taker_dies] {
        let report = dying(Units::give_without_bell, Units::take_without_bell)
            .run(&Units::area())
            .expect("the check runs");
        report.assert_caught();
        assert!(
            report
                .findings()
                .iter()
                .any(|finding| matches!(finding.failure, Failure::LostWake(_))),
            "{report}"
        );
    }
}

#[test]
fn control_plain_futex_mutex_is_caught() {
    // SAFETY: an atomic.
    let area: SharedArea<AtomicU32> = unsafe { SharedArea::zeroed() }.expect("a page");
    let lock_and_unlock = |word: &AtomicU32| {
        while word.swap(2, Ordering::Acquire) != 0 {
            let _woken = futex::wait(word, 2, Deadline::NEVER);
        }
        if word.swap(0, Ordering::Release) == 2 {
            futex::wake(word, 1);
        }
    };
    check("plain futex mutex")
        .setup(|word: &SharedArea<AtomicU32>| word.reset())
        .victim(move |word| lock_and_unlock(word))
        .survivor(move |word| {
            lock_and_unlock(word);
            Ok(())
        })
        .run(&area)
        .expect("the check runs")
        .assert_caught();
}

#[cfg(feature = "raw_sync")]
mod raw_sync_mutex {
    use raw_sync::locks::{LockInit, Mutex as Theirs};

    use super::*;

    type Memory = SharedArea<[AtomicU64; 16]>;

    fn killed<L: LockInit>(name: &str) -> killcheck::Report {
        // SAFETY: atomics.
        let area: Memory = unsafe { SharedArea::zeroed() }.expect("a page");
        let bytes = |memory: &Memory| memory.as_ptr().cast::<u8>();
        // SAFETY: room for a lock of either kind, never freed while it is used.
        let open = move |memory: &Memory| unsafe { L::from_existing(bytes(memory), bytes(memory)) };
        let lock_and_unlock = move |memory: &Memory| {
            let (mutex, _) = open(memory).expect("initialised");
            // An error tells of a death, once; then the lock is free.
            drop(mutex.lock().or_else(|_| mutex.lock()).expect("free"));
        };
        check(name)
            .setup(move |memory: &Memory| {
                memory.reset();
                // SAFETY: as above.
                let made = unsafe { L::new(bytes(memory), bytes(memory)) };
                drop(made.expect("room"));
            })
            .victim(lock_and_unlock)
            .survivor(move |memory| {
                lock_and_unlock(memory);
                Ok(())
            })
            .allow_missed(0.05, "the box is freed as the allocator's state has it")
            .run(&area)
            .expect("the check runs")
    }

    #[test]
    fn control_theirs_is_caught() {
        let report = killed::<Theirs>("raw_sync's mutex");
        println!("{report}");
        report.assert_caught();
    }

    #[test]
    fn ours_behind_the_same_traits() {
        let report = killed::<mp_sync::raw_sync::Mutex>("ours by raw_sync's traits");
        println!("{report}");
        report.assert_safe();
    }
}
