//! Who recovers from the victim's death dies, too.
#![cfg(target_arch = "x86_64")]

use std::cell::RefCell;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use killcheck::{Check, Failure, KillPoint, Mode, Moment, Role, SharedArea};

fn area<T: Sync>() -> SharedArea<T> {
    // SAFETY: this file only puts atomics there, for which zero is valid.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

/// Two words that are changed together under a mark. The marks of the dead are found by the next.
struct Pair {
    changing: AtomicU32,
    words: [AtomicU64; 2],
}

/// When the mark of a dead process goes.
#[derive(Clone, Copy)]
enum Forgets {
    BeforeMending,
    AfterMending,
}

impl Pair {
    fn change(&self) {
        self.changing.store(1, Ordering::SeqCst);
        for word in &self.words {
            word.fetch_add(1, Ordering::SeqCst);
        }
        self.changing.store(0, Ordering::SeqCst);
    }

    fn recover(&self, forgets: Forgets) {
        if self.changing.load(Ordering::SeqCst) == 0 {
            return;
        }
        if let Forgets::BeforeMending = forgets {
            self.changing.store(0, Ordering::SeqCst);
        }
        let one = self.words[0].load(Ordering::SeqCst);
        self.words[1].store(one, Ordering::SeqCst);
        self.changing.store(0, Ordering::SeqCst);
    }

    fn expect_whole(&self) -> Result<(), String> {
        let [one, other] = self.words.each_ref().map(|w| w.load(Ordering::SeqCst));
        (one == other)
            .then_some(())
            .ok_or_else(|| format!("torn: {one} and {other}"))
    }
}

fn pair<'a>(forgets: Forgets) -> Check<'a, SharedArea<Pair>> {
    Check::new("two words under a mark")
        .setup(|pair: &SharedArea<Pair>| pair.reset())
        .victim(|pair| pair.change())
        .survivor(move |pair| {
            pair.recover(forgets);
            pair.expect_whole()
        })
}

/// A debug build's few hundred thousand pairs are sampled.
const PAIRS: usize = 1500;

#[test]
fn a_death_forgotten_before_it_is_mended_is_caught_by_killing_the_recoverer_only() {
    let forgets = Forgets::BeforeMending;
    pair(forgets).run(&area()).expect("it runs").assert_safe();
    let control = pair(forgets)
        .recoverer(move |pair| pair.recover(forgets))
        .max_points(PAIRS)
        .run(&area())
        .expect("it runs");
    control.assert_caught();
    println!("{control}");
    assert_eq!(control.missed(), []);
    for found in control.findings() {
        assert!(found.recoverer.is_some());
        let torn = Failure::Violation("torn: 1 and 0".into());
        assert_eq!((found.role, &found.failure), (Role::Survivor, &torn));
    }
    assert!(control.to_string().contains("\n    then "), "{control}");
}

#[test]
fn a_death_mended_before_it_is_forgotten_is_safe() {
    let forgets = Forgets::AfterMending;
    let report = pair(forgets)
        .recoverer(move |pair| pair.recover(forgets))
        .max_points(PAIRS)
        .run(&area())
        .expect("it runs");
    report.assert_safe();
    assert_eq!(report.missed(), []);
}

#[test]
fn each_pair_of_states_is_tried_once() {
    let forgets = Forgets::BeforeMending;
    let check = || {
        pair(forgets)
            .recoverer(move |pair| pair.recover(forgets))
            .max_points(PAIRS)
    };
    let each = check().assert_caught(&area());
    let states = check().shares_only_the_area().assert_caught(&area());
    // Four stores of the victim, what is there before and after them; three of the recoverer.
    assert!(states.recoveries() <= 6, "{states}");
    assert!(each.recoveries() >= each.victims(), "{each}");
    assert_eq!((states.missed(), states.skipped()), (&[][..], 0));
    assert!(states.kill_points().len() <= 6 * 4, "{states}");
    let failures = |report: &killcheck::Report| {
        let findings = report.findings().iter();
        let failures = findings.map(|found| (found.role, format!("{}", found.failure)));
        failures.collect::<std::collections::HashSet<_>>()
    };
    assert_eq!(failures(&states), failures(&each));
}

/// The robust list is the thread's own memory, and what the kernel does with it is not.
#[test]
fn an_announced_lock_is_something_else_left_behind() {
    let report = Check::new("announces, then does not")
        .setup(|words: &SharedArea<[AtomicU64; 2]>| words.reset())
        .victim(|_| {
            let (mut head, mut len) = (std::ptr::null_mut::<u64>(), 0_usize);
            // SAFETY: both are writable; 0 is this thread.
            unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
            // SAFETY: the head that the C library has given the kernel has three words.
            let pending = unsafe { head.add(2) };
            // SAFETY: aligned, and lives as long as the thread. The kernel skips what is no lock.
            let pending = unsafe { AtomicU64::from_ptr(pending) };
            pending.store(0, Ordering::SeqCst);
            pending.store(1 << 12, Ordering::SeqCst);
            pending.store(0, Ordering::SeqCst);
        })
        .recoverer(|words| words[0].store(1, Ordering::SeqCst))
        .survivor(|_| Ok(()))
        .max_points(PAIRS)
        .shares_only_the_area()
        .run(&area())
        .expect("it runs");
    println!("{report}");
    // Before the call, after it, announced, and not announced again.
    assert_eq!(report.recoveries(), 4, "{report}");
}

type Bytes = SharedArea<[AtomicU8; 256]>;

/// Stores 1 to eight bytes from `$from` on, one store of four bytes of code each.
macro_rules! eight_stores {
    ($name:ident, $from:literal) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(_: *mut u8) {
            std::arch::naked_asm!(
                concat!(".set offset, ", $from),
                ".rept 8",
                ".byte 0xC6, 0x47, offset, 0x01", // mov byte ptr [rdi + offset], 1
                ".set offset, offset + 1",
                ".endr",
                "ret",
            )
        }
    };
}
eight_stores!(victims_stores, "1");
eight_stores!(recoverers_stores, "64");

