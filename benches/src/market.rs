//! Producers and consumers of numbers.

use std::hint::spin_loop;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use mp_layout::atomic::AtomicU64;
use mp_shm::Segment;

use crate::{Crowd, Kind, Placement, Sample};

/// Producers that send numbers, and as many consumers that sum them.
#[derive(Clone, Copy, Debug)]
pub struct Market {
    /// What the members are.
    pub kind: Kind,
    /// Producers, and also consumers.
    pub sides: usize,
    /// Where they run.
    pub placement: Placement,
    /// Numbers of each producer, and of each consumer.
    pub count: usize,
}

impl Market {
    /// Each producer puts its numbers one by one, with which of the producers it is; each consumer
    /// gets as many.
    pub fn trade(self, put: impl Fn(usize, u64) + Sync, get: impl Fn() -> u64 + Sync) -> Sample {
        let produce = |side, first: u64| {
            (first..first + self.count as u64).for_each(|number| put(side, number));
        };
        self.run(produce, || (0..self.count).map(|_| get()).sum())
    }

    /// `produce` sends `count` numbers from the given one on, as one of the producers; `consume`
    /// receives as many and sums them.
    ///
    /// # Panics
    ///
    /// If the sums show that a number was lost or came twice.
    pub fn run(
        self,
        produce: impl Fn(usize, u64) + Sync,
        consume: impl Fn() -> u64 + Sync,
    ) -> Sample {
        let segment = Segment::anonymous("sum", 4096).expect("a page");
        let sum: &AtomicU64 = segment.region().place(0).expect("within the page");
        let crowd = Crowd {
            kind: self.kind,
            placement: self.placement,
            members: 2 * self.sides,
        };
        let elapsed = crowd.run(|member| match member.checked_sub(self.sides) {
            None => produce(member, (member * self.count) as u64),
            Some(_) => {
                sum.fetch_add(consume(), Relaxed);
            }
        });
        let total = (self.sides * self.count) as u64;
        assert_eq!(
            sum.load(Relaxed),
            total * (total - 1) / 2,
            "each number comes once"
        );
        Sample::of(elapsed, total as usize)
    }
}

/// Tries until there is a result: spinning at first, then giving the core away.
pub fn patiently<R>(mut attempt: impl FnMut() -> Option<R>) -> R {
    let mut tries = 0;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        tries += 1;
        if tries < 100 {
            spin_loop();
        } else {
            thread::yield_now();
        }
    }
}
