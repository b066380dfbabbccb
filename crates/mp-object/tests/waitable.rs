//! `wait` for objects that are woken for something else, or are there twice.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mp_layout::{Place, Result};
use mp_object::{InMemory, Waitable, Watch, wait};
use mp_shm::Segment;
use mp_sync::EventCount;
use mp_testkit::{Forked, PATIENCE, Watchdog};

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
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                object.count.notify_all();
                thread::sleep(Duration::from_millis(2));
            }
        });
        let ready = wait(&[&object], Duration::MAX);
        is_over.store(true, Ordering::Release);
        assert_eq!(ready?, [0]);
        Ok(())
    })
}

/// Ready once the dead were looked for so often.
struct Suspecting<'a> {
    count: &'a EventCount,
    suspicions: AtomicUsize,
}

impl Suspecting<'_> {
    /// One at the beginning of a wait, one at the bell, and the others.
    const ENOUGH: usize = 10;
}

impl InMemory for Suspecting<'_> {
    fn is_ready(&self) -> bool {
        self.suspicions.load(Ordering::Acquire) >= Self::ENOUGH
    }

    fn suspect(&self) {
        self.suspicions.fetch_add(1, Ordering::Release);
    }

    fn event_count(&self) -> &EventCount {
        self.count
    }
}

impl Waitable for Suspecting<'_> {
    fn watch(&self) -> Result<Watch<'_>> {
        Ok(Watch::Memory(self))
    }
}

/// How long eight sleeps take that are as long as the pauses between looks for the dead.
fn pauses() -> Duration {
    let start = Instant::now();
    (0..8).for_each(|n| thread::sleep(Duration::from_millis(1 << n)));
    start.elapsed()
}

/// Threads of a dying process may not know of it when the bell rings. Eight more looks take some
/// 255 ms; at one in each recheck period of 250 ms they would take 2 s at least. Sleeps as long as
/// the pauses between them say what a busy machine adds.
#[test]
fn after_the_bell_the_dead_are_looked_for_again_soon() -> Result<()> {
    let _watchdog = Watchdog::new(PATIENCE);
    let segment = Segment::anonymous("bell", 4096)?;
    let count: &EventCount = segment.region().place(0)?;
    let is_soon = || {
        // Wakes none, and the word no longer says that the last try's waiter sleeps.
        count.notify_all();
        assert!(!count.has_sleepers());
        let dying = Forked::arriving(|arrival| count.under_bell(|| arrival.stay()));
        let object = Suspecting {
            count,
            suspicions: AtomicUsize::new(0),
        };
        let took = thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(&[&object], Duration::MAX));
            while !count.has_sleepers() {
                thread::yield_now();
            }
            let pauses = scope.spawn(pauses);
            let start = Instant::now();
            dying.kill_and_reap();
            let ready = waiting.join().expect("no panic");
            let took = start.elapsed();
            ready.map(|ready| (ready, took, pauses.join().expect("no panic")))
        });
        let (ready, took, pauses) = took.expect("no error");
        assert_eq!(ready, [0]);
        took < Duration::from_secs(2).max(4 * pauses)
    };
    // A busy machine may take so long, but not each time. Five tries that take periods of 250 ms
    // end before the watchdog does.
    assert!((0..5).any(|_| is_soon()));
    Ok(())
}
