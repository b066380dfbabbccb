//! How to wait: looking, or sleeping.

use std::time::{Duration, Instant};

use mp_layout::atomic::{AtomicU32, Ordering};
use mp_os::clock::Deadline;

/// How a waiter spends its time until the other side is done.
///
/// Figures: `cargo run --release -p mp-sync --example lock_cost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wait {
    /// Looks for a moment if the other side last ran on another processor, then sleeps.
    #[default]
    Adaptive,
    /// Looks without ever sleeping. Only for a processor of one's own.
    Spin,
    /// Sleeps immediately.
    Sleep,
}

/// Looks with a pause instruction between: a few microseconds, ten times a round trip of a cache
/// line between two cores.
const PAUSES: u32 = 100;

/// How long looks with `sched_yield` between go on: longer than waking a sleeping core takes (40 to
/// 70 us), or two sides that once slept would find each other asleep from then on.
const YIELD_FOR: Duration = Duration::from_micros(100);

/// A yield that took longer let another thread run here: alone it takes a fifth of that.
const SWITCHED: Duration = Duration::from_micros(1);

/// Looks of [`Wait::Spin`] between two looks at the clock, and two offers of the processor.
const SPINS_PER_CHECK: u32 = 2000;

/// The processor on which the other side last ran, plus one; 0 is unknown.
///
/// A notifier states it when it has a thread to wake, which costs nothing next to the system call.
/// A waiter states it when the change came while it let another thread have its processor: then the
/// two share it, or seem to. A wrong hint costs one sleep, after which the notifier puts it right.
pub(crate) struct PeerCpu<'a>(pub(crate) &'a AtomicU32);

impl PeerCpu<'_> {
    fn is_here(&self) -> bool {
        self.0.load(Ordering::Relaxed) == here()
    }

    pub(crate) fn set_here(&self) {
        let here = here();
        if self.0.load(Ordering::Relaxed) != here {
            self.0.store(here, Ordering::Relaxed);
        }
    }
}

/// This processor's number plus one.
fn here() -> u32 {
    if cfg!(any(loom, miri)) {
        return 1;
    }
    u32::try_from(mp_os::cpu::current_cpu()).map_or(0, |cpu| cpu.wrapping_add(1))
}

impl Wait {
    /// Looks for a while, as the policy says; `None` means: sleep now, or the deadline passed.
    pub(crate) fn spin<R>(
        self,
        other: &PeerCpu<'_>,
        deadline: Deadline,
        test: &mut impl FnMut() -> Option<R>,
        recheck: Duration,
        on_suspect: &mut impl FnMut(),
    ) -> Option<R> {
        if cfg!(loom) {
            return None;
        }
        match self {
            Self::Sleep => None,
            Self::Adaptive if other.is_here() => None,
            Self::Adaptive => spin_then_yield(other, deadline, test),
            Self::Spin => spin_until_deadline(deadline, test, recheck, on_suspect),
        }
    }
}

fn spin_then_yield<R>(
    other: &PeerCpu<'_>,
    deadline: Deadline,
    test: &mut impl FnMut() -> Option<R>,
) -> Option<R> {
    for _ in 0..PAUSES {
        std::hint::spin_loop();
        if let Some(result) = test() {
            return Some(result);
        }
    }
    let start = Instant::now();
    let mut before = start;
    while before - start < YIELD_FOR && !deadline.is_expired() {
        std::thread::yield_now();
        let seen = test();
        let now = Instant::now();
        if seen.is_some() {
            if now - before > SWITCHED {
                other.set_here();
            }
            return seen;
        }
        before = now;
    }
    None
}

fn spin_until_deadline<R>(
    deadline: Deadline,
    test: &mut impl FnMut() -> Option<R>,
    recheck: Duration,
    on_suspect: &mut impl FnMut(),
) -> Option<R> {
    let mut next_recheck = Deadline::after(recheck);
    loop {
        for _ in 0..SPINS_PER_CHECK {
            std::hint::spin_loop();
            if let Some(result) = test() {
                return Some(result);
            }
        }
        if deadline.is_expired() {
            return None;
        }
        if next_recheck.is_expired() {
            on_suspect();
            next_recheck = Deadline::after(recheck);
        }
        std::thread::yield_now();
    }
}
