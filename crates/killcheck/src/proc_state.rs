//! What the kernel says another process is doing.

use std::fs::File;
use std::io::{self, Read};
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

/// Tells whether `pid`, which stops when it leaves the system call that it is in, is asleep in it.
///
/// One look is enough: the kernel tells the call of a process only after that has left the
/// processor, and the only way from there to another sleep is through the stop.
pub(crate) fn is_asleep_in_its_call(pid: libc::pid_t) -> bool {
    sleeping_call(pid).is_some()
}

/// What the kernel tells of a call; 9 numbers.
type Line = Text<256>;

/// Returns what the kernel tells of the call `pid` sleeps in: number, arguments and stack pointer,
/// or nothing of that on a kernel that does not tell. `None` if it does not sleep.
fn sleeping_call(pid: libc::pid_t) -> Option<Line> {
    let call = Line::read(&format!("/proc/{pid}/syscall")).unwrap_or(Line::EMPTY);
    // After the call: a process that stands in a stop meanwhile does not sleep.
    let stat = Text::<64>::read(&format!("/proc/{pid}/stat")).ok()?;
    let is_running = call.bytes().starts_with(b"running");
    (!is_running && state(stat.bytes()) == Some(b'S')).then_some(call)
}

/// The name in parentheses may itself contain parentheses and spaces; it has 15 bytes at most.
fn state(stat: &[u8]) -> Option<u8> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    stat.get(end + 2).copied()
}

/// The first bytes of a file, by one system call: a file of `/proc` has no length to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Text<const SIZE: usize> {
    bytes: [u8; SIZE],
    len: usize,
}

impl<const SIZE: usize> Text<SIZE> {
    const EMPTY: Self = Self {
        bytes: [0; SIZE],
        len: 0,
    };

    fn read(path: &str) -> io::Result<Self> {
        let mut text = Self::EMPTY;
        text.len = File::open(path)?.read(&mut text.bytes)?;
        Ok(text)
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
