//! The rings for many producers and consumers; the newest value against a seqlock.

mod boost;

use std::hint::{black_box, spin_loop};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::fence;

use criterion::{Criterion, Throughput};
use crossbeam_queue::ArrayQueue;
use mp_benches::{Bench, Contest, Crowd, Kind, Market, Placement, Sample, patiently};
use mp_layout::atomic::AtomicU64;
use mp_layout::{Plain, PlainSlice};
use mp_ring::{ANONYMOUS, Latest, LoanRing, LoanSeat, MpmcProducer, MpmcRing};
use mp_shm::Segment;

use self::boost::Boost;

const THREADS: &str = "mp-ring MpmcRing (threads)";
const PROCESSES: &str = "mp-ring MpmcRing (processes)";
const CROSSBEAM: &str = "crossbeam ArrayQueue (threads)";
const BOOST: &str = "boost lockfree::queue (threads)";

const LOANED: &str = "mp-ring LoanRing (threads)";
const LOANED_PROCESSES: &str = "mp-ring LoanRing (processes)";

/// Values that each ring holds.
const CAPACITY: usize = 1024;

fn main() {
    let mut bench = Bench::start("mpmc", env!("CARGO_TARGET_TMPDIR"));
    let boost = Boost::compile();
    if let Err(missing) = &boost {
        bench.note(format!("boost's queue is NOT measured: {missing}"));
    }
    let boost = boost.as_ref().ok();
    alone(&mut bench);
    alone_in_place(&mut bench);
    for placement in bench.placements() {
        many::<1>(&mut bench, 1, placement, boost);
    }
    if Placement::TwoCores.is_available() {
        for sides in [2, 4] {
            many::<1>(&mut bench, sides, Placement::TwoCores, boost);
        }
        for sides in [1, 2] {
            loaned::<8>(&mut bench, sides, boost);
            loaned::<128>(&mut bench, sides, boost);
        }
        many::<7>(&mut bench, 2, Placement::TwoCores, boost);
        newest(&mut bench);
    }
    with_criterion(&mut bench.finish());
}

/// A value of so many words, of which the first is the number.
type Value<const WORDS: usize> = [u64; WORDS];

/// One thread pushes and pops, one by one: what an operation costs that meets no other.
fn alone(bench: &mut Bench) {
    let count = bench.count(200_000);
    let mut contest = Contest::of_times("push and pop 8 B, one thread");
    contest.ours(THREADS, || {
        in_ring::<1, _>(1, |ring, producers| {
            Sample::time(count, || {
                producers[0].push([black_box(7)]).expect("room");
                black_box(ring.pop().expect("a value"));
            })
        })
    });
    contest.peer(CROSSBEAM, || {
        let queue = ArrayQueue::new(CAPACITY);
        Sample::time(count, || {
            queue.push([black_box(7_u64)]).expect("room");
            black_box(queue.pop().expect("a value"));
        })
    });
    bench.contest(contest);
}

/// The same in place.
fn alone_in_place(bench: &mut Bench) {
    const WORDS: usize = 8;
    let count = bench.count(200_000);
    let mut contest = Contest::of_times("push and pop 64 B in place, one thread");
    contest.ours(LOANED, || {
        in_loan_ring::<WORDS, _>(2, |seats| {
            Sample::time(count, || {
                let mut loan = seats[0].loan().expect("room");
                *loan = [black_box(7); WORDS];
                loan.commit().expect("a sound ring");
                let taken = seats[1].take().expect("a value");
                black_box(&*taken);
                taken.release();
            })
        })
    });
    contest.peer(CROSSBEAM, || {
        let queue = ArrayQueue::new(CAPACITY);
        Sample::time(count, || {
            queue.push([black_box(7_u64); WORDS]).expect("room");
            black_box(queue.pop().expect("a value"));
        })
    });
    bench.contest(contest);
}

