//! Which instants the victim is killed at, and that they are what they claim to be.
#![cfg(target_arch = "x86_64")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use killcheck::{Check, KillPoint, Mode, Moment, Report, SharedArea};

const MODES: [Mode; 2] = [Mode::Planted, Mode::Stepped];

type Bytes = SharedArea<[AtomicU8; 256]>;

fn bytes() -> Bytes {
    // SAFETY: atomics only, for which zero is valid.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

/// Runs `victim` in `mode` and returns the report with the bytes that each kill left behind.
fn remains(
    mode: Mode,
    area: &Bytes,
    victim: impl Fn(&Bytes),
) -> (Report, Vec<(KillPoint, Vec<u8>)>) {
    let seen = RefCell::new(Vec::new());
    let report = Check::new("remains")
        .mode(mode)
        .setup(|area: &Bytes| area.reset())
        .victim(victim)
        .observer(|area, point| {
            let bytes = area
                .iter()
                .map(|byte| byte.load(Ordering::Relaxed))
                .collect();
            seen.borrow_mut().push((*point, bytes));
        })
        .invariant(|_| Ok(()))
        .run(area)
        .expect("the check runs");
    (report, seen.into_inner())
}

/// Stores 1 to the first `$n` bytes after the given address, one store of four bytes of code each.
macro_rules! stores {
    ($name:ident, $n:literal) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(_: *mut u8) {
            std::arch::naked_asm!(
                ".set offset, 1",
                concat!(".rept ", $n),
                ".byte 0xC6, 0x47, offset, 0x01", // mov byte ptr [rdi + offset], 1
                ".set offset, offset + 1",
                ".endr",
                "ret",
            )
        }
    };
}
stores!(sixteen_stores, 16);
stores!(forty_stores, 40);

fn run_stores(stores: unsafe extern "C" fn(*mut u8)) -> impl Fn(&Bytes) {
    // SAFETY: the functions write fewer bytes than the area has.
    move |area| unsafe { stores(area.as_ptr().cast()) }
}

#[test]
fn instruction_k_is_not_executed_and_all_before_it_are() {
    let area = bytes();
    for mode in MODES {
        let (report, seen) = remains(mode, &area, run_stores(sixteen_stores));
        assert_eq!(report.missed(), []);
        let code = sixteen_stores as *const () as u64;
        let mut checked = 0;
        for (point, bytes) in seen {
            let executed = bytes.iter().filter(|byte| **byte == 1).count();
            if (code..=code + 64).contains(&point.address) {
                assert_eq!(
                    executed as u64,
                    (point.address - code) / 4,
                    "{mode} {point}"
                );
                checked += 1;
            }
        }
        assert_eq!(checked, 17, "sixteen stores and the return");
    }
}

#[test]
fn every_single_step_is_a_kill_point() {
    let area = bytes();
    for mode in MODES {
        let (few, _) = remains(mode, &area, run_stores(sixteen_stores));
        let (many, _) = remains(mode, &area, run_stores(forty_stores));
        assert_eq!(many.instructions() - few.instructions(), 24);
        assert_eq!(many.kill_points().len(), many.instructions() + 1);
        let indices: Vec<_> = many.kill_points().iter().map(|point| point.index).collect();
        assert_eq!(indices, (0..=many.instructions()).collect::<Vec<_>>());
        assert_eq!(
            many.kill_points().last().map(|p| p.moment),
            Some(Moment::Returned)
        );
        assert_eq!((many.skipped(), many.missed()), (0, &[][..]));
    }
}

fn copy_by_rep(area: &Bytes) {
    const SOURCE: [u8; 60] = [7; 60];
    // SAFETY: 60 bytes are copied from a constant into an area of 256 that only we write.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") SOURCE.len() => _,
            inout("rsi") SOURCE.as_ptr() => _,
            inout("rdi") area.as_ptr() => _,
        );
    }
}

#[test]
fn each_iteration_of_a_repeated_instruction_is_a_kill_point() {
    let area = bytes();
    for mode in MODES {
        let (report, seen) = remains(mode, &area, copy_by_rep);
        assert_eq!(report.missed(), []);
        let mut at: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (point, bytes) in &seen {
            let copied = bytes.iter().filter(|byte| **byte == 7).count();
            at.entry(point.address).or_default().push(copied);
        }
        let iterations = at
            .values()
            .find(|copied| copied.len() > 1)
            .expect("a repeated address");
        assert_eq!(*iterations, (0..60).collect::<Vec<_>>(), "{mode}");
    }
}

