//! A ring that blocks: composed as a queue of one producer and one consumer would be.

use mp_layout::Plain;
use mp_os::clock::Deadline;
use mp_ring::{Consumer, Producer, Ring};
use mp_shm::Segment;
use mp_sync::{EventCount, Wait};

pub(crate) fn ring_segment<T: Plain>(capacity: usize) -> Segment {
    let size = Ring::<T>::size_for(capacity).expect("not too many");
    Segment::anonymous("ring", size).expect("memory for a ring")
}

pub(crate) fn split<T: Plain>(
    segment: &Segment,
    capacity: usize,
) -> (Producer<'_, T>, Consumer<'_, T>) {
    // SAFETY: the segment was just made for this ring, and all reach it through what this returns.
    let ring = unsafe { Ring::create(segment.region(), capacity) };
    ring.expect("the segment was made for it")
        .split()
        .expect("nobody else is here")
}

/// One direction that blocks: a ring, and what its two sides sleep on.
pub(crate) struct Blocking {
    pub(crate) ring: Segment,
    words: Segment,
}

impl Blocking {
    pub(crate) fn new(capacity: usize) -> Self {
        let words = Segment::anonymous("eventcounts", 4096).expect("a page");
        Self {
            ring: ring_segment::<u64>(capacity),
            words,
        }
    }

    /// What the consumer sleeps on, and what the producer sleeps on.
    pub(crate) fn events(&self) -> (&EventCount, &EventCount) {
        let region = self.words.region();
        let place = |offset| region.place(offset).expect("within the page");
        (place(0), place(128))
    }
}

pub(crate) fn put(
    producer: &mut Producer<'_, u64>,
    (filled, freed): (&EventCount, &EventCount),
    value: u64,
) {
    freed.wait_until(Wait::Adaptive, Deadline::NEVER, || {
        filled.under_bell(|| {
            producer.push(value).ok()?;
            filled.notify(1);
            Some(())
        })
    });
}

pub(crate) fn get(
    consumer: &mut Consumer<'_, u64>,
    (filled, freed): (&EventCount, &EventCount),
) -> u64 {
    let value = filled.wait_until(Wait::Adaptive, Deadline::NEVER, || {
        freed.under_bell(|| {
            let value = consumer.pop().ok()?;
            freed.notify(1);
            Some(value)
        })
    });
    value.expect("the deadline never comes")
}
