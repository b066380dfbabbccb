//! A managed dictionary: one value got, one value set, small and of 1 MiB, beside CPython's
//! manager, Redis over a UNIX socket, and a bare round trip of two futexes.

use std::time::Duration;

use criterion::Criterion;
use mp_benches::peers::Redis;
use mp_benches::{Bench, Contest, Placement, Sample, limits, peers};
use mp_manager::{Dict, Manager};

const GET: &str = "mp-manager get";
const SET: &str = "mp-manager set";
const CPYTHON_GET: &str = "CPython get";
const CPYTHON_SET: &str = "CPython set";
const REDIS_GET: &str = "Redis GET, UNIX socket";
const REDIS_SET: &str = "Redis SET, UNIX socket";
const FUTEXES: &str = "raw futex ping-pong";

/// Prints the nanoseconds of each call, of which the first is not counted.
const PYTHON: &str = "
import multiprocessing, sys, time
what, count = sys.argv[1], int(sys.argv[2])
if __name__ == '__main__':
    with multiprocessing.get_context('fork').Manager() as manager:
        d = manager.dict()
        d['key'] = 7
        text = 'x' * (1 << 20)
        d['text'] = text
        def get_text(): return d['text']
        def set_text(): d['text'] = text
        def get(): return d['key']
        def set(): d['key'] = 7
        call = {'get': get, 'set': set, 'get text': get_text, 'set text': set_text}[what]
        for _ in range(count + 1):
            start = time.perf_counter_ns()
            call()
            print(time.perf_counter_ns() - start)
";

fn main() {
    let mut bench = Bench::start("manager", env!("CARGO_TARGET_TMPDIR"));
    let python = peers::python_is_there();
    if !python {
        bench.note("CPython is not here: no peer".to_owned());
    }
    let redis = Redis::is_there();
    if !redis {
        bench.note("NOT COMPARED: redis-server is not installed".to_owned());
    }
    for placement in bench.placements() {
        one_value(&mut bench, placement, Peers { python, redis });
        one_text(&mut bench, placement, Peers { python, redis });
    }
    with_criterion(&mut bench.finish());
}

/// Which of them are installed.
#[derive(Clone, Copy)]
struct Peers {
    python: bool,
    redis: bool,
}

fn one_value(bench: &mut Bench, placement: Placement, peers: Peers) {
    let count = bench.count(3000);
    let mut contest = Contest::of_times(format!("one value of a dictionary, {placement}"));
    contest.ours(GET, || {
        let (_manager, dict) = dict(placement);
        Sample::of_calls(count, Duration::ZERO, || assert_eq!(dict.get("key"), 7))
    });
    contest.ours(SET, || {
        let (_manager, dict) = dict(placement);
        Sample::of_calls(count, Duration::ZERO, || dict.set("key"))
    });
    if peers.python {
        contest.peer(CPYTHON_GET, || cpython(placement, "get", count));
        contest.peer(CPYTHON_SET, || cpython(placement, "set", count));
    }
    if peers.redis {
        contest.peer(REDIS_GET, || redis_gets(placement, "7", count));
        contest.peer(REDIS_SET, || redis_sets(placement, "7", count));
    }
    contest.limit(FUTEXES, || limits::futexes(placement, count));
    let outcome = bench.contest(contest);
    let all = [(GET, CPYTHON_GET, REDIS_GET), (SET, CPYTHON_SET, REDIS_SET)];
    for (ours, cpythons, redis) in all {
        if placement == Placement::OneCore {
            let cost = outcome.as_ref().map(|outcome| outcome.cost(ours, FUTEXES));
            bench.goal_at_most(
                format!("{ours} / blocked round trip, {placement}"),
                1.7,
                cost,
            );
        }
        if peers.python {
            let cost = outcome.as_ref().map(|outcome| outcome.cost(ours, cpythons));
            bench.goal_at_most(format!("{ours} / CPython's, {placement}"), 0.2, cost);
        }
        if peers.redis {
            let cost = outcome.as_ref().map(|outcome| outcome.cost(ours, redis));
            bench.goal_at_most(format!("{ours} / Redis's, {placement}"), 0.5, cost);
        }
    }
}

/// A value of 1 MiB, which is copied several times on its way.
fn one_text(bench: &mut Bench, placement: Placement, peers: Peers) {
    let count = bench.count(200);
    let text = "x".repeat(1 << 20);
    let dict = || {
        placement.spread();
        let manager = Manager::new().expect("a server");
        let dict = manager.dict::<String, String>().expect("a dictionary");
        dict.set("text", text.clone()).expect("the server runs");
        (manager, dict)
    };
    let mut contest = Contest::of_times(format!("1 MiB of text in a dictionary, {placement}"));
    contest.ours(GET, || {
        let (_manager, dict) = dict();
        Sample::of_calls(count, Duration::ZERO, || {
            let text = dict.get("text").expect("the server runs");
            assert_eq!(text.map(|text| text.len()), Some(1 << 20));
        })
    });
    contest.ours(SET, || {
        let (_manager, dict) = dict();
        Sample::of_calls(count, Duration::ZERO, || {
            let text = text.clone();
            dict.set("text", text).expect("the server runs");
        })
    });
    if peers.python {
        contest.peer(CPYTHON_GET, || cpython(placement, "get text", count));
        contest.peer(CPYTHON_SET, || cpython(placement, "set text", count));
    }
    if peers.redis {
        contest.peer(REDIS_GET, || redis_gets(placement, &text, count));
        contest.peer(REDIS_SET, || redis_sets(placement, &text, count));
    }
    bench.contest(contest);
}

/// A dictionary with one value.
struct OneValue(Dict<String, i64>);

impl OneValue {
    fn get(&self, key: &str) -> i64 {
        self.0
            .get(key)
            .expect("the server runs")
            .expect("it is there")
    }

    fn set(&self, key: &str) {
        self.0.set(key, 7).expect("the server runs");
    }
}

fn dict(placement: Placement) -> (Manager, OneValue) {
    placement.spread();
    let manager = Manager::new().expect("a server");
    let dict = OneValue(manager.dict().expect("a dictionary"));
    dict.set("key");
    (manager, dict)
}

fn cpython(placement: Placement, what: &str, count: usize) -> Sample {
    let arguments = [what.to_owned(), count.to_string()];
    peers::python_calls(placement, PYTHON, &arguments)
}

fn redis_gets(placement: Placement, value: &str, count: usize) -> Sample {
    placement.spread();
    let mut redis = Redis::start();
    redis.set("key", value);
    Sample::of_calls(count, Duration::ZERO, || {
        assert_eq!(redis.get("key").len(), value.len());
    })
}

fn redis_sets(placement: Placement, value: &str, count: usize) -> Sample {
    placement.spread();
    let mut redis = Redis::start();
    Sample::of_calls(count, Duration::ZERO, || redis.set("key", value))
}

fn with_criterion(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("manager");
    let (_manager, dict) = dict(Placement::TwoCores);
    group.bench_function("get", |bencher| bencher.iter(|| dict.get("key")));
    group.bench_function("set", |bencher| bencher.iter(|| dict.set("key")));
    group.finish();
}
