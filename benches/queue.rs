//! The blocking queue: many producers and consumers, sizes of messages, round trips.

use std::hint::black_box;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use criterion::{Criterion, Throughput};
use crossbeam_queue::ArrayQueue;
use mp_benches::peers::{self, Stream};
use mp_benches::{Bench, Contest, Kind, Market, Pair, Placement, Sample, limits, patiently};
use mp_os::socket;
use mp_queue::{Bytes, MpmcQueue, Plain, Queue, pipe};
use mp_value::Array;

const OURS: &str = "mp-queue Queue<u64, Plain>";
const MPMC: &str = "mp-queue MpmcQueue<u64>";
const PIPE: &str = "mp-queue pipe of u64";
const CROSSBEAM: &str = "crossbeam ArrayQueue (threads)";

/// Messages that each bounded queue holds.
const CAPACITY: usize = 4096;

/// Messages of a batch.
const BATCH: usize = 32;

fn main() {
    let mut bench = Bench::start("queue", env!("CARGO_TARGET_TMPDIR"));
    for placement in bench.placements() {
        round_trip(&mut bench, placement);
    }
    alone(&mut bench);
    for placement in bench.placements() {
        many(&mut bench, 1, placement);
    }
    if Placement::TwoCores.is_available() {
        many(&mut bench, 2, Placement::TwoCores);
        many(&mut bench, 4, Placement::TwoCores);
        for size in [8, 64, 1024, 65536] {
            bytes(&mut bench, size);
        }
        values(&mut bench);
    }
    objects(&mut bench);
    with_criterion(&mut bench.finish());
}

fn round_trip(bench: &mut Bench, placement: Placement) {
    let (awake, asleep) = match placement {
        Placement::TwoCores => (bench.count(5000), bench.count(300)),
        Placement::OneCore => (bench.count(3000), bench.count(3000)),
    };
    let mut contest = Contest::of_times(format!("round trip 8 B, {placement}"));
    contest.ours(PIPE, || pipe_round_trips(placement, awake));
    contest.ours(OURS, || queue_round_trips(placement, awake));
    contest.peer("pipe", || {
        Stream::round_trips(Stream::pipe, placement, asleep)
    });
    contest.peer("UNIX socket", || {
        Stream::round_trips(Stream::socket, placement, asleep)
    });
    #[cfg(feature = "compare")]
    contest.peer("ipc-channel", || {
        peers::ipc_channel_round_trips(placement, asleep)
    });
    if peers::python_is_there() {
        contest.peer("CPython's Pipe", || {
            peers::python_pipe_round_trips(placement, asleep)
        });
    }
    if placement == Placement::TwoCores {
        contest.limit("two-line ping-pong", || limits::two_lines(awake));
    }
    contest.limit("raw futex ping-pong", || limits::futexes(placement, asleep));
    bench.contest(contest);
}

fn pipe_round_trips(placement: Placement, count: usize) -> Sample {
    let (ours, theirs) = pipe::<u64, u64>().expect("a pipe");
    Pair::processes(placement).round_trips(
        count,
        |trip| {
            assert_eq!(theirs.recv().expect("the other side is there"), trip);
            theirs.send(trip).expect("the other side is there");
        },
        |trip| {
            ours.send(trip).expect("the other side is there");
            assert_eq!(ours.recv().expect("the other side is there"), trip);
        },
    )
}

fn queue_round_trips(placement: Placement, count: usize) -> Sample {
    let (there, back) = (plain(), plain());
    Pair::processes(placement).round_trips(
        count,
        |trip| {
            assert_eq!(there.get().expect("open"), trip);
            back.put(trip).expect("open");
        },
        |trip| {
            there.put(trip).expect("open");
            assert_eq!(back.get().expect("open"), trip);
        },
    )
}

/// One thread puts and gets, one by one: what an operation costs that meets no other.
fn alone(bench: &mut Bench) {
    let count = bench.count(100_000);
    let mut contest = Contest::of_times("put and get 8 B, one thread");
    contest.ours(MPMC, || {
        let queue = MpmcQueue::new(CAPACITY).expect("memory for a queue");
        Sample::time(count, || {
            queue.put(black_box(7_u64)).expect("room");
            black_box(queue.get().expect("a value"));
        })
    });
    contest.peer(OURS, || {
        let queue = plain();
        Sample::time(count, || {
            queue.put(black_box(7)).expect("room");
            black_box(queue.get().expect("a value"));
        })
    });
    contest.peer(CROSSBEAM, || {
        let queue = ArrayQueue::new(CAPACITY);
        Sample::time(count, || {
            queue.push(black_box(7)).expect("room");
            black_box(queue.pop().expect("a value"));
        })
    });
    let outcome = bench.contest(contest);
    let cost = outcome.map(|outcome| outcome.cost(MPMC, OURS));
    bench.goal_at_most("put and get 8 B: MpmcQueue / Queue", 0.5, cost);
}

