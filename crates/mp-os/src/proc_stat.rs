//! `/proc/N/stat`: the process that a number names at the moment.

use std::fs::File;
use std::io::{self, Read};

/// What is asked about a process or thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Field 3, a letter: `Z` and `X` are dead.
    pub(crate) state: u8,
    /// Field 9: the kernel's flags.
    pub(crate) flags: u32,
    /// Field 20: how many threads its process has, including ended ones that were not reaped.
    pub(crate) threads: u32,
    /// Field 22: clock ticks from boot to its start.
    pub(crate) start_time: u64,
    /// Field 28: where the first thread's stack starts, which `exec` places again; 0 if the kernel
    /// does not say.
    pub(crate) start_stack: u64,
}

/// More than the 52 fields take.
const ROOM: usize = 1536;

impl Stat {
    /// Reads `/proc/<number>/stat`, which takes process and thread ids; `Ok(None)` if there is
    /// none such.
    pub(crate) fn of(number: u32) -> io::Result<Option<Self>> {
        Self::read(&format!("/proc/{number}/stat"))
    }

    /// Reads a `stat` file.
    pub(crate) fn read(path: &str) -> io::Result<Option<Self>> {
        let mut text = [0; ROOM];
        match File::open(path).and_then(|mut file| file.read(&mut text)) {
            Ok(len) => Self::parse(&text[..len]).map(Some).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{path} is not as proc(5) says"),
                )
            }),
            // ESRCH: it ended between open and read.
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The name in field 2 may hold anything, parentheses and spaces included, so fields are
    /// counted from the last closing one.
    fn parse(text: &[u8]) -> Option<Self> {
        let name_end = text.iter().rposition(|&byte| byte == b')')?;
        let mut fields = text.get(name_end + 2..)?.split(|&byte| byte == b' ');
        let state = *fields.next()?.first()?;
        Some(Self {
            state,
            flags: number(fields.nth(5)?)?,
            threads: number(fields.nth(10)?)?,
            start_time: number(fields.nth(1)?)?,
            start_stack: number(fields.nth(5)?)?,
        })
    }

    /// Whether it will never again run the program's code: it is on its way out of the kernel, or
    /// ended.
    pub(crate) fn is_ending(self) -> bool {
        /// The kernel's `PF_EXITING`, set before a dying thread's locks are marked.
        const EXITING: u32 = 4;
        /// `PF_POSTCOREDUMP` (Linux 5.16), of the threads that wait for another to write a core
        /// file, and `PF_DUMPCORE`, of the one that writes it, which may take minutes. Both come
        /// before `PF_EXITING`, in threads that never run the program again.
        const DUMPING: u32 = 0x8 | 0x200;
        self.flags & (EXITING | DUMPING) != 0 || self.is_dead()
    }

    /// Whether it has ended and only its number is left.
    pub(crate) fn is_dead(self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

fn number<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Whether the error says that the process or thread does not exist.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

#[cfg(test)]
mod tests {
    use super::Stat;

    #[test]
    fn counts_fields_after_the_last_parenthesis() {
        let line = b"7 (a) R (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21 22 23 24 25 26\n";
        assert_eq!(
            Stat::parse(line),
            Some(Stat {
                state: b'S',
                flags: 6,
                threads: 17,
                start_time: 4242,
                start_stack: 25,
            })
        );
    }

    #[test]
    fn a_thread_of_a_process_that_writes_its_core_file_is_ending() {
        let of = |flags: u32| {
            let line = format!(
                "7 (a) D 1 2 3 4 5 {flags} 7 8 9 10 11 12 13 14 15 16 2 18 19 20 21 22 23 24 25"
            );
            Stat::parse(line.as_bytes()).map(Stat::is_ending)
        };
        // What most have: forked, used more than a user's rights, a signal killed it, random stack.
        const OTHERS: u32 = 0x40 | 0x100 | 0x400 | 0x0040_0000;
        assert_eq!(of(OTHERS), Some(false));
        for ending in [0x4, 0x8, 0x200] {
            assert_eq!(of(OTHERS | ending), Some(true), "{ending:#x}");
        }
    }

    #[test]
    fn refuses_a_short_line() {
        assert_eq!(Stat::parse(b"7 (a) S 1 2 3"), None);
        assert_eq!(Stat::parse(b""), None);
    }
}
