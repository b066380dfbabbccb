//! Barriers: no death leaves a party waiting, and none lets one go on too early.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use killcheck::{Check, SharedArea};
use mp_layout::{Described, ErrorKind};
use mp_os::clock::Deadline;
use mp_sync::Barrier;

use super::{check, check_pairs, is_unheard, word_of};

type Area = SharedArea<Barrier>;

const BELL: usize = 48;
const STATE: usize = 96;
const BROKEN: u64 = 1;
const ROUND: u64 = 1 << 17;

/// Why some points need a recheck.
const GAP: &str = "the pending slot names the mutex while it is acquired and released";

fn area() -> Area {
    // SAFETY: a `Place`: zero is valid, and all of it is atomics.
    unsafe { SharedArea::zeroed() }.expect("two pages")
}

fn fresh(barrier: &Area, parties: u32) {
    barrier.reset();
    Barrier::initialise(barrier, parties).expect("a number of parties");
}

/// What only a process's first operation does is done after it.
fn wait_elsewhere() {
    let elsewhere = area();
    fresh(&elsewhere, 1);
    elsewhere.wait().expect("alone");
}

/// Waits, whatever comes of it.
fn wait(barrier: &Area) {
    match barrier.wait() {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::Broken, "{error}"),
    }
}

/// Whether the round has ended in which the sleepers of a fresh barrier are.
fn has_ended(barrier: &Area) -> bool {
    let state = word_of(barrier, STATE);
    state >= ROUND || state & BROKEN != 0
}

/// Ended, or `parties` have arrived, one of which is dead.
fn must_end(barrier: &Area, parties: u64) -> bool {
    has_ended(barrier) || (word_of(barrier, STATE) % ROUND) / 2 >= parties
}

/// Lets the sleepers go if they still sleep, and uses the barrier again.
fn end(barrier: &Area) -> Result<(), String> {
    let text = |error: mp_layout::Error| error.to_string();
    if !has_ended(barrier) {
        barrier.abort().map_err(text)?;
    }
    Barrier::reset(barrier).map_err(text)?;
    match (barrier.waiting(), barrier.is_broken()) {
        (0, false) => Ok(()),
        other => Err(format!("after a reset: {other:?}")),
    }
}

fn with_sleepers<'a>(name: &str, sleepers: usize, parties: u32) -> Check<'a, Area> {
    check(&format!("barrier: {name}; {sleepers} sleep"))
        .setup(move |barrier: &Area| fresh(barrier, parties))
        .warm_up(|_| wait_elsewhere())
        .sleepers(sleepers, wait)
        .survivor(end)
}

#[test]
fn last_party_with_sleepers() {
    for sleepers in [1, 2] {
        with_sleepers("the last party", sleepers, sleepers as u32 + 1)
            .victim(wait)
            .must_wake(has_ended)
            .assert_safe(&area());
    }
}

#[test]
fn party_that_arrives_and_gives_up_with_sleepers() {
    for sleepers in [1, 2] {
        with_sleepers("arrive, give up", sleepers, sleepers as u32 + 2)
            .victim(|barrier| assert!(barrier.wait_timeout(Deadline::PASSED).is_err()))
            .must_wake(move |barrier| must_end(barrier, sleepers as u64 + 1))
            .allow_rescues_if(is_unheard(BELL), GAP)
            .assert_safe(&area());
    }
}

#[test]
fn last_party_with_an_action() {
    for sleepers in [1, 2] {
        with_sleepers("the last party acts", sleepers, sleepers as u32 + 1)
            .victim(|barrier| drop(barrier.wait_and_run(|| ())))
            .must_wake(move |barrier| must_end(barrier, sleepers as u64 + 1))
            .allow_rescues_if(is_unheard(BELL), GAP)
            .assert_safe(&area());
    }
}

#[test]
fn woken_party_with_others_asleep() {
    for sleepers in [1, 2] {
        with_sleepers("woken", sleepers, sleepers as u32 + 2)
            .victim(wait)
            .waker(wait)
            .must_wake(has_ended)
            .assert_safe(&area());
    }
}

