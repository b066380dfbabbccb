//! How far a call is, as its hook is told.

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::Duration;

use mp_pool::{Chunked, Pool, ProcessPoolExecutor, Progress};
use mp_testkit::Watchdog;

/// More than any wait in a test needs.
const LONG: Duration = Duration::from_secs(60);

/// What a hook was told, in order.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Progress>>>);

impl Told {
    fn hook(&self) -> impl Fn(Progress) + Send + Sync + 'static {
        let told = self.clone();
        move |progress| told.locked().push(progress)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asserts that it was told of more each time, and of this in the end.
    fn assert_ends(&self, ended: usize, failed: usize, total: Option<usize>) {
        let told = self.locked();
        assert!(
            told.is_sorted_by(|one, next| one.ended < next.ended),
            "{told:?}"
        );
        let last = told.last().expect("it was told");
        assert_eq!(
            (last.ended, last.failed, last.total),
            (ended, failed, total)
        );
    }
}

fn odd(n: u64) -> u64 {
    assert!(!n.is_multiple_of(10), "a multiple of ten");
    n
}

#[test]
fn a_call_that_waits_has_told_of_all_tasks_when_it_returns() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    type Call = fn(Chunked<'_>) -> usize;
    let calls: [(Call, Option<usize>); 4] = [
        (|calls| calls.try_map(odd, 0..100).len(), Some(100)),
        (
            |calls| calls.chunk_size(1).try_map(odd, 0..100).len(),
            Some(100),
        ),
        (
            |calls| calls.try_starmap(odd, (0..100).map(|n| (n,))).len(),
            Some(100),
        ),
        (
            |calls| calls.try_map(odd, (0..100).filter(|_| true)).len(),
            None,
        ),
    ];
    for (call, total) in calls {
        let told = Told::default();
        assert_eq!(call(pool.on_progress(told.hook())), 100);
        told.assert_ends(100, 10, total);
    }
    let told = Told::default();
    assert!(pool.on_progress(told.hook()).map(odd, 0..30).is_err());
    told.assert_ends(30, 3, Some(30));
}

/// The other half waits for what the hook is told.
#[test]
fn a_map_tells_while_it_goes_on() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let go = mp_object::Event::new().unwrap();
    let half = go.clone();
    let hook = move |progress: Progress| {
        if progress.ended >= 10 {
            half.set();
        }
    };
    let calls = pool.chunk_size(10).on_progress(hook);
    let wait = |go: &mp_object::Event, n: usize| n < 10 || go.wait_timeout(LONG);
    assert_eq!(calls.map_with(go, wait, 0..20).unwrap(), [true; 20]);
}

#[test]
fn iterators_and_results_that_are_got_later_tell_as_well() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(2).unwrap();
    let (map, imap, later) = (Told::default(), Told::default(), Told::default());
    let pool = executor.pool();
    let results = executor.map_options().on_progress(map.hook());
    assert_eq!(results.map(odd, 0..30).filter(Result::is_ok).count(), 27);
    let results = pool.on_progress(imap.hook()).imap_unordered(odd, 0..30);
    assert_eq!(results.filter(Result::is_ok).count(), 27);
    let results = pool.on_progress(later.hook()).map_async(odd, 0..30);
    assert_eq!(results.get_each().len(), 30);
    // Waits for the thread that tells.
    executor.shutdown();
    for told in [map, imap, later] {
        told.assert_ends(30, 3, Some(30));
    }
}

#[test]
fn a_hook_that_panics_or_uses_the_pool_ends_no_call() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Arc::new(Pool::new(2).unwrap());
    let panics = pool.on_progress(|_| panic!("a hook"));
    assert_eq!(panics.map(odd, 1..10).unwrap().len(), 9);
    let user = Arc::downgrade(&pool);
    let told = Told::default();
    let tell = told.hook();
    let uses = pool.on_progress(move |progress| {
        let pool = user.upgrade().expect("its caller has it");
        let inner = Told::default();
        let calls = pool.on_progress(inner.hook());
        assert_eq!(calls.map(odd, [1, 2]).unwrap(), [1, 2]);
        inner.assert_ends(2, 0, Some(2));
        assert!(pool.stats().done >= progress.ended as u64);
        tell(progress);
    });
    assert_eq!(uses.map(odd, 1..10).unwrap().len(), 9);
    told.assert_ends(9, 0, Some(9));
}

/// It waits for what the calling thread sends after the call.
#[test]
fn a_call_with_a_hook_returns_while_the_callback_of_another_call_waits() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let ((runs, is_running), (go, gone)) = (channel(), channel::<()>());
    let callback = move |_: u64| {
        runs.send(()).unwrap();
        gone.recv().unwrap();
        runs.send(()).unwrap();
    };
    let _result = pool.apply_async(odd, (1,)).callback(callback);
    is_running.recv().unwrap();
    let told = Told::default();
    let calls = pool.on_progress(told.hook()).chunk_size(1);
    assert_eq!(calls.map(odd, 1..10).unwrap().len(), 9);
    told.assert_ends(9, 0, Some(9));
    go.send(()).unwrap();
    is_running.recv().unwrap();
    // The thread of callbacks has nothing left to tell.
    pool.close();
    pool.join().unwrap();
    assert_eq!(told.locked().len(), 1);
}

#[test]
fn two_pools_whose_hooks_map_on_each_other_both_return() {
    let _watchdog = Watchdog::new(LONG);
    let pools = [1, 1].map(|workers| Arc::new(Pool::new(workers).unwrap()));
    // Each call goes on when the hook of the other one runs.
    let meet = Arc::new(Barrier::new(2));
    let told = [Told::default(), Told::default()];
    std::thread::scope(|scope| {
        for at in [0, 1] {
            let (pool, other) = (&pools[at], Arc::downgrade(&pools[1 - at]));
            let (meet, tell) = (Arc::clone(&meet), told[at].hook());
            let hook = move |progress| {
                meet.wait();
                let other = other.upgrade().expect("its caller has it");
                assert_eq!(other.on_progress(|_| ()).map(odd, [1, 2]).unwrap(), [1, 2]);
                tell(progress);
            };
            scope.spawn(move || pool.on_progress(hook).map(odd, [1]).unwrap());
        }
    });
    told.iter().for_each(|told| told.assert_ends(1, 0, Some(1)));
}
