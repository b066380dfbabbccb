//! What waiting for each other costs: semaphores, a condition and a barrier between two processes,
//! and locks for readers.

use std::hint::black_box;
use std::sync::RwLock as StdRwLock;
use std::sync::atomic::Ordering::Relaxed;

use criterion::Criterion;
use mp_benches::peers::{PosixSemaphore, PthreadBarrier, PthreadCondvar, PthreadRwLock};
use mp_benches::{Bench, Contest, Crowd, Kind, Pair, Placement, Sample, limits};
use mp_layout::Described;
use mp_layout::atomic::AtomicU64;
use mp_os::clock::Deadline;
use mp_shm::Segment;
use mp_sync::{Barrier, Condition, PermitSemaphore, RwLock, Semaphore, Wait};

const SEMAPHORE: &str = "mp-sync Semaphore, default wait";
const SEMAPHORE_ASLEEP: &str = "mp-sync Semaphore, sleeping at once";
const CONDITION: &str = "mp-sync Condition, notified under the lock";
const BARRIER: &str = "mp-sync Barrier";
const PERMITS: &str = "mp-sync PermitSemaphore";
const READ: &str = "mp-sync RwLock, read";
const WRITE: &str = "mp-sync RwLock, write";
const SEM_T: &str = "sem_t, process-shared";
const CONDVAR: &str = "pthread condvar";
const PTHREAD_BARRIER: &str = "pthread barrier, process-shared";
const PTHREAD_READ: &str = "pthread rwlock, read";
const STD_READ: &str = "std RwLock, read (threads)";
const FUTEXES: &str = "raw futex ping-pong";

fn main() {
    let mut bench = Bench::start("handover", env!("CARGO_TARGET_TMPDIR"));
    for placement in bench.placements() {
        there_and_back(&mut bench, placement);
        rounds(&mut bench, placement);
    }
    if Placement::TwoCores.is_available() {
        contended(&mut bench);
    }
    alone(&mut bench);
    with_criterion(&mut bench.finish());
}

/// Two semaphores, or one condition: each side wakes the other and sleeps.
fn there_and_back(bench: &mut Bench, placement: Placement) {
    let count = bench.count(match placement {
        Placement::TwoCores => 300,
        Placement::OneCore => 3000,
    });
    let mut contest = Contest::of_times(format!("hand over there and back, {placement}"));
    contest.ours(SEMAPHORE, || semaphores(placement, Wait::Adaptive, count));
    contest.ours(SEMAPHORE_ASLEEP, || {
        semaphores(placement, Wait::Sleep, count)
    });
    contest.ours(CONDITION, || condition(placement, count));
    contest.peer(SEM_T, || posix_semaphores(placement, count));
    contest.peer(CONDVAR, || condvars(placement, count));
    contest.limit(FUTEXES, || limits::futexes(placement, count));
    let outcome = bench.contest(contest);
    if placement == Placement::OneCore {
        let cost = |ours: &str| outcome.as_ref().map(|o| o.cost(ours, FUTEXES));
        bench.goal_at_most(
            "semaphore hand-over / raw futex, one core",
            1.3,
            cost(SEMAPHORE),
        );
        bench.goal_at_most(
            "condition, notified under the lock / raw futex, one core",
            1.8,
            cost(CONDITION),
        );
    }
}

fn semaphores(placement: Placement, wait: Wait, count: usize) -> Sample {
    let segment = pages("semaphores");
    let there: &Semaphore = segment.region().place(0).expect("within the pages");
    let back: &Semaphore = segment.region().place(1024).expect("within the pages");
    let acquire = |semaphore: &Semaphore| {
        assert!(semaphore.acquire_with(wait, Deadline::NEVER));
    };
    Pair::processes(placement).round_trips(
        count,
        |_| {
            acquire(there);
            back.release().expect("room");
        },
        |_| {
            there.release().expect("room");
            acquire(back);
        },
    )
}

fn posix_semaphores(placement: Placement, count: usize) -> Sample {
    let (there, back) = (PosixSemaphore::new(0), PosixSemaphore::new(0));
    Pair::processes(placement).round_trips(
        count,
        |_| {
            there.wait();
            back.post();
        },
        |_| {
            there.post();
            back.wait();
        },
    )
}

