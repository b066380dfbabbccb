//! One producer, one consumer: round trips and throughput of the ring between two processes.

mod blocking;
mod round_trip;
mod throughput;
mod transfer;

use criterion::{Criterion, Throughput};
use mp_benches::{Bench, Pair, Placement};

use crate::round_trip::{spinning_round_trips, waiting_round_trips};
use crate::transfer::{pop_slice, push_slice, with_ring};

const WAITING: &str = "mp-ring Ring + EventCount, default wait";

const RTRB: &str = "rtrb (threads)";

#[cfg(feature = "compare")]
const ICEORYX2: &str = "iceoryx2";

/// Values that a batch moves, where the form is one of batches.
const BATCH: usize = 32;

/// Two processes on two cores, or two threads.
const PROCESSES: Pair = Pair::processes(Placement::TwoCores);

const THREADS: Pair = Pair::threads(Placement::TwoCores);

fn main() {
    let mut bench = Bench::start("spsc", env!("CARGO_TARGET_TMPDIR"));
    if Placement::TwoCores.is_available() {
        round_trip::round_trip_on_two_cores(&mut bench);
    }
    round_trip::round_trip_on_one_core(&mut bench);
    if Placement::TwoCores.is_available() {
        throughput::throughput::<1>(&mut bench);
        throughput::throughput::<8>(&mut bench);
        throughput::throughput::<128>(&mut bench);
        throughput::throughput::<8192>(&mut bench);
    }
    throughput::throughput_on_one_core(&mut bench);
    with_criterion(&mut bench.finish());
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
            with_ring::<128>(count, BATCH, push_slice, pop_slice).elapsed_for(iterations)
        });
    });
    group.finish();
}
