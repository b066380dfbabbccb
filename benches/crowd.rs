//! Many processes at one object: what 4, 16 and 64 of them keep of the throughput of two, and how
//! long the unluckiest waits; what sleepers cost while nothing happens; what an object takes.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use criterion::Criterion;
use mp_benches::peers::{PosixSemaphore, PthreadBarrier, PthreadMutex};
use mp_benches::{
    Bench, Child, Contest, Crowd, Kind, Placement, Sample, ran_for, sleeps_of, taken_by,
};
use mp_layout::atomic::{AtomicU32, Ordering};
use mp_object::{
    Barrier, BoundedSemaphore, Condition, Event, Lock, Mutex, PermitSemaphore, RLock, RwLock,
    Semaphore,
};
use mp_queue::{JoinableQueue, MpmcQueue, Queue, pipe};
use mp_shm::Segment;

/// Members of a crowd; ratios are to the first.
const MEMBERS: [usize; 4] = [2, 4, 16, 64];

const MUTEX: &str = "mp-sync Mutex<u64>";
const SEMAPHORE: &str = "mp-sync Semaphore, one permit";
const PERMITS: &str = "mp-sync PermitSemaphore, one permit";
const CONDITION: &str = "mp-sync Condition, one token";
const BARRIER: &str = "mp-sync Barrier of all";
const PIPE: &str = "mp-queue pipe, send and receive";
const ROBUST: &str = "pthread mutex, robust";
const SEM_T: &str = "sem_t, process-shared";
const PTHREAD_BARRIER: &str = "pthread barrier, process-shared";

fn main() {
    let mut bench = Bench::start("crowd", env!("CARGO_TARGET_TMPDIR"));
    if Placement::TwoCores.is_available() {
        let mut first = None;
        for members in MEMBERS {
            let times = crowd(&mut bench, members);
            let first = first.get_or_insert_with(|| times.clone());
            for (name, time) in &times {
                let before = first.iter().find(|(other, _)| other == name);
                if let Some((_, before)) = before
                    && members > MEMBERS[0]
                {
                    bench.note(format!(
                        "{name}: {members} processes keep {:.2}x of the throughput of two",
                        before / time
                    ));
                }
            }
        }
    }
    idle(&mut bench);
    sizes(&mut bench);
    with_criterion(&mut bench.finish());
}

