//! Throughput of the rings beside rtrb's, and their round trip beside the two-line ping-pong,
//! between two pinned threads.
//!
//! `cargo run --release -p mp-ring --example throughput`

use std::hint::{black_box, spin_loop};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use mp_layout::Padded;
use mp_ring::{ByteRing, Ring};

const RUNS: usize = 21;
const BATCH: usize = 32;
const ROUND_TRIPS: u64 = 5_000;

/// Values that a ring of `size`-byte values holds: at least two batches, at most 8 MiB.
fn capacity(size: usize) -> usize {
    ((8 << 20) / size).clamp(2 * BATCH, 4096)
}

/// Values per run, so that it takes about a millisecond: less than a busy machine's scheduler gives
/// at once.
fn count(size: usize) -> usize {
    ((16 << 20) / size).min(200_000) / BATCH * BATCH
}

fn main() {
    if std::env::args().any(|argument| argument == "round-trip") {
        return report_round_trips();
    }
    println!("ns per value, best and median of {RUNS} interleaved runs");
    println!("{:<24}{:>22}{:>22}  rtrb/ours", "", "ours", "rtrb");
    throughput::<8>();
    throughput::<64>();
    throughput::<1024>();
    throughput::<4096>();
    throughput::<65536>();
    for size in [8, 64, 1024] {
        let (best, median) = best_and_median((0..RUNS).map(|_| byte_records(size)).collect());
        println!(
            "{:<24}{best:11.2}{median:11.2}",
            format!("records of {size} B")
        );
    }
    report_round_trips();
}

fn report_round_trips() {
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..RUNS {
        times[0].push(ping_pong());
        times[1].push(ring_round_trip());
        times[2].push(rtrb_round_trip());
    }
    let [words, ours, theirs] = times.map(best_and_median);
    println!(
        "round trip of 8 B: ping-pong of two lines {words:.0?}, ours {ours:.0?}, rtrb {theirs:.0?} ns"
    );
    println!(
        "ours / ping-pong: {:.2} and {:.2}",
        ours.0 / words.0,
        ours.1 / words.1
    );
}

/// Moves values of one size through a ring and returns ns per value.
type Run<const SIZE: usize> = fn(&[[u8; SIZE]]) -> f64;

/// The three forms of one size: one by one, slices, in place.
fn throughput<const SIZE: usize>() {
    let values = vec![[7_u8; SIZE]; BATCH];
    let forms: [(&str, Run<SIZE>, Run<SIZE>); 3] = [
        ("one by one", ours_single, rtrb_single),
        ("slices of 32", ours_slices, rtrb_slices),
        ("in place, 32", ours_in_place, rtrb_in_place),
    ];
    for (form, ours, theirs) in forms {
        let (mut mine, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            mine.push(ours(&values));
            peer.push(theirs(&values));
        }
        let (ours, theirs) = (best_and_median(mine), best_and_median(peer));
        println!(
            "{:<24}{:11.2}{:11.2}{:11.2}{:11.2}  {:.2} {:.2}",
            format!("{SIZE} B, {form}"),
            ours.0,
            ours.1,
            theirs.0,
            theirs.1,
            theirs.0 / ours.0,
            theirs.1 / ours.1
        );
    }
}

fn ours_single<const SIZE: usize>(values: &[[u8; SIZE]]) -> f64 {
    with_ring(
        values,
        |producer, value| usize::from(producer.push(*black_box(&value[0])).is_ok()),
        |consumer, _| {
            consumer
                .pop()
                .map_or(0, |value| usize::from(black_box(&value)[0] == 7))
        },
    )
}

fn rtrb_single<const SIZE: usize>(values: &[[u8; SIZE]]) -> f64 {
    with_rtrb(
        values,
        |producer, value| usize::from(producer.push(*black_box(&value[0])).is_ok()),
        |consumer, _| {
            consumer
                .pop()
                .map_or(0, |value| usize::from(black_box(&value)[0] == 7))
        },
    )
}

fn ours_slices<const SIZE: usize>(values: &[[u8; SIZE]]) -> f64 {
    with_ring(
        values,
        |producer, values| producer.push_slice(values).unwrap_or(0),
        |consumer, into| {
            let count = consumer.pop_slice(into).unwrap_or(0);
            black_box(&into[..count]);
            count
        },
    )
}

