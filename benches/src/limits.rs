//! What no program on this machine can beat: a cache line that travels, a futex that sleeps, memory
//! that is copied.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use mp_layout::Padded;
use mp_layout::atomic::{AtomicU32, AtomicU64};
use mp_shm::Segment;
use rustix::thread::futex::{self, Flags};

use crate::{Crowd, Kind, Pair, Placement, Sample};

/// Two lines: each side spins on its own until the other has stored the number of the trip.
pub fn two_lines(count: usize) -> Sample {
    let segment = Segment::anonymous("two lines", 4096).expect("a page");
    let there: &Padded<AtomicU64> = segment.region().place(0).expect("within the page");
    let back: &Padded<AtomicU64> = segment.region().place(1024).expect("within the page");
    let wait = |line: &AtomicU64, trip| {
        while line.load(Acquire) != trip {
            spin_loop();
        }
    };
    Pair::processes(Placement::TwoCores).round_trips(
        count,
        move |trip| {
            wait(there, trip);
            back.store(trip, Release);
        },
        move |trip| {
            there.store(trip, Release);
            wait(back, trip);
        },
    )
}

/// Two futexes: each side sleeps at once and is woken by the other.
pub fn futexes(placement: Placement, count: usize) -> Sample {
    let segment = Segment::anonymous("futexes", 4096).expect("a page");
    let there: &AtomicU32 = segment.region().place(0).expect("within the page");
    let back: &AtomicU32 = segment.region().place(1024).expect("within the page");
    let tell = |word: &AtomicU32, trip: u64| {
        word.store(trip as u32, Release);
        futex::wake(word, Flags::empty(), 1).expect("a futex in our memory");
    };
    let wait = |word: &AtomicU32, trip: u64| {
        let before = trip as u32 - 1;
        while word.load(Acquire) == before {
            // An error is a change that came first, or a signal: look again.
            if futex::wait(word, Flags::empty(), before, None).is_err() {
                spin_loop();
            }
        }
    };
    Pair::processes(placement).round_trips(
        count,
        move |trip| {
            wait(there, trip);
            tell(back, trip);
        },
        move |trip| {
            tell(there, trip);
            wait(back, trip);
        },
    )
}

/// One word that all add to.
pub fn contended_add(placement: Placement, members: usize, count: usize) -> Sample {
    let segment = Segment::anonymous("sum", 4096).expect("a page");
    let sum: &AtomicU64 = segment.region().place(0).expect("within the page");
    let crowd = Crowd {
        kind: Kind::Processes,
        placement,
        members,
    };
    let sample = crowd.contend(count, |_| {
        sum.fetch_add(1, Relaxed);
    });
    assert!(
        sum.load(Relaxed) >= (count * members) as u64,
        "no addition is lost"
    );
    sample
}

/// Copies `size` bytes that stay in this core's caches, if they fit.
pub fn copy(size: usize, count: usize) -> Sample {
    let (from, mut to) = (vec![7_u8; size], vec![0; size]);
    let sample = Sample::time(count, || {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
    });
    assert_eq!(from, to);
    sample
}
