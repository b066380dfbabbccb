//! Ten million numbers: filled, summed and mapped in a shared array, in a plain slice and by numpy;
//! and blocks of them that are handed over.

mod hand_over;
mod numpy;

use std::fs::File;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use mp_benches::{Bench, Child, Contest, Placement, Sample, limits};
use mp_shm::Segment;
use mp_value::{Array, NdArray, NdReader, RawArray, RawValue};
use ndarray::Array1;
use rayon::prelude::*;

const OURS: &str = "mp-value Array, locked";
const SLICE: &str = "plain slice";
const RAW_SET: &str = "mp-value RawArray, set";
const RAW_SET_ANY: &str = "mp-value RawArray, set at any index";
const RAW_ITER: &str = "mp-value RawArray, iter";
const ATOMICS: &str = "slice of atomics";
const ATOMICS_ANY: &str = "slice of atomics, at any index";
const NDARRAY: &str = "ndarray Array1";

const TO_WRITE: &str = "mp-value NdArray::open_file";
const TO_READ: &str = "mp-value NdReader::open_file";

const LEN: usize = 10_000_000;

/// Chunks that two processes, or threads, claim.
const CHUNKS: usize = 64;

fn main() {
    let mut bench = Bench::start("array", env!("CARGO_TARGET_TMPDIR"));
    fill_and_sum(&mut bench);
    map(&mut bench);
    first_touch(&mut bench);
    open_large(&mut bench);
    if Placement::TwoCores.is_available() {
        fill_in_two(&mut bench);
        hand_over::there_and_back(&mut bench);
    }
    with_criterion(&mut bench.finish());
}

/// Each contender in memory of its own that it makes in each round: of two arrays in one process,
/// one was 3 to 7 % slower for as long as it lived, probably by the pages that it happened to get.
fn fill_and_sum(bench: &mut Bench) {
    let len = bench.count(LEN);
    let new_array = || Array::<f64>::new(len).expect("memory for the array");
    let new_raw = || RawArray::<f64>::new(len).expect("memory for the array");
    let mut contest = Contest::of_times(format!("fill {} f64, one core", millions(len)));
    contest.ours(OURS, || {
        let array = new_array();
        again(|| fill(&mut array.lock().expect("nobody died")))
    });
    contest.ours(RAW_SET, || {
        let raw = new_raw();
        again(|| fill_raw(&raw))
    });
    contest.ours(RAW_SET_ANY, || {
        let raw = new_raw();
        again(|| fill_raw_at(&raw, black_box(len)))
    });
    contest.peer(SLICE, || {
        let mut slice = vec![0.0; len];
        again(|| fill(&mut slice))
    });
    contest.peer(ATOMICS, || {
        let atomics = new_atomics(len);
        again(|| fill_atomics(&atomics))
    });
    contest.peer(ATOMICS_ANY, || {
        let atomics = new_atomics(len);
        again(|| fill_atomics_at(&atomics, black_box(len)))
    });
    contest.peer(NDARRAY, || {
        let mut array = Array1::zeros(len);
        again(|| fill(array.as_slice_mut().expect("in one piece")))
    });
    if numpy::is_there() {
        contest.peer("numpy, multiply(index, 0.5, out)", || numpy::fill(len));
    }
    #[cfg(feature = "compare")]
    contest.peer("shared_memory, as a slice", || {
        let mut shmem = Shmem::new(len);
        again(|| fill(shmem.slice()))
    });
    contest.limit("plain slice of shared pages", || {
        let mut pages = SharedPages::new(len);
        again(|| fill(pages.slice()))
    });
    contest.limit("memcpy of as many bytes", || limits::copy(8 * len, 1));
    let outcome = bench.contest(contest);
    let cost = |ours, peer| outcome.as_ref().map(|outcome| outcome.cost(ours, peer));
    bench.goal_at_most(
        format!("fill {} f64 / plain slice", millions(len)),
        1.05,
        cost(OURS, SLICE),
    );
    bench.goal_at_most(
        format!("set {} f64 of a RawArray / slice of atomics", millions(len)),
        1.2,
        cost(RAW_SET, ATOMICS),
    );

    let expected = sum_of((0..len).map(element));
    let check = |found| assert_eq!(black_box(found), expected);
    let mut contest = Contest::of_times(format!("sum {} f64, one core", millions(len)));
    contest.ours(OURS, || {
        let array = new_array();
        fill(&mut array.lock().expect("nobody died"));
        again(|| check(sum(&array.lock().expect("nobody died"))))
    });
    contest.ours(RAW_ITER, || {
        let raw = new_raw();
        fill_raw(&raw);
        again(|| check(sum_of(raw.iter())))
    });
    contest.peer(SLICE, || {
        let mut slice = vec![0.0; len];
        fill(&mut slice);
        again(|| check(sum(&slice)))
    });
    contest.peer(ATOMICS, || {
        let atomics = new_atomics(len);
        fill_atomics(&atomics);
        again(|| check(sum_of(atomics.iter().map(load))))
    });
    contest.peer("ndarray Array1, sum()", || {
        let array = Array1::from_iter((0..len).map(element));
        again(|| check(black_box(&array).sum()))
    });
    if numpy::is_there() {
        contest.peer("numpy, sum()", || numpy::sum(len));
    }
    #[cfg(feature = "compare")]
    contest.peer("shared_memory, as a slice", || {
        let mut shmem = Shmem::new(len);
        fill(shmem.slice());
        again(|| check(sum(shmem.slice())))
    });
    contest.limit("plain slice of shared pages", || {
        let mut pages = SharedPages::new(len);
        fill(pages.slice());
        again(|| check(sum(pages.slice())))
    });
    let outcome = bench.contest(contest);
    let cost = |ours, peer| outcome.as_ref().map(|outcome| outcome.cost(ours, peer));
    bench.goal_at_most(
        format!("sum {} f64 / plain slice", millions(len)),
        1.05,
        cost(OURS, SLICE),
    );
    bench.goal_at_most(
        format!("get {} f64 of a RawArray / slice of atomics", millions(len)),
        1.2,
        cost(RAW_ITER, ATOMICS),
    );
}