#[test]
fn abort_and_reset_with_sleepers() {
    for sleepers in [1, 2] {
        with_sleepers("abort, reset", sleepers, sleepers as u32 + 1)
            .victim(|barrier| {
                barrier.abort().expect("the lock is free");
                Barrier::reset(barrier).expect("the lock is free");
            })
            .must_wake(has_ended)
            .assert_safe(&area());
    }
}

/// The first dies on its arrival, and one that finds it dies while it breaks the barrier.
#[test]
fn party_that_breaks_it_dies_after_the_one_that_arrived() {
    let give_up = |barrier: &Area| {
        assert!(barrier.wait_timeout(Deadline::PASSED).is_err());
    };
    check_pairs("barrier: arrive, give up, twice; two sleep")
        .setup(|barrier: &Area| fresh(barrier, 6))
        .warm_up(|_| wait_elsewhere())
        .sleepers(2, wait)
        .victim(give_up)
        .recoverer(give_up)
        .must_wake(|barrier| must_end(barrier, 3))
        .allow_rescues_if(is_unheard(BELL), GAP)
        .survivor(end)
        .assert_safe(&area());
}

/// One that has arrived was killed, and nobody noticed. The victim is woken by the bell, finds it,
/// breaks the barrier, and is killed in that.
#[test]
fn sweeper_dies_with_others_asleep() {
    let leave_a_dead_one = |barrier: &Area| {
        fresh(barrier, 9);
        let waiting = mp_testkit::Forked::new(|| barrier.wait().is_err());
        while barrier.waiting() == 0 {
            std::thread::yield_now();
        }
        waiting.kill();
        waiting.exit();
    };
    let ring = |barrier: &Area| {
        // SAFETY: the futex word of the eventcount's bell, an atomic within the structure.
        let bell = unsafe { AtomicU32::from_ptr(barrier.as_ptr().cast::<u8>().add(BELL).cast()) };
        mp_os::futex::wake(bell, 1);
    };
    for sleepers in [1, 2] {
        with_sleepers("find a dead party", sleepers, 9)
            .setup(leave_a_dead_one)
            .victim(wait)
            .waker(ring)
            .must_wake(|_| true)
            .allow_rescues_if(is_unheard(BELL), GAP)
            .max_points(if cfg!(debug_assertions) { 100 } else { 1500 })
            .assert_safe(&area());
    }
}

#[test]
fn registered_process_dies() {
    check("barrier: register, leave")
        .setup(|barrier: &Area| fresh(barrier, 1))
        .warm_up(|_| wait_elsewhere())
        .victim(|barrier| drop(barrier.register().expect("room")))
        .survivor(|barrier| {
            Barrier::reset(barrier).map_err(|error| error.to_string())?;
            let party = barrier.register().map_err(|error| error.to_string())?;
            let number = party.wait().map_err(|error| error.to_string())?;
            (number == 0).then_some(()).ok_or(format!("{number}"))
        })
        .invariant(|barrier| match word_of(barrier, 4352) {
            0 => Ok(()),
            member => Err(format!("{member:#x} is a member still")),
        })
        .assert_safe(&area());
}

#[test]
fn storm_of_kills() {
    #[repr(C)]
    struct Scene {
        barrier: Barrier,
        rounds: AtomicU32,
    }
    // SAFETY: as in `area`, and an atomic.
    let scene: SharedArea<Scene> = unsafe { SharedArea::zeroed() }.expect("pages");
    killcheck::storm("barrier: rounds of three, four processes")
        .setup(|scene: &SharedArea<Scene>| {
            scene.reset();
            scene.barrier.initialise(3).expect("three parties");
        })
        .worker(
            |scene, _| match scene.barrier.wait_timeout(Duration::from_millis(20)) {
                Ok(_) => drop(scene.rounds.fetch_add(1, Ordering::Relaxed)),
                Err(_) => scene.barrier.reset().expect("the lock can be had"),
            },
        )
        .invariant(|scene| match scene.rounds.load(Ordering::Relaxed) {
            0 => Err("no round was complete".to_owned()),
            _ => Ok(()),
        })
        .assert_safe(&scene);
}
