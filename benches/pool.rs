//! Tasks in a pool of two workers: one there and back, ten thousand in one call, an array in place,
//! long ones on two cores, beside CPython's pools, rayon's threads and threads that share a
//! counter; the start of a pool, and what an idle one costs.

use std::env;
use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use criterion::Criterion;
use mp_benches::{Bench, Contest, Placement, Sample, peers, ran_for};
use mp_os::wakeup::Wakeup;
use mp_pool::Pool;
use mp_pool::board::{Board, Hurry, Next};
use mp_sync::Wait;
use mp_value::{Array, Chunk};
use rayon::prelude::*;
use rustix::process::{Pid, Signal, kill_process};

const WORKERS: usize = 2;
const TASKS: u64 = 10_000;

const APPLY: &str = "mp-pool apply";
const BOARD: &str = "its packet and outcome over the board, between two threads";
const LINES: &str = "eight lines of memory handed over";
/// As many as `docs/pool.md` counts in a task there and back.
const HAND_OVERS: usize = 8;
const CPYTHON_APPLY: &str = "CPython Pool.apply";
const CPYTHON_SUBMIT: &str = "CPython ProcessPoolExecutor.submit";
const START: &str = "mp-pool start, one task, end";
const CPYTHON_START: &str = "CPython Pool start, one task, end";
const CPYTHON_EXECUTOR_START: &str = "CPython ProcessPoolExecutor start, one task, end";
const ONE_WORKER: &str = "mp-pool, one worker";
const TWO_WORKERS: &str = "mp-pool, two workers";
const UNDISTURBED: &str = "mp-pool, no kill";
const KILLED: &str = "mp-pool, one kill a second";
const SINGLE: &str = "mp-pool map, packets of one";
const AUTOMATIC: &str = "mp-pool map";
const CPYTHON_SINGLE: &str = "CPython Pool.map, chunksize 1";
const CPYTHON_AUTOMATIC: &str = "CPython Pool.map";
const RAYON: &str = "rayon, two threads";
const RAYON_SINGLE: &str = "rayon, two threads, pieces of one";
const FOR_EACH: &str = "mp-pool for_each";
const RAYON_CHUNKS: &str = "rayon par_chunks_mut, two threads";
const COUNTER: &str = "two threads that share a counter";

/// Prints the nanoseconds of each call, of which the first is not counted. The task is a builtin
/// function, so that workers need no module.
const PYTHON: &str = "
import concurrent.futures, multiprocessing, sys, time
what, count, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
fork = multiprocessing.get_context('fork')

def start_pool():
    with fork.Pool(2) as pool:
        pool.apply(abs, (-7,))

def start_executor():
    with concurrent.futures.ProcessPoolExecutor(2, fork) as executor:
        executor.submit(abs, -7).result()

def calls():
    for _ in range(count + 1):
        if pause: time.sleep(pause)
        start = time.perf_counter_ns()
        call()
        print(time.perf_counter_ns() - start)

if __name__ == '__main__':
    if what == 'start':
        call = start_pool
        calls()
    elif what == 'start executor':
        call = start_executor
        calls()
    elif what == 'submit':
        with concurrent.futures.ProcessPoolExecutor(2, fork) as executor:
            call = lambda: executor.submit(abs, -7).result()
            calls()
    else:
        with fork.Pool(2) as pool:
            call = {
                'apply': lambda: pool.apply(abs, (-7,)),
                'single': lambda: pool.map(abs, range(10_000), 1),
                'automatic': lambda: pool.map(abs, range(10_000)),
            }[what]
            calls()
";

/// Additions that depend on each other, for about a millisecond.
const LONG_TASK: u64 = 1_000_000;

fn main() {
    #[cfg(feature = "compare")]
    procspawn::init();
    let mut bench = Bench::start("pool", env!("CARGO_TARGET_TMPDIR"));
    let python = peers::python_is_there();
    if !python {
        bench.note("CPython is not here: no peer".to_owned());
    }
    for placement in bench.placements() {
        there_and_back(&mut bench, placement, Duration::ZERO, "awake", python);
        there_and_back(
            &mut bench,
            placement,
            Duration::from_millis(2),
            "asleep",
            python,
        );
        many(&mut bench, placement, python);
        start(&mut bench, placement, python);
    }
    in_place(&mut bench);
    long_tasks(&mut bench);
    gain(&mut bench);
    kills(&mut bench);
    idle(&mut bench);
    with_criterion(&mut bench.finish());
}