/// In place, each number twice itself and one more.
fn map(bench: &mut Bench) {
    let len = bench.count(LEN);
    let mut contest = Contest::of_times(format!("map {} f64 in place, one core", millions(len)));
    contest.ours(OURS, || {
        let array = Array::<f64>::new(len).expect("memory for the array");
        fill(&mut array.lock().expect("nobody died"));
        again(|| double(&mut array.lock().expect("nobody died")))
    });
    contest.peer(SLICE, || {
        let mut slice = vec![0.0; len];
        fill(&mut slice);
        again(|| double(&mut slice))
    });
    contest.peer("ndarray Array1, mapv_inplace", || {
        let mut array = Array1::from_iter((0..len).map(element));
        again(|| {
            array.mapv_inplace(doubled);
            black_box(&mut array);
        })
    });
    if numpy::is_there() {
        contest.peer("numpy, multiply and add", || numpy::map(len));
    }
    let outcome = bench.contest(contest);
    let cost = outcome.map(|outcome| outcome.cost(OURS, SLICE));
    let goal = format!("map {} f64 / plain slice", millions(len));
    bench.goal_at_most(goal, 1.05, cost);
}

fn doubled(value: f64) -> f64 {
    value * 2.0 + 1.0
}

#[inline(never)]
fn double(values: &mut [f64]) {
    for value in values.iter_mut() {
        *value = doubled(*value);
    }
    black_box(values);
}

/// From nothing: the memory is made, and its pages are touched for the first time.
fn first_touch(bench: &mut Bench) {
    let len = bench.count(LEN);
    let mut contest = Contest::of_times(format!("make and fill {} f64, one core", millions(len)));
    contest.ours("mp-value Array", || {
        timed(|| {
            let array = Array::<f64>::new(len).expect("memory for the array");
            fill(&mut array.lock().expect("nobody died"));
            drop(black_box(array));
        })
    });
    contest.peer("Vec", || {
        timed(|| {
            let mut values = vec![0.0; len];
            fill(&mut values);
            drop(black_box(values));
        })
    });
    bench.contest(contest);
}

