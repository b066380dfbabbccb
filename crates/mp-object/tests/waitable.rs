//! `wait` for objects that are woken for something else, or are there twice.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mp_layout::{Place, Result};
use mp_object::{InMemory, Waitable, Watch, wait};
use mp_sync::EventCount;
use mp_testkit::{PATIENCE, Watchdog};

/// Counts how often it is looked at. One that `ends_by_suspicion` is ready after the second of
/// those.
struct Counted {
    count: EventCount,
    looks: AtomicUsize,
    suspicions: AtomicUsize,
    ends_by_suspicion: AtomicBool,
}

impl Counted {
    fn new(ends_by_suspicion: bool) -> Self {
        Self {
            count: EventCount::zeroed(),
            looks: AtomicUsize::new(0),
            suspicions: AtomicUsize::new(0),
            ends_by_suspicion: AtomicBool::new(ends_by_suspicion),
        }
    }
}

impl InMemory for Counted {
    fn is_ready(&self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed);
        // The first suspicion is that of every call.
        self.ends_by_suspicion.load(Ordering::Relaxed)
            && self.suspicions.load(Ordering::Acquire) > 1
    }

    fn suspect(&self) {
        self.suspicions.fetch_add(1, Ordering::Release);
    }

    fn event_count(&self) -> &EventCount {
        &self.count
    }
}

impl Waitable for Counted {
    fn watch(&self) -> Result<Watch<'_>> {
        Ok(Watch::Memory(self))
    }
}

#[test]
fn an_object_that_is_there_twice_is_slept_on() -> Result<()> {
    let _watchdog = Watchdog::new(PATIENCE);
    let object = Counted::new(false);
    assert_eq!(wait(&[&object, &object], Duration::from_millis(300))?, []);
    let looks = object.looks.load(Ordering::Relaxed);
    assert!(looks < 100, "{looks} looks in 300 ms: it never slept");
    Ok(())
}

#[test]
fn one_that_is_woken_for_nothing_looks_for_the_dead() -> Result<()> {
    let _watchdog = Watchdog::new(PATIENCE);
    let object = Counted::new(true);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                object.count.notify_all();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let ready = wait(&[&object], Duration::MAX);
        is_over.store(true, Ordering::Release);
        assert_eq!(ready?, [0]);
        Ok(())
    })
}
