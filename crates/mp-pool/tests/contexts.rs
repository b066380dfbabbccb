//! What all tasks of a call are given: `map_with`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_object::{Event, Mutex};
use mp_pool::Pool;
use mp_testkit::Watchdog;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// More than any wait in a test needs.
const LONG: Duration = Duration::from_secs(60);

/// How many [`Traveller`]s this process has read.
static READ: AtomicU64 = AtomicU64::new(0);

/// A context that says what happens where it is read.
struct Traveller {
    number: u64,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives = 0,
    IsRefused = 1,
    Kills = 2,
}

impl Serialize for Traveller {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.number, self.fate as u8).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Traveller {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        READ.fetch_add(1, Ordering::Relaxed);
        let (number, fate) = <(u64, u8)>::deserialize(deserializer)?;
        let fate = match fate {
            0 => Fate::Arrives,
            1 => return Err(D::Error::custom("it does not like it here")),
            _ => std::process::abort(),
        };
        Ok(Self { number, fate })
    }
}

fn traveller(fate: Fate) -> Traveller {
    Traveller { number: 100, fate }
}

fn add(context: &Traveller, n: u64) -> (u64, u64) {
    (context.number + n, READ.load(Ordering::Relaxed))
}

#[test]
fn a_worker_reads_a_context_once_for_all_tasks_of_a_call() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    for round in 1..=3 {
        let tasks = pool.chunk_size(1);
        let sums = tasks
            .map_with(traveller(Fate::Arrives), add, 0..100)
            .unwrap();
        for (n, (sum, read)) in sums.into_iter().enumerate() {
            assert_eq!(sum, 100 + n as u64);
            // A worker may have got no task of an earlier round.
            assert!((1..=round).contains(&read), "{read} times in {round} calls");
        }
        // Without a context, which leaves the kept one alone.
        assert_eq!(pool.map(|n: u64| n, 0..20).unwrap()[19], 19);
    }
    assert_eq!(READ.load(Ordering::Relaxed), 0, "not in this process");
}

#[test]
fn a_context_may_be_large_and_have_shared_objects() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let total = Mutex::new(0_u64).unwrap();
    let table: Vec<u64> = (0..100_000).collect();
    let count = |(table, total): &(Vec<u64>, Mutex<u64>), at: usize| {
        *total.lock().unwrap() += table[at];
    };
    let context = (table, total.clone());
    pool.map_with(context, count, (0..1000).map(|n| n * 100))
        .unwrap();
    assert_eq!(
        *total.lock().unwrap(),
        (0..1000).map(|n| n * 100).sum::<u64>()
    );
}

#[test]
fn tasks_with_objects_of_their_own_are_given_the_context_as_well() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    let events: Vec<Event> = (0..10).map(|_| Event::new().unwrap()).collect();
    let set = |word: &String, (event, text): (Event, String)| {
        event.set();
        format!("{word} {text}").len()
    };
    // One fits into the line of a packet, with 20 000 bytes it does not.
    for size in [5, 20_000] {
        let items = events.iter().map(|event| (event.clone(), "x".repeat(size)));
        let lengths = pool.map_with("word".to_owned(), set, items).unwrap();
        assert_eq!(lengths, [5 + size; 10]);
        assert!(events.iter().all(|one| one.is_set()));
        events.iter().for_each(|one| one.clear());
    }
}

#[test]
fn the_successor_of_a_killed_worker_gets_the_context_too() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let task = |context: &Traveller, n: u64| {
        if n == 3 {
            std::process::abort();
        }
        context.number + n
    };
    let each = pool.try_map_with(traveller(Fate::Arrives), task, 0..8);
    for (n, result) in each.into_iter().enumerate() {
        match result {
            Ok(sum) => assert_eq!(sum, 100 + n as u64),
            Err(error) => assert!(n == 3 && error.death().is_some(), "{n}: {error}"),
        }
    }
}

#[test]
fn a_context_that_cannot_be_read_fails_the_tasks_and_not_the_worker() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let pids = pool.worker_pids();
    let each = pool.try_map_with(traveller(Fate::IsRefused), add, 0..10);
    assert_eq!(each.len(), 10);
    for result in each {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
        assert!(
            error.to_string().contains("the context of a task"),
            "{error}"
        );
    }
    assert_eq!(pool.apply(std::process::id, ()).unwrap(), pids[0]);
}

#[test]
fn a_context_that_kills_its_readers_fails_its_tasks_and_not_the_pool() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    let tasks = pool.chunk_size(10);
    let each = tasks.try_map_with(traveller(Fate::Kills), add, 0..10);
    assert!(
        each.iter()
            .all(|one| one.as_ref().unwrap_err().death().is_some())
    );
    assert_eq!(pool.apply(|| 7, ()).unwrap(), 7);
}

#[test]
fn packets_that_kill_their_readers_in_turn_fail_and_the_pool_goes_on() {
    let _watchdog = Watchdog::new(LONG);
    for workers in [1, 2] {
        let pool = Pool::new(workers).unwrap();
        let tasks = pool.chunk_size(1);
        // After so many deaths in a row with nothing taken the pool would give up twice.
        let each = tasks.try_map_with(traveller(Fate::Kills), add, 0..6);
        for one in each {
            let error = one.unwrap_err();
            assert!(error.death().is_some(), "{error}");
        }
        assert_eq!(pool.apply(|| 7, ()).unwrap(), 7);
    }
}

/// The worker's note of the task before is of a packet of another slot.
#[test]
fn a_death_before_a_packet_begins_is_not_laid_to_its_first_task() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(1).unwrap();
    assert_eq!(pool.apply(|| 7, ()).unwrap(), 7);
    let tasks = pool.chunk_size(2);
    let each = tasks.try_map_with(traveller(Fate::Kills), add, 0..2);
    let pids = each
        .into_iter()
        .map(|one| one.unwrap_err().death().unwrap().pid());
    let pids: Vec<_> = pids.collect();
    assert_eq!(pids[0], pids[1], "the packet moves, and fails as a whole");
}

#[test]
fn calls_with_contexts_may_run_side_by_side() {
    let _watchdog = Watchdog::new(LONG);
    let pool = Pool::new(2).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let tasks = pool.chunk_size(1);
            scope.spawn(move || {
                let sums = tasks.map_with(thread * 1000, |base, n: u64| base + n, 0..100);
                let expected: Vec<u64> = (0..100).map(|n| thread * 1000 + n).collect();
                assert_eq!(sums.unwrap(), expected);
            });
        }
    });
}
