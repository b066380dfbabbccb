//! One kill stands for all points that leave the same behind.
#![cfg(target_arch = "x86_64")]

use std::collections::HashSet;
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use killcheck::{Check, Failure, Report, SharedArea};

const EACH: &str = "KILLCHECK_EVERY_INSTRUCTION";

/// Two words that belong together, and what their writer sleeps on.
struct Pair {
    words: [AtomicU64; 2],
    gate: AtomicU32,
}

type Area = SharedArea<Pair>;

fn area() -> Area {
    // SAFETY: atomics only, for which zero is valid.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

/// Nothing of this outlives the process.
fn compute(rounds: u64) -> u64 {
    (0..rounds).map(black_box).sum()
}

fn store_both(pair: &Area) {
    for word in &pair.words {
        compute(20);
        word.store(1, SeqCst);
    }
    compute(20);
}

fn expect_whole(pair: &Area) -> Result<(), String> {
    let [one, other] = pair.words.each_ref().map(|word| word.load(SeqCst));
    (one == other)
        .then_some(())
        .ok_or_else(|| format!("torn: {one} and {other}"))
}

fn torn() -> Check<'static, Area> {
    Check::new("two stores with much between them")
        .setup(|pair: &Area| pair.reset())
        .victim(store_both)
        .survivor(expect_whole)
}

fn places(report: &Report) -> HashSet<usize> {
    report
        .kill_points()
        .iter()
        .map(|point| point.index)
        .collect()
}

#[test]
fn each_state_is_tried_and_fails_as_all_its_points_do() {
    let each = torn().assert_caught(&area());
    let states = torn().shares_only_the_area().assert_caught(&area());
    assert_eq!((states.missed(), states.skipped()), (&[][..], 0));
    if std::env::var_os(EACH).is_some() {
        assert_eq!(places(&states), places(&each));
        return;
    }
    // Nothing is stored, one word is, both are.
    assert_eq!(states.kill_points().len(), 3, "{states}");
    assert_eq!(states.alike() + 3, each.kill_points().len(), "{states}");
    let [found] = states.findings() else {
        panic!("{states}");
    };
    assert!(each.findings().len() > 20, "{each}");
    assert_eq!(found.failure, each.findings()[0].failure);
    assert_eq!(found.point.index, each.findings()[0].point.index);
    assert!(states.to_string().contains("points like one of them"));
}

/// What the shorter way above leaves unseen, such as a store to memory that the check does not know
/// of, a long run finds.
#[test]
fn each_point_is_tried_where_the_environment_says_so() {
    let this = std::env::current_exe().expect("the test itself");
    let output = Command::new(this)
        .args([
            "--exact",
            "each_state_is_tried_and_fails_as_all_its_points_do",
        ])
        .env(EACH, "1")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// The area is the same before and after the call.
#[test]
fn what_only_the_kernel_holds_is_a_state() {
    let ends = || std::io::pipe().expect("a pipe");
    let pipe = std::cell::RefCell::new(ends());
    let report = Check::new("write into a pipe, store, write again")
        .setup(|pair: &Area| {
            pair.reset();
            pipe.replace(ends());
        })
        .victim(|pair| {
            let (_, writer) = &*pipe.borrow();
            compute(20);
            (&*writer).write_all(b"1").expect("room");
            compute(20);
            pair.words[0].store(1, SeqCst);
            compute(20);
            (&*writer).write_all(b"2").expect("room");
            compute(20);
        })
        .survivor(|pair| {
            let (reader, writer) = &*pipe.borrow();
            (&*writer).write_all(b".").expect("room");
            let mut file = File::from(std::os::fd::OwnedFd::from(
                reader.try_clone().expect("a descriptor"),
            ));
            let mut bytes = [0; 3];
            let written = file.read(&mut bytes).expect("a point at least") as u64 - 1;
            let stored = pair.words[0].load(SeqCst);
            match (written, stored) {
                (0, 0) | (1, 1) | (2, 1) => Ok(()),
                (written, stored) => Err(format!("{written} written, {stored} stored")),
            }
        })
        .shares_only_the_area()
        .run(&area())
        .expect("it runs");
    println!("{report}");
    if std::env::var_os(EACH).is_none() {
        assert_eq!(report.kill_points().len(), 4, "{report}");
        assert_eq!(report.findings().len(), 1, "{report}");
    }
    let wrong = Failure::Violation("1 written, 0 stored".into());
    assert!(report.findings().iter().all(|found| found.failure == wrong));
    report.assert_caught();
}

fn wait_for_gate(pair: &Area) {
    while pair.gate.load(SeqCst) == 0 {
        // SAFETY: the word lives in a mapping; no timeout.
        unsafe { libc::syscall(libc::SYS_futex, pair.gate.as_ptr(), libc::FUTEX_WAIT, 0, 0) };
    }
}

fn open_gate(pair: &Area) {
    pair.gate.store(1, SeqCst);
    // SAFETY: the word lives in a mapping.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            pair.gate.as_ptr(),
            libc::FUTEX_WAKE,
            i32::MAX,
        )
    };
}

