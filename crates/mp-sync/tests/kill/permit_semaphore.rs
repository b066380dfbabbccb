//! Permits: none is lost with its owner, and none is had twice.

use std::sync::atomic::{AtomicU64, Ordering};

use killcheck::{Check, SharedArea};
use mp_layout::Described;
use mp_sync::PermitSemaphore;

use super::check;

type Area = SharedArea<PermitSemaphore>;

/// Where the words of the owners begin.
const OWNERS: usize = 128;

/// Why the bell is not enough at some points.
const HELD: &str = "a permit is held outside of any operation, and no bell rings";

fn area() -> Area {
    // SAFETY: a `Place`: zero is valid, and all of it is atomics.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

fn owner(permits: &Area, number: usize) -> &AtomicU64 {
    let word = permits
        .as_ptr()
        .cast::<u8>()
        .wrapping_add(OWNERS + 8 * number);
    // SAFETY: within the structure, aligned, an atomic.
    unsafe { AtomicU64::from_ptr(word.cast()) }
}

fn fresh(permits: &Area, count: u32) {
    permits.reset();
    PermitSemaphore::initialise(permits, count).expect("a number of permits");
}

fn acquire_and_release(permits: &Area) {
    drop(permits.acquire().expect("/proc is there"));
}

/// All can be had, whatever sleepers do meanwhile.
fn all_can_be_had(permits: &Area) -> Result<(), String> {
    permits.sweep();
    let count = permits.permits();
    let all: Result<Vec<_>, _> = (0..count).map(|_| permits.acquire()).collect();
    all.map(drop).map_err(|error| error.to_string())
}

/// All are free, and none is had twice.
fn all_are_back(permits: &Area) -> Result<(), String> {
    permits.sweep();
    match (permits.available(), permits.permits()) {
        (available, count) if available == count => Ok(()),
        (available, count) => Err(format!("{available} of {count}")),
    }
}

fn one_permit<'a>(name: &str) -> Check<'a, Area> {
    check(name)
        .setup(|permits: &Area| fresh(permits, 1))
        .warm_up(acquire_elsewhere)
        .survivor(all_can_be_had)
        .invariant(all_are_back)
}

#[test]
fn acquire_and_release_alone() {
    one_permit("permits: acquire, release")
        .victim(acquire_and_release)
        .assert_safe(&area());
}

/// The permit is this process's; the waker sweeps it as if it had died. The victim is woken, takes
/// it, and gives it back.
#[test]
fn woken_with_others_asleep() {
    for sleepers in [1, 2] {
        one_permit(&format!("permits: woken; {sleepers} sleep"))
            .setup(|permits: &Area| {
                fresh(permits, 1);
                std::mem::forget(permits.try_acquire());
            })
            .victim(acquire_and_release)
            .sleepers(sleepers, acquire_and_release)
            .waker(|permits| {
                owner(permits, 0).store(1 << 22, Ordering::SeqCst);
                assert_eq!(permits.sweep(), 1);
            })
            .must_wake(|_| true)
            .allow_rescues_if(
                |permits, pending| pending == 0 && owner(permits, 0).load(Ordering::SeqCst) != 0,
                HELD,
            )
            .assert_safe(&area());
    }
}

/// A dead process has the permits. One that gives them back is killed in that, and others wait for
/// them.
#[test]
fn sweeper_dies() {
    // This process has them until it is said to be dead.
    let me = mp_os::process_id::ProcessIdentity::current().expect("/proc is there");
    let die = move |permits: &Area| {
        for number in 0..2 {
            let (alive, dead) = (me.word(), 1 << 22);
            let word = owner(permits, number);
            if word.load(Ordering::SeqCst) == alive {
                word.store(dead, Ordering::SeqCst);
            }
        }
    };
    check("permits: sweep two; two sleep")
        .setup(|permits: &Area| {
            fresh(permits, 2);
            (0..2).for_each(|_| std::mem::forget(permits.try_acquire()));
        })
        .warm_up(acquire_elsewhere)
        .sleepers(2, acquire_and_release)
        .victim(move |permits| {
            die(permits);
            permits.sweep();
        })
        .must_wake_count(|permits| {
            let was_freed = |&number: &usize| owner(permits, number).load(Ordering::SeqCst) == 0;
            (0..2).filter(was_freed).count()
        })
        .survivor(move |permits| {
            die(permits);
            all_can_be_had(permits)
        })
        .invariant(all_are_back)
        .assert_safe(&area());
}

/// What only a process's first operation does is done after it.
fn acquire_elsewhere(_: &Area) {
    let elsewhere = area();
    fresh(&elsewhere, 1);
    acquire_and_release(&elsewhere);
}

fn sweep(permits: &Area) {
    permits.sweep();
}

/// A sweeper is killed, then the one that finishes its work.
#[test]
fn sweeper_dies_after_a_sweeper() {
    super::check_pairs("permits: sweep three; then one that sweeps the rest")
        .setup(|permits: &Area| {
            fresh(permits, 3);
            (0..3).for_each(|number| owner(permits, number).store(1 << 22, Ordering::SeqCst));
        })
        .warm_up(acquire_elsewhere)
        .victim(sweep)
        .recoverer(sweep)
        .survivor(all_are_back)
        .assert_safe(&area());
}

#[test]
fn storm_of_kills() {
    killcheck::storm("permits: two permits, four processes")
        .setup(|permits: &Area| fresh(permits, 2))
        .worker(|permits: &Area, _| acquire_and_release(permits))
        .invariant(all_are_back)
        .assert_safe(&area());
}