fn there_and_back(
    bench: &mut Bench,
    placement: Placement,
    pause: Duration,
    state: &str,
    python: bool,
) {
    let count = bench.count(if pause.is_zero() { 2000 } else { 100 });
    let mut contest = Contest::of_times(format!("one task there and back, {state}, {placement}"));
    contest.ours(APPLY, || {
        let pool = pool(placement);
        Sample::of_calls(count, pause, || {
            assert_eq!(pool.apply(i64::abs, (-7,)).expect("it returns"), 7);
        })
    });
    #[cfg(feature = "compare")]
    contest.peer("procspawn Pool, spawn and join", || {
        placement.spread();
        let pool = procspawn::Pool::new(WORKERS).expect("workers start");
        Sample::of_calls(count, pause, || {
            assert_eq!(pool.spawn(-7_i64, i64::abs).join().expect("it returns"), 7);
        })
    });
    if python {
        contest.peer(CPYTHON_APPLY, || cpython(placement, "apply", count, pause));
        contest.peer(CPYTHON_SUBMIT, || {
            cpython(placement, "submit", count, pause)
        });
    }
    if placement == Placement::TwoCores && pause.is_zero() {
        contest.limit(BOARD, || over_the_board(placement, count));
        contest.limit(LINES, || over_lines(placement, count));
    }
    let outcome = bench.contest(contest);
    if python {
        let cost = outcome.map(|outcome| outcome.cost(APPLY, CPYTHON_APPLY));
        let text = format!("one task there and back, {state} / CPython's, {placement}");
        bench.goal_at_most(text, 1.0, cost);
    }
}

/// A part of [`APPLY`]: the packet and its outcome, as the pool's memory passes them on, without
/// the parent's notes of who waits for what, and without a function and its arguments.
fn over_the_board(placement: Placement, count: usize) -> Sample {
    let board = Board::new(1).expect("memory");
    let wakeup = Wakeup::new().expect("a descriptor");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            placement.pin(1);
            let mut results = board.results(0).expect("its ring");
            let mut bytes = Vec::new();
            let next = || board.next(0, Wait::Adaptive, || Ok(()));
            while let Next::Run(claim) = next().expect("in range") {
                let size = claim.size.expect("it lies in its line");
                let read = board.read_line(claim.packet, size, &mut bytes);
                read.expect("in range");
                let begun = board.begin(0, claim.generation, 0, 1);
                begun.expect("in range");
                let pushed = results.push(1, &[1; 20], &bytes[..9], &wakeup);
                pushed.expect("room");
                results.ring_parent(&wakeup, true).expect("it is open");
            }
        });
        placement.pin(0);
        let mut generation = 0;
        let sample = Sample::of_calls(count, Duration::ZERO, || {
            generation += 1;
            let packet = generation as usize % board.packets();
            let published = board.publish(packet, generation, Some(&[7; 90]), 1, Hurry::Each);
            published
                .and_then(|()| board.wake_workers(1))
                .expect("it fits");
            while !board.has_news(1) {
                std::hint::spin_loop();
            }
            let drained = board.drain(0, |_, outcome| assert_eq!(outcome.len(), 29));
            drained.and_then(|()| board.free(packet)).expect("in range");
        });
        board.stop().expect("in range");
        sample
    })
}

#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

/// A part of that: as many lines of memory, handed from one core to the other one after the other,
/// each by a store that the other waits for.
fn over_lines(placement: Placement, count: usize) -> Sample {
    let lines: [Line; HAND_OVERS] = Default::default();
    let pairs = || lines.chunks_exact(2).map(|pair| (&pair[0].0, &pair[1].0));
    let wait_for = |line: &AtomicU64, round| {
        while line.load(Ordering::Acquire) != round {
            std::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            placement.pin(1);
            // One is not counted.
            for round in 1..=count as u64 + 1 {
                for (there, back) in pairs() {
                    wait_for(there, round);
                    back.store(round, Ordering::Release);
                }
            }
        });
        placement.pin(0);
        let mut round = 0;
        Sample::of_calls(count, Duration::ZERO, || {
            round += 1;
            for (there, back) in pairs() {
                there.store(round, Ordering::Release);
                wait_for(back, round);
            }
        })
    })
}

