//! Several members that start together.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::thread;
use std::time::Duration;

use mp_layout::atomic::{AtomicU32, AtomicU64};
use mp_shm::Segment;
use rustix::time::{ClockId, clock_gettime};

use crate::{Child, Kind, Placement, Sample, Watchdog};

/// Members that start at once, pinned in turn to the cores of a placement.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// What they are.
    pub kind: Kind,
    /// Where they run.
    pub placement: Placement,
    /// How many.
    pub members: usize,
}

/// Shared by the members of one run.
struct Gate<'a> {
    ready: &'a AtomicU32,
    open: &'a AtomicU32,
    /// Both in nanoseconds of the monotonic clock, which all processes share.
    first_start: &'a AtomicU64,
    last_end: &'a AtomicU64,
}

/// Operations of each member that are timed one by one: long enough for the members to meet.
const SINGLES: usize = 20_000;

impl Crowd {
    /// Lets every member do `work(member)` and returns the time from the first start to the last
    /// end.
    ///
    /// # Panics
    ///
    /// If a member panics.
    pub fn run(self, work: impl Fn(usize) + Sync) -> Duration {
        let segment = Segment::anonymous("gate", 4096).expect("a page");
        let gate = Gate::over(&segment);
        let _watchdog = Watchdog::start();
        let member = |index: usize| {
            self.placement.pin(index);
            gate.pass(|| work(index));
        };
        match self.kind {
            Kind::Processes => {
                let fork = |index| Child::fork(&mut || member(index));
                let children: Vec<_> = (0..self.members).map(fork).collect();
                gate.open_for(self.members);
                children.into_iter().for_each(Child::join);
            }
            Kind::Threads => thread::scope(|scope| {
                let member = &member;
                for index in 0..self.members {
                    scope.spawn(move || member(index));
                }
                gate.open_for(self.members);
            }),
        }
        Duration::from_nanos(gate.last_end.load(Acquire) - gate.first_start.load(Acquire))
    }

    /// Lets every member do `operation(member)` `count` times: first timed as a whole, then one by
    /// one.
    ///
    /// # Panics
    ///
    /// If a member panics.
    pub fn contend(self, count: usize, operation: impl Fn(usize) + Sync) -> Sample {
        let elapsed = self.run(|member| (0..count).for_each(|_| operation(member)));
        let singles = count.min(SINGLES);
        let size = self.members * singles * size_of::<AtomicU32>();
        let segment = Segment::anonymous("latencies", size).expect("room for the latencies");
        let all: &[AtomicU32] = segment
            .region()
            .place_slice(0, self.members * singles)
            .expect("it was made for them");
        self.run(|member| {
            let mine = &all[member * singles..][..singles];
            let mut before = now();
            for latency in mine {
                operation(member);
                let after = now();
                latency.store(u32::try_from(after - before).unwrap_or(u32::MAX), Relaxed);
                before = after;
            }
        });
        Sample {
            latencies: all.iter().map(|latency| latency.load(Relaxed)).collect(),
            ..Sample::of(elapsed, count * self.members)
        }
    }
}

impl<'a> Gate<'a> {
    fn over(segment: &'a Segment) -> Self {
        let region = segment.region();
        let first_start: &AtomicU64 = region.place(8).expect("within the page");
        first_start.store(u64::MAX, Relaxed);
        Self {
            ready: region.place(0).expect("within the page"),
            open: region.place(128).expect("within the page"),
            first_start,
            last_end: region.place(16).expect("within the page"),
        }
    }

    fn pass(&self, work: impl FnOnce()) {
        self.ready.fetch_add(1, AcqRel);
        while self.open.load(Acquire) == 0 {
            thread::yield_now();
        }
        let start = now();
        work();
        self.last_end.fetch_max(now(), AcqRel);
        self.first_start.fetch_min(start, AcqRel);
    }

    fn open_for(&self, members: usize) {
        while self.ready.load(Acquire) as usize != members {
            thread::yield_now();
        }
        self.open.store(1, Release);
    }
}

/// Nanoseconds of the monotonic clock.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
