//! What a process uses while others are measured.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;

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

/// Bytes of memory that what is made has from the start, in files each counted once, and how many
/// descriptors it has.
///
/// # Panics
///
/// If there is no `/proc`.
pub fn taken_by<T>(make: impl FnOnce() -> T) -> (u64, usize) {
    let before = open_files();
    let made = make();
    let mut new = open_files();
    drop(made);
    new.retain(|descriptor, _| !before.contains_key(descriptor));
    let files: HashMap<_, _> = new.values().copied().collect();
    (files.values().sum(), new.len())
}

/// By descriptor the file with its bytes of memory, but for directories: the look itself opens one.
fn open_files() -> HashMap<OsString, ((u64, u64), u64)> {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc is there");
    let files = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let file = fs::metadata(entry.path()).ok()?;
        let identity = (file.dev(), file.ino());
        (!file.is_dir()).then(|| (entry.file_name(), (identity, 512 * file.blocks())))
    });
    files.collect()
}
