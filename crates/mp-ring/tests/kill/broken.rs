//! Two rings that a kill breaks: the controls of the judge.

use std::num::NonZeroU64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::judge::{Judged, Stage, Verdict};

const SLOTS: u64 = 4;

/// The bounded MPMC queue after Vyukov: whoever dies between taking a place and stamping it blocks
/// everybody behind.
#[derive(Clone, Copy)]
pub(crate) struct Vyukov<'m>(&'m Stage);

impl<'m> Vyukov<'m> {
    fn tail(&self) -> &'m AtomicU64 {
        &self.0.words()[0]
    }

    fn head(&self) -> &'m AtomicU64 {
        &self.0.words()[1]
    }

    fn stamp(&self, position: u64) -> &'m AtomicU64 {
        &self.0.words()[2 + 2 * (position % SLOTS) as usize]
    }

    fn number(&self, position: u64) -> &'m AtomicU64 {
        &self.0.words()[3 + 2 * (position % SLOTS) as usize]
    }
}

/// Takes the position that `word` counts, unless its stamp is not yet `ahead` of it.
fn take(ring: Vyukov<'_>, word: &AtomicU64, ahead: u64) -> Option<u64> {
    let position = word.load(Relaxed);
    let ready = ring.stamp(position).load(Acquire) == position + ahead;
    let taken =
        ready && word.compare_exchange(position, position + 1, Relaxed, Relaxed) == Ok(position);
    taken.then_some(position)
}

impl<'m> Judged<'m> for Vyukov<'m> {
    type Producer = Self;
    type Consumer = Self;
    const ROOM: usize = SLOTS as usize;

    fn create(stage: &'m Stage) -> Self {
        for position in 0..SLOTS {
            Self(stage).stamp(position).store(position, Release);
        }
        Self(stage)
    }

    fn claim_producer(self, _: NonZeroU64) -> Verdict<Self> {
        Ok(self)
    }

    fn claim_consumer(self, _: NonZeroU64) -> Verdict<Self> {
        Ok(self)
    }

    fn sweep(self) {}

    fn push(ring: &mut Self, number: u64) -> bool {
        let Some(position) = take(*ring, ring.tail(), 0) else {
            return false;
        };
        ring.number(position).store(number, Relaxed);
        ring.stamp(position).store(position + 1, Release);
        true
    }

    fn pop(ring: &mut Self) -> Verdict<Option<u64>> {
        Ok(take(*ring, ring.head(), 1).map(|position| {
            let number = ring.number(position).load(Relaxed);
            ring.stamp(position).store(position + SLOTS, Release);
            number
        }))
    }
}

/// A ring whose tail is stored before the number that it publishes.
#[derive(Clone, Copy)]
pub(crate) struct TailFirst<'m>(&'m Stage);

impl<'m> TailFirst<'m> {
    fn words(&self) -> (&'m AtomicU64, &'m AtomicU64, &'m [AtomicU64]) {
        let words = self.0.words();
        (&words[0], &words[1], &words[2..2 + SLOTS as usize])
    }
}

impl<'m> Judged<'m> for TailFirst<'m> {
    type Producer = Self;
    type Consumer = Self;
    const ROOM: usize = SLOTS as usize;

    fn create(stage: &'m Stage) -> Self {
        Self(stage)
    }

    fn claim_producer(self, _: NonZeroU64) -> Verdict<Self> {
        Ok(self)
    }

    fn claim_consumer(self, _: NonZeroU64) -> Verdict<Self> {
        Ok(self)
    }

    fn sweep(self) {}

    fn push(ring: &mut Self, number: u64) -> bool {
        let (tail, head, slots) = ring.words();
        let position = tail.load(Relaxed);
        if position - head.load(Acquire) == SLOTS {
            return false;
        }
        tail.store(position + 1, Release);
        // Release keeps the compiler from storing it first after all
        slots[(position % SLOTS) as usize].store(number, Release);
        true
    }

    fn pop(ring: &mut Self) -> Verdict<Option<u64>> {
        let (tail, head, slots) = ring.words();
        let position = head.load(Relaxed);
        if position == tail.load(Acquire) {
            return Ok(None);
        }
        let number = slots[(position % SLOTS) as usize].load(Relaxed);
        head.store(position + 1, Release);
        Ok(Some(number))
    }
}
