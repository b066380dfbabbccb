//! A limit on every wait.

/// The longest that one contender may take in one round, in seconds.
const LIMIT: u32 = 60;

/// While it lives, this process has a minute; then the kernel ends it by SIGALRM.
///
/// It costs the measured code nothing. Forked children have their own.
#[derive(Debug)]
#[must_use = "the limit ends when this is dropped"]
pub struct Watchdog {
    /// What was left to the one outside of this one, in seconds; 0 if there is none.
    outer: u32,
}

impl Watchdog {
    /// Starts the minute.
    pub fn start() -> Self {
        let outer = set_alarm(LIMIT);
        Self { outer }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        set_alarm(self.outer);
    }
}

/// Returns the seconds that were left before.
fn set_alarm(seconds: u32) -> u32 {
    // SAFETY: it takes a number and has no other effect than the signal, whose default action ends
    // the process.
    unsafe { libc::alarm(seconds) }
}
