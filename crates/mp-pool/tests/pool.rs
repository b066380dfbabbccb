//! What a pool returns while its workers live.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mp_layout::ErrorKind;
use mp_object::{Event, Mutex, Semaphore};
use mp_os::cpu::time_of;
use mp_pool::{
    Cause, Pool, ProcessPoolExecutor, ReturnWhen, as_completed, wait as wait_for_futures,
};
use mp_process::{Resource, Setup};
use mp_testkit::{Forked, Watchdog};

/// More than any wait in a test needs.
const LONG: Duration = Duration::from_secs(60);

fn square(n: u64) -> u64 {
    n * n
}

#[test]
fn every_way_to_run_tasks_gives_the_values_in_order() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(3).unwrap();
    let expected: Vec<u64> = (0..500).map(|n| n * n).collect();
    assert_eq!(pool.map(square, 0..500).unwrap(), expected);
    assert_eq!(pool.map_async(square, 0..500).get().unwrap(), expected);
    let values: Result<Vec<_>, _> = pool.imap(square, 0..500).collect();
    assert_eq!(values.unwrap(), expected);
    let values: Result<Vec<_>, _> = pool.imap_unordered(square, 0..500).collect();
    let mut values = values.unwrap();
    values.sort_unstable();
    assert_eq!(values, expected);
    let pairs = (0..500_u64).map(|n| (n, n));
    let product = |a: u64, b: u64| a * b;
    assert_eq!(pool.starmap(product, pairs.clone()).unwrap(), expected);
    let each = pool.try_starmap(product, pairs.clone());
    let values: Result<Vec<_>, _> = each.into_iter().collect();
    assert_eq!(values.unwrap(), expected);
    assert_eq!(pool.starmap_async(product, pairs).get().unwrap(), expected);
    let sums = pool.map_with(7_u64, |seven, n: u64| seven + n, 0..500);
    assert_eq!(sums.unwrap(), (7..507).collect::<Vec<_>>());
    assert_eq!(pool.apply(square, (9,)).unwrap(), 81);
    assert_eq!(
        pool.apply(|| "no argument".to_owned(), ()).unwrap(),
        "no argument"
    );
    for size in [1, 7, 4096, 1 << 20] {
        assert_eq!(
            pool.chunk_size(size).map(square, 0..500).unwrap(),
            expected,
            "packets of {size}"
        );
    }
    assert!(pool.map(square, []).unwrap().is_empty());
}

#[test]
fn packets_of_any_size_that_can_be_asked_for_give_the_values() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let expected: Vec<u64> = (0..50).map(|n| n * n).collect();
    for size in [0, 1 << 61, usize::MAX] {
        let packets = || pool.chunk_size(size);
        assert_eq!(packets().map(square, 0..50).unwrap(), expected, "{size}");
        let values: Result<Vec<_>, _> = packets().imap(square, 0..50).collect();
        assert_eq!(values.unwrap(), expected, "{size}");
        assert_eq!(packets().map_async(square, 0..50).get().unwrap(), expected);
    }
}

#[test]
fn a_copy_in_a_forked_process_leaves_the_pool_to_its_parent() {
    let _watchdog = Watchdog::new(LONG);
    let mut pool = Some(Pool::new(2).unwrap());
    let mut executor = Some(ProcessPoolExecutor::with_workers(1).unwrap());
    let copy = Forked::new(|| {
        let says_so = pool.as_ref().is_some_and(|pool| {
            pool.worker_stats().is_err() && pool.worker_pids().is_empty() && pool.stats().done == 0
        });
        drop((pool.take(), executor.take()));
        says_so
    });
    assert!(copy.succeeds());
    let (pool, executor) = (pool.unwrap(), executor.unwrap());
    let pids = pool.worker_pids();
    let ran = pool.map(|_: u32| std::process::id(), 0..20).unwrap();
    assert!(ran.iter().all(|pid| pids.contains(pid)), "{ran:?} {pids:?}");
    let pid = executor.submit(std::process::id, ()).result().unwrap();
    assert_eq!(executor.pool().worker_pids(), [pid]);
}