fn rtrb_slices<const SIZE: usize>(values: &[[u8; SIZE]]) -> f64 {
    with_rtrb(
        values,
        |producer, values| producer.push_partial_slice(values).0.len(),
        |consumer, into| {
            let count = consumer.pop_partial_slice(into).0.len();
            black_box(&into[..count]);
            count
        },
    )
}

fn ours_in_place<const SIZE: usize>(values: &[[u8; SIZE]]) -> f64 {
    let push = |producer: &mut mp_ring::Producer<'_, [u8; SIZE]>, values: &[[u8; SIZE]]| {
        let Ok(mut grant) = producer.reserve(values.len()) else {
            return 0;
        };
        let (one, two) = grant.slices();
        let (first, second) = values.split_at(one.len());
        one.copy_from_slice(first);
        two.copy_from_slice(second);
        grant.commit_all();
        values.len()
    };
    with_ring(values, push, |consumer, into| {
        let Ok(chunk) = consumer.read_chunk(into.len()) else {
            return 0;
        };
        let (one, two) = chunk.slices();
        black_box(sum(one) + sum(two));
        let count = chunk.len();
        chunk.release_all();
        count
    })
}

fn rtrb_in_place<const SIZE: usize>(values: &[[u8; SIZE]]) -> f64 {
    let push = |producer: &mut rtrb::Producer<[u8; SIZE]>, values: &[[u8; SIZE]]| {
        let Ok(mut chunk) = producer.write_chunk_uninit(values.len()) else {
            return 0;
        };
        let (one, two) = chunk.as_mut_slices();
        let (first, second) = values.split_at(one.len());
        copy(first, one);
        copy(second, two);
        // SAFETY: every slot was just written.
        unsafe { chunk.commit_all() };
        values.len()
    };
    with_rtrb(values, push, |consumer, into| {
        let count = consumer.slots().min(into.len());
        let Ok(chunk) = consumer.read_chunk(count) else {
            return 0;
        };
        let (one, two) = chunk.as_slices();
        black_box(sum(one) + sum(two));
        chunk.commit_all();
        count
    })
}

/// `MaybeUninit`'s own copy is younger than the oldest compiler we build with.
fn copy<T: Copy>(values: &[T], slots: &mut [MaybeUninit<T>]) {
    for (slot, value) in slots.iter_mut().zip(values) {
        slot.write(*value);
    }
}

/// Reads one byte of each line, as a consumer does that works in place.
fn sum<const SIZE: usize>(values: &[[u8; SIZE]]) -> u64 {
    values
        .as_flattened()
        .iter()
        .step_by(64)
        .map(|byte| u64::from(*byte))
        .sum()
}