/// A loop, and a copy by libc whose length only run time knows.
fn mixture(area: &Bytes) {
    for byte in &area[..3] {
        byte.fetch_add(1, Ordering::Relaxed);
    }
    let text: [u8; 100] = std::hint::black_box([9; 100]);
    let to = area[100..].as_ptr().cast_mut().cast();
    // SAFETY: at most 100 bytes from a local array to offset 100 of an area of 256 atomic bytes,
    // which only we write.
    unsafe { libc::memcpy(to, text.as_ptr().cast(), std::hint::black_box(90)) };
}

#[test]
fn planted_and_stepped_kill_at_the_same_points_to_the_same_effect() {
    let area = bytes();
    let (planted, planted_remains) = remains(Mode::Planted, &area, mixture);
    let (stepped, stepped_remains) = remains(Mode::Stepped, &area, mixture);
    assert_eq!((planted.missed(), stepped.missed()), (&[][..], &[][..]));
    assert!(
        planted_remains
            .iter()
            .any(|(_, bytes)| bytes[100..190].iter().all(|b| *b == 9))
    );
    assert_eq!(planted_remains, stepped_remains);
}

/// Adds 1 to each of twelve bytes, four times over.
#[unsafe(naked)]
unsafe extern "C" fn twelve_additions_four_times(_: *mut u8) {
    std::arch::naked_asm!(
        "mov ecx, 4",
        "2:",
        ".set offset, 1",
        ".rept 12",
        ".byte 0xFE, 0x47, offset", // inc byte ptr [rdi + offset]
        ".set offset, offset + 1",
        ".endr",
        "dec ecx",
        "jnz 2b",
        "ret",
    )
}

#[test]
fn each_execution_of_a_repeated_address_is_a_kill_point() {
    let area = bytes();
    let [planted, stepped] = MODES.map(|mode| {
        let (report, seen) = remains(mode, &area, run_stores(twelve_additions_four_times));
        assert_eq!(report.missed(), []);
        seen
    });
    let sums: Vec<u32> = planted
        .iter()
        .map(|(_, bytes)| bytes.iter().copied().map(u32::from).sum())
        .collect();
    assert!((0..=48).all(|sum| sums.contains(&sum)), "{sums:?}");
    assert!(sums.windows(2).all(|two| two[1] - two[0] <= 1), "{sums:?}");
    assert_eq!(planted, stepped);
}

#[test]
fn points_off_the_traced_way_are_missed_and_not_misreported() {
    let area = bytes();
    for mode in MODES {
        area.reset();
        let report = Check::new("another way than traced")
            .mode(mode)
            .victim(|area: &Bytes| {
                // The rehearsal and the trace.
                let before = area[200].load(Ordering::Relaxed);
                area[200].store(before.saturating_add(1), Ordering::Relaxed);
                let stores = if before < 2 {
                    sixteen_stores
                } else {
                    forty_stores
                };
                run_stores(stores)(area);
            })
            .invariant(|_| Ok(()))
            .limit(Duration::from_millis(200))
            .allow_missed(1.0, "else it is traced again")
            .run(&area)
            .expect("the check runs");
        let only_in_the_trace = sixteen_stores as *const () as u64;
        let there = |point: &&KillPoint| {
            (only_in_the_trace..=only_in_the_trace + 64).contains(&point.address)
        };
        assert_eq!(
            report.kill_points().iter().filter(there).count(),
            0,
            "{mode}"
        );
        assert_eq!(report.missed().iter().filter(there).count(), 17, "{mode}");
    }
}

fn vdso() -> std::ops::Range<u64> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let line = maps
        .lines()
        .find(|line| line.ends_with("[vdso]"))
        .expect("a vdso");
    let (from, to) = line
        .split_once(' ')
        .and_then(|(r, _)| r.split_once('-'))
        .expect("a range");
    u64::from_str_radix(from, 16).expect("hex")..u64::from_str_radix(to, 16).expect("hex")
}

#[test]
fn code_of_the_vdso_is_killed_too() {
    let area = bytes();
    for mode in MODES {
        let (report, _) = remains(mode, &area, |_| {
            let mut time = libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            // SAFETY: `time` is a writable timespec.
            unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        });
        let inside = report
            .kill_points()
            .iter()
            .filter(|p| vdso().contains(&p.address))
            .count();
        // Its arithmetic loops depend on the time, so single points of it may be missed.
        assert!(
            inside > 5,
            "{inside} points in the vdso; {} missed",
            report.missed().len()
        );
    }
}