/// A file of 1 GiB without blocks: what is not read costs nothing.
fn open_large(bench: &mut Bench) {
    let directory = env!("CARGO_TARGET_TMPDIR");
    let path = format!("{directory}/large-{}.npy", std::process::id());
    let text = "{'descr':'<f8','fortran_order':False,'shape':(134217728,)}";
    let header = [
        b"\x93NUMPY\x01\x00\x76\x00",
        format!("{text:<117}\n").as_bytes(),
    ]
    .concat();
    std::fs::write(&path, &header).expect("a file");
    let file = File::options().write(true).open(&path).expect("the file");
    file.set_len(header.len() as u64 + (1 << 30))
        .expect("a sparse file");

    let mut contest = Contest::of_times("open an .npy file of 1 GiB");
    contest.ours(TO_WRITE, || {
        timed(|| drop(black_box(NdArray::<f64>::open_file(&path).expect("a file"))))
    });
    contest.ours(TO_READ, || {
        timed(|| {
            drop(black_box(
                NdReader::<f64>::open_file(&path).expect("a file"),
            ));
        })
    });
    contest.limit("open and close", || {
        timed(|| drop(black_box(File::open(&path).expect("a file"))))
    });
    let outcome = bench.contest(contest);
    for opens in [TO_WRITE, TO_READ] {
        let time = outcome
            .as_ref()
            .map(|outcome| outcome.multiples_of(1e6, opens));
        bench.goal_at_most(format!("{opens} of 1 GiB / 1 ms"), 1.0, time);
    }
    std::fs::remove_file(&path).expect("the file");
}

/// Two at once, each in chunks that it claims.
fn fill_in_two(bench: &mut Bench) {
    let len = bench.count(LEN);
    let chunk_len = len.div_ceil(CHUNKS);
    let array = Array::<f64>::new(len).expect("memory for the array");
    let mut slice = vec![0.0; len];
    let mut contest = Contest::of_times(format!(
        "fill {} f64 in {CHUNKS} chunks, two cores",
        millions(len)
    ));
    contest.ours("mp-value Array, chunks claimed by 2 processes", || {
        let next = RawValue::<u64>::new(0).expect("memory for a number");
        let work = || {
            let chunks = array.chunks(chunk_len).expect("few enough");
            while let Some(index) = claim(&next, CHUNKS) {
                let claim = chunks.claim(index).expect("nobody died");
                let mut chunk = claim.claimed().expect("each number is given once");
                let start = chunk.range().start;
                fill_from(&mut chunk, start);
            }
        };
        timed(|| {
            let child = Child::fork(&mut || {
                Placement::TwoCores.pin(1);
                work();
            });
            work();
            child.join();
        })
    });
    contest.peer("chunks_mut among 2 threads", || {
        timed(|| {
            thread::scope(|scope| {
                let (first, second) = slice.split_at_mut(CHUNKS / 2 * chunk_len);
                let middle = first.len();
                scope.spawn(move || {
                    Placement::TwoCores.pin(1);
                    for (index, chunk) in second.chunks_mut(chunk_len).enumerate() {
                        fill_from(chunk, middle + index * chunk_len);
                    }
                });
                for (index, chunk) in first.chunks_mut(chunk_len).enumerate() {
                    fill_from(chunk, index * chunk_len);
                }
            });
        })
    });
    contest.peer("rayon par_chunks_mut, 2 threads", {
        // Its threads live for a round only: where they run, no other contender could fork.
        let threads = || rayon::ThreadPoolBuilder::new().num_threads(2);
        let mut slice = vec![0.0; len];
        let mut fill = move || {
            let chunks = slice.par_chunks_mut(chunk_len).enumerate();
            chunks.for_each(|(index, chunk)| fill_from(chunk, index * chunk_len));
        };
        move || {
            let pinned = |thread: rayon::ThreadBuilder| {
                Placement::TwoCores.pin(thread.index());
                thread.run();
            };
            let filled = |pool: &rayon::ThreadPool| timed(|| pool.install(&mut fill));
            threads().build_scoped(pinned, filled).expect("two threads")
        }
    });
    contest.limit("plain slice, one thread", {
        let mut slice = vec![0.0; len];
        move || timed(|| fill(&mut slice))
    });
    if bench.contest(contest).is_some() {
        assert_eq!(sum(&array.lock().expect("nobody died")), sum(&slice));
    }
}

fn claim(next: &RawValue<u64>, count: usize) -> Option<usize> {
    let index = next.fetch_add(1) as usize;
    (index < count).then_some(index)
}

/// Times the second of two runs, which finds in the caches what the first left, and not what the
/// last contender did.
fn again(mut work: impl FnMut()) -> Sample {
    work();
    timed(work)
}

