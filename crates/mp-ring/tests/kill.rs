//! SIGKILL before every instruction of each operation of all rings, of claiming a role and giving
//! it back, and of a sweep.
//!
//! A release build takes some seconds, a debug build, of ten times the instructions, a minute.
#![cfg(all(target_arch = "x86_64", not(loom)))]

#[path = "kill/broken.rs"]
mod broken;
#[path = "kill/byte_ring.rs"]
mod byte_ring;
#[path = "kill/judge.rs"]
mod judge;
#[path = "kill/latest.rs"]
mod latest;
#[path = "kill/loan.rs"]
mod loan;
#[path = "kill/mpmc.rs"]
mod mpmc;
#[path = "kill/ring.rs"]
mod ring;

use std::ptr::NonNull;

use broken::{TailFirst, Vyukov};
use judge::{Before, Judged, Scene, Stage};
use killcheck::Report;
use mp_layout::Region;

/// Every instruction was tried, and after no kill was anything wrong.
#[track_caller]
fn assert_safe(report: &Report) {
    println!("{report}");
    report.assert_safe();
    assert_eq!((report.skipped(), report.missed()), (0, &[][..]));
}

fn region(stage: &Stage) -> Region<'_> {
    let words = stage.words();
    // SAFETY: mapped for as long as the stage is borrowed, and reached otherwise through atomics
    // only.
    unsafe { Region::new(NonNull::from(words).cast(), size_of_val(words)) }
}

const CONTROL: Before = Before { moved: 3, held: 1 };

fn push_one<'m, R: Judged<'m>>(producer: &mut R::Producer, batch: &[u64]) {
    assert!(R::push(producer, batch[0]));
}

#[test]
fn control_that_a_dead_producer_blocks_is_caught() {
    let scene = Scene::new(CONTROL);
    let push = push_one::<Vyukov<'_>>;
    let report = scene.producer_dies::<Vyukov<'_>>("after Vyukov: push", &[&[10]], push);
    println!("{report}");
    report.assert_caught();
}

#[test]
fn control_that_publishes_too_early_is_caught() {
    let scene = Scene::new(CONTROL);
    let push = push_one::<TailFirst<'_>>;
    let report = scene.producer_dies::<TailFirst<'_>>("tail before value: push", &[&[10]], push);
    println!("{report}");
    report.assert_caught();
}
