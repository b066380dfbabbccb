//! How results come: when, to which waits, and with objects that have no room.

use std::iter;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_object::Event;
use mp_os::clock::Deadline;
use mp_os::pidfd::PidFd;
use mp_pool::Pool;
use mp_process::spawn;
use mp_testkit::{Watchdog, refuse};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// More than any wait in a test needs.
const LONG: Duration = Duration::from_secs(60);

/// A number that cannot be written if it is odd.
struct Even(u32);

impl Serialize for Even {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(2) {
            self.0.serialize(serializer)
        } else {
            Err(S::Error::custom(format!("{} is odd", self.0)))
        }
    }
}

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u32::deserialize(deserializer).map(Self)
    }
}

#[test]
fn an_argument_or_a_value_that_does_not_serialise_fails_its_task_alone() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let pids = pool.worker_pids();
    for chunk in [1, 4, 100] {
        let arguments = pool
            .chunk_size(chunk)
            .try_map(|Even(n): Even| n, (0..50).map(Even));
        let values = pool.chunk_size(chunk).try_map(Even, 0..50_u32);
        let values = values.into_iter().map(|one| one.map(|Even(n)| n));
        for results in [arguments, values.collect()] {
            assert_eq!(results.len(), 50);
            for (n, result) in results.into_iter().enumerate() {
                match result {
                    Ok(value) => assert_eq!((value as usize, n % 2), (n, 0)),
                    Err(error) => {
                        assert_eq!((error.index(), n % 2), (n, 1));
                        assert_eq!(error.kind(), ErrorKind::Encode, "{error}");
                        assert!(error.to_string().contains("while writing"), "{error}");
                    }
                }
            }
        }
    }
    assert_eq!(pool.worker_pids(), pids);
}

#[test]
fn imap_gives_what_is_ready_before_it_takes_more_items() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let taken = AtomicUsize::new(0);
    let items = (0..100_u32).inspect(|_| {
        taken.fetch_add(1, Ordering::Relaxed);
    });
    let mut results = pool.imap(|n: u32| n, items);
    let ahead = taken.load(Ordering::Relaxed);
    assert!(ahead > 1, "{ahead}");
    // The only worker has run what was submitted before.
    pool.apply(|| (), ()).unwrap();
    for n in 0..ahead {
        assert_eq!(results.next().unwrap().unwrap() as usize, n);
        assert_eq!(taken.load(Ordering::Relaxed), ahead);
    }
    assert_eq!(results.map(Result::unwrap).last(), Some(99));
    assert_eq!(taken.load(Ordering::Relaxed), 100);
}

/// The first task of a packet returns, the second does not.
fn first_returns(n: u32) -> u32 {
    if n == 0 {
        return n;
    }
    loop {
        std::thread::park();
    }
}

fn first_returns_late(n: u32) -> u32 {
    std::thread::sleep(Duration::from_millis(100));
    first_returns(n)
}

#[test]
fn the_first_result_of_a_packet_comes_while_its_second_task_runs() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let mut results = pool.chunk_size(2).imap(first_returns, 0..2);
    assert_eq!(results.next().unwrap().unwrap(), 0);
}

#[test]
fn the_first_result_of_a_packet_is_counted_while_its_second_task_runs() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    pool.apply(|| (), ()).unwrap();
    // So long that the thread which is told of outcomes sleeps when the first one comes.
    let results = pool.chunk_size(2).map_async(first_returns_late, 0..2);
    while results.completed() == 0 {
        std::thread::yield_now();
    }
    assert!(!results.ready());
}

#[test]
fn a_map_ends_with_its_last_outcome_though_its_worker_goes_on_with_another_task() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let (are_submitted, submitted) = channel();
    let end = iter::from_fn(move || {
        are_submitted.send(()).unwrap();
        None
    });
    let short = |_: u32| std::thread::sleep(Duration::from_millis(2));
    std::thread::scope(|scope| {
        let pool = &pool;
        // More than it looks for without sleeping.
        let map = scope.spawn(move || pool.chunk_size(1).map(short, (0..100).chain(end)));
        submitted.recv().unwrap();
        let other = pool.apply_async(first_returns, (1,));
        assert_eq!(map.join().unwrap().unwrap().len(), 100);
        assert!(!other.ready());
    });
}

