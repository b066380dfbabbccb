//! Waits that end.
#![allow(dead_code)] // each test file uses its own part

use std::time::Duration;

use mp_os::clock::Deadline;
use mp_os::pidfd::PidFd;
use mp_process::{Process, Returned};

/// More than any wait in a test needs; a test that reaches it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Joins the process; kills it and fails if it does not end.
#[track_caller]
pub(crate) fn joined<R>(process: &Process<R>) {
    if !process.join_timeout(LONG).unwrap() {
        process.kill().unwrap();
        panic!("{process:?} does not end");
    }
}

/// Starts the process.
#[track_caller]
pub(crate) fn started<R: Returned>(mut process: Process<R>) -> Process<R> {
    process.start().unwrap();
    process
}

/// Waits for the end of the process, which stays unreaped.
#[track_caller]
pub(crate) fn await_end<R>(process: &Process<R>) {
    let sentinel = process.sentinel().unwrap().try_clone_to_owned().unwrap();
    let ended = PidFd::from(sentinel).wait_end(Deadline::after(LONG));
    assert!(ended.unwrap(), "{process:?} does not end");
}

/// A task that runs until it is killed.
pub(crate) fn sleep_for_ever() {
    loop {
        std::thread::park();
    }
}