#[test]
fn a_copy_in_a_forked_process_runs_no_task_and_ends_no_worker() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    let pids = (pool.worker_pids(), executor.pool().worker_pids());
    let (go, runs) = (Event::new().unwrap(), Event::new().unwrap());
    let wait = |(runs, go): (Event, Event)| {
        runs.set();
        go.wait();
    };
    let result = pool.apply_async(square, (3,));
    let held = executor.submit(wait, ((runs.clone(), go.clone()),));
    let waits = executor.submit(square, (4,));
    runs.wait();
    result.wait();
    let copy = Forked::new(|| {
        let errors = [
            pool.map(square, 0..9).unwrap_err(),
            pool.apply(square, (1,)).unwrap_err(),
            pool.imap(square, 0..3).last().unwrap().unwrap_err(),
            waits.result().unwrap_err(),
            held.exception().unwrap(),
            pool.on_progress(|_| ()).map(square, 0..9).unwrap_err(),
        ];
        let twice = || [waits.clone(), waits.clone()];
        let all = wait_for_futures(twice(), LONG, ReturnWhen::AllCompleted);
        let are_given = as_completed(twice()).count() == 2 && all.done.len() == 2;
        let are_errors = errors
            .iter()
            .all(|error| error.kind() == ErrorKind::InvalidState);
        let has_cancelled = waits.cancel();
        executor.kill_workers();
        pool.terminate();
        let joined = pool.join().unwrap_err().kind();
        are_errors && are_given && !has_cancelled && joined == ErrorKind::InvalidState
    });
    assert!(copy.succeeds());
    go.set();
    assert_eq!(waits.result().unwrap(), 16);
    assert_eq!(result.get().unwrap(), 9);
    let after = (pool.worker_pids(), executor.pool().worker_pids());
    assert_eq!(after, pids);
}

#[test]
fn tasks_run_in_other_processes_side_by_side() {
    let _watchdog = Watchdog::new(LONG);
    fn meet(mine: Event, other: Event) -> u32 {
        mine.set();
        other.wait();
        std::process::id()
    }
    let pool = Pool::new(2).unwrap();
    let (one, two) = (Event::new().unwrap(), Event::new().unwrap());
    let pids = pool
        .starmap(meet, [(one.clone(), two.clone()), (two, one)])
        .unwrap();
    let mut workers = pool.worker_pids();
    workers.sort_unstable();
    let mut met = pids.clone();
    met.sort_unstable();
    assert_eq!(met, workers);
    assert!(!pids.contains(&std::process::id()));
}

#[test]
fn arguments_and_values_of_any_size_travel() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    // Around a line of the board, a message of the socket, a piece of the ring, and the ring
    // itself.
    for size in [
        0, 1, 16_000, 16_384, 16_500, 32_768, 65_536, 70_000, 140_000,
    ] {
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let back = pool
            .apply(|bytes: Vec<u8>| bytes, (bytes.clone(),))
            .unwrap();
        assert!(back == bytes, "{size} bytes differ");
    }
    // Over a thousand times a piece: more bytes would only need more memory.
    let large = pool.apply(|| "x".repeat(65 << 20), ()).unwrap();
    let part = "x".repeat(1 << 20);
    let is_part = |found: &[u8]| found == part.as_bytes();
    assert!(large.len() == 65 << 20 && large.as_bytes().chunks(1 << 20).all(is_part));
    let length = pool.apply(|text: String| text.len(), (large,)).unwrap();
    assert_eq!(length, 65 << 20);
    let mixed: Vec<String> = (0..60).map(|n| "x".repeat(n * 700)).collect();
    assert_eq!(
        pool.chunk_size(8)
            .map(|text: String| text.len(), mixed.clone())
            .unwrap()[59],
        59 * 700
    );
    assert_eq!(
        pool.chunk_size(8)
            .map(|text: String| text, mixed.clone())
            .unwrap(),
        mixed
    );
}

#[test]
fn shared_objects_go_there_and_come_back() {
    let _watchdog = Watchdog::new(LONG);
    fn count(total: Mutex<u64>, amount: u64) -> Mutex<u64> {
        *total.lock().unwrap() += amount;
        total
    }
    let pool = Pool::new(2).unwrap();
    let total = Mutex::new(0).unwrap();
    let tasks = (1..=100).map(|amount| (total.clone(), amount));
    let back = pool.starmap(count, tasks).unwrap();
    assert_eq!(*total.lock().unwrap(), 5050);
    *back[99].lock().unwrap() += 1;
    assert_eq!(*total.lock().unwrap(), 5051, "the same memory");
}