/// `sides` producers and as many consumers, 8 bytes a message.
fn many(bench: &mut Bench, sides: usize, placement: Placement) {
    let count = bench.count(100_000) / sides / BATCH * BATCH;
    let processes = Market {
        kind: Kind::Processes,
        sides,
        placement,
        count,
    };
    let threads = Market {
        kind: Kind::Threads,
        ..processes
    };
    let mut contest = Contest::of_rates(format!("8 B, {sides}p{sides}c, {placement}"));
    contest.ours(OURS, || {
        let queue = plain();
        processes.trade(
            |_, number| queue.put(number).expect("open"),
            || queue.get().expect("open"),
        )
    });
    contest.ours(MPMC, || {
        let queue = MpmcQueue::new(CAPACITY).expect("memory for a queue");
        processes.trade(
            |_, number| queue.put(number).expect("open"),
            || queue.get().expect("open"),
        )
    });
    contest.ours("mp-queue, put_many + get_many of 32", || {
        in_batches(processes)
    });
    contest.peer(CROSSBEAM, || {
        let queue = ArrayQueue::new(CAPACITY);
        threads.trade(
            |_, number| patiently(|| queue.push(number).ok()),
            || patiently(|| queue.pop()),
        )
    });
    contest.peer("pipe", || {
        let pipe = Stream::pipe();
        let few = Market {
            count: count / 4,
            ..processes
        };
        few.trade(
            |_, number| pipe.send_number(number),
            || pipe.receive_number(),
        )
    });
    bench.contest(contest);
}

fn in_batches(market: Market) -> Sample {
    let queue = plain();
    let batches = market.count / BATCH;
    market.run(
        |_, first| {
            for batch in 0..batches as u64 {
                let start = first + batch * BATCH as u64;
                let numbers: [u64; BATCH] = std::array::from_fn(|index| start + index as u64);
                queue.put_many(&numbers).expect("open");
            }
        },
        || {
            let (mut left, mut sum) = (market.count, 0);
            while left > 0 {
                for number in queue.get_many(left.min(BATCH)).expect("open") {
                    sum += number.expect("it decodes");
                    left -= 1;
                }
            }
            sum
        },
    )
}

/// Byte strings of one size, from one process to another.
fn bytes(bench: &mut Bench, size: usize) {
    let name = match size {
        ..1024 => format!("{size} B"),
        _ => format!("{} KiB", size / 1024),
    };
    let capacity = ((8 << 20) / size).min(CAPACITY);
    let count = bench.count(((64 << 20) / size).min(100_000));
    let mut contest = Contest::of_rates(format!("bytes, {name}, two cores"));
    contest.ours("mp-queue Queue<_, Bytes>", || {
        let queue = Queue::<Vec<u8>, Bytes>::bytes_bounded(capacity).expect("memory for a queue");
        let mut received = Vec::new();
        transfer(
            size,
            count,
            |message| queue.put_bytes(message).expect("open"),
            |_| {
                queue.get_bytes_into(&mut received).expect("open");
                number_of(&received)
            },
        )
    });
    for (name, new) in [
        ("pipe", Stream::pipe as fn() -> Stream),
        ("UNIX socket", Stream::socket),
    ] {
        contest.peer(name, move || {
            let stream = new();
            transfer(
                size,
                count / 2,
                |message| stream.send(message),
                |received| {
                    stream.receive(received);
                    number_of(received)
                },
            )
        });
    }
    #[cfg(feature = "compare")]
    contest.peer("ipc-channel", || {
        let (sender, receiver) = ipc_channel::ipc::bytes_channel().expect("a channel");
        transfer(
            size,
            count / 4,
            |message| sender.send(message).expect("the other end is open"),
            |_| number_of(&receiver.recv().expect("the other end is open")),
        )
    });
    contest.limit("copy, one process", || limits::copy(size, count));
    bench.contest(contest);
}

