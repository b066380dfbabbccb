//! Values per second, in three forms and four sizes.

use std::hint::black_box;

use mp_benches::peers::Stream;
use mp_benches::{Bench, Contest, Outcome, Pair, Placement, limits};
use mp_ring::BatchBackoff;

#[cfg(feature = "compare")]
use crate::ICEORYX2;
use crate::blocking::{Blocking, get, put, split};
use crate::transfer::*;
use crate::{BATCH, RTRB, WAITING};

pub(crate) const OURS: &str = "mp-ring Ring";

pub(crate) const SINGLES: &str = "one by one";

pub(crate) const SLICES: &str = "in slices of 32";

pub(crate) const IN_PLACE: &str = "in place, up to 32";

pub(crate) fn throughput<const WORDS: usize>(bench: &mut Bench) {
    let size = size_of::<Value<WORDS>>();
    let name = match size {
        ..1024 => format!("{size} B"),
        _ => format!("{} KiB", size / 1024),
    };
    let count = bench.count(((128 << 20) / size).min(400_000));
    let goal = |bench: &mut Bench, form: &str, outcome: Option<Outcome>| {
        let speed = |peer| outcome.as_ref().map(|outcome| outcome.speed(OURS, peer));
        bench.goal_at_least(format!("{name} {form}: speed of rtrb"), 0.9, speed(RTRB));
        #[cfg(feature = "compare")]
        if form != SLICES {
            bench.goal_at_least(
                format!("{name} {form}: speed of iceoryx2"),
                1.0,
                speed(ICEORYX2),
            );
        }
    };

    let mut contest = Contest::of_rates(format!("{name} {SINGLES}, two cores"));
    contest.ours(OURS, || {
        let backoff = BatchBackoff::default();
        with_ring::<WORDS>(count, 1, push_one, move |consumer, _| {
            pop_one(consumer, &backoff)
        })
    });
    contest.ours("mp-ring Ring, polled without a pause", || {
        with_ring::<WORDS>(count, 1, push_one, |consumer, _| {
            consumer
                .pop()
                .map_or((0, 0), |value| (1, black_box(&value)[0]))
        })
    });
    contest.ours("mp-ring ByteRing", || byte_records::<WORDS>(count));
    contest.peer(RTRB, || {
        with_rtrb::<WORDS>(
            count,
            1,
            |producer, values| usize::from(producer.push(*black_box(&values[0])).is_ok()),
            |consumer, _| {
                consumer
                    .pop()
                    .map_or((0, 0), |value| (1, black_box(&value)[0]))
            },
        )
    });
    contest.peer("rtrb (threads), polled with our BatchBackoff", || {
        let backoff = BatchBackoff::default();
        with_rtrb::<WORDS>(
            count,
            1,
            |producer, values| usize::from(producer.push(*black_box(&values[0])).is_ok()),
            move |consumer, _| match consumer.pop() {
                Ok(value) => (1, black_box(&value)[0]),
                Err(_) => {
                    backoff.pause_for_batch(|| consumer.slots());
                    (0, 0)
                }
            },
        )
    });
    contest.peer("crossbeam ArrayQueue (threads)", || {
        with_crossbeam::<WORDS>(count)
    });
    contest.peer("pipe", || with_stream::<WORDS>(count / 10, Stream::pipe));
    contest.peer("UNIX socket", || {
        with_stream::<WORDS>(count / 20, Stream::socket)
    });
    #[cfg(feature = "compare")]
    contest.peer(ICEORYX2, || {
        with_iceoryx2::<WORDS>(count / 10, |value| black_box(&{ *value })[0])
    });
    #[cfg(feature = "compare")]
    contest.peer("ipc-channel", || with_ipc_channel::<WORDS>(count / 40));
    contest.limit("copy, one process", || limits::copy(size, count));
    let outcome = bench.contest(contest);
    goal(bench, SINGLES, outcome);

    let mut contest = Contest::of_rates(format!("{name} {SLICES}, two cores"));
    contest.ours(OURS, || {
        with_ring::<WORDS>(count, BATCH, push_slice, pop_slice)
    });
    contest.peer(RTRB, || {
        with_rtrb::<WORDS>(
            count,
            BATCH,
            |producer, values| producer.push_partial_slice(values).0.len(),
            |consumer, into| {
                let count = consumer.pop_partial_slice(into).0.len();
                (count, sum_of_numbers(black_box(&into[..count])))
            },
        )
    });
    let outcome = bench.contest(contest);
    goal(bench, SLICES, outcome);

    let mut contest = Contest::of_rates(format!("{name} {IN_PLACE}, two cores"));
    contest.ours(OURS, || {
        with_ring::<WORDS>(count, BATCH, push_in_place, pop_in_place)
    });
    contest.peer(RTRB, || {
        with_rtrb::<WORDS>(
            count,
            BATCH,
            rtrb_push_in_place::<WORDS>,
            rtrb_pop_in_place::<WORDS>,
        )
    });
    #[cfg(feature = "compare")]
    contest.peer(ICEORYX2, || {
        with_iceoryx2::<WORDS>(count / 10, |value| {
            read_in_place(std::slice::from_ref(value))
        })
    });
    let outcome = bench.contest(contest);
    goal(bench, IN_PLACE, outcome);
}

pub(crate) fn throughput_on_one_core(bench: &mut Bench) {
    let count = bench.count(100_000);
    let pair = Pair::processes(Placement::OneCore);
    let mut contest = Contest::of_rates("8 B one by one, one core");
    contest.ours(WAITING, || {
        let lane = Blocking::new(4096);
        let (mut producer, mut consumer) = split(&lane.ring, 4096);
        let events = lane.events();
        transfer::<1>(
            pair,
            count,
            1,
            |values| {
                put(&mut producer, events, values[0][0]);
                1
            },
            |_| (1, get(&mut consumer, events)),
        )
    });
    contest.peer("pipe", || {
        let stream = Stream::pipe();
        transfer::<1>(
            pair,
            count,
            1,
            |values| {
                stream.send_number(values[0][0]);
                1
            },
            |_| (1, stream.receive_number()),
        )
    });
    bench.contest(contest);
}