fn timed(work: impl FnOnce()) -> Sample {
    let start = Instant::now();
    work();
    Sample::of(start.elapsed(), 1)
}

fn millions(len: usize) -> String {
    match len {
        1_000_000.. => format!("{} million", len / 1_000_000),
        _ => len.to_string(),
    }
}

fn element(index: usize) -> f64 {
    index as f64 * 0.5
}

fn fill(values: &mut [f64]) {
    fill_from(values, 0);
}

#[inline(never)]
fn fill_from(values: &mut [f64], start: usize) {
    for (index, value) in values.iter_mut().enumerate() {
        *value = element(start + index);
    }
    black_box(values);
}

fn new_atomics(len: usize) -> Vec<AtomicU64> {
    (0..len).map(|_| AtomicU64::new(0)).collect()
}

#[inline(never)]
fn fill_atomics(atomics: &[AtomicU64]) {
    for (index, atomic) in atomics.iter().enumerate() {
        atomic.store(element(index).to_bits(), Ordering::Relaxed);
    }
    black_box(atomics);
}

/// At indices of which the compiler does not know that they are within the slice. The values cost
/// nothing: how an index is turned into a floating-point number depends on what else the compiler
/// knows of it, in two instructions or in six.
#[inline(never)]
#[expect(clippy::needless_range_loop, reason = "indices that are checked")]
fn fill_atomics_at(atomics: &[AtomicU64], count: usize) {
    for index in 0..count {
        atomics[index].store(index as u64, Ordering::Relaxed);
    }
    black_box(atomics);
}

#[inline(never)]
fn fill_raw(raw: &RawArray<f64>) {
    for index in 0..raw.len() {
        raw.set(index, element(index));
    }
}

/// As [`fill_atomics_at`].
#[inline(never)]
fn fill_raw_at(raw: &RawArray<f64>, count: usize) {
    for index in 0..count {
        raw.set(index, f64::from_bits(index as u64));
    }
}

fn load(atomic: &AtomicU64) -> f64 {
    f64::from_bits(atomic.load(Ordering::Relaxed))
}

#[inline(never)]
fn sum(values: &[f64]) -> f64 {
    sum_of(black_box(values).iter().copied())
}

/// Eight sums at once, so that memory and not the latency of an addition is the limit.
#[inline(always)]
fn sum_of(values: impl Iterator<Item = f64>) -> f64 {
    let mut sums = [0.0; 8];
    for (index, value) in values.enumerate() {
        sums[index % 8] += value;
    }
    sums.iter().sum()
}

/// A segment as a slice, without a lock or a header: what the pages themselves allow.
struct SharedPages {
    segment: Segment,
    len: usize,
}

impl SharedPages {
    fn new(len: usize) -> Self {
        let segment = Segment::anonymous("plain pages", 8 * len).expect("memory for the slice");
        Self { segment, len }
    }

    fn slice(&mut self) -> &mut [f64] {
        let start = self.segment.region().as_ptr().cast();
        // SAFETY: page-aligned, `len` numbers long, every bit pattern is a number, and only this
        // process has the segment.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }
}

/// The same through the `shared_memory` crate.
#[cfg(feature = "compare")]
struct Shmem {
    memory: shared_memory::Shmem,
    len: usize,
}

#[cfg(feature = "compare")]
impl Shmem {
    fn new(len: usize) -> Self {
        let memory = shared_memory::ShmemConf::new().size(8 * len).create();
        Self {
            memory: memory.expect("memory for the slice"),
            len,
        }
    }

    fn slice(&mut self) -> &mut [f64] {
        let start = self.memory.as_ptr().cast();
        // SAFETY: page-aligned, `len` numbers long, every bit pattern is a number, and nobody else
        // knows its name.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }
}

fn with_criterion(criterion: &mut Criterion) {
    let array = Array::<f64>::new(LEN / 10).expect("memory for the array");
    let mut group = criterion.benchmark_group("array");
    group.throughput(Throughput::Bytes(8 * array.len() as u64));
    group.bench_function("fill 1 million f64", |bencher| {
        bencher.iter(|| fill(&mut array.lock().expect("nobody died")));
    });
    group.bench_function("sum 1 million f64", |bencher| {
        bencher.iter(|| sum(&array.lock().expect("nobody died")));
    });
    group.finish();
}
