//! A block of numbers that goes to another process and back, each writing one number in it.

use mp_benches::peers::Stream;
use mp_benches::{Bench, Contest, Pair, Placement, Sample};
use mp_queue::{Plain, Queue};
use mp_value::Array;

const OURS: &str = "mp-value Chunk, its number through a Queue";

/// Numbers of the block: 256 KiB.
const LEN: usize = 1 << 15;

pub(crate) fn there_and_back(bench: &mut Bench) {
    let count = bench.count(2000);
    let mut contest = Contest::of_times("a block of 256 KiB there and back, two cores");
    contest.ours(OURS, || by_number(count));
    contest.peer("copied through a pipe", || copied(Stream::pipe, count));
    contest.peer("copied through a UNIX socket", || {
        copied(Stream::socket, count)
    });
    bench.contest(contest);
}

/// Claimed by the side that has its number.
fn by_number(count: usize) -> Sample {
    let array = Array::<f64>::new(LEN).expect("memory for the block");
    let [there, back] = [(); 2].map(|()| Queue::<u64, Plain>::plain().expect("a queue"));
    let write = |index: u64, trip: u64| {
        let blocks = array.chunks(LEN).expect("one block");
        let claim = blocks.claim(index as usize).expect("nobody died");
        let mut block = claim.claimed().expect("it was given back");
        block[trip as usize % LEN] = trip as f64;
    };
    Pair::processes(Placement::TwoCores).round_trips(
        count,
        |trip| {
            let index = there.get().expect("open");
            write(index, trip);
            back.put(index).expect("open");
        },
        |trip| {
            write(0, trip);
            there.put(0).expect("open");
            assert_eq!(back.get().expect("open"), 0);
        },
    )
}

fn copied(new: fn() -> Stream, count: usize) -> Sample {
    let (there, back) = (new(), new());
    let (mut ours, mut theirs) = (vec![0; 8 * LEN], vec![0; 8 * LEN]);
    let write = |bytes: &mut [u8], trip: u64| bytes[8 * (trip as usize % LEN)] = trip as u8;
    Pair::processes(Placement::TwoCores).round_trips(
        count,
        |trip| {
            there.receive(&mut theirs);
            write(&mut theirs, trip);
            back.send(&theirs);
        },
        |trip| {
            write(&mut ours, trip);
            there.send(&ours);
            back.receive(&mut ours);
        },
    )
}
