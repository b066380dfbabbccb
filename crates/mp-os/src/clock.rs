//! Points in time on the monotonic clock, so that a wait that is woken early does not start again.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A point on `CLOCK_MONOTONIC` at which a wait gives up.
///
/// The clock is the same for all processes of one machine (of one time namespace), so a deadline
/// may be compared across processes.
///
/// # Examples
///
/// ```
/// use mp_os::clock::Deadline;
/// use std::time::Duration;
///
/// assert!(Deadline::after(Duration::ZERO).is_expired());
/// assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
/// assert!(Deadline::after(Duration::from_secs(60)).remaining() > Some(Duration::from_secs(59)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline {
    /// Nanoseconds since the clock's zero; `u64::MAX` (584 years) stands for never.
    nanos: u64,
}

impl Deadline {
    /// The deadline that does not come.
    pub const NEVER: Self = Self { nanos: u64::MAX };

    /// The deadline that has always passed: try once, do not sleep.
    pub const PASSED: Self = Self { nanos: 0 };

    /// The deadline `timeout` from now; what does not fit is [`Deadline::NEVER`].
    ///
    /// A timeout of zero has already passed, and the clock is not read for it.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        if timeout.is_zero() {
            return Self::PASSED;
        }
        match u64::try_from(timeout.as_nanos()) {
            Ok(span) => Self {
                nanos: now().saturating_add(span),
            },
            Err(_) => Self::NEVER,
        }
    }

    /// What is left until the deadline: `None` for [`Deadline::NEVER`], zero once it has passed.
    #[must_use]
    pub fn remaining(self) -> Option<Duration> {
        if self == Self::NEVER {
            return None;
        }
        if self == Self::PASSED {
            return Some(Duration::ZERO);
        }
        Some(Duration::from_nanos(self.nanos.saturating_sub(now())))
    }

    /// Whether the deadline has passed.
    #[must_use]
    pub fn is_expired(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }

    /// The sooner of two deadlines.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        self.min(other)
    }

    /// The absolute time the kernel takes; `None` for [`Deadline::NEVER`].
    #[must_use]
    pub fn to_timespec(self) -> Option<Timespec> {
        (self != Self::NEVER).then(|| timespec(self.nanos))
    }

    /// The time left as `poll` takes it; `None` for [`Deadline::NEVER`].
    pub(crate) fn to_relative_timespec(self) -> Option<Timespec> {
        let left = self.remaining()?;
        Some(timespec(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A span from now, as [`Deadline::after`] counts it.
impl From<Duration> for Deadline {
    fn from(timeout: Duration) -> Self {
        Self::after(timeout)
    }
}

/// The same moment: `Instant` counts on the same clock, though it does not show its figure.
impl From<Instant> for Deadline {
    fn from(moment: Instant) -> Self {
        Self::after(moment.saturating_duration_since(Instant::now()))
    }
}

/// The inode number of this process's time namespace: clocks since boot, and the start times of processes, mean the same
/// only within one. 0 on a kernel that has none.
///
/// # Errors
///
/// What looking at `/proc/self/ns/time` reports.
pub fn time_namespace() -> io::Result<u64> {
    match std::fs::metadata("/proc/self/ns/time") {
        Ok(namespace) => Ok(namespace.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Nanoseconds on `CLOCK_MONOTONIC`.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // The monotonic clock counts up from boot: neither part is ever negative.
    time.tv_sec.unsigned_abs().saturating_mul(NANOS_PER_SECOND) + time.tv_nsec.unsigned_abs()
}

fn timespec(nanos: u64) -> Timespec {
    // u64::MAX nanoseconds are 1.8e10 seconds and a remainder below 1e9: both fit an i64.
    Timespec {
        tv_sec: (nanos / NANOS_PER_SECOND) as i64,
        tv_nsec: (nanos % NANOS_PER_SECOND) as i64,
    }
}