fn run_stores(stores: unsafe extern "C" fn(*mut u8)) -> impl Fn(&Bytes) {
    // SAFETY: the functions write fewer bytes than the area has.
    move |area| unsafe { stores(area.as_ptr().cast()) }
}

fn stores_check<'a>() -> Check<'a, Bytes> {
    Check::new("stores")
        .setup(|area: &Bytes| area.reset())
        .victim(run_stores(victims_stores))
        .recoverer(run_stores(recoverers_stores))
        .invariant(|_| Ok(()))
}

/// How many of the eight stores are executed before a point, if it is one of theirs.
fn executed(stores: unsafe extern "C" fn(*mut u8), point: &KillPoint) -> Option<usize> {
    let code = stores as *const () as u64;
    (code..=code + 32)
        .contains(&point.address)
        .then(|| (point.address - code) as usize / 4)
}

#[test]
fn both_stand_before_the_instruction_that_the_report_names() {
    let area = area();
    for mode in [Mode::Planted, Mode::Stepped] {
        let seen = RefCell::new(Vec::new());
        let report = stores_check()
            .mode(mode)
            .stride(7)
            .observer(|area: &Bytes, point| {
                let ones = |bytes: &[AtomicU8]| {
                    let is_one = |byte: &&AtomicU8| byte.load(Ordering::Relaxed) == 1;
                    bytes.iter().filter(is_one).count()
                };
                let counts = (ones(&area[..64]), ones(&area[64..]));
                seen.borrow_mut().push((*point, counts));
            })
            .run(&area)
            .expect("it runs");
        report.assert_safe();
        assert_eq!(report.missed(), []);
        assert_eq!(report.kill_points().len(), report.recoverer_points().len());
        let mut compared = [[0; 9]; 9];
        // The last kill of each pair is the recoverer's, right after its victim's.
        let pairs = seen.borrow();
        for two in pairs.windows(2) {
            let [(victim, _), (recoverer, counts)] = two else {
                unreachable!()
            };
            let of_victim = executed(victims_stores, victim);
            let of_recoverer = executed(recoverers_stores, recoverer);
            if let (Some(i), Some(j)) = (of_victim, of_recoverer) {
                assert_eq!(*counts, (i, j), "{mode}: {victim}, {recoverer}");
                compared[i][j] += 1;
            }
        }
        let all: i32 = compared.as_flattened().iter().sum();
        let reported = report.kill_points().iter().zip(report.recoverer_points());
        let reported = reported.filter(|(one, other)| {
            executed(victims_stores, one).is_some() && executed(recoverers_stores, other).is_some()
        });
        assert_eq!(all as usize, reported.count(), "{mode}");
        assert!(all >= 81 / 7, "{compared:?}");
    }
}

