//! Points in time on the monotonic clock, so that a wait that is woken early does not start again.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// How often at least a hook is asked: as often as sleepers look again.
const HOOK_PERIOD: Duration = Duration::from_millis(250);

/// A point on `CLOCK_MONOTONIC` at which a wait gives up, and perhaps a hook that ends it earlier.
///
/// Every timed operation takes `impl Into<Deadline>`: a [`Duration`] from now, an [`Instant`], or a
/// deadline that several calls share. The clock is the same for all processes of one machine (of
/// one time namespace). Deadlines are compared by time only.
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
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// Nanoseconds since the clock's zero; `u64::MAX` (584 years) stands for never.
    nanos: u64,
    hook: Option<fn() -> bool>,
}

impl Deadline {
    /// The deadline that does not come.
    pub const NEVER: Self = Self::at(u64::MAX);

    /// The deadline that has always passed: try once, do not sleep.
    pub const PASSED: Self = Self::at(0);

    const fn at(nanos: u64) -> Self {
        Self { nanos, hook: None }
    }

    /// Lets `hook` end a wait: once it returns `true`, the wait returns as if the deadline had
    /// passed.
    ///
    /// For a host language whose signal handlers run outside the handler of the system, such as
    /// Python's Ctrl-C: the hook runs them (`PyErr_CheckSignals`). It runs in the waiting thread,
    /// when a signal handler has ended a system call and at least every 500 ms, so that a signal
    /// just before the sleep is not missed. It must keep returning `true` until the wait has
    /// returned. A handler installed with `SA_RESTART` does not end the sleep: the hook runs
    /// within the 500 ms.
    ///
    /// What the hook ends is the wait before an operation; an operation that has begun is finished.
    ///
    /// ```
    /// use mp_os::clock::Deadline;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// static INTERRUPTED: AtomicBool = AtomicBool::new(false); // set by a signal handler
    ///
    /// let deadline = Deadline::NEVER.interruptible_by(|| INTERRUPTED.load(Ordering::Relaxed));
    /// assert!(!deadline.is_expired());
    /// INTERRUPTED.store(true, Ordering::Relaxed);
    /// assert!(deadline.is_expired());
    /// ```
    #[must_use]
    pub fn interruptible_by(self, hook: fn() -> bool) -> Self {
        Self {
            hook: Some(hook),
            ..self
        }
    }

    /// The same moment without its hook, for a wait in the middle of an operation.
    #[must_use]
    pub fn uninterruptible(self) -> Self {
        Self::at(self.nanos)
    }

    /// The deadline `timeout` from now; what does not fit is [`Deadline::NEVER`].
    ///
    /// A timeout of zero has already passed, and the clock is not read for it.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        if timeout.is_zero() {
            return Self::PASSED;
        }
        match u64::try_from(timeout.as_nanos()) {
            Ok(span) => Self::at(now().saturating_add(span)),
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

    /// Whether the deadline has passed, or its hook ends the wait.
    #[must_use]
    pub fn is_expired(self) -> bool {
        self.remaining() == Some(Duration::ZERO) || self.hook.is_some_and(|hook| hook())
    }

    /// The sooner of two deadlines, with the hook of this one, or else of the other.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        Self {
            nanos: self.nanos.min(other.nanos),
            hook: self.hook.or(other.hook),
        }
    }

    /// The longest that one system call may sleep for this deadline: a hook must get its turn.
    #[must_use]
    pub fn of_one_call(self) -> Self {
        match self.hook {
            Some(_) => self.earlier(Self::after(HOOK_PERIOD)),
            None => self,
        }
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

impl PartialEq for Deadline {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Deadline {}

impl PartialOrd for Deadline {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Deadline {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Hash for Deadline {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
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

/// The inode number of this process's time namespace: clocks since boot, and the start times of
/// processes, mean the same only within one. 0 on a kernel that has none.
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

/// Milliseconds on `CLOCK_MONOTONIC`, for what is compared across processes.
#[must_use]
pub fn now_millis() -> u64 {
    now() / 1_000_000
}

/// A number that another one follows every few milliseconds: the time of the kernel's last tick,
/// which costs a fraction of a reading of the clock.
#[must_use]
pub fn tick() -> u64 {
    nanos(clock_gettime(ClockId::MonotonicCoarse))
}

/// Nanoseconds on `CLOCK_MONOTONIC`.
fn now() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

fn nanos(time: Timespec) -> u64 {
    // The monotonic clocks count up from boot: neither part is ever negative.
    time.tv_sec.unsigned_abs().saturating_mul(NANOS_PER_SECOND) + time.tv_nsec.unsigned_abs()
}

fn timespec(nanos: u64) -> Timespec {
    // u64::MAX nanoseconds are 1.8e10 seconds and a remainder below 1e9: both fit an i64.
    Timespec {
        tv_sec: (nanos / NANOS_PER_SECOND) as i64,
        tv_nsec: (nanos % NANOS_PER_SECOND) as i64,
    }
}
