//! What one contender did in one round.

use std::thread;
use std::time::{Duration, Instant};

/// One contender's round: the time that an operation took, and single latencies where they were
/// taken.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Nanoseconds per operation.
    pub ns: f64,
    /// Single operations in nanoseconds, each with one reading of the clock (about 20 ns) in it.
    pub latencies: Vec<u32>,
}

/// Operations between two readings of the clock where the clock shall not count.
const BATCH: usize = 16;

/// Parts of a long loop, so that a scheduler that takes the core away for a moment spoils one of
/// them.
const PARTS: usize = 9;

impl Sample {
    /// `count` operations that took `elapsed` together.
    pub fn of(elapsed: Duration, count: usize) -> Self {
        Self {
            ns: elapsed.as_nanos() as f64 / count as f64,
            latencies: Vec::new(),
        }
    }

    /// The time that so many operations take at this pace, for criterion's `iter_custom`.
    pub fn elapsed_for(&self, operations: u64) -> Duration {
        Duration::from_nanos((self.ns * operations as f64) as u64)
    }

    /// Times about `count` calls of `operation` in a few parts, of which the median is the figure.
    pub fn time(count: usize, mut operation: impl FnMut()) -> Self {
        let per_part = count.div_ceil(PARTS);
        let part = |_| {
            let start = Instant::now();
            for _ in 0..per_part {
                operation();
            }
            start.elapsed()
        };
        let mut parts: Vec<_> = (0..PARTS).map(part).collect();
        parts.sort_unstable();
        Self::of(parts[PARTS / 2], per_part)
    }

    /// Single latencies, of which the median is the figure.
    pub fn of_latencies(mut latencies: Vec<u32>) -> Self {
        latencies.sort_unstable();
        Self {
            ns: f64::from(latencies[latencies.len() / 2]),
            latencies,
        }
    }

    /// Times `count` single calls, each after a pause; one before them is not counted.
    pub fn of_calls(count: usize, pause: Duration, mut call: impl FnMut()) -> Self {
        call();
        let one = |_| {
            thread::sleep(pause);
            let start = Instant::now();
            call();
            u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX)
        };
        Self::of_latencies((0..count).map(one).collect())
    }

    /// How many operations [`Sample::latency`] does for `count`.
    pub fn operations(count: usize) -> usize {
        warm_up(count) + 2 * whole_batches(count)
    }

    /// Warms up; then takes about `count` operations in batches, of which the median is the figure;
    /// then as many one by one, for the percentiles. `operation` gets their numbers, from 1.
    pub fn latency(count: usize, mut operation: impl FnMut(u64)) -> Self {
        let mut number = 0;
        let mut run = |operations: usize| {
            let start = Instant::now();
            for _ in 0..operations {
                number += 1;
                operation(number);
            }
            start.elapsed()
        };
        run(warm_up(count));
        let count = whole_batches(count);
        let mut batches: Vec<_> = (0..count / BATCH).map(|_| run(BATCH)).collect();
        batches.sort_unstable();
        let latencies = (0..count)
            .map(|_| u32::try_from(run(1).as_nanos()).unwrap_or(u32::MAX))
            .collect();
        Self {
            ns: batches[batches.len() / 2].as_nanos() as f64 / BATCH as f64,
            latencies,
        }
    }
}

fn warm_up(count: usize) -> usize {
    count / 10 + 1
}

fn whole_batches(count: usize) -> usize {
    count.div_ceil(BATCH) * BATCH
}
