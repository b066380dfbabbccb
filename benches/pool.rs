//! Tasks in a pool of two workers: one there and back, and ten thousand in one call, beside
//! CPython's pool.

use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::Criterion;
use mp_benches::{Bench, Contest, Placement, Sample};
use mp_pool::Pool;

const WORKERS: usize = 2;
const TASKS: u64 = 10_000;

const APPLY: &str = "mp-pool apply";
const CPYTHON_APPLY: &str = "CPython Pool.apply";
const SINGLE: &str = "mp-pool map, packets of one";
const AUTOMATIC: &str = "mp-pool map";
const CPYTHON_SINGLE: &str = "CPython Pool.map, chunksize 1";
const CPYTHON_AUTOMATIC: &str = "CPython Pool.map";

/// Prints the nanoseconds of each call, of which the first is not counted. The task is a builtin
/// function, so that workers need no module.
const PYTHON: &str = "
import multiprocessing, sys, time
what, count, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
if __name__ == '__main__':
    with multiprocessing.get_context('fork').Pool(2) as pool:
        calls = {
            'apply': lambda: pool.apply(abs, (-7,)),
            'single': lambda: pool.map(abs, range(10_000), 1),
            'automatic': lambda: pool.map(abs, range(10_000)),
        }
        for _ in range(count + 1):
            if pause: time.sleep(pause)
            start = time.perf_counter_ns()
            calls[what]()
            print(time.perf_counter_ns() - start)
";

fn main() {
    let mut bench = Bench::start("pool", env!("CARGO_TARGET_TMPDIR"));
    let python = has_python();
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
    }
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
        each(count, pause, || {
            assert_eq!(pool.apply(i64::abs, (-7,)).expect("it returns"), 7);
        })
    });
    if python {
        contest.peer(CPYTHON_APPLY, || cpython(placement, "apply", count, pause));
    }
    let outcome = bench.contest(contest);
    if python {
        let cost = outcome.map(|outcome| outcome.cost(APPLY, CPYTHON_APPLY));
        let text = format!("one task there and back, {state} / CPython's, {placement}");
        bench.goal_at_most(text, 1.0, cost);
    }
}

fn many(bench: &mut Bench, placement: Placement, python: bool) {
    let count = bench.count(3);
    let mut contest = Contest::of_times(format!("map of 10 000 tasks, {placement}"));
    for (name, size) in [(SINGLE, Some(1)), (AUTOMATIC, None)] {
        contest.ours(name, move || {
            let pool = pool(placement);
            each(count, Duration::ZERO, || map(&pool, size))
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
    if python {
        let cost = outcome.map(|outcome| outcome.cost(SINGLE, CPYTHON_SINGLE));
        let text = format!("map of 10 000 tasks in packets of one / CPython's, {placement}");
        bench.goal_at_most(text, 1.0, cost);
    }
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

fn each(count: usize, pause: Duration, call: impl Fn()) -> Sample {
    call();
    let one = |_| {
        std::thread::sleep(pause);
        let start = Instant::now();
        call();
        u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX)
    };
    Sample::of_latencies((0..count).map(one).collect())
}

fn has_python() -> bool {
    let ran = Command::new("python3").args(["-c", "pass"]).status();
    ran.is_ok_and(|status| status.success())
}

/// The same, timed by CPython itself.
fn cpython(placement: Placement, what: &str, count: usize, pause: Duration) -> Sample {
    placement.spread();
    let ran = Command::new("python3")
        .args(["-c", PYTHON, what])
        .arg(count.to_string())
        .arg(pause.as_secs_f64().to_string())
        .output()
        .expect("it was here");
    assert!(ran.status.success(), "{ran:?}");
    let text = String::from_utf8(ran.stdout).expect("numbers");
    let latencies = text.lines().skip(1).map(|line| {
        let nanos: u64 = line.parse().expect("a number");
        u32::try_from(nanos).unwrap_or(u32::MAX)
    });
    Sample::of_latencies(latencies.collect())
}

fn with_criterion(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool");
    let pool = pool(Placement::TwoCores);
    group.bench_function("apply", |bencher| {
        bencher.iter(|| pool.apply(i64::abs, (-7,)).expect("it returns"));
    });
    group.finish();
}
