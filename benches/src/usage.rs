//! What a process uses while others are measured.

use std::fs;

/// Nanoseconds that a process's first thread has run.
///
/// # Panics
///
/// If there is no such process, or `/proc` does not tell.
pub fn ran_for(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("it lives");
    let ran = text.split(' ').next().and_then(|ran| ran.parse().ok());
    ran.expect("a number")
}

/// How often a process's first thread went to sleep, and so how often it was woken.
///
/// # Panics
///
/// As [`ran_for`].
pub fn sleeps_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let count = line.and_then(|count| count.trim().parse().ok());
    count.expect("a number")
}

/// How many descriptors this process has open.
///
/// # Panics
///
/// If there is no `/proc`.
pub fn open_descriptors() -> usize {
    // Without the one that looks.
    fs::read_dir("/proc/self/fd")
        .expect("/proc is there")
        .count()
        - 1
}
