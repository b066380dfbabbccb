//! `Barrier::try_wait`: the last party that only tries, and one that tries too early.

use killcheck::{Check, SharedArea};
use mp_layout::{Described, ErrorKind};
use mp_sync::Barrier;

use super::{check, word_of};

type Area = SharedArea<Barrier>;

/// Offset of `docs/memory-layout.md`.
const STATE: usize = 96;
const BROKEN: u64 = 1;
const ROUND: u64 = 1 << 17;

fn area() -> Area {
    // SAFETY: a `Place`: zero is valid, and all of it is atomics.
    unsafe { SharedArea::zeroed() }.expect("two pages")
}

fn fresh(barrier: &Area, parties: u32) {
    barrier.reset();
    Barrier::initialise(barrier, parties).expect("a number of parties");
}

/// Waits, whatever comes of it.
fn wait(barrier: &Area) {
    match barrier.wait() {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::Broken, "{error}"),
    }
}

/// Whether the first round has ended, well or not.
fn has_ended(barrier: &Area) -> bool {
    let state = word_of(barrier, STATE);
    state >= ROUND || state & BROKEN != 0
}

/// What only a process's first attempts do is done after them, the look at other parties too.
fn try_elsewhere() {
    let elsewhere = area();
    fresh(&elsewhere, 1);
    assert_eq!(elsewhere.try_wait().expect("alone"), Some(0));
    fresh(&elsewhere, 2);
    let party = elsewhere.register().expect("room");
    assert_eq!(elsewhere.try_wait().expect("whole"), None);
    drop(party);
}

fn trying<'a>(sleepers: usize, parties: u32, expected: Option<usize>) -> Check<'a, Area> {
    check(&format!(
        "barrier of {parties}: try; {sleepers} sleep, {expected:?}"
    ))
    .setup(move |barrier: &Area| fresh(barrier, parties))
    .warm_up(|_| try_elsewhere())
    .sleepers(sleepers, wait)
    .victim(move |barrier| assert_eq!(barrier.try_wait().expect("whole"), expected))
    .must_wake(has_ended)
}

#[test]
fn last_party_that_tries_with_sleepers() {
    for sleepers in [1, 2] {
        trying(sleepers, sleepers as u32 + 1, Some(sleepers))
            .survivor(|barrier| match has_ended(barrier) {
                true => Ok(()),
                false => barrier.abort().map_err(|error| error.to_string()),
            })
            .assert_safe(&area());
    }
}

/// It does not arrive, so its death breaks nothing.
#[test]
fn party_that_tries_too_early_with_sleepers() {
    trying(1, 3, None)
        .survivor(|barrier| match (barrier.waiting(), barrier.is_broken()) {
            (1, false) => barrier.abort().map_err(|error| error.to_string()),
            other => Err(format!("{other:?}")),
        })
        .max_points(if cfg!(debug_assertions) { 60 } else { 150 })
        .assert_safe(&area());
}
