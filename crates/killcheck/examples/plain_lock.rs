//! A lock in shared memory that looks right, and what becomes of it when its owner is killed.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

struct Counter {
    locked: AtomicU32,
    value: AtomicU64,
}

impl Counter {
    fn add(&self) {
        while self.locked.swap(1, Ordering::Acquire) == 1 {
            std::hint::spin_loop();
        }
        let value = self.value.load(Ordering::Relaxed);
        self.value.store(value + 1, Ordering::Relaxed);
        self.locked.store(0, Ordering::Release);
    }
}

fn main() -> Result<(), killcheck::Error> {
    // SAFETY: a Counter is atomics only, and zero is its first state.
    let area = unsafe { killcheck::SharedArea::<Counter>::zeroed() }?;
    let report = killcheck::Check::<killcheck::SharedArea<Counter>>::new("plain lock: add")
        .setup(|counter| counter.reset())
        .victim(|counter| counter.add())
        .survivor(|counter| {
            counter.add();
            Ok(())
        })
        .limit(Duration::from_millis(50))
        .run(&area)?;
    println!("{report}");
    report.assert_caught();
    Ok(())
}
