//! The operations of [`Latest`].

use std::sync::atomic::{AtomicU64, Ordering};

use killcheck::{Check, SharedArea};
use mp_layout::Region;
use mp_ring::Latest;

use crate::assert_safe;
use crate::judge::{VICTIM, Verdict};

/// Its parts tell whether it is torn.
type Value = [u64; 4];

const fn value(number: u64) -> Value {
    [number, !number, number << 32, number ^ 7]
}

/// What the value was before the victim.
const BEFORE: u64 = 3;

/// What the victim writes.
const WRITTEN: [u64; 6] = [10, 11, 12, 13, 14, 15];

#[repr(C, align(128))]
struct Stage {
    words: [AtomicU64; 64],
    /// Writes of the victim that have returned.
    done: AtomicU64,
}

type Area = SharedArea<Stage>;

fn region(area: &Area) -> Region<'_> {
    let words = std::ptr::NonNull::from(&area.words);
    // SAFETY: mapped for as long as the area is borrowed, and reached through this only.
    unsafe { Region::new(words.cast(), size_of_val(&area.words)) }
}

fn latest(area: &Area) -> Latest<'_, Value> {
    // SAFETY: the region is this value since the set-up.
    unsafe { Latest::attach(region(area)) }.unwrap()
}

fn prepare(area: &Area) {
    area.reset();
    // SAFETY: the words are only used as this value, and by no other process yet.
    let latest = unsafe { Latest::create(region(area), value(0)) }.unwrap();
    let mut writer = latest.claim_writer(VICTIM).unwrap();
    (1..=BEFORE).for_each(|number| writer.write(value(number)));
}

/// The newest number, if its value is whole.
fn newest(area: &Area) -> Verdict<u64> {
    let found = latest(area).read().map_err(|error| error.to_string())?;
    if found == value(found[0]) {
        Ok(found[0])
    } else {
        Err(format!("torn: {found:x?}"))
    }
}

fn judge(area: &Area) -> Verdict {
    let done = area.done.load(Ordering::Acquire) as usize;
    let found = newest(area)?;
    let all: Vec<u64> = std::iter::once(BEFORE).chain(WRITTEN).collect();
    if !all[done..].iter().take(2).any(|number| *number == found) {
        return Err(format!("{found} after {done} writes"));
    }
    // SAFETY: the victim is dead.
    unsafe { latest(area).sweep(|owner| owner == VICTIM) };
    let other = std::num::NonZeroU64::new(2).unwrap();
    let mut writer = latest(area)
        .claim_writer(other)
        .map_err(|error| error.to_string())?;
    for number in 20..26 {
        writer.write(value(number));
        if newest(area)? != number {
            return Err(format!("{number} is not there"));
        }
    }
    Ok(())
}

#[test]
fn write() {
    // SAFETY: atomics only, for which zero is valid.
    let area: Area = unsafe { SharedArea::zeroed() }.expect("memory");
    let report = Check::new("Latest: write")
        .setup(prepare)
        .victim(|area: &Area| {
            let mut writer = latest(area).claim_writer(VICTIM).unwrap();
            for number in WRITTEN {
                writer.write(value(number));
                area.done.fetch_add(1, Ordering::Release);
            }
        })
        .survivor(judge)
        .run(&area)
        .expect("the check runs");
    assert_safe(&report);
}

/// Written in place: a reader finds half of it.
#[test]
fn control_that_writes_in_place_is_caught() {
    // SAFETY: atomics only, for which zero is valid.
    let area: Area = unsafe { SharedArea::zeroed() }.expect("memory");
    let copy = 256 / 8 + (BEFORE as usize % 4) * 4;
    Check::new("written in place: write")
        .setup(prepare)
        .victim(|area: &Area| {
            for (index, part) in value(10).into_iter().enumerate() {
                area.words[copy + index].store(part, Ordering::Release);
            }
            area.done.fetch_add(1, Ordering::Release);
        })
        .survivor(judge)
        .assert_caught(&area);
}
