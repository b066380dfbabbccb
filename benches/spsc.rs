//! One producer, one consumer: round trips and throughput of the ring between two processes.

use std::hint::{black_box, spin_loop};

use criterion::{Criterion, Throughput};
use crossbeam_queue::ArrayQueue;
#[cfg(feature = "compare")]
use mp_benches::peers::Lane;
use mp_benches::peers::Stream;
use mp_benches::{Bench, Contest, Pair, Placement, Sample, limits};
use mp_layout::Plain;
use mp_os::clock::Deadline;
use mp_ring::{ByteRing, Consumer, Producer, Ring};
use mp_shm::Segment;
use mp_sync::{EventCount, Wait};

const SPINNING: &str = "mp-ring Ring, spinning";
const WAITING: &str = "mp-ring Ring + EventCount, default wait";
const RTRB: &str = "rtrb (threads)";
const TWO_LINES: &str = "two-line ping-pong";
const FUTEXES: &str = "raw futex ping-pong";
const OURS: &str = "mp-ring Ring";
#[cfg(feature = "compare")]
const ICEORYX2: &str = "iceoryx2";

/// Values that a batch moves, where the form is one of batches.
const BATCH: usize = 32;

/// Two processes on two cores, or two threads.
const PROCESSES: Pair = Pair::processes(Placement::TwoCores);
const THREADS: Pair = Pair::threads(Placement::TwoCores);

/// A value of `8 * WORDS` bytes; its first word is its number.
type Value<const WORDS: usize> = [u64; WORDS];

fn main() {
    let mut bench = Bench::start("spsc", env!("CARGO_TARGET_TMPDIR"));
    if Placement::TwoCores.is_available() {
        round_trip_on_two_cores(&mut bench);
    }
    round_trip_on_one_core(&mut bench);
    if Placement::TwoCores.is_available() {
        throughput::<1>(&mut bench);
        throughput::<8>(&mut bench);
        throughput::<128>(&mut bench);
        throughput::<8192>(&mut bench);
    }
    throughput_on_one_core(&mut bench);
    with_criterion(&mut bench.finish());
}

fn round_trip_on_two_cores(bench: &mut Bench) {
    let place = Placement::TwoCores;
    let (awake, asleep) = (bench.count(10_000), bench.count(300));
    let mut contest = Contest::of_times("round trip 8 B, two cores");
    contest.ours(SPINNING, || spinning_round_trips(awake));
    contest.ours(WAITING, || waiting_round_trips(place, awake / 2));
    contest.peer(RTRB, || rtrb_round_trips(awake));
    contest.peer("crossbeam ArrayQueue (threads)", || {
        crossbeam_round_trips(awake)
    });
    contest.peer("pipe", || stream_round_trips(place, asleep, Stream::pipe));
    contest.peer("UNIX socket", || {
        stream_round_trips(place, asleep, Stream::socket)
    });
    #[cfg(feature = "compare")]
    contest.peer(ICEORYX2, || iceoryx2_round_trips(awake / 4));
    #[cfg(feature = "compare")]
    contest.peer("ipc-channel", || ipc_channel_round_trips(place, asleep));
    contest.limit(TWO_LINES, || limits::two_lines(awake));
    contest.limit(FUTEXES, || limits::futexes(place, asleep));
    let outcome = bench.contest(contest);

    let cost = |ours: &str| {
        outcome
            .as_ref()
            .map(|outcome| outcome.cost(ours, TWO_LINES))
    };
    bench.goal_at_most(
        "round trip 8 B, spinning / two-line ping-pong",
        1.4,
        cost(SPINNING),
    );
    bench.goal_at_most(
        "round trip 8 B, default wait / two-line ping-pong",
        1.8,
        cost(WAITING),
    );
}

fn round_trip_on_one_core(bench: &mut Bench) {
    let place = Placement::OneCore;
    let count = bench.count(3000);
    let mut contest = Contest::of_times("round trip 8 B, one core");
    contest.ours(WAITING, || waiting_round_trips(place, count));
    contest.peer("pipe", || stream_round_trips(place, count, Stream::pipe));
    contest.peer("UNIX socket", || {
        stream_round_trips(place, count, Stream::socket)
    });
    #[cfg(feature = "compare")]
    contest.peer("ipc-channel", || ipc_channel_round_trips(place, count));
    contest.limit(FUTEXES, || limits::futexes(place, count));
    let outcome = bench.contest(contest);
    let cost = outcome.map(|outcome| outcome.cost(WAITING, FUTEXES));
    bench.goal_at_most(
        "round trip 8 B, default wait / raw futex, one core",
        1.5,
        cost,
    );
}