fn many(bench: &mut Bench, placement: Placement, python: bool) {
    let count = bench.count(3);
    let mut contest = Contest::of_times(format!("map of 10 000 tasks, {placement}"));
    for (name, size) in [(SINGLE, Some(1)), (AUTOMATIC, None)] {
        contest.ours(name, move || {
            let pool = pool(placement);
            Sample::of_calls(count, Duration::ZERO, || map(&pool, size))
        });
    }
    contest.limit(COUNTER, move || by_counter(placement, 10 * count));
    for (name, most) in [(RAYON_SINGLE, 1), (RAYON, usize::MAX)] {
        contest.peer(name, move || {
            let threads = threads(placement);
            Sample::of_calls(10 * count, Duration::ZERO, || {
                let items: Vec<_> = (0..TASKS).collect();
                let pieces = || items.into_par_iter().with_max_len(most);
                let mapped: Vec<_> = threads.install(|| pieces().map(u64::count_ones).collect());
                assert_eq!(mapped.len() as u64, TASKS);
            })
        });
    }
    if python {
        for (name, what) in [(CPYTHON_SINGLE, "single"), (CPYTHON_AUTOMATIC, "automatic")] {
            contest.peer(name, move || {
                cpython(placement, what, count, Duration::ZERO)
            });
        }
    }
    let outcome = bench.contest(contest);
    // On one core the counter's line of memory stays where it is, which is no limit of a pool's.
    let goals = [("in packets of one ", SINGLE, 15.0), ("", AUTOMATIC, 5.0)];
    let goals = goals.iter().filter(|_| placement == Placement::TwoCores);
    for &(what, name, most) in goals {
        let cost = outcome.as_ref().map(|outcome| outcome.cost(name, COUNTER));
        let text = format!("map of 10 000 tasks {what}/ by a shared counter, {placement}");
        bench.goal_at_most(text, most, cost);
    }
    if python {
        let cost = outcome.map(|outcome| outcome.cost(SINGLE, CPYTHON_SINGLE));
        let text = format!("map of 10 000 tasks in packets of one / CPython's, {placement}");
        bench.goal_at_most(text, 1.0, cost);
    }
}

/// What no map of single tasks undercuts: two threads that are awake claim each task by an addition
/// and store what comes of it.
fn by_counter(placement: Placement, count: usize) -> Sample {
    let next = AtomicU64::new(0);
    let stored: Vec<_> = (0..TASKS).map(|_| AtomicU32::new(0)).collect();
    let run = || {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            let Some(place) = stored.get(task as usize) else {
                break;
            };
            place.store(task.count_ones(), Ordering::Relaxed);
        }
    };
    let times = (0..count).map(|_| {
        next.store(0, Ordering::Relaxed);
        let ready = AtomicUsize::new(0);
        // On one core the first to run may have done all before the other is on.
        let start = OnceLock::new();
        let meet = |all: usize| {
            ready.fetch_add(1, Ordering::AcqRel);
            while ready.load(Ordering::Acquire) < all {
                std::thread::yield_now();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                placement.pin(1);
                meet(WORKERS);
                start.get_or_init(Instant::now);
                run();
                meet(2 * WORKERS);
            });
            placement.pin(0);
            meet(WORKERS);
            let start = start.get_or_init(Instant::now);
            run();
            meet(2 * WORKERS);
            start.elapsed().as_nanos() as u32
        })
    });
    Sample::of_latencies(times.collect())
}

/// As many threads as a pool has workers, where its workers are.
fn threads(placement: Placement) -> rayon::ThreadPool {
    placement.spread();
    let builder = rayon::ThreadPoolBuilder::new().num_threads(WORKERS);
    builder.build().expect("threads start")
}

fn start(bench: &mut Bench, placement: Placement, python: bool) {
    let count = bench.count(10);
    let mut contest = Contest::of_times(format!("a pool's start, one task and end, {placement}"));
    contest.ours(START, || {
        placement.spread();
        Sample::of_calls(count, Duration::ZERO, || {
            let pool = pool(placement);
            assert_eq!(pool.apply(i64::abs, (-7,)).expect("it returns"), 7);
        })
    });
    #[cfg(feature = "compare")]
    contest.peer("procspawn Pool start, one task, end", || {
        placement.spread();
        Sample::of_calls(count, Duration::ZERO, || {
            let pool = procspawn::Pool::new(WORKERS).expect("workers start");
            let returned = pool.spawn(-7_i64, i64::abs).join();
            assert_eq!(returned.expect("it returns"), 7);
        })
    });
    if python {
        for (name, what) in [
            (CPYTHON_START, "start"),
            (CPYTHON_EXECUTOR_START, "start executor"),
        ] {
            contest.peer(name, move || {
                cpython(placement, what, count, Duration::ZERO)
            });
        }
    }
    bench.contest(contest);
}

/// Elements of the array that is written in place, 32 MiB, and of a chunk.
const ELEMENTS: usize = 4 << 20;
const CHUNK: usize = ELEMENTS / 64;

