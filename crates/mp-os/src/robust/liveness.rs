//! Whether a thread named by its id still lives: the proof for where the kernel marks nothing.

use std::io;

use crate::proc_stat::{Stat, is_gone};

/// Whether the thread has ended, by `/proc/<tid>/stat`.
///
/// With the start time it had ([`thread_start_time`]) a reused id differs from the old one.
/// Where `/proc` cannot be read the answer is false: no thread is declared dead on a guess.
///
/// # Examples
///
/// ```no_run
/// use mp_os::robust;
///
/// let tid = robust::tid();
/// let started = robust::thread_start_time(tid);
/// assert!(!robust::thread_is_dead(tid, started));
/// assert!(robust::thread_is_dead(tid, started.map(|ticks| ticks + 1)));
/// ```
#[must_use]
pub fn thread_is_dead(tid: u32, start_time: Option<u64>) -> bool {
    match Stat::of(tid) {
        Ok(Some(stat)) => {
            stat.is_dead() || start_time.is_some_and(|started| started != stat.start_time)
        }
        // Without /proc every file in it is missing, ours too.
        Ok(None) => Stat::read("/proc/self/stat").is_ok_and(|own| own.is_some()),
        Err(_) => false,
    }
}

/// When the thread started, in clock ticks since boot; `None` if there is no such thread.
#[must_use]
pub fn thread_start_time(tid: u32) -> Option<u64> {
    Stat::of(tid).ok().flatten().map(|stat| stat.start_time)
}

/// The process a thread belongs to; `None` if there is no such thread.
#[must_use]
pub fn process_of_thread(tid: u32) -> Option<u32> {
    let status = read(&format!("/proc/{tid}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))?
        .trim()
        .parse()
        .ok()
}

/// The name of a thread, at most 15 bytes; `None` if there is no such thread.
#[must_use]
pub fn thread_name(tid: u32) -> Option<String> {
    read(&format!("/proc/{tid}/comm")).map(|name| name.trim_end_matches('\n').to_owned())
}

fn read(path: &str) -> Option<String> {
    let bytes: io::Result<Vec<u8>> = std::fs::read(path);
    match bytes {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if is_gone(&error) => None,
        // Unreadable is as good as unknown for a diagnosis.
        Err(_) => None,
    }
}
