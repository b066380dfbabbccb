//! What a lock costs that survives the death of its holder: alone, contended, and after a SIGKILL.

use std::hint::black_box;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Mutex as StdMutex, PoisonError};
use std::time::Duration;

use criterion::Criterion;
use mp_benches::peers::PthreadMutex;
#[cfg(feature = "compare")]
use mp_benches::peers::RawSyncMutex;
use mp_benches::{Bench, Child, Contest, Crowd, Kind, Placement, Sample, Watchdog, limits, now};
use mp_layout::atomic::{AtomicU32, AtomicU64};
use mp_shm::Segment;
use mp_sync::{LockError, Mutex};

const OURS: &str = "mp-sync Mutex<u64>, robust";
const STD: &str = "std Mutex (threads)";
const PTHREAD: &str = "pthread mutex, process-shared";
const ROBUST: &str = "pthread mutex, robust";
#[cfg(feature = "compare")]
const RAW_SYNC: &str = "raw_sync Mutex";

const ALONE: usize = 500_000;
const CONTENDED: usize = 200_000;

fn main() {
    let mut bench = Bench::start("lock", env!("CARGO_TARGET_TMPDIR"));
    alone(&mut bench);
    for (members, placement) in [
        (2, Placement::TwoCores),
        (4, Placement::TwoCores),
        (2, Placement::OneCore),
    ] {
        if placement.is_available() {
            contended(&mut bench, members, placement);
        }
    }
    for placement in bench.placements() {
        after_a_kill(&mut bench, placement);
    }
    with_criterion(&mut bench.finish());
}

fn alone(bench: &mut Bench) {
    let count = bench.count(ALONE);
    let segment = page("alone");
    let ours = mutex_in(&segment);
    let word: &AtomicU64 = segment.region().place(1024).expect("within the page");
    let standard = StdMutex::new(0);
    let (plain, robust) = (PthreadMutex::plain(), PthreadMutex::robust());
    #[cfg(feature = "compare")]
    let raw_sync = RawSyncMutex::new();

    let mut contest = Contest::of_times("lock, add, unlock: alone");
    contest.ours(OURS, || Sample::time(count, || add(black_box(ours))));
    contest.peer(STD, || {
        Sample::time(count, || add_std(black_box(&standard)))
    });
    contest.peer(PTHREAD, || Sample::time(count, || black_box(&plain).add()));
    contest.peer(ROBUST, || Sample::time(count, || black_box(&robust).add()));
    #[cfg(feature = "compare")]
    contest.peer(RAW_SYNC, || {
        Sample::time(count, || black_box(&raw_sync).add())
    });
    contest.limit("compare-and-swap + release store", || {
        Sample::time(count, || swap_and_store(black_box(word)))
    });
    contest.limit("fetch_add", || {
        Sample::time(count, || {
            black_box(word).fetch_add(1, Relaxed);
        })
    });
    let outcome = bench.contest(contest);

    let cost = |reference: &str| {
        outcome
            .as_ref()
            .map(|outcome| outcome.cost(OURS, reference))
    };
    bench.goal_at_most("lock + unlock alone / std Mutex", 1.35, cost(STD));
    bench.goal_at_most("lock + unlock alone / pthread robust", 1.0, cost(ROBUST));
    #[cfg(feature = "compare")]
    bench.goal_at_most("lock + unlock alone / raw_sync", 1.0, cost(RAW_SYNC));
    #[cfg(not(feature = "compare"))]
    bench.goal_at_most(
        "lock + unlock alone / raw_sync (feature compare)",
        1.0,
        None,
    );
}

fn contended(bench: &mut Bench, members: usize, placement: Placement) {
    let count = bench.count(CONTENDED);
    let crowd = Crowd {
        kind: Kind::Processes,
        placement,
        members,
    };
    let threads = Crowd {
        kind: Kind::Threads,
        ..crowd
    };
    let mut contest = Contest::of_times(format!(
        "lock, add, unlock: {members} processes, {placement}"
    ));
    contest.ours(OURS, || {
        let segment = page("contended");
        let mutex = mutex_in(&segment);
        let sample = crowd.contend(count, |_| add(mutex));
        assert!(*mutex.lock().expect("nobody died") >= (count * members) as u64);
        sample
    });
    contest.peer(STD, || {
        let mutex = StdMutex::new(0);
        let sample = threads.contend(count, |_| add_std(&mutex));
        assert!(mutex.into_inner().expect("nobody panicked") >= (count * members) as u64);
        sample
    });
    for (name, new) in [
        (PTHREAD, PthreadMutex::plain as fn() -> _),
        (ROBUST, PthreadMutex::robust),
    ] {
        contest.peer(name, move || {
            let mutex: PthreadMutex = new();
            let sample = crowd.contend(count, |_| mutex.add());
            assert!(
                mutex.number() >= (count * members) as u64,
                "no increment is lost"
            );
            sample
        });
    }
    #[cfg(feature = "compare")]
    contest.peer(RAW_SYNC, || {
        let mutex = RawSyncMutex::new();
        let sample = crowd.contend(count, |_| mutex.add());
        assert!(
            mutex.number() >= (count * members) as u64,
            "no increment is lost"
        );
        sample
    });
    contest.limit("fetch_add on one word", || {
        limits::contended_add(placement, members, count)
    });
    bench.contest(contest);
}