fn advance(element: &mut f64) {
    *element = element.sqrt() + 1.0;
}

/// Each element of an array is replaced where it is.
fn in_place(bench: &mut Bench) {
    if !Placement::TwoCores.is_available() {
        return;
    }
    let count = bench.count(5);
    let mut contest = Contest::of_times("32 MiB of f64 in 64 chunks, in place, two cores");
    contest.ours(FOR_EACH, move || {
        let pool = pool(Placement::TwoCores);
        let array = Array::<f64>::new(ELEMENTS).expect("memory");
        Sample::of_calls(count, Duration::ZERO, || {
            let chunks = array.chunks(CHUNK).expect("so many are allowed");
            let each = |mut chunk: Chunk<f64>| chunk.iter_mut().for_each(advance);
            pool.for_each(chunks, each).expect("no chunk is claimed");
        })
    });
    contest.peer(RAYON_CHUNKS, move || {
        let threads = threads(Placement::TwoCores);
        let mut array = vec![0.0; ELEMENTS];
        Sample::of_calls(count, Duration::ZERO, || {
            let chunks = array.par_chunks_mut(CHUNK);
            threads.install(|| chunks.for_each(|chunk| chunk.iter_mut().for_each(advance)));
        })
    });
    contest.peer("one thread", move || {
        let mut array = vec![0.0; ELEMENTS];
        Sample::of_calls(count, Duration::ZERO, || {
            array.iter_mut().for_each(advance);
            std::hint::black_box(&array);
        })
    });
    bench.contest(contest);
}

/// A task that keeps its core busy.
fn work(seed: u64) -> u64 {
    add(seed, LONG_TASK)
}

/// Additions that depend on each other.
fn add(seed: u64, additions: u64) -> u64 {
    (0..additions).fold(seed, |sum, n| {
        std::hint::black_box(sum ^ n).wrapping_add(sum)
    })
}

fn short_work(additions: u64) -> u64 {
    add(1, additions)
}

/// Notes from which length of its tasks on a map by two workers takes no more than what 90 % of
/// both would.
fn gain(bench: &mut Bench) {
    if !Placement::TwoCores.is_available() {
        return;
    }
    let pool = pool(Placement::TwoCores);
    for (packets, size) in [("packets of one", Some(1)), ("packets as they come", None)] {
        let lengths = (9..20).map(|power| 1 << power);
        let mut shares = lengths.map(|additions| share_of_two(&pool, additions, size));
        let reached = shares.find(|(share, _)| *share >= 0.9);
        bench.note(match reached {
            Some((share, length)) => format!(
                "tasks of {:.1} us or more, in {packets}, are done by two workers with {:.0} % of both",
                length.as_nanos() as f64 / 1000.0,
                100.0 * share
            ),
            None => format!("tasks in {packets} reach 90 % of two workers at no length tried"),
        });
    }
}

/// Which share of two workers' time a map of short tasks spends on them, and how long one takes;
/// medians.
fn share_of_two(pool: &Pool, additions: u64, size: Option<usize>) -> (f64, Duration) {
    let tasks = ((LONG_TASK * 20) / additions) as usize;
    let items = || std::iter::repeat_n(additions, tasks).collect::<Vec<_>>();
    let mut rounds: Vec<(f64, Duration)> = (0..7)
        .map(|_| {
            let start = Instant::now();
            items().into_iter().for_each(|one| {
                std::hint::black_box(short_work(one));
            });
            let alone = start.elapsed();
            let (items, start) = (items(), Instant::now());
            let mapped = match size {
                Some(size) => pool.chunk_size(size).map(short_work, items),
                None => pool.map(short_work, items),
            };
            let together = start.elapsed();
            assert_eq!(mapped.expect("they return").len(), tasks);
            let share = alone.as_secs_f64() / (WORKERS as f64 * together.as_secs_f64());
            (share, alone / tasks as u32)
        })
        .collect();
    rounds.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
    rounds[rounds.len() / 2]
}