fn throughput<const WORDS: usize>(bench: &mut Bench) {
    let size = size_of::<Value<WORDS>>();
    let name = match size {
        ..1024 => format!("{size} B"),
        _ => format!("{} KiB", size / 1024),
    };
    let count = bench.count(((128 << 20) / size).min(400_000));
    let goal = |bench: &mut Bench, form: &str, outcome: Option<mp_benches::Outcome>| {
        let speed = |peer| outcome.as_ref().map(|outcome| outcome.speed(OURS, peer));
        bench.goal_at_least(format!("{name} {form}: speed of rtrb"), 0.9, speed(RTRB));
        #[cfg(feature = "compare")]
        if form != SLICES {
            bench.goal_at_least(
                format!("{name} {form}: speed of iceoryx2"),
                1.0,
                speed(ICEORYX2),
            );
        }
    };

    let mut contest = Contest::of_rates(format!("{name} {SINGLES}, two cores"));
    contest.ours(OURS, || with_ring::<WORDS>(count, push_one, pop_one));
    contest.ours("mp-ring ByteRing", || byte_records::<WORDS>(count));
    contest.peer(RTRB, || {
        with_rtrb::<WORDS>(
            count,
            |producer, values| usize::from(producer.push(*black_box(&values[0])).is_ok()),
            |consumer, _| {
                consumer
                    .pop()
                    .map_or((0, 0), |value| (1, black_box(&value)[0]))
            },
        )
    });
    contest.peer("crossbeam ArrayQueue (threads)", || {
        with_crossbeam::<WORDS>(count)
    });
    contest.peer("pipe", || with_stream::<WORDS>(count / 10, Stream::pipe));
    contest.peer("UNIX socket", || {
        with_stream::<WORDS>(count / 20, Stream::socket)
    });
    #[cfg(feature = "compare")]
    contest.peer(ICEORYX2, || {
        with_iceoryx2::<WORDS>(count / 10, |value| black_box(&{ *value })[0])
    });
    #[cfg(feature = "compare")]
    contest.peer("ipc-channel", || with_ipc_channel::<WORDS>(count / 40));
    contest.limit("copy, one process", || limits::copy(size, count));
    let outcome = bench.contest(contest);
    goal(bench, SINGLES, outcome);

    let mut contest = Contest::of_rates(format!("{name} {SLICES}, two cores"));
    contest.ours(OURS, || with_ring::<WORDS>(count, push_slice, pop_slice));
    contest.peer(RTRB, || {
        with_rtrb::<WORDS>(
            count,
            |producer, values| producer.push_partial_slice(values).0.len(),
            |consumer, into| {
                let count = consumer.pop_partial_slice(into).0.len();
                (count, sum_of_numbers(black_box(&into[..count])))
            },
        )
    });
    let outcome = bench.contest(contest);
    goal(bench, SLICES, outcome);

    let mut contest = Contest::of_rates(format!("{name} {IN_PLACE}, two cores"));
    contest.ours(OURS, || {
        with_ring::<WORDS>(count, push_in_place, pop_in_place)
    });
    contest.peer(RTRB, || {
        with_rtrb::<WORDS>(
            count,
            rtrb_push_in_place::<WORDS>,
            rtrb_pop_in_place::<WORDS>,
        )
    });
    #[cfg(feature = "compare")]
    contest.peer(ICEORYX2, || {
        with_iceoryx2::<WORDS>(count / 10, |value| {
            read_in_place(std::slice::from_ref(value))
        })
    });
    let outcome = bench.contest(contest);
    goal(bench, IN_PLACE, outcome);
}

const SINGLES: &str = "one by one";
const SLICES: &str = "in slices of 32";
const IN_PLACE: &str = "in place, up to 32";

/// Values that a ring of `size`-byte values holds: at least two batches, at most 8 MiB.
fn capacity(size: usize) -> usize {
    ((8 << 20) / size).clamp(2 * BATCH, 4096)
}

