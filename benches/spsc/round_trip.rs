//! Eight bytes there and back.

use std::hint::spin_loop;

use crossbeam_queue::ArrayQueue;
use mp_benches::peers::Stream;
#[cfg(feature = "compare")]
use mp_benches::peers::{self, Elsewhere, Lane};
use mp_benches::{Bench, Contest, Pair, Placement, Sample, limits};

#[cfg(feature = "compare")]
use crate::ICEORYX2;
use crate::blocking::{Blocking, get, put, ring_segment, split};
use crate::{PROCESSES, RTRB, THREADS, WAITING};

pub(crate) const SPINNING: &str = "mp-ring Ring, spinning";

pub(crate) const TWO_LINES: &str = "two-line ping-pong";

pub(crate) const FUTEXES: &str = "raw futex ping-pong";

pub(crate) const SMALL: usize = 64;

pub(crate) fn round_trip_on_two_cores(bench: &mut Bench) {
    let place = Placement::TwoCores;
    let (awake, asleep) = (bench.count(10_000), bench.count(300));
    let mut contest = Contest::of_times("round trip 8 B, two cores");
    contest.ours(SPINNING, || spinning_round_trips(awake));
    contest.ours(WAITING, || waiting_round_trips(place, awake / 2));
    contest.peer(RTRB, || rtrb_round_trips(awake));
    contest.peer("crossbeam ArrayQueue (threads)", || {
        crossbeam_round_trips(awake)
    });
    contest.peer("pipe", || Stream::round_trips(Stream::pipe, place, asleep));
    contest.peer("UNIX socket", || {
        Stream::round_trips(Stream::socket, place, asleep)
    });
    #[cfg(feature = "compare")]
    contest.peer(ICEORYX2, || iceoryx2_round_trips(awake / 4));
    #[cfg(feature = "compare")]
    contest.peer("ipc-channel", || {
        peers::ipc_channel_round_trips(place, asleep)
    });
    contest.limit(TWO_LINES, || limits::two_lines(awake));
    contest.limit(FUTEXES, || limits::futexes(place, asleep));
    let outcome = bench.contest(contest);

    let cost = |ours: &str| {
        outcome
            .as_ref()
            .map(|outcome| outcome.cost(ours, TWO_LINES))
    };
    bench.goal_at_most(
        "round trip 8 B, spinning / two-line ping-pong",
        1.4,
        cost(SPINNING),
    );
    bench.goal_at_most(
        "round trip 8 B, default wait / two-line ping-pong",
        1.8,
        cost(WAITING),
    );
}

pub(crate) fn round_trip_on_one_core(bench: &mut Bench) {
    let place = Placement::OneCore;
    let count = bench.count(3000);
    let mut contest = Contest::of_times("round trip 8 B, one core");
    contest.ours(WAITING, || waiting_round_trips(place, count));
    contest.peer("pipe", || Stream::round_trips(Stream::pipe, place, count));
    contest.peer("UNIX socket", || {
        Stream::round_trips(Stream::socket, place, count)
    });
    #[cfg(feature = "compare")]
    contest.peer("ipc-channel", || {
        peers::ipc_channel_round_trips(place, count)
    });
    contest.limit(FUTEXES, || limits::futexes(place, count));
    let outcome = bench.contest(contest);
    let cost = outcome.map(|outcome| outcome.cost(WAITING, FUTEXES));
    bench.goal_at_most(
        "round trip 8 B, default wait / raw futex, one core",
        1.5,
        cost,
    );
}

pub(crate) fn waiting_round_trips(placement: Placement, count: usize) -> Sample {
    let (there, back) = (Blocking::new(SMALL), Blocking::new(SMALL));
    let (mut to, mut at) = split(&there.ring, SMALL);
    let (mut answer, mut answered) = split(&back.ring, SMALL);
    let (there, back) = (there.events(), back.events());
    Pair::processes(placement).round_trips(
        count,
        move |trip| {
            assert_eq!(get(&mut at, there), trip);
            put(&mut answer, back, trip);
        },
        move |trip| {
            put(&mut to, there, trip);
            assert_eq!(get(&mut answered, back), trip);
        },
    )
}

pub(crate) fn spinning_round_trips(count: usize) -> Sample {
    let (there, back) = (ring_segment::<u64>(SMALL), ring_segment::<u64>(SMALL));
    let (mut to, mut at) = split(&there, SMALL);
    let (mut answer, mut answered) = split(&back, SMALL);
    PROCESSES.round_trips(
        count,
        move |trip| {
            while at.pop() != Ok(trip) {
                spin_loop();
            }
            answer.push(trip).expect("there is room");
        },
        move |trip| {
            to.push(trip).expect("there is room");
            while answered.pop() != Ok(trip) {
                spin_loop();
            }
        },
    )
}

pub(crate) fn rtrb_round_trips(count: usize) -> Sample {
    let (mut to, mut at) = rtrb::RingBuffer::new(SMALL);
    let (mut answer, mut answered) = rtrb::RingBuffer::new(SMALL);
    THREADS.round_trips(
        count,
        move |trip| {
            while at.pop() != Ok(trip) {
                spin_loop();
            }
            answer.push(trip).expect("there is room");
        },
        move |trip| {
            to.push(trip).expect("there is room");
            while answered.pop() != Ok(trip) {
                spin_loop();
            }
        },
    )
}

pub(crate) fn crossbeam_round_trips(count: usize) -> Sample {
    let (there, back) = (ArrayQueue::new(SMALL), ArrayQueue::new(SMALL));
    THREADS.round_trips(
        count,
        |trip| {
            while there.pop() != Some(trip) {
                spin_loop();
            }
            back.push(trip).expect("there is room");
        },
        |trip| {
            there.push(trip).expect("there is room");
            while back.pop() != Some(trip) {
                spin_loop();
            }
        },
    )
}

#[cfg(feature = "compare")]
pub(crate) fn iceoryx2_round_trips(count: usize) -> Sample {
    let there = Lane::<1>::new(SMALL);
    let mut to = there.publisher();
    let back = Lane::<1>::new(SMALL);
    let mut answer = back.publisher();
    let receive = |lane: &Lane<1>, trip| {
        while lane.receive(|value| value[0]) != Some(trip) {
            spin_loop();
        }
    };
    // The other process is the one that answers; it receives on a lane that was made here.
    let there = Elsewhere::new(there);
    PROCESSES.round_trips(
        count,
        |trip| {
            receive(there.get(), trip);
            answer.send(&[trip]);
        },
        |trip| {
            to.send(&[trip]);
            receive(&back, trip);
        },
    )
}