fn futex_wait(word: &AtomicU32, timeout: Option<Duration>) {
    let timeout = timeout.map(|t| libc::timespec {
        tv_sec: 0,
        tv_nsec: i64::from(t.subsec_nanos()),
    });
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word lives in a mapping, the timeout is null or a timespec.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, 0, timeout) };
}

#[test]
fn a_sleep_in_a_system_call_is_one_more_kill_point() {
    // SAFETY: an atomic, for which zero is valid.
    let area = unsafe { SharedArea::<AtomicU32>::zeroed() }.expect("a page");
    for mode in MODES {
        // A harness that is kept from running does not see so short a sleep: then once more.
        let seen = (0..20).find_map(|_| {
            let report = Check::new("timed wait, then a store")
                .mode(mode)
                .victim(|word: &SharedArea<AtomicU32>| {
                    futex_wait(word, Some(Duration::from_millis(90)));
                })
                .invariant(|_| Ok(()))
                .run(&area)
                .expect("the check runs");
            let points = report.kill_points().iter();
            let asleep = points.filter(|point| point.moment == Moment::Asleep);
            let asleep: Vec<_> = asleep.copied().collect();
            (asleep.len() == 1 && report.missed().is_empty()).then_some((report, asleep))
        });
        let (report, asleep) = seen.expect("the sleep is seen in one of 20 attempts");
        assert!(
            asleep[0].index < report.instructions() - 1,
            "it goes on after the sleep"
        );
        assert_eq!(report.kill_points().len(), report.instructions() + 2);
    }
}

#[test]
fn an_endless_sleep_is_the_last_kill_point() {
    // SAFETY: an atomic, for which zero is valid.
    let area = unsafe { SharedArea::<AtomicU32>::zeroed() }.expect("a page");
    let report = Check::new("wait for ever")
        .limit(Duration::from_millis(100))
        .victim(|word: &SharedArea<AtomicU32>| futex_wait(word, None))
        .invariant(|_| Ok(()))
        .run(&area)
        .expect("the check runs");
    assert_eq!(
        report.kill_points().last().map(|p| p.moment),
        Some(Moment::Asleep)
    );
    assert_eq!(report.missed(), []);
}

#[test]
fn points_left_out_are_counted() {
    let area = bytes();
    let check = || {
        Check::new("left out")
            .victim(run_stores(forty_stores))
            .survivor(|_| Err("always".to_owned()))
    };
    let all = check()
        .run(&area)
        .expect("the check runs")
        .kill_points()
        .len();
    for thinned in [
        check().stride(7),
        check().max_points(5),
        check().stop_after(3),
    ] {
        let report = thinned.run(&area).expect("the check runs");
        assert!(report.kill_points().len() < all);
        assert_eq!(report.kill_points().len() + report.skipped(), all);
    }
}

#[test]
fn a_mapping_of_ones_own_can_be_captured() {
    // SAFETY: an atomic, for which zero is valid.
    let own = unsafe { SharedArea::<AtomicU64>::zeroed() }.expect("a page");
    Check::new("captured")
        .setup(|(): &()| own.reset())
        .victim(|()| own.store(u64::MAX, Ordering::Release))
        .survivor(|()| match own.load(Ordering::Acquire) {
            0 | u64::MAX => Ok(()),
            torn => Err(format!("torn: {torn:#x}")),
        })
        .run(&())
        .expect("the check runs")
        .assert_safe();
}

#[test]
fn nobody_is_killed_in_the_warm_up() {
    let area = bytes();
    let check = || {
        Check::new("warm-up")
            .setup(|area: &Bytes| area.reset())
            .victim(run_stores(sixteen_stores))
            .invariant(|_| Ok(()))
    };
    let cold = check().run(&area).expect("the check runs");
    let warm = check()
        .warm_up(|area| area[255].store(1, Ordering::Relaxed))
        .observer(|area, point| assert_eq!(area[255].load(Ordering::Relaxed), 1, "{point}"))
        .run(&area)
        .expect("the check runs");
    warm.assert_safe();
    assert_eq!(warm.instructions(), cold.instructions());
}