/// Values that serde writes, from one process to another.
fn values(bench: &mut Bench) {
    const TEXT: &str = "twenty-four bytes of text";
    const SERDE: &str = "mp-queue Queue<(u64, String)>";
    const CPYTHON: &str = "CPython's Queue";
    let count = bench.count(100_000);
    let pair = Pair::processes(Placement::TwoCores);
    let mut contest = Contest::of_rates("serde (u64, String of 25 B), two cores");
    contest.ours(SERDE, || {
        let queue = Queue::<(u64, String)>::bounded(CAPACITY).expect("memory for a queue");
        pair.transfer(
            count,
            |number, _| {
                queue.put((number, TEXT.to_owned())).expect("open");
                1
            },
            |_| {
                let (number, text) = queue.get().expect("open");
                assert_eq!(text, TEXT);
                (1, number)
            },
        )
    });
    #[cfg(feature = "compare")]
    contest.peer("ipc-channel", || {
        let (sender, receiver) = ipc_channel::ipc::channel().expect("a channel");
        pair.transfer(
            count / 4,
            |number, _| {
                sender
                    .send((number, TEXT.to_owned()))
                    .expect("the other end is open");
                1
            },
            |_| {
                let (number, text): (u64, String) = receiver.recv().expect("the other end is open");
                assert_eq!(text, TEXT);
                (1, number)
            },
        )
    });
    contest.peer("std sync_channel (threads)", || {
        let (sender, receiver) = std::sync::mpsc::sync_channel(CAPACITY);
        Pair::threads(Placement::TwoCores).transfer(
            count,
            move |number, _| {
                sender
                    .send((number, TEXT.to_owned()))
                    .expect("the other end is open");
                1
            },
            |_| {
                let (number, text) = receiver.recv().expect("the other end is open");
                assert_eq!(text, TEXT);
                (1, number)
            },
        )
    });
    let python = peers::python_is_there();
    if python {
        contest.peer(CPYTHON, || {
            peers::python_queue_transfer(Placement::TwoCores, count / 4, CAPACITY, TEXT)
        });
    }
    let outcome = bench.contest(contest);
    if python {
        let speed = outcome.map(|outcome| outcome.speed(SERDE, CPYTHON));
        bench.goal_at_least("serde messages: speed of CPython's Queue", 60.0, speed);
    }
}

/// Messages of `size` bytes that begin with their number.
fn transfer(
    size: usize,
    count: usize,
    mut send: impl FnMut(&[u8]) + Send,
    mut receive: impl FnMut(&mut [u8]) -> u64,
) -> Sample {
    let (mut message, mut received) = (vec![7; size], vec![0; size]);
    Pair::processes(Placement::TwoCores).transfer(
        count,
        |number, _| {
            message[..8].copy_from_slice(&number.to_ne_bytes());
            send(&message);
            1
        },
        |_| (1, receive(&mut received)),
    )
}

fn number_of(message: &[u8]) -> u64 {
    bytemuck::pod_read_unaligned(&message[..8])
}

fn plain() -> Queue<u64, Plain> {
    Queue::plain_bounded(CAPACITY).expect("memory for a queue")
}

fn with_criterion(criterion: &mut Criterion) {
    if !Placement::TwoCores.is_available() {
        return;
    }
    let mut group = criterion.benchmark_group("queue");
    group.bench_function("round trip 8 B", |bencher| {
        bencher.iter_custom(|iterations| {
            queue_round_trips(Placement::TwoCores, iterations as usize).elapsed_for(iterations)
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("8 B, 1 producer + 1 consumer", |bencher| {
        bencher.iter_custom(|iterations| {
            let queue = plain();
            let market = Market {
                kind: Kind::Processes,
                sides: 1,
                placement: Placement::TwoCores,
                count: iterations as usize,
            };
            let put = |_, number| queue.put(number).expect("open");
            market
                .trade(put, || queue.get().expect("open"))
                .elapsed_for(iterations)
        });
    });
    group.finish();
}

/// Handing over an object in a message, beside the bare system calls; the receiver has the object
/// open already.
fn objects(bench: &mut Bench) {
    const RAW: &str = "sendmsg + recvmsg + close";
    let count = bench.count(2000);
    let array = Array::<f64>::new(12_500_000).expect("100 MB");
    let queue = Queue::new().expect("a queue");
    let lane = socket::pair().expect("two descriptors");
    let mut contest = Contest::of_times("an Array of 100 MB in a message");
    contest.ours("mp-queue Queue<Array<f64>>", || {
        Sample::time(count, || {
            queue.put(array.clone()).expect("room");
            drop(queue.get().expect("a message"));
        })
    });
    contest.limit(RAW, || {
        Sample::time(count, || hand_over(&lane, &[array.as_fd()]))
    });
    let outcome = bench.contest(contest);
    let cost = outcome.map(|outcome| outcome.cost("mp-queue Queue<Array<f64>>", RAW));
    bench.goal_at_most(
        "an Array of 100 MB in a message / sendmsg + recvmsg + close",
        1.5,
        cost,
    );

    let arrays: Vec<_> = (0..64)
        .map(|_| Array::<f64>::new(8).expect("memory"))
        .collect();
    let borrowed: Vec<_> = arrays.iter().map(AsFd::as_fd).collect();
    let several = Queue::new().expect("a queue");
    let mut contest = Contest::of_times("64 Arrays in a message");
    contest.ours("mp-queue Queue<Vec<Array<f64>>>", || {
        Sample::time(count / 16, || {
            several.put(arrays.clone()).expect("room");
            drop(several.get().expect("a message"));
        })
    });
    contest.limit(RAW, || {
        Sample::time(count / 16, || hand_over(&lane, &borrowed))
    });
    bench.contest(contest);
}

fn hand_over((left, right): &(OwnedFd, OwnedFd), descriptors: &[BorrowedFd<'_>]) {
    socket::try_send(left, &[0; 9], descriptors).expect("room");
    let received = socket::recv(right, &mut [0; 9]).expect("a message");
    assert_eq!(received.fds.len(), descriptors.len());
}
