//! Futures of an executor.

use std::cell::Cell;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_object::{Event, Mutex, Semaphore};
use mp_pool::{Cause, Deadline, Future, Pool, ProcessPoolExecutor, ReturnWhen, as_completed, wait};
use mp_testkit::Watchdog;

/// More than any wait in a test needs.
const LONG: Duration = Duration::from_secs(60);

fn pass(go: Event, n: u32) -> u32 {
    go.wait();
    n
}

#[test]
fn a_future_tells_where_its_task_is() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    let (go, runs) = (Event::new().unwrap(), Event::new().unwrap());
    let first = executor.submit(
        |runs: Event, go: Event| {
            runs.set();
            go.wait();
            7
        },
        (runs.clone(), go.clone()),
    );
    let second = executor.submit(pass, (go.clone(), 8));
    runs.wait();
    assert!(first.running() && !first.done() && !first.cancel());
    assert!(!second.running() && !second.done() && !second.cancelled());
    let error = first.result_timeout(Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    go.set();
    assert_eq!((first.result().unwrap(), second.result().unwrap()), (7, 8));
    assert!(first.exception().is_none() && first.done() && !first.running());
}

#[test]
fn what_no_worker_has_taken_is_cancelled_and_never_runs() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    let (go, ran) = (Event::new().unwrap(), Semaphore::new(0).unwrap());
    let (runs, blocked) = (Event::new().unwrap(), go.clone());
    let first = executor.submit(
        |runs: Event, go: Event| {
            runs.set();
            go.wait();
        },
        (runs.clone(), blocked),
    );
    runs.wait();
    // More than the board has packets, so that some wait in the parent.
    let futures: Vec<Future<()>> = (0..200)
        .map(|_| executor.submit(|ran: Semaphore| ran.release().unwrap(), (ran.clone(),)))
        .collect();
    for (n, future) in futures.iter().enumerate() {
        if n.is_multiple_of(2) {
            assert!(future.cancel(), "future {n}");
            assert!(future.done() && future.cancelled() && !future.running());
            assert!(matches!(
                future.result().unwrap_err().cause(),
                Cause::Cancelled
            ));
        }
    }
    go.set();
    first.result().unwrap();
    executor.shutdown();
    assert_eq!(ran.value(), 100);
    assert!(futures.iter().all(Future::done));
}

#[test]
fn cancels_and_claims_at_the_same_time_leave_each_task_one_fate() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(2).unwrap();
    let ran = Semaphore::new(0).unwrap();
    let mut cancelled = 0;
    for _ in 0..20 {
        let futures: Vec<Future<()>> = (0..50)
            .map(|_| executor.submit(|ran: Semaphore| ran.release().unwrap(), (ran.clone(),)))
            .collect();
        cancelled += futures.iter().rev().filter(|one| one.cancel()).count();
        for future in &futures {
            assert_eq!(future.result().is_err(), future.cancelled());
        }
    }
    assert_eq!(ran.value() as usize + cancelled, 1000);
}

#[test]
fn futures_come_as_they_end() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(2).unwrap();
    let gates: Vec<_> = (0..3).map(|_| Event::new().unwrap()).collect();
    let futures = [0, 1].map(|n| executor.submit(pass, (gates[n].clone(), n as u32)));
    let mut ended = as_completed(futures.clone());
    assert!(ended.next_timeout(Duration::from_millis(1)).is_none());
    gates[1].set();
    assert_eq!(ended.next().unwrap().result().unwrap(), 1);
    let waited = wait(futures.clone(), LONG, ReturnWhen::FirstCompleted);
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
    let waited = wait(futures.clone(), Deadline::PASSED, ReturnWhen::AllCompleted);
    assert_eq!(waited.not_done.len(), 1);
    let failing = executor.submit(|| -> u32 { panic!("on purpose") }, ());
    let all = futures.iter().cloned().chain([failing]);
    let waited = wait(all, LONG, ReturnWhen::FirstException);
    assert_eq!((waited.done.len(), waited.not_done.len()), (2, 1));
    gates[0].set();
    assert_eq!(ended.next().unwrap().result().unwrap(), 0);
    assert!(ended.next().is_none());
}

