//! Values through the `ipc-channel` crate.

use crate::{Pair, Placement, Sample};

/// About `count` round trips of 8 bytes over two of its channels.
pub fn ipc_channel_round_trips(placement: Placement, count: usize) -> Sample {
    let (to, at) = ipc_channel::ipc::channel::<u64>().expect("a channel");
    let (answer, answered) = ipc_channel::ipc::channel::<u64>().expect("a channel");
    Pair::processes(placement).round_trips(
        count,
        move |trip| {
            assert_eq!(at.recv().expect("the other end is open"), trip);
            answer.send(trip).expect("the other end is open");
        },
        |trip| {
            to.send(trip).expect("the other end is open");
            assert_eq!(answered.recv().expect("the other end is open"), trip);
        },
    )
}
