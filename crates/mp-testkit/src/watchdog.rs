//! A bound on how long a test may take.

use std::panic::Location;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Aborts the test process if it is not dropped in time.
///
/// A test that waits on another process cannot be stopped from within, and a run that stands still
/// says nothing; so the whole process ends, saying which watchdog did it.
///
/// ```
/// use mp_testkit::Watchdog;
/// use std::time::Duration;
///
/// let _watchdog = Watchdog::new(Duration::from_secs(10));
/// // ... what could hang ...
/// ```
#[derive(Debug)]
pub struct Watchdog {
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts to count.
    ///
    /// # Panics
    ///
    /// If no thread can be started.
    #[track_caller]
    pub fn new(limit: Duration) -> Self {
        let place = Location::caller();
        let (alive, ended) = channel::<()>();
        let thread = std::thread::Builder::new()
            .name(format!("watchdog of {place}"))
            .spawn(move || {
                if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                    eprintln!("watchdog: what started at {place} still hangs after {limit:?}");
                    std::process::abort();
                }
            })
            .expect("a thread for the watchdog");
        Self {
            alive: Some(alive),
            thread: Some(thread),
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the watchdog does not panic");
        }
    }
}