/// Arguments, or a value, that no process can read.
struct Unreadable;

impl serde::Serialize for Unreadable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> serde::Deserialize<'de> for Unreadable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("it does not like it here"))
    }
}

#[test]
fn a_future_that_is_there_twice_comes_twice_whether_it_ends_before_or_later() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    let go = Event::new().unwrap();
    let (early, late) = (
        executor.submit(|| 1, ()),
        executor.submit(pass, (go.clone(), 2)),
    );
    early.result().unwrap();
    let four = || [&late, &early, &late, &early].map(Clone::clone);
    let mut futures = as_completed(four());
    for _ in 0..2 {
        let next = futures.next_timeout(Duration::ZERO).expect("it has ended");
        assert_eq!(next.result().unwrap(), 1);
    }
    assert!(futures.next_timeout(Duration::ZERO).is_none());
    let waited = wait(four(), Duration::ZERO, ReturnWhen::FirstCompleted);
    assert_eq!((waited.done.len(), waited.not_done.len()), (2, 2));
    go.set();
    let values: Vec<u32> = futures.map(|one| one.result().unwrap()).collect();
    assert_eq!(values, [2, 2]);
    assert_eq!(wait(four(), LONG, ReturnWhen::AllCompleted).done.len(), 4);
    let none: [Future<u32>; 0] = [];
    assert!(as_completed(none.clone()).next().is_none());
    assert!(wait(none, LONG, ReturnWhen::FirstCompleted).done.is_empty());
}

#[test]
fn a_refused_task_is_an_exception() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(2).unwrap();
    let refused = executor.submit(|_: Unreadable| 1, (Unreadable,));
    let error = refused.exception().unwrap();
    assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
    assert!(error.to_string().contains("the arguments"), "{error}");
    let stats = executor.pool().stats();
    assert_eq!((stats.done, stats.failed), (0, 1));
    let pool = executor.pool();
    let result = pool.apply_async(|_: Unreadable| 1, (Unreadable,));
    result.wait();
    assert!(!result.successful());
    // With one that does not end.
    let go = Event::new().unwrap();
    let futures = [
        refused,
        executor.submit(|go: Event| pass(go, 1) as i32, (go.clone(),)),
    ];
    let waited = wait(futures, LONG, ReturnWhen::FirstException);
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
    go.set();
}

#[test]
fn a_value_that_cannot_be_read_is_an_exception() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    let future = executor.submit(|| Unreadable, ());
    assert_eq!(future.exception().unwrap().kind(), ErrorKind::Decode);
    assert!(future.result().is_err());
}

#[test]
fn a_done_callback_runs_once_also_when_it_comes_late_or_another_panicked() {
    let _watchdog = Watchdog::new(LONG);
    let (sender, receiver) = std::sync::mpsc::channel();
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    let go = Event::new().unwrap();
    let future = executor.submit(pass, (go.clone(), 5));
    future.add_done_callback(|_| panic!("on purpose"));
    let early = sender.clone();
    future.add_done_callback(move |future| early.send(future.result().unwrap()).unwrap());
    assert!(receiver.try_recv().is_err());
    go.set();
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), 5);
    future.add_done_callback(move |future| sender.send(future.result().unwrap()).unwrap());
    executor.shutdown();
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [5]);
}

#[test]
fn a_drop_waits_for_what_was_submitted() {
    let _watchdog = Watchdog::new(LONG);
    let total = Mutex::new(0).unwrap();
    let executor = ProcessPoolExecutor::with_workers(2).unwrap();
    let add = |(total, n): (Mutex<u32>, u32)| *total.lock().unwrap() += n;
    // Not asked for its results.
    drop(executor.map(add, (0..50).map(|n| (total.clone(), n)).collect::<Vec<_>>()));
    drop(executor);
    assert_eq!(*total.lock().unwrap(), 1225);
}

