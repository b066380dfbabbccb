//! Raw mutexes, whose users mend what a dead owner left.

use std::sync::atomic::{AtomicU64, Ordering};

use killcheck::SharedArea;
use mp_sync::{Outcome, RawMutex};

use super::check_pairs;

/// What structures embed: they keep their own words whole, or mend them as soon as they are told.
#[repr(C)]
struct Guarded {
    mutex: RawMutex,
    words: [AtomicU64; 2],
}

impl Guarded {
    fn area() -> SharedArea<Self> {
        // SAFETY: a `Place` and atomics, for which zero is valid.
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
    check_pairs("raw mutex: lock, mend, change, unlock; then another")
        .setup(|guarded: &SharedArea<Guarded>| guarded.reset())
        .warm_up(|guarded| drop(guarded.mutex.lock()))
        .victim(|guarded| guarded.change())
        .recoverer(|guarded| guarded.change())
        .survivor(|guarded| guarded.whole_or_told())
        .assert_safe(&Guarded::area());
}