fn with_ring<const SIZE: usize>(
    values: &[[u8; SIZE]],
    push: impl Fn(&mut mp_ring::Producer<'_, [u8; SIZE]>, &[[u8; SIZE]]) -> usize + Send + Sync,
    pop: impl Fn(&mut mp_ring::Consumer<'_, [u8; SIZE]>, &mut [[u8; SIZE]]) -> usize,
) -> f64 {
    let capacity = capacity(SIZE);
    let mut memory = vec![0; Ring::<[u8; SIZE]>::words_for(capacity).unwrap()];
    let ring = Ring::new(&mut memory, capacity).unwrap();
    let (mut producer, mut consumer) = ring.split().unwrap();
    transfer(
        values,
        |values| push(&mut producer, values),
        |into| pop(&mut consumer, into),
    )
}

fn with_rtrb<const SIZE: usize>(
    values: &[[u8; SIZE]],
    push: impl Fn(&mut rtrb::Producer<[u8; SIZE]>, &[[u8; SIZE]]) -> usize + Send + Sync,
    pop: impl Fn(&mut rtrb::Consumer<[u8; SIZE]>, &mut [[u8; SIZE]]) -> usize,
) -> f64 {
    let (mut producer, mut consumer) = rtrb::RingBuffer::new(capacity(SIZE));
    transfer(
        values,
        |values| push(&mut producer, values),
        |into| pop(&mut consumer, into),
    )
}

/// Sends twice the measured number, of which the first half warms memory up; returns ns per value.
fn transfer<const SIZE: usize>(
    values: &[[u8; SIZE]],
    mut push: impl FnMut(&[[u8; SIZE]]) -> usize + Send,
    mut pop: impl FnMut(&mut [[u8; SIZE]]) -> usize,
) -> f64 {
    let count = count(SIZE);
    thread::scope(|scope| {
        scope.spawn(move || {
            pin(1);
            let mut left = 2 * count;
            while left > 0 {
                match push(&values[..left.min(BATCH)]) {
                    0 => spin_loop(),
                    pushed => left -= pushed,
                }
            }
        });
        pin(0);
        let mut into = vec![[0; SIZE]; values.len()];
        let mut receive = |mut left: usize| {
            while left > 0 {
                match pop(&mut into[..left.min(BATCH)]) {
                    0 => spin_loop(),
                    popped => left -= popped,
                }
            }
        };
        receive(count);
        let start = Instant::now();
        receive(count);
        start.elapsed().as_nanos() as f64 / count as f64
    })
}

fn byte_records(size: usize) -> f64 {
    let mut memory = vec![0; ByteRing::words_for(1 << 20).unwrap()];
    let ring = ByteRing::new(&mut memory, 1 << 20, None).unwrap();
    let (mut producer, mut consumer) = ring.split().unwrap();
    let (count, bytes) = (count(size), vec![7; size]);
    thread::scope(|scope| {
        scope.spawn(move || {
            pin(1);
            for _ in 0..count {
                while producer.push(black_box(&bytes)).is_err() {
                    spin_loop();
                }
            }
        });
        pin(0);
        let mut into = Vec::new();
        let start = Instant::now();
        for _ in 0..count {
            while consumer.pop_into(&mut into).is_err() {
                spin_loop();
            }
            black_box(&into);
        }
        start.elapsed().as_nanos() as f64 / count as f64
    })
}

fn ping_pong() -> f64 {
    let (there, back) = (
        Padded::new(AtomicU64::new(0)),
        Padded::new(AtomicU64::new(0)),
    );
    let wait = |word: &AtomicU64, value| {
        while word.load(Ordering::Acquire) != value {
            spin_loop();
        }
    };
    round_trips(
        |value| {
            wait(&there, value);
            back.store(value, Ordering::Release);
        },
        |value| {
            there.store(value, Ordering::Release);
            wait(&back, value);
        },
    )
}

fn ring_round_trip() -> f64 {
    let words = Ring::<u64>::words_for(64).unwrap();
    let (mut there, mut back) = (vec![0; words], vec![0; words]);
    let (mut to, mut at) = Ring::<u64>::new(&mut there, 64).unwrap().split().unwrap();
    let (mut answer, mut answered) = Ring::<u64>::new(&mut back, 64).unwrap().split().unwrap();
    round_trips(
        move |value| {
            while at.pop() != Ok(value) {
                spin_loop();
            }
            answer.push(value).unwrap();
        },
        move |value| {
            to.push(value).unwrap();
            while answered.pop() != Ok(value) {
                spin_loop();
            }
        },
    )
}

fn rtrb_round_trip() -> f64 {
    let (mut to, mut at) = rtrb::RingBuffer::new(64);
    let (mut answer, mut answered) = rtrb::RingBuffer::new(64);
    round_trips(
        move |value| {
            while at.pop() != Ok(value) {
                spin_loop();
            }
            answer.push(value).unwrap();
        },
        move |value| {
            to.push(value).unwrap();
            while answered.pop() != Ok(value) {
                spin_loop();
            }
        },
    )
}

fn round_trips(mut answer: impl FnMut(u64) + Send, mut ask: impl FnMut(u64)) -> f64 {
    thread::scope(|scope| {
        scope.spawn(move || {
            pin(1);
            (1..=2 * ROUND_TRIPS).for_each(&mut answer);
        });
        pin(0);
        (1..=ROUND_TRIPS).for_each(&mut ask);
        let start = Instant::now();
        (ROUND_TRIPS + 1..=2 * ROUND_TRIPS).for_each(&mut ask);
        start.elapsed().as_nanos() as f64 / ROUND_TRIPS as f64
    })
}

fn best_and_median(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[0], times[times.len() / 2])
}

/// Pins the calling thread to a core, if there is one of that number.
fn pin(core: usize) {
    // SAFETY: all bytes zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    // SAFETY: the number is below the set's 1024.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set lives through the call; a refusal leaves the thread where it was.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
}
