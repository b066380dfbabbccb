//! The monotonic clock as a number, so that times can be compared across processes.

use std::time::Duration;

/// Returns nanoseconds on `CLOCK_MONOTONIC`.
pub(crate) fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a writable timespec, and this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Returns `span` in nanoseconds, at most 292 years of them.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos())
        .unwrap_or(u64::MAX / 2)
        .min(u64::MAX / 2)
}

/// Waits a little between two looks at something that has no wake-up: first by giving the processor
/// away, since most stops come within microseconds, then by sleeping.
pub(crate) fn pause(looks: u32) {
    match looks {
        0..400 => std::thread::yield_now(),
        _ => std::thread::sleep(Duration::from_micros(50)),
    }
}
