//! Two sides of an exchange.

use std::hint::{black_box, spin_loop};
use std::thread;
use std::time::Instant;

use crate::{Child, Placement, Sample, Watchdog};

/// What the members of a measurement are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Forked processes.
    Processes,
    /// Threads of the bench, for peers that cannot leave their process.
    Threads,
}

/// Two members, each pinned: this thread, and another one or a forked process beside it.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// What the other one is.
    pub kind: Kind,
    /// Where the two run.
    pub placement: Placement,
}

/// The most values that a form of transfer moves at once.
const BATCH: usize = 32;

/// Parts of a transfer, of which the median is the figure. A side that loses its core for a moment
/// spoils one or two.
const PARTS: usize = 15;

impl Pair {
    /// Two processes.
    pub const fn processes(placement: Placement) -> Self {
        Self {
            kind: Kind::Processes,
            placement,
        }
    }

    /// Two threads.
    pub const fn threads(placement: Placement) -> Self {
        Self {
            kind: Kind::Threads,
            placement,
        }
    }

    /// Does `body` here while `other` is done beside it, and waits for both.
    pub fn run<R>(self, mut other: impl FnMut() + Send, body: impl FnOnce() -> R) -> R {
        let _watchdog = Watchdog::start();
        let mut other = move || {
            self.placement.pin(1);
            other();
        };
        let here = || {
            self.placement.pin(0);
            body()
        };
        match self.kind {
            Kind::Processes => {
                let child = Child::fork(&mut other);
                let result = here();
                child.join();
                result
            }
            Kind::Threads => thread::scope(|scope| {
                // Onto its own stack: what the two write must not share a line.
                scope.spawn(move || black_box(other)());
                here()
            }),
        }
    }

    /// About `count` round trips: `ask(n)` here, `answer(n)` there, for n from 1.
    pub fn round_trips(
        self,
        count: usize,
        mut answer: impl FnMut(u64) + Send,
        ask: impl FnMut(u64),
    ) -> Sample {
        let trips = Sample::operations(count) as u64;
        self.run(
            move || (1..=trips).for_each(&mut answer),
            || Sample::latency(count, ask),
        )
    }

    /// Moves `count` numbered values to this side, after a quarter as many that warm up, and checks
    /// their sum.
    ///
    /// `push(n, most)` sends up to `most` values numbered from n and says how many; `pop(most)`
    /// says how many came, and the sum of their numbers. Both return 0 when they cannot go on,
    /// and are called again.
    ///
    /// # Panics
    ///
    /// If other numbers came than were sent.
    pub fn transfer(
        self,
        count: usize,
        mut push: impl FnMut(u64, usize) -> usize + Send,
        mut pop: impl FnMut(usize) -> (usize, u64),
    ) -> Sample {
        let (warm_up, total) = (count / 4, count / 4 + count);
        let send = move || {
            let mut sent = 0;
            while sent < total {
                match push(sent as u64, (total - sent).min(BATCH)) {
                    0 => spin_loop(),
                    pushed => sent += pushed,
                }
            }
        };
        let mut sum = 0;
        let mut receive = |mut left: usize| {
            while left > 0 {
                match pop(left.min(BATCH)) {
                    (0, _) => spin_loop(),
                    (popped, numbers) => {
                        left -= popped;
                        sum += numbers;
                    }
                }
            }
        };
        let sample = self.run(send, || {
            receive(warm_up);
            let part = |part| {
                let start = Instant::now();
                let values = count * (part + 1) / PARTS - count * part / PARTS;
                receive(values);
                Sample::of(start.elapsed(), values.max(1)).ns
            };
            let mut parts: Vec<_> = (0..PARTS).map(part).collect();
            parts.sort_by(f64::total_cmp);
            Sample {
                ns: parts[PARTS / 2],
                latencies: Vec::new(),
            }
        });
        let total = total as u64;
        assert_eq!(sum, total * (total - 1) / 2, "each value comes once");
        sample
    }
}
