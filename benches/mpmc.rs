//! The ring for many producers and consumers; the newest value against a seqlock.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::fence;
use std::thread;

use criterion::{Criterion, Throughput};
use crossbeam_queue::ArrayQueue;
use mp_benches::{Bench, Contest, Crowd, Kind, Placement, Sample};
use mp_layout::Plain;
use mp_layout::atomic::AtomicU64;
use mp_ring::{ANONYMOUS, Latest, MpmcProducer, MpmcRing};
use mp_shm::Segment;

const THREADS: &str = "mp-ring MpmcRing (threads)";
const PROCESSES: &str = "mp-ring MpmcRing (processes)";
const CROSSBEAM: &str = "crossbeam ArrayQueue (threads)";

/// Values that each ring holds.
const CAPACITY: usize = 1024;

fn main() {
    let mut bench = Bench::start("mpmc", env!("CARGO_TARGET_TMPDIR"));
    for placement in bench.placements() {
        many::<1>(&mut bench, 1, placement);
    }
    if Placement::TwoCores.is_available() {
        for sides in [2, 4] {
            many::<1>(&mut bench, sides, Placement::TwoCores);
        }
        many::<7>(&mut bench, 2, Placement::TwoCores);
        newest(&mut bench);
    }
    with_criterion(&mut bench.finish());
}

/// A value of so many words, of which the first is the number.
type Value<const WORDS: usize> = [u64; WORDS];

/// `sides` producers and as many consumers.
fn many<const WORDS: usize>(bench: &mut Bench, sides: usize, placement: Placement)
where
    Value<WORDS>: Plain,
{
    let count = bench.count(200_000) / sides;
    let market = |kind| Market {
        crowd: Crowd {
            kind,
            placement,
            members: 2 * sides,
        },
        count,
    };
    let value = |number| {
        let mut value = [0; WORDS];
        value[0] = number;
        value
    };
    let name = format!("{} B, {sides}p{sides}c, {placement}", WORDS * 8);
    let mut contest = Contest::of_rates(name.clone());
    for (contender, kind) in [(THREADS, Kind::Threads), (PROCESSES, Kind::Processes)] {
        contest.ours(contender, move || {
            in_ring::<WORDS, _>(sides, |ring, producers| {
                market(kind).trade(
                    |side, number| producers[side].push(value(number)).is_ok(),
                    || ring.pop().ok().map(|value| value[0]),
                )
            })
        });
    }
    contest.peer(CROSSBEAM, || {
        let queue = ArrayQueue::new(CAPACITY);
        market(Kind::Threads).trade(
            |_, number| queue.push(value(number)).is_ok(),
            || queue.pop().map(|value| value[0]),
        )
    });
    let outcome = bench.contest(contest);
    let speed = outcome.map(|outcome| outcome.speed(THREADS, CROSSBEAM));
    bench.goal_at_least(format!("{name}: speed of ArrayQueue"), 0.8, speed);
}

/// What `work` does with a ring in shared memory, and a producer for each side.
fn in_ring<const WORDS: usize, R>(
    sides: usize,
    work: impl FnOnce(MpmcRing<'_, Value<WORDS>>, &[MpmcProducer<'_, Value<WORDS>>]) -> R,
) -> R
where
    Value<WORDS>: Plain,
{
    let size = MpmcRing::<Value<WORDS>>::size_for(CAPACITY, sides).expect("a size");
    let segment = Segment::anonymous("ring", size).expect("memory for the ring");
    // SAFETY: the segment is fresh and is only used as this ring.
    let ring = unsafe { MpmcRing::create(segment.region(), CAPACITY, sides) }.expect("a ring");
    let claim = |_| ring.claim_producer(ANONYMOUS).expect("a seat");
    let producers: Vec<_> = (0..sides).map(claim).collect();
    work(ring, &producers)
}

/// Producers that send numbers and consumers that sum them: one half of the crowd each.
#[derive(Clone, Copy)]
struct Market {
    crowd: Crowd,
    /// Values of each producer, and of each consumer.
    count: usize,
}

