//! Waking somebody and being woken: an event there, another one back.

use criterion::Criterion;
#[cfg(feature = "compare")]
use mp_benches::peers::RawSyncEvent;
use mp_benches::peers::{PthreadCondvar, Stream};
use mp_benches::{Bench, Contest, Pair, Placement, Sample, limits};
use mp_os::clock::Deadline;
use mp_shm::Segment;
use mp_sync::{Event, Wait};

const OURS: &str = "mp-sync Event, default wait";
const ASLEEP: &str = "mp-sync Event, sleeping at once";
const FUTEXES: &str = "raw futex ping-pong";

fn main() {
    let mut bench = Bench::start("event", env!("CARGO_TARGET_TMPDIR"));
    for placement in bench.placements() {
        there_and_back(&mut bench, placement);
    }
    with_criterion(&mut bench.finish());
}

fn there_and_back(bench: &mut Bench, placement: Placement) {
    let (awake, asleep) = match placement {
        Placement::TwoCores => (bench.count(5000), bench.count(300)),
        Placement::OneCore => (bench.count(3000), bench.count(3000)),
    };
    let mut contest = Contest::of_times(format!("there and back, {placement}"));
    contest.ours(OURS, || events(placement, Wait::Adaptive, awake));
    contest.ours(ASLEEP, || events(placement, Wait::Sleep, asleep));
    contest.peer("pthread condvar", || condvars(placement, asleep));
    contest.peer("pipe", || pipes(placement, asleep));
    #[cfg(feature = "compare")]
    contest.peer("raw_sync Event", || raw_sync_events(placement, asleep));
    if placement == Placement::TwoCores {
        contest.limit("two-line ping-pong", || limits::two_lines(awake));
    }
    contest.limit(FUTEXES, || limits::futexes(placement, asleep));
    bench.contest(contest);
}

fn events(placement: Placement, wait: Wait, count: usize) -> Sample {
    let segment = Segment::anonymous("events", 4096).expect("a page");
    let there: &Event = segment.region().place(0).expect("within the page");
    let back: &Event = segment.region().place(1024).expect("within the page");
    let wait = |event: &Event| {
        assert!(event.wait_with(wait, Deadline::NEVER));
        event.clear();
    };
    Pair::processes(placement).round_trips(
        count,
        |_| {
            wait(there);
            back.set();
        },
        |_| {
            there.set();
            wait(back);
        },
    )
}

fn condvars(placement: Placement, count: usize) -> Sample {
    let (there, back) = (PthreadCondvar::new(), PthreadCondvar::new());
    Pair::processes(placement).round_trips(
        count,
        |trip| {
            there.wait_for(trip);
            back.set(trip);
        },
        |trip| {
            there.set(trip);
            back.wait_for(trip);
        },
    )
}

fn pipes(placement: Placement, count: usize) -> Sample {
    let (there, back) = (Stream::pipe(), Stream::pipe());
    Pair::processes(placement).round_trips(
        count,
        |_| {
            there.receive(&mut [0]);
            back.send(&[0]);
        },
        |_| {
            there.send(&[0]);
            back.receive(&mut [0]);
        },
    )
}

#[cfg(feature = "compare")]
fn raw_sync_events(placement: Placement, count: usize) -> Sample {
    let (there, back) = (RawSyncEvent::new(), RawSyncEvent::new());
    Pair::processes(placement).round_trips(
        count,
        |_| {
            there.wait();
            back.set();
        },
        |_| {
            there.set();
            back.wait();
        },
    )
}

fn with_criterion(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    for placement in Placement::ALL
        .into_iter()
        .filter(|placement| placement.is_available())
    {
        group.bench_function(format!("there and back, {placement}"), |bencher| {
            bencher.iter_custom(|iterations| {
                events(placement, Wait::Adaptive, iterations as usize).elapsed_for(iterations)
            });
        });
    }
    group.finish();
}
