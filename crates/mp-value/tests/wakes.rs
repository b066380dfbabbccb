//! A chunk that is given back wakes all who wait for the whole array.
//!
//! Every sleep is bounded by a recheck, which would heal a wake that never came. So the sleepers
//! have their timeouts taken away, by the harness of the kill checks: one that is not woken sleeps
//! on, and is seen to.
#![cfg(target_arch = "x86_64")]

use std::cell::RefCell;

use killcheck::{Check, ErrorKind};
use mp_testkit::not_checked;
use mp_value::{Array, Chunk};

fn claim(array: &Array<u64>) -> Chunk<u64> {
    let chunks = array.chunks(2).expect("two of them");
    chunks
        .claim(1)
        .expect("no lock is held")
        .claimed()
        .expect("free")
}

#[test]
fn a_chunk_given_back_wakes_all_who_wait_for_the_whole() {
    for waiters in 1..=3 {
        let held = RefCell::new(None);
        let check = Check::new("Chunk: drop")
            .setup(|array: &Array<u64>| {
                drop(held.take());
                held.replace(Some(claim(array)));
            })
            .sleepers(waiters, |array| drop(array.lock().expect("no owner died")))
            .victim(|_| ())
            .observer(|_, _| drop(held.take()))
            .must_wake_count(move |_| waiters)
            .max_points(1)
            .without_timeouts();
        match check.run(&Array::new(4).expect("an array")) {
            Ok(report) => report.assert_safe(),
            Err(error) if error.kind() == ErrorKind::TraceRefused => {
                not_checked(&error.to_string());
            }
            Err(error) => panic!("{error}"),
        }
    }
}