fn long_tasks(bench: &mut Bench) {
    if !Placement::TwoCores.is_available() {
        return;
    }
    let count = bench.count(2);
    let mut contest = Contest::of_times("map of 64 tasks of a millisecond, two cores");
    for (name, workers) in [(ONE_WORKER, 1), (TWO_WORKERS, 2)] {
        contest.ours(name, move || {
            Placement::TwoCores.spread();
            let pool = Pool::new(workers).expect("workers start");
            Sample::of_calls(count, Duration::ZERO, || {
                assert_eq!(pool.map(work, 0..64).expect("they return").len(), 64);
            })
        });
    }
    contest.peer(RAYON_SINGLE, move || {
        let threads = threads(Placement::TwoCores);
        Sample::of_calls(count, Duration::ZERO, || {
            let items: Vec<_> = (0..64).collect();
            let pieces = || items.into_par_iter().with_max_len(1);
            let mapped: Vec<_> = threads.install(|| pieces().map(work).collect());
            assert_eq!(mapped.len(), 64);
        })
    });
    let outcome = bench.contest(contest);
    let speed = outcome.map(|outcome| outcome.speed(TWO_WORKERS, ONE_WORKER));
    bench.goal_at_least("two workers for long tasks / one", 1.8, speed);
}

/// The same tasks while workers are killed. So long that a kill is as rare as its name says.
fn kills(bench: &mut Bench) {
    if !Placement::TwoCores.is_available() {
        return;
    }
    let tasks = bench.count(2000) as u64;
    let mut contest = Contest::of_times("map of 2000 tasks of a millisecond, two cores");
    for (name, is_killed) in [(UNDISTURBED, false), (KILLED, true)] {
        contest.ours(name, move || {
            let pool = pool(Placement::TwoCores);
            pool.map(work, 0..4).expect("they return");
            let start = Instant::now();
            std::thread::scope(|scope| {
                let (done, is_done) = channel::<()>();
                if is_killed {
                    scope.spawn(|| kill_each_second(&pool, is_done));
                }
                let results = pool.chunk_size(8).try_map(work, 0..tasks);
                drop(done);
                assert!(
                    results
                        .into_iter()
                        .all(|one| one.map_or_else(|error| error.death().is_some(), |_| true))
                );
            });
            Sample::of(start.elapsed(), 1)
        });
    }
    let outcome = bench.contest(contest);
    let speed = outcome.map(|outcome| outcome.speed(KILLED, UNDISTURBED));
    bench.goal_at_least("tasks with one kill a second / without", 0.95, speed);
}

fn kill_each_second(pool: &Pool, is_done: Receiver<()>) {
    let mut pause = Duration::from_millis(500);
    while is_done.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        pause = Duration::from_secs(1);
        let pids = pool.worker_pids();
        let pid = pids.first().and_then(|pid| Pid::from_raw(*pid as i32));
        // It may be between two workers; one that has ended is not reaped before it is replaced.
        if let Some(pid) = pid {
            kill_process(pid, Signal::KILL).expect("a child may be killed");
        }
    }
}

/// Notes what a pool of eight costs while it has nothing to do.
fn idle(bench: &mut Bench) {
    let pool = Pool::new(8).expect("workers start");
    assert_eq!(
        pool.map(u64::count_ones, 0..64).expect("they return").len(),
        64
    );
    let pids = pool.worker_pids();
    std::thread::sleep(Duration::from_millis(500));
    let before: u64 = pids.iter().map(|pid| ran_for(*pid)).sum();
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    let ran: u64 = pids.iter().map(|pid| ran_for(*pid)).sum::<u64>() - before;
    let share = ran as f64 / start.elapsed().as_nanos() as f64;
    let private = pids.iter().map(|pid| private_kib(*pid)).max();
    bench.note(format!(
        "an idle pool of 8 workers takes {:.3} % of a core; a worker has at most {} KiB of memory of its own",
        100.0 * share,
        private.unwrap_or(0)
    ));
}

/// Memory of a process that no other has.
fn private_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it lives");
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    let sizes = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    sizes.sum()
}

fn pool(placement: Placement) -> Pool {
    placement.spread();
    Pool::new(WORKERS).expect("workers start")
}

fn map(pool: &Pool, size: Option<usize>) {
    let mapped = match size {
        Some(size) => pool.chunk_size(size).map(u64::count_ones, 0..TASKS),
        None => pool.map(u64::count_ones, 0..TASKS),
    };
    assert_eq!(mapped.expect("they return").len() as u64, TASKS);
}

fn cpython(placement: Placement, what: &str, count: usize, pause: Duration) -> Sample {
    let arguments = [
        what.to_owned(),
        count.to_string(),
        pause.as_secs_f64().to_string(),
    ];
    peers::python_calls(placement, PYTHON, &arguments)
}

fn with_criterion(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool");
    let pool = pool(Placement::TwoCores);
    group.bench_function("apply", |bencher| {
        bencher.iter(|| pool.apply(i64::abs, (-7,)).expect("it returns"));
    });
    group.finish();
}
