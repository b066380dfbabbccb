//! `/proc/N/stat`: who a number names at the moment.

use std::io;

/// State, flags and start time of a process or thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Field 3, a letter: `Z` and `X` are dead.
    pub(crate) state: u8,
    /// Field 9: the kernel's flags.
    pub(crate) flags: u32,
    /// Field 22: clock ticks from boot to its start.
    pub(crate) start_time: u64,
}

impl Stat {
    /// Reads `/proc/<number>/stat`, which takes process and thread ids; `Ok(None)` if there is
    /// none such.
    pub(crate) fn of(number: u32) -> io::Result<Option<Self>> {
        Self::read(&format!("/proc/{number}/stat"))
    }

    /// Reads a `stat` file.
    pub(crate) fn read(path: &str) -> io::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(text) => Self::parse(&text).map(Some).ok_or_else(|| {
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
        let flags = std::str::from_utf8(fields.nth(5)?).ok()?.parse().ok()?;
        let start_time = std::str::from_utf8(fields.nth(12)?).ok()?.parse().ok()?;
        Some(Self {
            state,
            flags,
            start_time,
        })
    }

    /// Whether it will never again run the program's code: it is on its way out of the kernel, or ended.
    pub(crate) fn is_ending(self) -> bool {
        /// The kernel's `PF_EXITING`, set before a dying thread's locks are marked.
        const EXITING: u32 = 4;
        self.flags & EXITING != 0 || self.is_dead()
    }

    /// Whether it has ended and only its number is left.
    pub(crate) fn is_dead(self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Whether the error says that the process or thread does not exist.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

#[cfg(test)]
mod tests {
    use super::Stat;

    #[test]
    fn counts_fields_behind_the_last_parenthesis() {
        let line = b"7 (a) R (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21\n";
        assert_eq!(
            Stat::parse(line),
            Some(Stat {
                state: b'S',
                flags: 6,
                start_time: 4242
            })
        );
    }

    #[test]
    fn refuses_a_short_line() {
        assert_eq!(Stat::parse(b"7 (a) S 1 2 3"), None);
        assert_eq!(Stat::parse(b""), None);
    }
}