fn ring_segment<T: Plain>(capacity: usize) -> Segment {
    let size = Ring::<T>::size_for(capacity).expect("not too many");
    Segment::anonymous("ring", size).expect("memory for a ring")
}

fn split<T: Plain>(segment: &Segment, capacity: usize) -> (Producer<'_, T>, Consumer<'_, T>) {
    // SAFETY: the segment was just made for this ring, and all reach it through what this returns.
    let ring = unsafe { Ring::create(segment.region(), capacity) };
    ring.expect("the segment was made for it")
        .split()
        .expect("nobody else is here")
}

/// Gives the values the numbers from `first` on.
#[inline(always)]
fn number<const WORDS: usize>(values: &mut [Value<WORDS>], first: u64) -> &[Value<WORDS>] {
    for (value, number) in values.iter_mut().zip(first..) {
        value[0] = number;
    }
    values
}

#[inline(always)]
fn sum_of_numbers<const WORDS: usize>(values: &[Value<WORDS>]) -> u64 {
    values.iter().map(|value| value[0]).sum()
}

/// Reads one word of each line, as a consumer does that works in place, and sums the numbers.
#[inline(always)]
fn read_in_place<const WORDS: usize>(values: &[Value<WORDS>]) -> u64 {
    black_box(
        values
            .as_flattened()
            .iter()
            .step_by(8)
            .fold(0, |sum: u64, word| sum.wrapping_add(*word)),
    );
    sum_of_numbers(values)
}