fn another_way_than_traced<'a>(times: &'a AtomicU32) -> Check<'a, Bytes> {
    Check::new("another way than traced")
        .setup(|area: &Bytes| {
            let time = times.fetch_add(1, Ordering::Relaxed);
            // The rehearsal and the trace.
            area[200].store(u8::from(time >= 2), Ordering::Relaxed);
        })
        .victim(|area| match area[200].load(Ordering::Relaxed) {
            0 => run_stores(sixteen_stores)(area),
            _ => run_stores(forty_stores)(area),
        })
        .invariant(|_| Ok(()))
}

/// One of many ways that have no instruction in common.
fn way<const WAY: u8>(area: &Bytes) {
    for place in &area[..32] {
        place.store(WAY, Ordering::Relaxed);
    }
}

const WAYS: [fn(&Bytes); 16] = [
    way::<1>, way::<2>, way::<3>, way::<4>, way::<5>, way::<6>, way::<7>, way::<8>, way::<9>,
    way::<10>, way::<11>, way::<12>, way::<13>, way::<14>, way::<15>, way::<16>,
];

#[test]
#[should_panic(expected = "points or states were missed, so nothing is proved there")]
fn assert_safe_panics_on_missed_points() {
    let times = AtomicU32::new(0);
    Check::new("another way each time")
        .setup(|area: &Bytes| {
            let time = times.fetch_add(1, Ordering::Relaxed);
            area[200].store((time % WAYS.len() as u32) as u8, Ordering::Relaxed);
        })
        .victim(|area| WAYS[usize::from(area[200].load(Ordering::Relaxed))](area))
        .invariant(|_| Ok(()))
        .allow_missed(0.1, "not so many")
        .run(&bytes())
        .expect("the check runs")
        .assert_safe();
}

/// As when another thread of the process looks up what forked ones would have looked up.
#[test]
fn an_operation_that_goes_another_way_from_then_on_is_traced_again() {
    let times = AtomicU32::new(0);
    let report = another_way_than_traced(&times)
        .run(&bytes())
        .expect("the check runs");
    report.assert_safe();
    assert_eq!(report.missed(), []);
    assert!(report.instructions() >= 40, "{report}");
    assert_eq!(report.kill_points().len(), report.instructions() + 1);
    assert!(report.to_string().contains("traced 2 times"), "{report}");
}

#[test]
fn missed_points_can_be_allowed_and_are_told() {
    let times = AtomicU32::new(0);
    let report = another_way_than_traced(&times)
        .allow_missed(0.9, "by way of experiment")
        .run(&bytes())
        .expect("the check runs");
    report.assert_safe();
    assert!(report.missed().len() >= 17, "{report}");
    assert!(report.to_string().contains("by way of experiment"));
}

#[test]
fn what_the_set_up_does_once_is_done_before_the_trace() {
    let first = Cell::new(true);
    Check::new("set-up that warms up")
        .setup(|area: &Bytes| {
            area.reset();
            area[200].store(u8::from(first.replace(false)), Ordering::Relaxed);
        })
        .victim(|area| match area[200].load(Ordering::Relaxed) {
            0 => run_stores(sixteen_stores)(area),
            _ => run_stores(forty_stores)(area),
        })
        .invariant(|_| Ok(()))
        .run(&bytes())
        .expect("the check runs")
        .assert_safe();
}

/// An operation that waits for another process only when it is not traced: when that is too late.
#[test]
fn points_after_a_sleep_that_the_traced_one_did_not_need_are_reached() {
    /// The first two set-ups are the rehearsal's and the trace's.
    const AWAKE: u32 = 2;
    // SAFETY: an atomic, for which zero is valid.
    let runs: SharedArea<AtomicU32> = unsafe { SharedArea::zeroed() }.expect("a page");
    let check = || {
        runs.store(0, Ordering::Relaxed);
        Check::new("waits")
            .setup(|runs: &SharedArea<AtomicU32>| {
                runs.fetch_add(1, Ordering::Relaxed);
            })
            .victim(|runs| {
                if runs.load(Ordering::Relaxed) > AWAKE {
                    std::thread::sleep(Duration::from_millis(100));
                }
                runs.fetch_max(0, Ordering::Relaxed);
            })
            .invariant(|_| Ok(()))
            .allow_missed(1.0, "it is what is tested")
            .max_points(8)
    };
    let misses = |report: &Report| report.missed().len();
    let without = check().run(&runs).expect("the check runs");
    let with = check().may_sleep().run(&runs).expect("the check runs");
    assert!(misses(&without) > misses(&with), "{without}{with}");
}