#[test]
fn a_panic_fails_its_task_and_the_worker_lives_on() {
    let _watchdog = Watchdog::new(LONG);
    fn odd_panics(n: u32) -> u32 {
        assert!(n.is_multiple_of(2), "{n} is odd");
        n
    }
    let pool = Pool::new(1).unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    let each = pool.chunk_size(4).try_map(odd_panics, 0..10);
    for (n, result) in each.iter().enumerate() {
        match result {
            Ok(value) => assert!(n.is_multiple_of(2) && *value == n as u32),
            Err(error) => {
                assert_eq!((error.index(), error.kind()), (n, ErrorKind::Panicked));
                let Cause::Panicked(panic) = error.cause() else {
                    panic!("{error}")
                };
                assert_eq!(panic.message(), format!("{n} is odd"));
                assert!(panic.location().unwrap().contains("pool.rs"));
            }
        }
    }
    assert_eq!(pool.map(odd_panics, 0..10).unwrap_err().index(), 1);
    assert_eq!(pool.apply(std::process::id, ()).unwrap(), pid);
}

#[test]
fn an_err_is_a_value() {
    let pool = Pool::new(1).unwrap();
    let parsed = pool
        .map(
            |text: String| text.parse::<u8>().map_err(|error| error.to_string()),
            ["7".to_owned(), "x".to_owned()],
        )
        .unwrap();
    assert_eq!(parsed[0], Ok(7));
    assert!(parsed[1].is_err());
}

#[test]
fn a_result_is_got_again_and_a_timeout_leaves_the_pool_usable() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let go = Event::new().unwrap();
    let slow = pool.apply_async(
        |go: Event| {
            go.wait();
            7_u8
        },
        (go.clone(),),
    );
    let error = slow.get_timeout(Duration::from_millis(5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(!slow.ready() && !slow.successful());
    assert!(!slow.wait_timeout(Instant::now()));
    go.set();
    slow.wait();
    assert!(slow.ready() && slow.successful());
    assert_eq!((slow.get().unwrap(), slow.get().unwrap()), (7, 7));
    let failed = pool.apply_async(|| panic!("on purpose"), ());
    for _ in 0..2 {
        assert_eq!(failed.get().unwrap_err().kind(), ErrorKind::Panicked);
    }
    assert!(failed.ready() && !failed.successful());
    drop(pool);
    assert_eq!(slow.get().unwrap(), 7, "it outlives the pool");
}

#[test]
fn callbacks_have_run_when_join_returns() {
    let _watchdog = Watchdog::new(LONG);
    let (sender, receiver) = std::sync::mpsc::channel();
    let pool = Pool::new(2).unwrap();
    let (values, errors, died) = (sender.clone(), sender.clone(), sender);
    let results = pool
        .map_async(square, 0..3)
        .callback(move |squares| values.send(format!("{squares:?}")).unwrap())
        .error_callback(move |error| errors.send(error.to_string()).unwrap());
    let _died = pool
        .map_async(|n: u32| assert_ne!(n, 2), 0..4)
        .callback(|_| unreachable!("one fails"))
        .error_callback(move |error| died.send(format!("task {}", error.index())).unwrap());
    pool.close();
    pool.join().unwrap();
    let mut texts: Vec<_> = receiver.try_iter().collect();
    texts.sort_unstable();
    assert_eq!(texts, ["[0, 1, 4]", "task 2"]);
    assert_eq!(results.get().unwrap(), [0, 1, 4]);
}

#[test]
fn imap_takes_no_more_items_than_it_is_ahead() {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let endless = (0_u64..).inspect(|_| {
        TAKEN.fetch_add(1, Ordering::Relaxed);
    });
    let mut squares = pool.imap(square, endless);
    for n in 0..100 {
        assert_eq!(squares.next().unwrap().unwrap(), n * n);
        let ahead = TAKEN.load(Ordering::Relaxed) - n;
        assert!(ahead <= 9, "{ahead} items were taken after result {n}");
    }
}

#[test]
fn imap_unordered_gives_what_is_done_before_what_is_not() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let go = Event::new().unwrap();
    let items = (0..8_u32).map(|n| (n, go.clone())).collect::<Vec<_>>();
    let mut results = pool.imap_unordered(
        |(n, go): (u32, Event)| {
            if n == 0 {
                go.wait();
            }
            n
        },
        items,
    );
    let others: Vec<u32> = (0..7).map(|_| results.next().unwrap().unwrap()).collect();
    assert!(!others.contains(&0), "{others:?}");
    let late = results.next_timeout(Duration::from_millis(1)).unwrap();
    assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
    go.set();
    assert_eq!(results.next().unwrap().unwrap(), 0);
    assert!(results.next().is_none());
}