fn with_ring<const WORDS: usize>(
    count: usize,
    push: impl Fn(&mut Producer<'_, Value<WORDS>>, &[Value<WORDS>]) -> usize + Send + Sync,
    pop: impl Fn(&mut Consumer<'_, Value<WORDS>>, &mut [Value<WORDS>]) -> (usize, u64),
) -> Sample {
    let capacity = capacity(size_of::<Value<WORDS>>());
    let segment = ring_segment::<Value<WORDS>>(capacity);
    let (mut producer, mut consumer) = split::<Value<WORDS>>(&segment, capacity);
    transfer(
        PROCESSES,
        count,
        |values| push(&mut producer, values),
        |into| pop(&mut consumer, into),
    )
}

fn with_rtrb<const WORDS: usize>(
    count: usize,
    push: impl Fn(&mut rtrb::Producer<Value<WORDS>>, &[Value<WORDS>]) -> usize + Send + Sync,
    pop: impl Fn(&mut rtrb::Consumer<Value<WORDS>>, &mut [Value<WORDS>]) -> (usize, u64),
) -> Sample {
    let capacity = capacity(size_of::<Value<WORDS>>());
    let (mut producer, mut consumer) = rtrb::RingBuffer::new(capacity);
    transfer(
        THREADS,
        count,
        |values| push(&mut producer, values),
        |into| pop(&mut consumer, into),
    )
}

/// Moves values out of one batch of numbered ones into another.
fn transfer<const WORDS: usize>(
    pair: Pair,
    count: usize,
    mut push: impl FnMut(&[Value<WORDS>]) -> usize + Send,
    mut pop: impl FnMut(&mut [Value<WORDS>]) -> (usize, u64),
) -> Sample {
    let mut values = vec![[7; WORDS]; BATCH];
    let mut into = vec![[0; WORDS]; BATCH];
    pair.transfer(
        count,
        |next, most| push(number(&mut values[..most], next)),
        |most| pop(&mut into[..most]),
    )
}

fn push_one<const WORDS: usize>(
    producer: &mut Producer<'_, Value<WORDS>>,
    values: &[Value<WORDS>],
) -> usize {
    usize::from(producer.push(*black_box(&values[0])).is_ok())
}

fn pop_one<const WORDS: usize>(
    consumer: &mut Consumer<'_, Value<WORDS>>,
    _: &mut [Value<WORDS>],
) -> (usize, u64) {
    consumer
        .pop()
        .map_or((0, 0), |value| (1, black_box(&value)[0]))
}

fn push_slice<const WORDS: usize>(
    producer: &mut Producer<'_, Value<WORDS>>,
    values: &[Value<WORDS>],
) -> usize {
    producer.push_slice(values).unwrap_or(0)
}

fn pop_slice<const WORDS: usize>(
    consumer: &mut Consumer<'_, Value<WORDS>>,
    into: &mut [Value<WORDS>],
) -> (usize, u64) {
    let count = consumer.pop_slice(into).unwrap_or(0);
    (count, sum_of_numbers(black_box(&into[..count])))
}

fn push_in_place<const WORDS: usize>(
    producer: &mut Producer<'_, Value<WORDS>>,
    values: &[Value<WORDS>],
) -> usize {
    let Ok(mut grant) = producer.reserve(values.len()) else {
        return 0;
    };
    let (one, two) = grant.slices();
    let (first, second) = values.split_at(one.len());
    one.copy_from_slice(first);
    two.copy_from_slice(second);
    grant.commit_all();
    values.len()
}

fn pop_in_place<const WORDS: usize>(
    consumer: &mut Consumer<'_, Value<WORDS>>,
    into: &mut [Value<WORDS>],
) -> (usize, u64) {
    let Ok(chunk) = consumer.read_chunk(into.len()) else {
        return (0, 0);
    };
    let (one, two) = chunk.slices();
    let result = (chunk.len(), read_in_place(one) + read_in_place(two));
    chunk.release_all();
    result
}

fn rtrb_push_in_place<const WORDS: usize>(
    producer: &mut rtrb::Producer<Value<WORDS>>,
    values: &[Value<WORDS>],
) -> usize {
    let Ok(mut chunk) = producer.write_chunk_uninit(values.len()) else {
        return 0;
    };
    let (one, two) = chunk.as_mut_slices();
    let (first, second) = values.split_at(one.len());
    one.write_copy_of_slice(first);
    two.write_copy_of_slice(second);
    // SAFETY: every slot was just written.
    unsafe { chunk.commit_all() };
    values.len()
}

fn rtrb_pop_in_place<const WORDS: usize>(
    consumer: &mut rtrb::Consumer<Value<WORDS>>,
    into: &mut [Value<WORDS>],
) -> (usize, u64) {
    let count = consumer.slots().min(into.len());
    let Ok(chunk) = consumer.read_chunk(count) else {
        return (0, 0);
    };
    let (one, two) = chunk.as_slices();
    let result = (count, read_in_place(one) + read_in_place(two));
    chunk.commit_all();
    result
}

fn byte_records<const WORDS: usize>(count: usize) -> Sample {
    let size = size_of::<Value<WORDS>>();
    let bytes = capacity(size) * (size + 8);
    let segment_size = ByteRing::size_for(bytes).expect("not too much");
    let segment = Segment::anonymous("byte ring", segment_size).expect("memory for a ring");
    // SAFETY: the segment was just made for this ring, and all reach it through what this returns.
    let ring = unsafe { ByteRing::create(segment.region(), bytes, None) };
    let ring = ring.expect("the segment was made for it");
    let (mut producer, mut consumer) = ring.split().expect("nobody else is here");
    let mut record = Vec::new();
    transfer::<WORDS>(
        PROCESSES,
        count,
        |values| usize::from(producer.push(black_box(bytes_of(&values[0]))).is_ok()),
        |_| match consumer.pop_into(&mut record) {
            Ok(_) => (1, number_in(black_box(&record))),
            Err(_) => (0, 0),
        },
    )
}

fn with_crossbeam<const WORDS: usize>(count: usize) -> Sample {
    let queue = ArrayQueue::new(capacity(size_of::<Value<WORDS>>()));
    transfer::<WORDS>(
        THREADS,
        count,
        |values| usize::from(queue.push(*black_box(&values[0])).is_ok()),
        |_| {
            queue
                .pop()
                .map_or((0, 0), |value| (1, black_box(&value)[0]))
        },
    )
}

fn with_stream<const WORDS: usize>(count: usize, new: fn() -> Stream) -> Sample {
    let stream = new();
    let mut bytes = vec![0; size_of::<Value<WORDS>>()];
    transfer::<WORDS>(
        PROCESSES,
        count,
        |values| {
            stream.send(bytes_of(&values[0]));
            1
        },
        |_| {
            stream.receive(&mut bytes);
            (1, number_in(&bytes))
        },
    )
}

fn bytes_of<const WORDS: usize>(value: &Value<WORDS>) -> &[u8] {
    bytemuck::cast_slice(value)
}

fn number_in(bytes: &[u8]) -> u64 {
    bytemuck::pod_read_unaligned(&bytes[..8])
}

/// One direction that blocks: a ring, and what its two sides sleep on.
struct Blocking {
    ring: Segment,
    words: Segment,
}

const SMALL: usize = 64;

impl Blocking {
    fn new(capacity: usize) -> Self {
        let words = Segment::anonymous("eventcounts", 4096).expect("a page");
        Self {
            ring: ring_segment::<u64>(capacity),
            words,
        }
    }

    /// What the consumer sleeps on, and what the producer sleeps on.
    fn events(&self) -> (&EventCount, &EventCount) {
        let region = self.words.region();
        let place = |offset| region.place(offset).expect("within the page");
        (place(0), place(128))
    }
}

fn put(producer: &mut Producer<'_, u64>, (filled, freed): (&EventCount, &EventCount), value: u64) {
    freed.wait_until(Wait::Adaptive, Deadline::NEVER, || {
        filled.under_bell(|| {
            producer.push(value).ok()?;
            filled.notify(1);
            Some(())
        })
    });
}

fn get(consumer: &mut Consumer<'_, u64>, (filled, freed): (&EventCount, &EventCount)) -> u64 {
    let value = filled.wait_until(Wait::Adaptive, Deadline::NEVER, || {
        freed.under_bell(|| {
            let value = consumer.pop().ok()?;
            freed.notify(1);
            Some(value)
        })
    });
    value.expect("the deadline never comes")
}

fn waiting_round_trips(placement: Placement, count: usize) -> Sample {
    let (there, back) = (Blocking::new(SMALL), Blocking::new(SMALL));
    let (mut to, mut at) = split(&there.ring, SMALL);
    let (mut answer, mut answered) = split(&back.ring, SMALL);
    let (there, back) = (there.events(), back.events());
    Pair::processes(placement).round_trips(
        count,
        |trip| {
            assert_eq!(get(&mut at, there), trip);
            put(&mut answer, back, trip);
        },
        |trip| {
            put(&mut to, there, trip);
            assert_eq!(get(&mut answered, back), trip);
        },
    )
}

fn spinning_round_trips(count: usize) -> Sample {
    let (there, back) = (ring_segment::<u64>(SMALL), ring_segment::<u64>(SMALL));
    let (mut to, mut at) = split(&there, SMALL);
    let (mut answer, mut answered) = split(&back, SMALL);
    PROCESSES.round_trips(
        count,
        |trip| {
            while at.pop() != Ok(trip) {
                spin_loop();
            }
            answer.push(trip).expect("there is room");
        },
        |trip| {
            to.push(trip).expect("there is room");
            while answered.pop() != Ok(trip) {
                spin_loop();
            }
        },
    )
}

fn rtrb_round_trips(count: usize) -> Sample {
    let (mut to, mut at) = rtrb::RingBuffer::new(SMALL);
    let (mut answer, mut answered) = rtrb::RingBuffer::new(SMALL);
    THREADS.round_trips(
        count,
        |trip| {
            while at.pop() != Ok(trip) {
                spin_loop();
            }
            answer.push(trip).expect("there is room");
        },
        |trip| {
            to.push(trip).expect("there is room");
            while answered.pop() != Ok(trip) {
                spin_loop();
            }
        },
    )
}

fn crossbeam_round_trips(count: usize) -> Sample {
    let (there, back) = (ArrayQueue::new(SMALL), ArrayQueue::new(SMALL));
    THREADS.round_trips(
        count,
        |trip| {
            while there.pop() != Some(trip) {
                spin_loop();
            }
            back.push(trip).expect("there is room");
        },
        |trip| {
            there.push(trip).expect("there is room");
            while back.pop() != Some(trip) {
                spin_loop();
            }
        },
    )
}

fn stream_round_trips(placement: Placement, count: usize, new: fn() -> Stream) -> Sample {
    let (there, back) = (new(), new());
    Pair::processes(placement).round_trips(
        count,
        |trip| {
            assert_eq!(there.receive_number(), trip);
            back.send_number(trip);
        },
        |trip| {
            there.send_number(trip);
            assert_eq!(back.receive_number(), trip);
        },
    )
}

fn throughput_on_one_core(bench: &mut Bench) {
    let count = bench.count(100_000);
    let pair = Pair::processes(Placement::OneCore);
    let mut contest = Contest::of_rates("8 B one by one, one core");
    contest.ours(WAITING, || {
        let lane = Blocking::new(4096);
        let (mut producer, mut consumer) = split(&lane.ring, 4096);
        let events = lane.events();
        transfer::<1>(
            pair,
            count,
            |values| {
                put(&mut producer, events, values[0][0]);
                1
            },
            |_| (1, get(&mut consumer, events)),
        )
    });
    contest.peer("pipe", || {
        let stream = Stream::pipe();
        transfer::<1>(
            pair,
            count,
            |values| {
                stream.send_number(values[0][0]);
                1
            },
            |_| (1, stream.receive_number()),
        )
    });
    bench.contest(contest);
}

#[cfg(feature = "compare")]
fn with_iceoryx2<const WORDS: usize>(count: usize, read: impl Fn(&Value<WORDS>) -> u64) -> Sample {
    let capacity = capacity(size_of::<Value<WORDS>>());
    let count = count.max(8 * capacity);
    let lane = Lane::new(capacity);
    let mut publisher = lane.publisher();
    transfer::<WORDS>(
        PROCESSES,
        count,
        |values| {
            publisher.send(black_box(&values[0]));
            1
        },
        |_| lane.receive(&read).map_or((0, 0), |number| (1, number)),
    )
}

#[cfg(feature = "compare")]
fn iceoryx2_round_trips(count: usize) -> Sample {
    let there = Lane::<1>::new(SMALL);
    let mut to = there.publisher();
    let back = Lane::<1>::new(SMALL);
    let mut answer = back.publisher();
    let receive = |lane: &Lane<1>, trip| {
        while lane.receive(|value| value[0]) != Some(trip) {
            spin_loop();
        }
    };
    // The other process is the one that answers; it receives on a lane that was made here.
    let there = mp_benches::peers::Elsewhere::new(there);
    PROCESSES.round_trips(
        count,
        |trip| {
            receive(there.get(), trip);
            answer.send(&[trip]);
        },
        |trip| {
            to.send(&[trip]);
            receive(&back, trip);
        },
    )
}

#[cfg(feature = "compare")]
fn with_ipc_channel<const WORDS: usize>(count: usize) -> Sample {
    let (sender, receiver) = ipc_channel::ipc::bytes_channel().expect("a channel");
    transfer::<WORDS>(
        PROCESSES,
        count,
        |values| {
            sender
                .send(bytes_of(&values[0]))
                .expect("the other end is open");
            1
        },
        |_| {
            (
                1,
                number_in(&receiver.recv().expect("the other end is open")),
            )
        },
    )
}

#[cfg(feature = "compare")]
fn ipc_channel_round_trips(placement: Placement, count: usize) -> Sample {
    let (to, at) = ipc_channel::ipc::channel::<u64>().expect("a channel");
    let (answer, answered) = ipc_channel::ipc::channel::<u64>().expect("a channel");
    Pair::processes(placement).round_trips(
        count,
        |trip| {
            assert_eq!(at.recv().expect("the other end is open"), trip);
            answer.send(trip).expect("the other end is open");
        },
        |trip| {
            to.send(trip).expect("the other end is open");
            assert_eq!(answered.recv().expect("the other end is open"), trip);
        },
    )
}

fn with_criterion(criterion: &mut Criterion) {
    if !Placement::TwoCores.is_available() {
        return;
    }
    let mut group = criterion.benchmark_group("spsc");
    group.bench_function("round trip 8 B, spinning", |bencher| {
        bencher.iter_custom(|iterations| {
            spinning_round_trips(iterations as usize).elapsed_for(iterations)
        });
    });
    group.bench_function("round trip 8 B, default wait", |bencher| {
        bencher.iter_custom(|iterations| {
            waiting_round_trips(Placement::TwoCores, iterations as usize).elapsed_for(iterations)
        });
    });
    group.throughput(Throughput::Bytes(1024));
    group.bench_function("1 KiB in slices of 32", |bencher| {
        bencher.iter_custom(|iterations| {
            let count = (iterations as usize).max(BATCH);
            with_ring::<128>(count, push_slice, pop_slice).elapsed_for(iterations)
        });
    });
    group.finish();
}
