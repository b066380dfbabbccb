//! A limit on every wait.

use std::marker::PhantomData;

/// The longest that one contender may take in one round, in seconds.
const LIMIT: u32 = 60;

/// While it lives, this process has a minute; then the kernel ends it by SIGALRM.
///
/// It costs the measured code nothing. Forked children have their own.
#[derive(Debug)]
#[must_use = "the limit ends when this is dropped"]
pub struct Watchdog(PhantomData<()>);

impl Watchdog {
    /// Starts the minute, or starts it anew.
    pub fn start() -> Self {
        set_alarm(LIMIT);
        Self(PhantomData)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        set_alarm(0);
    }
}

fn set_alarm(seconds: u32) {
    // SAFETY: it takes a number and has no other effect than the signal, whose default action ends the process.
    unsafe { libc::alarm(seconds) };
}
