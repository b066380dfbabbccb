//! The test program as a program of its own: with other files, streams and limits.
#![allow(dead_code)] // each test file uses its own part

use std::ffi::OsStr;
use std::process::{Command, Output};

/// The program `program`, a copy of this one, with one of its `#[ignore]`d tests.
pub(crate) fn with_test(program: impl AsRef<OsStr>, test: &str) -> Command {
    let mut command = Command::new(program);
    command.args([
        "--exact",
        test,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command
}

/// This program with one of its `#[ignore]`d tests.
pub(crate) fn this_program(test: &str) -> Command {
    with_test(std::env::current_exe().unwrap(), test)
}

/// Fails unless the one test ran and passed.
#[track_caller]
pub(crate) fn assert_passed(ran: &Output) {
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && text.contains("1 passed"), "{ran:?}");
}
