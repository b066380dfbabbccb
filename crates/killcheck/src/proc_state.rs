//! What the kernel says another process is doing.

use std::fs;
use std::time::Duration;

use crate::clock;

/// Tells whether `pid` is asleep in a system call, and stays in that same one between two looks.
///
/// A process in a ptrace stop is not asleep (its state is `t`), nor is a zombie.
pub(crate) fn is_asleep(pid: libc::pid_t) -> bool {
    let Some(first) = sleeping_call(pid) else {
        return false;
    };
    let end = clock::now() + clock::nanos(Duration::from_micros(40));
    while clock::now() < end {
        std::thread::yield_now();
    }
    sleeping_call(pid) == Some(first)
}

/// Returns what the kernel tells of the call `pid` sleeps in: number, arguments and stack pointer,
/// or nothing of that on a kernel that does not tell. `None` if it does not sleep.
fn sleeping_call(pid: libc::pid_t) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself contain parentheses and spaces.
    let state = stat.rsplit_once(") ")?.1.as_bytes().first().copied()?;
    if state != b'S' {
        return None;
    }
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    (!call.starts_with("running")).then_some(call)
}
