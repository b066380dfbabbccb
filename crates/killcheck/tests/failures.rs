//! Every way in which a party can fail has its name in the report or its error.
#![cfg(target_arch = "x86_64")]

use std::time::{Duration, Instant};

use killcheck::{Check, ErrorKind, Failure, Role};

const LIMIT: Duration = Duration::from_millis(300);

fn check<'a>() -> Check<'a, ()> {
    Check::new("failures")
        .victim(|()| ())
        .limit(LIMIT)
        .max_points(2)
}

#[track_caller]
fn failure_of(check: Check<'_, ()>) -> Failure {
    let report = check.run(&()).expect("the check runs");
    assert_eq!(report.findings().len(), 2, "{report}");
    assert_eq!(report.findings()[0].role, Role::Survivor);
    report.findings()[0].failure.clone()
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

#[test]
fn a_survivor_asleep_for_ever_hangs_and_costs_the_limit() {
    let start = Instant::now();
    assert_eq!(
        failure_of(check().survivor(|()| sleep_for_ever())),
        Failure::Hang(LIMIT)
    );
    assert!(start.elapsed() >= 2 * LIMIT);
}

/// Waits for what no process does.
fn wait_in_vain(timeout: libc::c_int) {
    // SAFETY: no descriptors.
    unsafe { libc::poll(std::ptr::null_mut(), 0, timeout) };
}

/// Were the verdict a matter of time, this would take an hour.
#[test]
fn a_survivor_that_waits_in_vain_is_stuck_and_costs_no_limit() {
    for timeout in [-1, 3_600_000] {
        let waits = check().limit(Duration::from_secs(3600));
        let waits = waits.without_timeouts().survivor(move |()| {
            wait_in_vain(timeout);
            Ok(())
        });
        assert_eq!(failure_of(waits), Failure::Stuck);
    }
}

#[test]
fn an_invariant_that_waits_in_vain_is_stuck() {
    let report = check()
        .limit(Duration::from_secs(3600))
        .invariant(|()| {
            wait_in_vain(-1);
            Ok(())
        })
        .without_timeouts()
        .run(&())
        .expect("it runs");
    let found = &report.findings()[0];
    assert_eq!(
        (found.role, &found.failure),
        (Role::Invariant, &Failure::Stuck)
    );
    assert!(report.to_string().contains("2 hangs"), "{report}");
}

#[test]
fn a_survivor_saved_by_its_timeout_is_rescued() {
    let waits = || {
        let waits = check().without_timeouts();
        waits.survivor(|()| {
            wait_in_vain(3_600_000);
            Ok(())
        })
    };
    assert_eq!(failure_of(waits()), Failure::Stuck);
    let rescued = waits().allow_rescues(usize::MAX, "by way of experiment");
    let rescued = rescued.run(&()).expect("it runs");
    rescued.assert_safe();
    assert_eq!(rescued.rescued().len(), 2);
    assert_eq!(rescued.longest_timeout(), Some(Duration::from_secs(3600)));
}

#[test]
fn a_survivor_that_spins_for_ever_hangs() {
    let spins = check().survivor(|()| spin_for_ever());
    assert_eq!(failure_of(spins), Failure::Hang(LIMIT));
}

#[test]
fn a_survivor_that_touches_bad_memory_crashes() {
    let crash = failure_of(check().survivor(|()| {
        let nowhere = std::ptr::without_provenance::<u8>(std::hint::black_box(8));
        // SAFETY: SIG_DFL is a valid disposition; the test runner's own handler would print.
        unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
        // SAFETY: the load faults, which is what the test is about; it ends a forked child only.
        unsafe { std::arch::asm!("mov al, [{0}]", in(reg) nowhere, out("al") _) };
        Ok(())
    }));
    assert_eq!(crash, Failure::Crash(libc::SIGSEGV));
}

#[test]
fn a_survivor_that_panics_violates() {
    let panics = check().survivor(|()| panic!("one of {} is gone", 3));
    assert_eq!(
        failure_of(panics),
        Failure::Violation("panicked: one of 3 is gone".into())
    );
}

#[test]
fn a_survivor_that_exits_violates() {
    // SAFETY: _exit may be called at any time.
    let exits = check().survivor(|()| unsafe { libc::_exit(3) });
    let said = "left by exit(3) instead of returning".into();
    assert_eq!(failure_of(exits), Failure::Violation(said));
}

#[test]
fn an_invariant_is_asked_after_the_survivor() {
    let report = check()
        .survivor(|()| Ok(()))
        .invariant(|()| Err("broken".to_owned()))
        .run(&())
        .expect("the check runs");
    assert_eq!(report.findings()[0].role, Role::Invariant);
    let printed = report.to_string();
    assert!(
        printed.contains("2 violations") && printed.contains("invariant broken"),
        "{printed}"
    );
}

#[test]
#[should_panic(expected = "not safe against a kill")]
fn assert_safe_panics_on_a_finding() {
    check()
        .survivor(|()| Err("bad".to_owned()))
        .run(&())
        .expect("it runs")
        .assert_safe();
}

#[test]
#[should_panic(expected = "did not catch its control")]
fn assert_caught_panics_without_a_finding() {
    check()
        .survivor(|()| Ok(()))
        .run(&())
        .expect("it runs")
        .assert_caught();
}

#[track_caller]
fn refused(check: Check<'_, ()>) -> ErrorKind {
    check
        .run(&())
        .expect_err("the check cannot be carried out")
        .kind()
}

#[test]
fn a_check_without_victim_or_judge_is_incomplete() {
    assert_eq!(
        refused(Check::new("none").survivor(|()| Ok(()))),
        ErrorKind::Incomplete
    );
    assert_eq!(refused(check()), ErrorKind::Incomplete);
}

#[test]
fn a_victim_that_dies_by_itself_is_an_error() {
    // SAFETY: abort and _exit may be called at any time.
    let aborts = check()
        .survivor(|()| Ok(()))
        .victim(|()| unsafe { libc::abort() });
    let error = aborts.run(&()).expect_err("the victim aborts");
    assert_eq!(error.kind(), ErrorKind::VictimFailed);
    assert!(error.to_string().contains("signal 6"), "{error}");
}

#[test]
fn a_sleeper_that_returns_is_an_error() {
    let returns = check().survivor(|()| Ok(())).sleeper(|()| ());
    assert_eq!(refused(returns), ErrorKind::SleeperAwake);
}

#[test]
fn a_victim_that_does_not_sleep_cannot_be_woken() {
    let never_asleep = check().survivor(|()| Ok(())).waker(|()| ());
    assert_eq!(refused(never_asleep), ErrorKind::VictimNotWoken);
}

fn spin_for_ever() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// One test, since each of the three is waited for as long as a busy machine may take: they are
/// at the same time.
#[test]
fn what_never_ends_is_an_error() {
    let refuse = [
        || {
            let endless = check().survivor(|()| Ok(())).max_instructions(500);
            let endless = endless.victim(|()| spin_for_ever());
            assert_eq!(refused(endless), ErrorKind::VictimTooLong);
        },
        || {
            let awake = check().survivor(|()| Ok(())).sleeper(|()| spin_for_ever());
            assert_eq!(refused(awake), ErrorKind::SleeperAwake);
        },
        || {
            let never_woken = check().survivor(|()| Ok(())).waker(|()| ());
            let never_woken = never_woken.victim(|()| sleep_for_ever());
            assert_eq!(refused(never_woken), ErrorKind::VictimNotWoken);
        },
    ];
    std::thread::scope(|scope| {
        for refuse in refuse {
            scope.spawn(refuse);
        }
    });
}