/// The longest of a contender's single operations, over their median, in each round.
#[derive(Default)]
struct Longest(RefCell<Vec<(&'static str, f64)>>);

impl Longest {
    fn of(&self, name: &'static str, sample: Sample) -> Sample {
        let mut latencies = sample.latencies.clone();
        latencies.sort_unstable();
        if let [.., longest] = latencies[..] {
            let median = latencies[latencies.len() / 2].max(1);
            let ratio = f64::from(longest) / f64::from(median);
            self.0.borrow_mut().push((name, ratio));
        }
        sample
    }

    fn median_of(&self, name: &str) -> Option<f64> {
        let all = self.0.borrow();
        let mut ratios: Vec<_> = all
            .iter()
            .filter(|(of, _)| *of == name)
            .map(|(_, ratio)| *ratio)
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied()
    }
}

/// All members do the same with one object; returns the time of an operation of each contender.
fn crowd(bench: &mut Bench, members: usize) -> Vec<(&'static str, f64)> {
    let crowd = Crowd {
        kind: Kind::Processes,
        placement: Placement::TwoCores,
        members,
    };
    // So many in all, whoever does them.
    let count = bench.count(100_000) / members + 1;
    let few = bench.count(10_000) / members + 1;
    let longest = Longest::default();
    let mut contest = Contest::of_times(format!("{members} processes at one object, two cores"));
    contest.ours(MUTEX, || {
        let mutex = Mutex::new(0_u64).expect("a mutex");
        longest.of(
            MUTEX,
            crowd.contend(count, |_| *mutex.lock().expect("nobody dies") += 1),
        )
    });
    contest.peer(ROBUST, || {
        let mutex = PthreadMutex::robust();
        longest.of(ROBUST, crowd.contend(count, |_| mutex.add()))
    });
    contest.ours(SEMAPHORE, || {
        let semaphore = Semaphore::new(1).expect("a semaphore");
        let turn = |_| {
            semaphore.acquire();
            semaphore.release().expect("it was acquired");
        };
        longest.of(SEMAPHORE, crowd.contend(count, turn))
    });
    contest.ours(PERMITS, || {
        let permits = PermitSemaphore::new(1).expect("a semaphore");
        let turn = |_| drop(permits.acquire().expect("/proc is there"));
        longest.of(PERMITS, crowd.contend(count, turn))
    });
    contest.peer(SEM_T, || {
        let semaphore = PosixSemaphore::new(1);
        let turn = |_| {
            semaphore.wait();
            semaphore.post();
        };
        longest.of(SEM_T, crowd.contend(count, turn))
    });
    contest.ours(CONDITION, || {
        let segment = Segment::anonymous("token", 4096).expect("a page");
        let tokens: &AtomicU32 = segment.region().place(0).expect("within the page");
        tokens.store(1, Ordering::Relaxed);
        let condition = Condition::new().expect("a condition");
        let turn = |_| {
            let guard = condition.lock().expect("nobody dies");
            let is_there = || tokens.load(Ordering::Relaxed) > 0;
            let guard = guard.wait_for(is_there).expect("nobody dies");
            tokens.store(0, Ordering::Relaxed);
            drop(guard);
            let guard = condition.lock().expect("nobody dies");
            tokens.store(1, Ordering::Relaxed);
            guard.notify(1);
        };
        longest.of(CONDITION, crowd.contend(few, turn))
    });
    contest.ours(BARRIER, || {
        let barrier = Barrier::new(members as u32).expect("a barrier");
        let turn = |_| assert!(barrier.wait().is_ok());
        longest.of(BARRIER, crowd.contend(few, turn))
    });
    contest.peer(PTHREAD_BARRIER, || {
        let barrier = PthreadBarrier::new(members as u32);
        longest.of(PTHREAD_BARRIER, crowd.contend(few, |_| barrier.wait()))
    });
    contest.ours(PIPE, || {
        let (left, right) = pipe::<u64, u64>().expect("a pipe");
        let turn = |member| {
            left.send(member as u64).expect("room");
            right.recv().expect("one for each that was sent");
        };
        longest.of(PIPE, crowd.contend(few, turn))
    });
    let Some(outcome) = bench.contest(contest) else {
        return Vec::new();
    };
    let names = [
        MUTEX,
        ROBUST,
        SEMAPHORE,
        PERMITS,
        SEM_T,
        CONDITION,
        BARRIER,
        PTHREAD_BARRIER,
        PIPE,
    ];
    for name in names {
        if let Some(ratio) = longest.median_of(name) {
            bench.note(format!(
                "{name}: of {members} processes, the longest operation takes {ratio:.0} medians"
            ));
        }
    }
    names
        .map(|name| (name, outcome.multiples_of(1.0, name).median))
        .to_vec()
}

/// What a hundred processes that sleep for the same thing cost while nothing happens.
fn idle(bench: &mut Bench) {
    const SLEEPERS: u32 = 100;
    let (event, semaphore) = (
        Event::new().expect("an event"),
        Semaphore::new(0).expect("it"),
    );
    let (condition, lock) = (Condition::new().expect("it"), Lock::new().expect("a lock"));
    let barrier = Barrier::new(SLEEPERS + 1).expect("a barrier");
    let permits = PermitSemaphore::new(1).expect("a semaphore");
    let queue = Queue::<u64>::new().expect("a queue");
    let values = MpmcQueue::<u64>::new(8).expect("a queue");
    let (left, right) = pipe::<u64, u64>().expect("a pipe");
    let _held = (lock.lock().expect("free"), permits.acquire().expect("free"));
    let sleeps: [(&str, &dyn Fn()); 9] = [
        ("Event", &|| event.wait()),
        ("Lock", &|| drop(lock.lock())),
        ("Semaphore", &|| semaphore.acquire()),
        ("PermitSemaphore", &|| drop(permits.acquire())),
        ("Condition", &|| {
            drop(condition.lock().expect("nobody dies").wait());
        }),
        ("Barrier", &|| drop(barrier.wait())),
        ("Queue", &|| drop(queue.get())),
        ("MpmcQueue", &|| drop(values.get())),
        ("pipe", &|| drop(right.recv())),
    ];
    let watched = Duration::from_millis(bench.count(2000) as u64);
    for (name, sleep) in sleeps {
        let sleepers: Vec<_> = (0..SLEEPERS)
            .map(|_| Child::fork(&mut || sleep()))
            .collect();
        // They look around before they sleep.
        std::thread::sleep(watched / 2);
        let used = |of: fn(u32) -> u64| sleepers.iter().map(|child| of(child.pid())).sum::<u64>();
        let before = (used(ran_for), used(sleeps_of));
        let start = Instant::now();
        std::thread::sleep(watched);
        let after = (used(ran_for), used(sleeps_of));
        let elapsed = start.elapsed();
        bench.note(format!(
            "100 processes asleep at one {name}: {:.2} % of a core, each wakes {:.1} times a second",
            (after.0 - before.0) as f64 / elapsed.as_nanos() as f64 * 100.0,
            (after.1 - before.1) as f64 / elapsed.as_secs_f64() / f64::from(SLEEPERS),
        ));
    }
    // It is not sent anything: its other end is here.
    drop(left);
}

/// Bytes of memory and descriptors of one object of each kind.
fn sizes(bench: &mut Bench) {
    fn size_of<T>(name: &str, make: impl Fn() -> mp_layout::Result<T>) -> String {
        let (bytes, descriptors) = taken_by(|| make().expect("an object"));
        format!("{name} {} KiB and {descriptors}", bytes >> 10)
    }
    let sizes = [
        size_of("Lock", Lock::new),
        size_of("RLock", RLock::new),
        size_of("Mutex<u64>", || Mutex::new(0_u64)),
        size_of("RwLock", RwLock::new),
        size_of("Event", Event::new),
        size_of("Semaphore", || Semaphore::new(1)),
        size_of("BoundedSemaphore", || BoundedSemaphore::new(1)),
        size_of("PermitSemaphore", || PermitSemaphore::new(1)),
        size_of("Condition", Condition::new),
        size_of("Barrier", || Barrier::new(2)),
        size_of("Queue", Queue::<u64>::new),
        size_of("JoinableQueue", JoinableQueue::<u64>::new),
        size_of("MpmcQueue of 8", || MpmcQueue::<u64>::new(8)),
        size_of("pipe, both ends", pipe::<u64, u64>),
    ];
    bench.note(format!(
        "memory that is used from the start, and descriptors, of one object: {}",
        sizes.join(", ")
    ));
}

fn with_criterion(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crowd");
    let mutex = Mutex::new(0_u64).expect("a mutex");
    group.bench_function("mutex, alone", |bencher| {
        bencher.iter(|| *mutex.lock().expect("nobody dies") += 1);
    });
    group.finish();
}