#[test]
fn items_that_panic_end_their_call_and_not_the_pool() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let items = || (0..).inspect(|n| assert!(*n < 20, "an iterator"));
    let calls: [&dyn Fn(); 3] = [
        &|| drop(pool.chunk_size(1).map(square, items())),
        &|| drop(pool.chunk_size(1).map_async(square, items())),
        &|| pool.imap(square, items()).for_each(drop),
    ];
    for call in calls {
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
        assert_eq!(pool.map(square, [3]).unwrap(), [9]);
    }
    pool.close();
    pool.join().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.running, stats.failed), (0, 0, 0));
    assert_eq!(stats.done, 3 + 3 * 20);
}

#[test]
fn a_closed_pool_runs_what_it_has_and_refuses_the_rest() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.join().unwrap_err().kind(), ErrorKind::InvalidState);
    let results = pool.map_async(square, 0..1000);
    pool.close();
    let refused = pool.map(square, 0..3).unwrap_err();
    assert_eq!((refused.index(), refused.kind()), (0, ErrorKind::Closed));
    pool.join().unwrap();
    assert!(results.ready());
    assert_eq!(results.get().unwrap().len(), 1000);
    assert!(pool.worker_pids().is_empty());
    pool.join().unwrap();
}

#[test]
fn a_terminated_pool_fails_what_is_left() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let done = pool.apply_async(square, (3,));
    done.wait();
    let never = pool.map_async(
        |_: u32| loop {
            std::thread::park();
        },
        0..5,
    );
    pool.terminate();
    pool.join().unwrap();
    assert_eq!(done.get().unwrap(), 9);
    let each = never.get_each();
    assert_eq!(each.len(), 5);
    for result in each {
        let error = result.map(|never: ()| never).unwrap_err();
        assert!(error.to_string().contains("terminated"), "{error}");
    }
}

#[test]
fn an_initializer_runs_first_in_every_worker() {
    static PREPARED: AtomicU64 = AtomicU64::new(0);
    fn prepare(value: u64, started: Semaphore) {
        PREPARED.store(value, Ordering::Relaxed);
        started.release().unwrap();
    }
    let _watchdog = Watchdog::new(LONG);
    let started = Semaphore::new(0).unwrap();
    let pool = Pool::builder()
        .workers(3)
        .initializer(prepare, (42, started.clone()))
        .build()
        .unwrap();
    (0..3).for_each(|_| started.acquire());
    let seen = pool
        .map(|_: u32| PREPARED.load(Ordering::Relaxed), 0..30)
        .unwrap();
    assert_eq!(seen, [42; 30]);
    assert_eq!(PREPARED.load(Ordering::Relaxed), 0, "not in this process");
}

#[test]
fn workers_are_replaced_after_as_many_tasks_as_they_may_run() {
    let _watchdog = Watchdog::new(LONG);
    for (tasks, most) in [(1, 1), (7, 1), (20, 3), (12, 6)] {
        let pool = Pool::builder()
            .workers(2)
            .max_tasks_per_child(most)
            .build()
            .unwrap();
        let results = pool
            .chunk_size(1)
            .map(|_: u32| std::process::id(), 0..tasks)
            .unwrap();
        let mut pids = results.clone();
        pids.sort_unstable();
        for run in pids.chunk_by(|one, other| one == other) {
            assert!(run.len() as u64 <= most, "{most} at most: {pids:?}");
        }
        assert_eq!(results.len() as u32, tasks);
    }
}