#[test]
fn stride_and_maximum_choose_pairs_and_count_what_they_leave_out() {
    let area = area();
    let alone = stores_check().victim(|_| ()).run(&area).expect("it runs");
    let recoveries = alone.kill_points().len() / alone.victims();
    let plain = || Check::new("stores").setup(|area: &Bytes| area.reset());
    let victims = plain()
        .victim(run_stores(victims_stores))
        .invariant(|_| Ok(()));
    let victims = victims.run(&area).expect("it runs").kill_points().len();
    let all = victims * recoveries;
    let stride = stores_check().stride(5).run(&area).expect("it runs");
    assert_eq!(stride.kill_points().len() + stride.skipped(), all);
    assert!(stride.kill_points().len().abs_diff(all / 5) <= victims);
    assert_eq!(stride.victims(), victims);
    let mut tried: Vec<_> = stride.recoverer_points().iter().map(|p| p.index).collect();
    tried.sort_unstable();
    tried.dedup();
    assert_eq!(tried, (0..recoveries).collect::<Vec<_>>());
    let few = stores_check().max_points(100).run(&area).expect("it runs");
    assert_eq!(
        few.kill_points().len(),
        100 / victims.min(100) * few.victims()
    );
    assert!(few.victims() == victims.min(100), "{few}");
}

#[test]
fn the_recoverer_is_warm_before_the_victim_begins() {
    let area: SharedArea<[AtomicU32; 2]> = area();
    Check::new("warm")
        .setup(|words: &SharedArea<[AtomicU32; 2]>| words.reset())
        .warm_up(|words| {
            words[0].fetch_add(1, Ordering::SeqCst);
            assert_eq!(words[1].load(Ordering::SeqCst), 0, "nobody has begun");
        })
        .victim(|words| words[1].store(1, Ordering::SeqCst))
        .recoverer(|words| assert_eq!(words[0].load(Ordering::SeqCst), 2))
        .max_points(60)
        .invariant(|words| match words[0].load(Ordering::SeqCst) {
            2 => Ok(()),
            warm => Err(format!("{warm} are warm")),
        })
        .run(&area)
        .expect("it runs")
        .assert_safe();
}

#[test]
fn a_recoverer_that_fails_without_being_killed_is_a_finding() {
    let check = || {
        Check::new("recoverer")
            .victim(|(): &()| ())
            .invariant(|()| Ok(()))
            .max_points(3)
    };
    // SAFETY: abort and _exit may be called at any time.
    let crash = check().recoverer(|()| unsafe { libc::abort() });
    // SAFETY: as above.
    let exit = check().recoverer(|()| unsafe { libc::_exit(3) });
    let hang = check()
        .limit(Duration::from_millis(60))
        .recoverer(|()| std::thread::sleep(Duration::from_secs(60)));
    let left = "left by exit(3) instead of returning".to_owned();
    for (check, failure) in [
        (crash, Failure::Crash(libc::SIGABRT)),
        (exit, Failure::Violation(left)),
        (hang, Failure::Hang(Duration::from_millis(60))),
    ] {
        let report = check.run(&()).expect("it runs");
        assert_eq!(report.findings().len(), 3, "{report}");
        let found = &report.findings()[0];
        assert_eq!((found.role, &found.failure), (Role::Recoverer, &failure));
        assert_eq!(found.recoverer, None);
    }
}

fn wake(word: &AtomicU32) {
    // SAFETY: the word lives in a mapping.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

fn wait(word: &AtomicU32) {
    while word.load(Ordering::SeqCst) == 0 {
        let (word, wait) = (word.as_ptr(), libc::FUTEX_WAIT);
        // SAFETY: the word lives in a mapping; no timeout.
        unsafe { libc::syscall(libc::SYS_futex, word, wait, 0, 0usize) };
    }
}

#[test]
fn a_sleeper_whose_wake_dies_with_the_recoverer_is_caught() {
    let report = Check::new("a flag that the recoverer sets")
        .setup(|flag: &SharedArea<AtomicU32>| flag.reset())
        .sleepers(2, |flag| wait(flag))
        .victim(|_| ())
        .recoverer(|flag| {
            flag.store(1, Ordering::SeqCst);
            wake(flag);
        })
        .must_wake(|flag| flag.load(Ordering::SeqCst) == 1)
        .without_timeouts()
        .max_points(400)
        .run(&area())
        .expect("it runs");
    report.assert_caught();
    for found in report.findings() {
        assert!(matches!(found.failure, Failure::LostWake(_)), "{report}");
    }
    let is_end = |point: &&KillPoint| point.moment == Moment::Returned;
    let ended = report.recoverer_points().iter().filter(is_end).count();
    assert!(report.findings().len() + ended <= report.kill_points().len());
    // Each recoverer that lived to wake the two woke both.
    assert!(report.wakes() >= 2 * ended, "{report}");
}

#[test]
fn findings_enough_stop_it() {
    let report = stores_check()
        .invariant(|_| Err("bad".to_owned()))
        .stop_after(4)
        .run(&area())
        .expect("it runs");
    assert_eq!(report.findings().len(), 4);
    assert_eq!(report.victims(), 1);
}