/// From the kill of a holder to the next owner's first instruction.
fn after_a_kill(bench: &mut Bench, placement: Placement) {
    let kills = bench.count(20);
    let mut contest =
        Contest::of_times(format!("SIGKILL of the holder to its waiter, {placement}"));
    contest.ours(OURS, move || {
        let segment = page("killed");
        let mutex = mutex_in(&segment);
        kill_holders(placement, kills, |then| match mutex.lock() {
            Ok(_guard) => then(false),
            Err(LockError::OwnerDied(mut guard)) => {
                then(true);
                guard.recover();
            }
            Err(error) => panic!("{error}"),
        })
    });
    contest.peer(ROBUST, move || {
        let mutex = PthreadMutex::robust();
        kill_holders(placement, kills, |then| {
            mutex.with(|_, owner_died| then(owner_died));
        })
    });
    contest.limit("SIGKILL to its own waitpid", move || {
        Sample::of_latencies((0..kills).map(|_| kill_and_wait(placement)).collect())
    });
    let outcome = bench.contest(contest);
    let cost = outcome.map(|outcome| outcome.multiples_of(1e6, OURS));
    bench.goal_at_most(
        format!("waiter after SIGKILL / 1 ms, {placement}"),
        1.0,
        cost,
    );
}

/// A mutex at the start of a page that holds no other at that place.
fn mutex_in(segment: &Segment) -> &Mutex<u64> {
    // SAFETY: these bytes are used for this mutex only, and a page with a held lock stays mapped.
    unsafe { segment.region().place_guarded(0) }.expect("within the page")
}

/// What a holder and a waiter tell the bench.
struct Scene<'a> {
    held: &'a AtomicU32,
    waiter: &'a AtomicU32,
    owned_at: &'a AtomicU64,
}

/// `lock` acquires the lock, calls its argument with whether the owner died, and releases it.
fn kill_holders(placement: Placement, kills: usize, lock: impl Fn(&dyn Fn(bool))) -> Sample {
    let one = |_| {
        let segment = page("scene");
        let region = segment.region();
        let scene = Scene {
            held: region.place(0).expect("within the page"),
            waiter: region.place(128).expect("within the page"),
            owned_at: region.place(256).expect("within the page"),
        };
        let mut holder = Child::fork(&mut || {
            placement.pin(0);
            lock(&|_| {
                scene.held.store(1, Release);
                sleep_for_ever();
            });
        });
        wait_for(|| scene.held.load(Acquire) == 1);
        let waiter = Child::fork(&mut || {
            placement.pin(1);
            scene.waiter.store(std::process::id(), Release);
            lock(&|owner_died| {
                scene.owned_at.store(now(), Release);
                assert!(owner_died, "the waiter is told");
            });
        });
        wait_for(|| scene.waiter.load(Acquire) != 0 && is_asleep(scene.waiter.load(Acquire)));
        let killed_at = now();
        holder.kill();
        holder.wait();
        waiter.join();
        (scene.owned_at.load(Acquire) - killed_at) as u32
    };
    Sample::of_latencies((0..kills).map(one).collect())
}

fn kill_and_wait(placement: Placement) -> u32 {
    let segment = page("victim");
    let ready: &AtomicU32 = segment.region().place(0).expect("within the page");
    let mut victim = Child::fork(&mut || {
        placement.pin(1);
        ready.store(1, Release);
        sleep_for_ever();
    });
    wait_for(|| ready.load(Acquire) == 1);
    let killed_at = now();
    victim.kill();
    victim.wait();
    (now() - killed_at) as u32
}

fn sleep_for_ever() {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// The watchdog of the contest bounds it.
fn wait_for(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

/// Whether the kernel has put the process to sleep, so that the wake-up is measured and not a
/// spinning waiter.
fn is_asleep(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|fields| fields.starts_with(" S"))
}

#[inline(always)]
fn add(mutex: &Mutex<u64>) {
    *mutex.lock().expect("nobody died") += 1;
}

#[inline(always)]
fn add_std(mutex: &StdMutex<u64>) {
    *mutex.lock().unwrap_or_else(PoisonError::into_inner) += 1;
}

/// The two atomic operations of any lock, with the increment between them.
#[inline(always)]
fn swap_and_store(word: &AtomicU64) {
    let free = word.load(Relaxed) & !1;
    let taken = word.compare_exchange(free, free | 1, Acquire, Relaxed);
    word.store(black_box(taken.expect("nobody else is here")) + 2, Release);
}

fn page(label: &str) -> Segment {
    Segment::anonymous(label, 4096).expect("a page")
}

fn with_criterion(criterion: &mut Criterion) {
    let segment = page("criterion");
    let mutex = mutex_in(&segment);
    let mut group = criterion.benchmark_group("lock");
    group.bench_function("alone", |bencher| bencher.iter(|| add(black_box(mutex))));
    if Placement::TwoCores.is_available() {
        let crowd = Crowd {
            kind: Kind::Processes,
            placement: Placement::TwoCores,
            members: 2,
        };
        group.bench_function("2 processes, two cores", |bencher| {
            bencher.iter_custom(|iterations| {
                let _watchdog = Watchdog::start();
                crowd.run(|_| (0..iterations.div_ceil(2)).for_each(|_| add(mutex)))
            });
        });
    }
    group.finish();
}