#[test]
fn a_woken_victim_is_killed_in_each_state_after_its_wake() {
    let report = Check::new("woken, two stores")
        .setup(|pair: &Area| pair.reset())
        .victim(|pair| {
            wait_for_gate(pair);
            store_both(pair);
        })
        .waker(open_gate)
        .survivor(expect_whole)
        .without_timeouts()
        .shares_only_the_area()
        .assert_caught(&area());
    if std::env::var_os(EACH).is_none() {
        assert_eq!(report.kill_points().len(), 3, "{report}");
        assert_eq!(report.findings().len(), 1, "{report}");
    }
}

/// The time it took another way than in the trace, it came by other points of the same states.
#[test]
fn another_way_through_the_same_states_misses_none() {
    let times = AtomicU32::new(0);
    let report = Check::new("another way to the same stores")
        .setup(|pair: &Area| {
            pair.reset();
            // The rehearsal and the trace.
            let first_way = times.fetch_add(1, SeqCst) < 2;
            pair.gate.store(u32::from(first_way), SeqCst);
        })
        .victim(|pair| {
            for word in &pair.words {
                match pair.gate.load(SeqCst) {
                    0 => black_box(compute(2)),
                    _ => black_box(compute(3) + black_box(1)),
                };
                word.store(1, SeqCst);
            }
        })
        .invariant(|_| Ok(()))
        .shares_only_the_area()
        .max_points(3)
        .run(&area())
        .expect("it runs");
    println!("{report}");
    if std::env::var_os(EACH).is_none() {
        assert_eq!(report.missed(), [], "{report}");
        assert_eq!(report.kill_points().len(), 3, "{report}");
    }
}

/// Three states of four have few points: a bound of points alone would let them be missed.
#[test]
fn most_states_are_not_missed_because_they_have_few_points() {
    let times = AtomicU32::new(0);
    let report = Check::new("stores twice in the first trace, and never again")
        .setup(|pair: &Area| {
            pair.reset();
            // The rehearsal and the trace.
            let first_way = times.fetch_add(1, SeqCst) < 2;
            pair.gate.store(u32::from(first_way), SeqCst);
        })
        .victim(|pair| {
            if pair.gate.load(SeqCst) == 1 {
                pair.words[0].store(1, SeqCst);
                pair.words[1].store(1, SeqCst);
                pair.words[0].store(0, SeqCst);
                pair.words[1].store(0, SeqCst);
            }
            compute(2000);
        })
        .invariant(|_| Ok(()))
        .shares_only_the_area()
        .assert_safe(&area());
    assert_eq!(report.missed(), [], "it was not traced again\n{report}");
}

#[inline(never)]
fn store_into(word: &AtomicU64, value: u64) {
    word.store(value, SeqCst);
    compute(20);
}

/// It executes the same instructions as the traced one, each as often. Told by them alone, the
/// state in which only the first word is stored would count as tried.
#[test]
fn a_point_that_is_come_by_in_another_state_is_missed() {
    let times = AtomicU32::new(0);
    let first = || match times.load(SeqCst) {
        // The rehearsal and the trace.
        1 | 2 => 1,
        _ => 0,
    };
    let report = Check::new("stores into both words when it is traced, and later into one")
        .setup(|pair: &Area| {
            pair.reset();
            times.fetch_add(1, SeqCst);
        })
        .victim(|pair| {
            store_into(&pair.words[0], black_box(first()));
            store_into(&pair.words[1], 1);
        })
        .invariant(|_| Ok(()))
        .shares_only_the_area()
        .assert_safe(&area());
    if std::env::var_os(EACH).is_none() {
        assert_eq!(report.kill_points().len(), 2, "{report}");
        assert!(report.to_string().contains("traced 2 times"), "{report}");
    }
}

/// A bound that all kills together do not go beyond finds no lost wake.
#[test]
#[should_panic(expected = "as many rescues are allowed as there are kills")]
fn as_many_rescues_as_kills_are_refused() {
    torn()
        .victim(|pair: &Area| {
            compute(pair.words[0].load(SeqCst));
        })
        .survivor(|_| Ok(()))
        .allow_rescues(
            80,
            "a bound for each instruction, which one kill for each state is below",
        )
        .shares_only_the_area()
        .assert_safe(&area());
}

/// A sleeper with a timeout may change the memory at any time, so no two points are known to leave
/// the same.
#[test]
fn each_point_is_tried_beside_a_sleeper_that_may_run() {
    let check = || {
        torn()
            .sleeper(wait_for_gate)
            .must_wake(|_| false)
            .survivor(|pair| {
                open_gate(pair);
                Ok(())
            })
            .limit(Duration::from_secs(10))
            .shares_only_the_area()
    };
    let each = check().assert_safe(&area());
    assert_eq!(each.alike(), 0, "{each}");
    let states = check().without_timeouts().assert_safe(&area());
    if std::env::var_os(EACH).is_none() {
        assert_eq!(states.kill_points().len(), 3, "{states}");
    }
}