/// Polls a future in this thread, which sleeps until it is woken.
fn block_on<F: std::future::Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn futures_are_awaited() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::builder()
        .workers(2)
        .build_executor()
        .unwrap();
    let go = Event::new().unwrap();
    let waits = executor.submit(pass, (go.clone(), 20));
    let opens = executor.submit(|go: Event| go.set(), (go,));
    let dies = executor.submit(|| std::process::abort(), ());
    let (sum, death) = block_on(async {
        let same = waits.clone();
        opens.await.unwrap();
        (
            waits.await.unwrap() + same.await.unwrap(),
            dies.await.unwrap_err(),
        )
    });
    assert_eq!(sum, 40);
    assert!(death.death().is_some(), "{death}");
}

#[test]
fn a_callback_awaits_another_task() {
    let _watchdog = Watchdog::new(LONG);
    let executor = Arc::new(ProcessPoolExecutor::with_workers(1).unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    let go = Event::new().unwrap();
    let future = executor.submit(pass, (go.clone(), 5));
    let submits = Arc::clone(&executor);
    future.add_done_callback(move |_| {
        let go = Event::new().unwrap();
        let waits = submits.submit(pass, (go.clone(), 6));
        // So that it is polled before it is done.
        let value = block_on(OpensWhenPending(Box::pin(waits), go));
        sender.send(value.unwrap()).unwrap();
    });
    go.set();
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), 6);
}

/// Lets the task of a future go on once that is pending.
struct OpensWhenPending<F>(Pin<Box<F>>, Event);

impl<F: std::future::Future> std::future::Future for OpensWhenPending<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let poll = self.0.as_mut().poll(context);
        if poll.is_pending() {
            self.1.set();
        }
        poll
    }
}

#[test]
fn each_future_that_was_polled_is_woken_once_by_its_last_waker() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    let go = Event::new().unwrap();
    let mut futures = [(); 2].map(|()| executor.submit(pass, (go.clone(), 5)));
    futures[1] = futures[0].clone();
    let counts = [(); 3].map(|()| Arc::new(Counted::default()));
    for (future, waker) in [(0, 0), (1, 1), (0, 2), (0, 2)] {
        let waker = Waker::from(Arc::clone(&counts[waker]));
        let poll = Pin::new(&mut futures[future]).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }
    go.set();
    // It waits for callbacks, and so for what wakes.
    executor.shutdown();
    let woken = counts
        .each_ref()
        .map(|count| count.0.load(Ordering::Relaxed));
    assert_eq!(woken, [0, 1, 1]);
    assert_eq!(block_on(&mut futures[1]).unwrap(), 5);
}

#[test]
fn a_future_that_was_dropped_keeps_no_waker() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    let go = Event::new().unwrap();
    let future = executor.submit(pass, (go.clone(), 5));
    let count = Arc::new(Counted::default());
    let waker = Waker::from(Arc::clone(&count));
    for _ in 0..3 {
        let mut same = future.clone();
        let poll = Pin::new(&mut same).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
        assert_eq!(Arc::strong_count(&count), 3);
        drop(same);
        assert_eq!(Arc::strong_count(&count), 2, "the test's two");
    }
    go.set();
    assert_eq!(future.result().unwrap(), 5);
    executor.shutdown();
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counted(AtomicU64);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_killed_worker_fails_one_future_and_the_executor_goes_on() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::from(Pool::new(2).unwrap());
    let task = |n: u32| {
        if n == 3 {
            std::process::abort();
        }
        n
    };
    let futures: Vec<_> = (0..8).map(|n| executor.submit(task, (n,))).collect();
    for (n, future) in futures.iter().enumerate() {
        match future.exception() {
            Some(error) => assert!(n == 3 && error.death().is_some(), "{n}: {error}"),
            None => assert_eq!(future.result().unwrap(), n as u32),
        }
    }
    assert_eq!(executor.submit(task, (9,)).result().unwrap(), 9);
}

#[test]
fn a_shutdown_refuses_and_cancels() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    let (go, runs) = (Event::new().unwrap(), Event::new().unwrap());
    let first = executor.submit(
        |runs: Event, go: Event| {
            runs.set();
            go.wait();
        },
        (runs.clone(), go.clone()),
    );
    runs.wait();
    let never: Vec<_> = (0..5)
        .map(|n| executor.submit(pass, (go.clone(), n)))
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| executor.shutdown_and_cancel());
        assert!(never.iter().all(|future| future.exception().is_some()));
        go.set();
    });
    first.result().unwrap();
    assert!(never.iter().all(Future::cancelled));
    let late = executor.submit(|| 1, ()).result().unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Closed);
}