fn condition(placement: Placement, count: usize) -> Sample {
    let place = size_of::<Condition>();
    let segment = Segment::anonymous("condition", place + 64).expect("three pages");
    // SAFETY: these bytes are used for this condition only, and outlive its guards.
    let condition: &Condition = unsafe { segment.region().place_guarded(0) }.expect("its size");
    let turn: &AtomicU64 = segment.region().place(place).expect("within the pages");
    let wait_and_set = |expected: u64, next: u64| {
        let guard = condition.lock().expect("nobody dies");
        let guard = guard
            .wait_for(|| turn.load(Relaxed) == expected)
            .expect("nobody dies");
        turn.store(next, Relaxed);
        guard.notify(1);
    };
    Pair::processes(placement).round_trips(
        count,
        |trip| wait_and_set(2 * trip - 1, 2 * trip),
        |trip| {
            let guard = condition.lock().expect("nobody dies");
            turn.store(2 * trip - 1, Relaxed);
            guard.notify(1);
            drop(
                guard
                    .wait_for(|| turn.load(Relaxed) == 2 * trip)
                    .expect("nobody dies"),
            );
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

fn rounds(bench: &mut Bench, placement: Placement) {
    let count = bench.count(match placement {
        Placement::TwoCores => 300,
        Placement::OneCore => 3000,
    });
    let mut contest = Contest::of_times(format!("rounds of a barrier of two, {placement}"));
    contest.ours(BARRIER, || {
        let segment = Segment::anonymous("barrier", size_of::<Barrier>()).expect("three pages");
        // SAFETY: these bytes are used for this barrier only.
        let barrier: &Barrier = unsafe { segment.region().place_guarded(0) }.expect("its size");
        barrier.initialise(2).expect("two parties");
        let wait = |_| {
            barrier.wait().expect("nobody dies");
        };
        Pair::processes(placement).round_trips(count, wait, wait)
    });
    contest.peer(PTHREAD_BARRIER, || {
        let barrier = PthreadBarrier::new(2);
        Pair::processes(placement).round_trips(count, |_| barrier.wait(), |_| barrier.wait())
    });
    bench.contest(contest);
}

/// One permit, which two processes take and give back.
fn contended(bench: &mut Bench) {
    let count = bench.count(100_000);
    let crowd = Crowd {
        kind: Kind::Processes,
        placement: Placement::TwoCores,
        members: 2,
    };
    let mut contest = Contest::of_times("acquire, release: one permit, 2 processes, two cores");
    contest.ours(SEMAPHORE, || {
        let segment = pages("contended");
        let semaphore: &Semaphore = segment.region().place(0).expect("within the pages");
        semaphore.initialise(1).expect("one permit");
        crowd.contend(count, |_| {
            semaphore.acquire();
            semaphore.release().expect("it was acquired");
        })
    });
    contest.ours(PERMITS, || {
        let segment = pages("contended");
        let permits: &PermitSemaphore = segment.region().place(0).expect("within the pages");
        permits.initialise(1).expect("one permit");
        crowd.contend(count, |_| drop(permits.acquire().expect("/proc is there")))
    });
    contest.peer(SEM_T, || {
        let semaphore = PosixSemaphore::new(1);
        crowd.contend(count, |_| {
            semaphore.wait();
            semaphore.post();
        })
    });
    let outcome = bench.contest(contest);
    let speed = outcome.map(|outcome| outcome.speed(SEMAPHORE, SEM_T));
    bench.goal_at_least("contended semaphore: speed of sem_t", 4.0, speed);
}

fn alone(bench: &mut Bench) {
    let count = bench.count(500_000);
    let segment = pages("semaphores");
    let semaphore: &Semaphore = segment.region().place(0).expect("within the pages");
    semaphore.initialise(1).expect("one permit");
    let segment = pages("permits");
    let permits: &PermitSemaphore = segment.region().place(0).expect("within the pages");
    permits.initialise(1).expect("one permit");
    let segment = Segment::anonymous("rwlock", 16384).expect("four pages");
    // SAFETY: these bytes are used for this lock only, and outlive its guards.
    let lock: &RwLock = unsafe { segment.region().place_guarded(0) }.expect("four pages");
    let (theirs, standard, posix) = (
        PthreadRwLock::new(),
        StdRwLock::new(()),
        PosixSemaphore::new(1),
    );

    let mut contest = Contest::of_times("acquire, release: alone");
    contest.ours(READ, || {
        Sample::time(count, || drop(black_box(lock).read().expect("no writer")))
    });
    contest.ours(WRITE, || {
        Sample::time(count, || drop(black_box(lock).write().expect("free")))
    });
    contest.ours(SEMAPHORE, || {
        Sample::time(count, || {
            black_box(semaphore).acquire();
            semaphore.release().expect("it was acquired");
        })
    });
    contest.ours(PERMITS, || {
        Sample::time(count, || {
            drop(black_box(permits).acquire().expect("/proc is there"));
        })
    });
    contest.peer(PTHREAD_READ, || {
        Sample::time(count, || black_box(&theirs).read())
    });
    contest.peer(STD_READ, || {
        Sample::time(count, || {
            drop(black_box(&standard).read().expect("nobody panicked"));
        })
    });
    contest.peer(SEM_T, || {
        Sample::time(count, || {
            black_box(&posix).wait();
            posix.post();
        })
    });
    bench.contest(contest);
}

fn pages(label: &str) -> Segment {
    Segment::anonymous(label, 8192).expect("two pages")
}

fn with_criterion(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handover");
    for placement in Placement::ALL
        .into_iter()
        .filter(|placement| placement.is_available())
    {
        group.bench_function(
            format!("semaphores there and back, {placement}"),
            |bencher| {
                bencher.iter_custom(|iterations| {
                    semaphores(placement, Wait::Adaptive, iterations as usize)
                        .elapsed_for(iterations)
                });
            },
        );
    }
    group.finish();
}