/// `sides` producers and as many consumers.
fn many<const WORDS: usize>(
    bench: &mut Bench,
    sides: usize,
    placement: Placement,
    boost: Option<&Boost>,
) where
    Value<WORDS>: Plain,
{
    let count = bench.count(200_000) / sides;
    let market = |kind| Market {
        kind,
        sides,
        placement,
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
                    |side, number| patiently(|| producers[side].push(value(number)).ok()),
                    || patiently(|| ring.pop().ok())[0],
                )
            })
        });
    }
    contest.peer(CROSSBEAM, || {
        let queue = ArrayQueue::new(CAPACITY);
        market(Kind::Threads).trade(
            |_, number| patiently(|| queue.push(value(number)).ok()),
            || patiently(|| queue.pop())[0],
        )
    });
    if let Some(boost) = boost {
        contest.peer(BOOST, || {
            boost.trade(market(Kind::Threads), WORDS, CAPACITY)
        });
    }
    let outcome = bench.contest(contest);
    let speed = outcome.map(|outcome| outcome.speed(THREADS, CROSSBEAM));
    bench.goal_at_least(format!("{name}: speed of ArrayQueue"), 0.8, speed);
}

/// `sides` producers of values in place and as many consumers, on two cores.
fn loaned<const WORDS: usize>(bench: &mut Bench, sides: usize, boost: Option<&Boost>)
where
    Value<WORDS>: PlainSlice,
{
    let placement = Placement::TwoCores;
    let count = bench.count(100_000) / sides;
    let market = |kind| Market {
        kind,
        sides,
        placement,
        count,
    };
    let name = format!("{} B in place, {sides}p{sides}c, {placement}", WORDS * 8);
    let mut contest = Contest::of_rates(name.clone());
    for (contender, kind) in [(LOANED, Kind::Threads), (LOANED_PROCESSES, Kind::Processes)] {
        contest.ours(contender, move || {
            in_loan_ring::<WORDS, _>(2 * sides, |seats| {
                market(kind).run(
                    |side, first| {
                        for number in first..first + count as u64 {
                            let mut loan = patiently(|| seats[side].loan().ok());
                            *loan = [number; WORDS];
                            loan.commit().expect("a sound ring");
                        }
                    },
                    // The consumers may share a seat.
                    || {
                        let next = || {
                            let taken = patiently(|| seats[sides].take().ok());
                            let words = black_box(&*taken);
                            let (first, last) = (words[0], words[WORDS - 1]);
                            assert_eq!(first, last, "torn");
                            taken.release();
                            first
                        };
                        (0..count).map(|_| next()).sum()
                    },
                )
            })
        });
    }
    contest.peer(CROSSBEAM, || {
        let queue = ArrayQueue::new(CAPACITY);
        market(Kind::Threads).trade(
            |_, number| patiently(|| queue.push([number; WORDS]).ok()),
            || black_box(patiently(|| queue.pop()))[0],
        )
    });
    if let Some(boost) = boost {
        contest.peer(BOOST, || {
            boost.trade(market(Kind::Threads), WORDS, CAPACITY)
        });
    }
    let outcome = bench.contest(contest);
    let speed = |peer| outcome.as_ref().map(|outcome| outcome.speed(LOANED, peer));
    let goal = format!("{name}: speed of ArrayQueue");
    bench.goal_at_least(goal, 0.4, speed(CROSSBEAM));
    if boost.is_some() {
        let goal = format!("{name}: speed of boost's queue");
        bench.goal_at_least(goal, 4.0, speed(BOOST));
    }
}

/// What `work` does with so many seats of a ring of loans in shared memory.
fn in_loan_ring<const WORDS: usize, R>(
    seats: usize,
    work: impl FnOnce(&[LoanSeat<'_, Value<WORDS>>]) -> R,
) -> R
where
    Value<WORDS>: PlainSlice,
{
    let size = LoanRing::<Value<WORDS>>::size_for(CAPACITY, seats).expect("a size");
    let segment = Segment::anonymous("loans", size).expect("memory for the ring");
    // SAFETY: the segment is fresh and is only used as this ring.
    let ring = unsafe { LoanRing::create(segment.region(), CAPACITY, seats) }.expect("a ring");
    let seats: Vec<_> = (0..seats)
        .map(|_| ring.claim_seat(ANONYMOUS).expect("a seat"))
        .collect();
    work(&seats)
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