#[test]
fn a_map_that_times_out_ends_and_takes_back_what_no_worker_has() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    let go = Event::new().unwrap();
    let items = (0..20).map(|n| (go.clone(), n));
    let options = executor.map_options().timeout(Duration::from_millis(20));
    let mut results = options.starmap(pass, items);
    let error = results.next().unwrap().unwrap_err();
    let next = results.next();
    let stats = executor.pool().stats();
    go.set();
    assert!(matches!(error.cause(), Cause::TimedOut), "{error}");
    assert!(next.is_none() && results.len() == 0, "{next:?}");
    assert_eq!(error.index(), 0);
    assert!(stats.queued == 0 && stats.running <= 1, "{stats:?}");
    assert!(stats.failed >= 19, "{stats:?}");
    executor.shutdown();
    let stats = executor.pool().stats();
    assert_eq!(stats.done + stats.failed, 20, "{stats:?}");
}

#[test]
fn a_map_gives_what_is_there_after_its_time() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    let options = executor.map_options().timeout(Deadline::PASSED);
    let results = options.map(|n: u32| n + 1, 0..3);
    // The only worker runs it after them.
    executor.submit(|| (), ()).result().unwrap();
    let values: Vec<u32> = results.map(Result::unwrap).collect();
    assert_eq!(values, [1, 2, 3]);
}

#[test]
fn a_map_with_a_buffer_takes_no_more_items_than_it_holds() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(2).unwrap();
    for (chunk, buffer) in [(1, 1), (2, 5), (16, 3), (4, 4), (0, 0)] {
        let taken = Cell::new(0);
        let items = (0_u64..).inspect(|_| taken.set(taken.get() + 1));
        let options = executor.map_options().chunk_size(chunk);
        let mut results = options.buffer_size(buffer).map(|n: u64| n * n, items);
        for given in 0..50 {
            assert!(taken.get() <= given + buffer.max(1), "{chunk} {buffer}");
            assert_eq!(results.next().unwrap().unwrap(), (given * given) as u64);
        }
    }
}

#[test]
fn a_map_takes_no_item_after_its_time() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    let taken = Cell::new(0);
    let items = (0..).inspect(|_| taken.set(taken.get() + 1));
    let map = executor.map_options().buffer_size(4);
    let results = map.timeout(Deadline::PASSED).map(|n: u32| n, items);
    assert_eq!(taken.get(), 4);
    // Those four that are there, or fewer, and that the next is late.
    let late = results.last().expect("there are items").unwrap_err();
    assert!(matches!(late.cause(), Cause::TimedOut), "{late}");
    assert_eq!(taken.get(), 4);
    let none = executor.map_options().timeout(Deadline::PASSED);
    assert!(none.map(|n: u32| n, []).next().is_none());
}

#[test]
fn a_map_that_is_dropped_takes_back_what_no_worker_has() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    let (first, go) = (Event::new().unwrap(), Event::new().unwrap());
    first.set();
    let items = (0..20).map(|n| (if n == 0 { &first } else { &go }.clone(), n));
    let mut results = executor.starmap(pass, items);
    assert_eq!(results.next().expect("20").unwrap(), 0);
    drop(results);
    go.set();
    executor.shutdown();
    let stats = executor.pool().stats();
    assert_eq!(stats.done + stats.failed, 20, "{stats:?}");
    assert!(stats.failed >= 18, "{stats:?}");
}

#[test]
fn a_starmap_takes_the_arguments_of_two_iterators() {
    let _watchdog = Watchdog::new(LONG);
    let executor = ProcessPoolExecutor::with_workers(2).unwrap();
    let powers = executor.starmap(u64::pow, (2..5).zip([3, 2, 1]));
    let powers: Vec<u64> = powers.map(Result::unwrap).collect();
    assert_eq!(powers, [8, 9, 4]);
}