#[test]
fn a_pool_counts_what_it_has_done_and_has_to_do() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let (runs, go) = (Event::new().unwrap(), Event::new().unwrap());
    let wait = |runs: Event, go: Event| {
        runs.set();
        go.wait();
    };
    let first = pool.apply_async(wait, (runs.clone(), go.clone()));
    runs.wait();
    let squares = pool.chunk_size(3).map_async(square, 0..10);
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.running, stats.done), (10, 1, 0));
    go.set();
    first.wait();
    squares.wait();
    let odd = |n: u32| match n {
        2 => std::process::abort(),
        _ => assert!(!n.is_multiple_of(2)),
    };
    assert_eq!(
        pool.try_map(odd, 0..6)
            .iter()
            .filter(|one| one.is_ok())
            .count(),
        3
    );
    assert_eq!(pool.apply(|| 7, ()).unwrap(), 7, "by the new worker");
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.running), (0, 0));
    assert_eq!((stats.done, stats.failed, stats.replaced), (15, 3, 1));
}

#[test]
fn a_pool_tells_how_much_each_worker_has_worked() {
    const WORK: Duration = Duration::from_millis(50);
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let work = || {
        let pid = std::process::id();
        while time_of(pid).unwrap() < WORK {}
        pid
    };
    let busy = pool.apply(work, ()).unwrap();
    let workers = pool.worker_stats().unwrap();
    let pids: Vec<u32> = workers.iter().map(|worker| worker.pid).collect();
    assert_eq!(pids, pool.worker_pids());
    let worker = workers.iter().find(|worker| worker.pid == busy).unwrap();
    assert!(worker.cpu_time >= WORK, "{worker:?}");
    assert!(worker.age >= worker.cpu_time, "{worker:?}");
    pool.close();
    pool.join().unwrap();
    assert!(pool.worker_stats().unwrap().is_empty());
}

#[test]
fn imap_knows_how_many_results_are_left() {
    let _watchdog = Watchdog::new(LONG);
    let next = |n: u32| n + 1;
    let pool = Pool::new(2).unwrap();
    for mut squares in [pool.imap(next, 0..100), pool.imap_unordered(next, 0..100)] {
        for left in (1..=100).rev() {
            assert_eq!(squares.len(), left);
            squares.next().unwrap().unwrap();
        }
        assert_eq!((squares.len(), squares.next().is_none()), (0, true));
    }
    let endless = pool.imap(next, std::iter::repeat(7));
    assert_eq!(endless.size_hint(), (usize::MAX, None));
}

#[test]
fn a_pool_without_workers_or_with_too_many_is_refused() {
    for workers in [0, 4097, usize::MAX] {
        let error = Pool::new(workers).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

#[test]
fn a_task_may_have_a_pool_of_its_own() {
    let _watchdog = Watchdog::new(LONG);
    fn sum_of_squares(upto: u64) -> u64 {
        let inner = Pool::new(1).unwrap();
        inner.map(square, 0..upto).unwrap().iter().sum()
    }
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.map(sum_of_squares, [2, 3, 4]).unwrap(), [1, 5, 14]);
}

#[test]
fn several_threads_submit_to_one_pool() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let pool = &pool;
            scope.spawn(move || {
                let expected: Vec<u64> = (0..300).map(|n| n * thread).collect();
                let items = (0..300).map(|n| (n, thread));
                assert_eq!(
                    pool.starmap(|a: u64, b: u64| a * b, items).unwrap(),
                    expected
                );
            });
        }
    });
}

#[test]
fn more_packets_than_the_board_has_wait_for_their_turn() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let results = pool.chunk_size(1).map_async(square, 0..3000);
    assert_eq!(results.get().unwrap().len(), 3000);
}

#[test]
fn workers_have_what_the_setup_says() {
    let _watchdog = Watchdog::new(LONG);
    let setup = Setup::new()
        .env("LEVEL", "debug")
        .limit(Resource::CoreSize, 0)
        .hard_limit(Resource::CoreSize, 0);
    let pool = Pool::builder().workers(2).setup(setup).build().unwrap();
    let look = || {
        let core_size = Resource::CoreSize.limits();
        (std::env::var("LEVEL").ok(), core_size.soft, core_size.hard)
    };
    let expected = (Some("debug".to_owned()), 0, 0);
    assert_eq!(pool.apply(look, ()).unwrap(), expected);
}

#[test]
fn a_setup_that_no_worker_can_have_makes_no_pool() {
    let _watchdog = Watchdog::new(LONG);
    let setup = Setup::new().niceness(20);
    let error = Pool::builder().workers(2).setup(setup).build();
    let error = error.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("niceness 20"), "{error}");
}