/// Takes a while that depends on its number, or kills its worker.
fn unevenly(n: u64) -> u64 {
    if n == 50 {
        let own = PidFd::open(std::process::id()).unwrap();
        own.send_signal(libc::SIGKILL).unwrap();
    }
    (0..n % 7 * 5000).fold(n, |sum, n| std::hint::black_box(sum ^ n)) & 1
}

/// Each worker tells when it has its share; those that run less never have it.
#[test]
fn a_map_ends_whatever_share_of_it_each_worker_runs() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::builder().workers(3).max_tasks_per_child(30);
    let pool = pool.build().unwrap();
    for _ in 0..5 {
        let results = pool.chunk_size(3).try_map(unevenly, 0..101);
        let failed: Vec<_> = results
            .iter()
            .filter_map(|one| one.as_ref().err())
            .collect();
        assert_eq!((results.len(), failed.len()), (101, 1), "{failed:?}");
        assert_eq!(failed[0].index(), 50);
        assert!(failed[0].death().is_some(), "{}", failed[0]);
    }
}

static ASKED: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// Ends a wait when both were asked several times, so that they wait together.
fn is_asked<const WHICH: usize>() -> bool {
    ASKED[WHICH].fetch_add(1, Ordering::Relaxed);
    ASKED.iter().all(|asked| asked.load(Ordering::Relaxed) > 3)
}

#[test]
fn hooks_end_the_waits_of_two_threads() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let result = pool.apply_async(first_returns, (1,));
    let timed_out = |hook: fn() -> bool| {
        let deadline = Deadline::NEVER.interruptible_by(hook);
        assert_eq!(
            result.get_timeout(deadline).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
    };
    std::thread::scope(|scope| {
        scope.spawn(|| timed_out(is_asked::<0>));
        scope.spawn(|| timed_out(is_asked::<1>));
    });
}

#[test]
fn many_threads_wait_for_results_of_one_pool() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..200 {
                    let sum = pool.apply(|a: u64, b: u64| a + b, (thread, n));
                    assert_eq!(sum.unwrap(), thread + n);
                }
                let doubled = pool.map(|n: u64| 2 * n, 0..500).unwrap();
                assert!(doubled.into_iter().eq((0..500).map(|n| 2 * n)));
            });
        }
    });
}

fn events(count: usize) -> Vec<Event> {
    (0..count).map(|_| Event::new().unwrap()).collect()
}

#[test]
fn a_result_with_more_objects_than_a_message_carries_arrives() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    assert_eq!(pool.apply(events, (260,)).unwrap().len(), 260);
}

#[test]
fn objects_without_room_in_the_parent_fail_their_task_alone() {
    /// In a process of its own: the limit is the whole process's.
    fn parent() -> Vec<String> {
        let pool = Pool::new(1).unwrap();
        let worker = pool.worker_pids();
        assert_eq!(pool.apply(events, (3,)).unwrap().len(), 3);
        let free = std::fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
        let limit = libc::rlimit {
            rlim_cur: free + 20,
            rlim_max: free + 20,
        };
        // SAFETY: the kernel reads a structure that lives as long as the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        let fails = |count: usize| {
            let error = pool.apply(events, (count,)).unwrap_err();
            assert_eq!(pool.apply(events, (1,)).unwrap().len(), 1);
            error.to_string()
        };
        let errors = vec![fails(30), fails(260)];
        assert_eq!(pool.worker_pids(), worker);
        errors
    }
    let _watchdog = Watchdog::new(LONG);
    for error in spawn(parent, ()).unwrap().result().unwrap() {
        assert!(error.contains("raise ulimit -n"), "{error}");
    }
}

#[test]
fn objects_that_a_worker_cannot_send_fail_their_task_alone() {
    fn without_messages() {
        // What the kernel answers to a user with too many descriptors on their way.
        refuse(libc::SYS_sendmsg, libc::ETOOMANYREFS, None);
    }
    let _watchdog = Watchdog::new(LONG);
    let builder = Pool::builder().workers(1);
    let pool = builder.initializer(without_messages, ()).build().unwrap();
    let worker = pool.worker_pids();
    let error = pool.apply(events, (2,)).unwrap_err();
    assert!(error.to_string().contains("Too many references"), "{error}");
    assert_eq!(pool.map(|n: u32| n, 0..10).unwrap().len(), 10);
    assert_eq!(pool.worker_pids(), worker);
}