impl Market {
    fn trade(
        self,
        push: impl Fn(usize, u64) -> bool + Sync,
        pop: impl Fn() -> Option<u64> + Sync,
    ) -> Sample {
        let segment = Segment::anonymous("sum", 4096).expect("a page");
        let sum: &AtomicU64 = segment.region().place(0).expect("within the page");
        let sides = self.crowd.members / 2;
        let elapsed = self.crowd.run(|member| match member.checked_sub(sides) {
            None => {
                let first = (member * self.count) as u64;
                for number in first..first + self.count as u64 {
                    patiently(|| push(member, number).then_some(()));
                }
            }
            Some(_) => {
                let popped = (0..self.count).map(|_| patiently(&pop)).sum();
                sum.fetch_add(popped, Relaxed);
            }
        });
        let total = (sides * self.count) as u64;
        assert_eq!(
            sum.load(Relaxed),
            total * (total - 1) / 2,
            "each value comes once"
        );
        Sample::of(elapsed, total as usize)
    }
}

/// Tries until there is a result: spinning at first, then giving the core away.
fn patiently<R>(mut attempt: impl FnMut() -> Option<R>) -> R {
    let mut tries = 0;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        tries += 1;
        if tries < 100 {
            spin_loop();
        } else {
            thread::yield_now();
        }
    }
}

/// Words of the value that is written again and again.
const STATE: usize = 8;

/// One thread writes, another reads: what a read costs, and a write.
fn newest(bench: &mut Bench) {
    let count = bench.count(1_000_000);
    let crowd = Crowd {
        kind: Kind::Threads,
        placement: Placement::TwoCores,
        members: 2,
    };
    let mut contest = Contest::of_rates("newest value of 64 B, one writes and one reads");
    contest.ours("mp-ring Latest", || {
        let size = Latest::<Value<STATE>>::size_for().expect("a size");
        let segment = Segment::anonymous("latest", size).expect("memory for a value");
        // SAFETY: the segment is fresh and is only used as this value.
        let latest = unsafe { Latest::create(segment.region(), [0; STATE]) }.expect("a value");
        let elapsed = crowd.run(|member| {
            if member == 0 {
                let mut writer = latest.claim_writer(ANONYMOUS).expect("the only one");
                (0..count as u64).for_each(|number| writer.write([number; STATE]));
            } else {
                (0..count).for_each(|_| is_whole(latest.read().expect("any bytes")));
            }
        });
        Sample::of(elapsed, count)
    });
    contest.peer("seqlock", || {
        let lock = Seqlock::default();
        let elapsed = crowd.run(|member| {
            if member == 0 {
                (0..count as u64).for_each(|number| lock.write([number; STATE]));
            } else {
                (0..count).for_each(|_| is_whole(lock.read()));
            }
        });
        Sample::of(elapsed, count)
    });
    bench.contest(contest);
}

fn is_whole(value: Value<STATE>) {
    assert!(value.iter().all(|word| *word == value[0]), "torn");
}

/// What it replaces: a reader waits for a writer, for ever if that is killed.
#[derive(Default)]
struct Seqlock {
    version: AtomicU64,
    words: [AtomicU64; STATE],
}

impl Seqlock {
    fn write(&self, value: Value<STATE>) {
        let version = self.version.load(Relaxed);
        self.version.store(version + 1, Relaxed);
        // Release: pairs with the fence in `read`.
        fence(Release);
        for (word, part) in self.words.iter().zip(value) {
            word.store(part, Relaxed);
        }
        self.version.store(version + 2, Release);
    }

    fn read(&self) -> Value<STATE> {
        loop {
            let version = self.version.load(Acquire);
            let value = self.words.each_ref().map(|word| word.load(Relaxed));
            // Acquire: pairs with the fence in `write`.
            fence(Acquire);
            if version.is_multiple_of(2) && self.version.load(Relaxed) == version {
                return value;
            }
            spin_loop();
        }
    }
}

fn with_criterion(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mpmc");
    group.throughput(Throughput::Elements(1));
    in_ring::<1, _>(1, |ring, producers| {
        group.bench_function("push and pop", |bencher| {
            bencher.iter(|| {
                producers[0].push([black_box(7)]).expect("room");
                ring.pop().expect("a value")
            });
        });
    });
    group.finish();
}
