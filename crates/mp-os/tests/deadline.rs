//! Deadlines at the edges of time.

use std::time::{Duration, Instant};

use mp_os::clock::Deadline;

#[test]
fn zero_has_passed() {
    let deadline = Deadline::after(Duration::ZERO);
    assert!(deadline.is_expired());
    assert_eq!(deadline.remaining(), Some(Duration::ZERO));
    assert_eq!(deadline, Deadline::PASSED);
}

#[test]
fn the_longest_never_comes() {
    for timeout in [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        Duration::from_secs(1 << 40),
    ] {
        assert_eq!(Deadline::after(timeout), Deadline::NEVER);
    }
    assert!(!Deadline::NEVER.is_expired());
    assert_eq!(Deadline::NEVER.remaining(), None);
    assert_eq!(Deadline::NEVER.to_timespec(), None);
}

#[test]
fn a_century_still_counts() {
    let century = Duration::from_secs(100 * 365 * 86_400);
    let deadline = Deadline::after(century);
    assert_ne!(deadline, Deadline::NEVER);
    assert!(deadline.remaining() > Some(century - Duration::from_secs(60)));
    assert!(deadline.remaining() <= Some(century));
}

#[test]
fn a_short_one_passes() {
    let deadline = Deadline::after(Duration::from_nanos(1));
    while !deadline.is_expired() {
        std::hint::spin_loop();
    }
    assert_eq!(deadline.remaining(), Some(Duration::ZERO));
}

#[test]
fn the_earlier_wins() {
    let soon = Deadline::after(Duration::from_secs(1));
    assert_eq!(soon.earlier(Deadline::NEVER), soon);
    assert_eq!(Deadline::NEVER.earlier(soon), soon);
    assert_eq!(soon.earlier(Deadline::PASSED), Deadline::PASSED);
}

#[test]
fn splits_seconds_from_nanoseconds() {
    let time = Deadline::after(Duration::from_millis(1_500))
        .to_timespec()
        .expect("not never");
    assert!(time.tv_sec >= 1);
    assert!((0..1_000_000_000).contains(&time.tv_nsec));
}

#[test]
fn an_instant_and_a_span_are_the_same_moment() {
    let span = Duration::from_secs(100);
    let moment = Instant::now() + span;
    let (early, late) = (Deadline::from(span), Deadline::from(moment + span));
    let middle = Deadline::from(moment);
    assert!(
        middle < late && late.remaining() <= Some(2 * span),
        "{late:?}"
    );
    assert!(early.remaining() <= Some(span) && middle.remaining() <= Some(span));
    assert_eq!(
        Deadline::from(Instant::now()).remaining(),
        Some(Duration::ZERO)
    );
    assert_eq!(Deadline::from(Duration::MAX), Deadline::NEVER);
}

#[test]
fn a_hook_expires_a_deadline_and_does_not_change_its_time() {
    let later = Deadline::after(Duration::from_secs(1000));
    for deadline in [Deadline::NEVER, later] {
        assert!(!deadline.interruptible_by(|| false).is_expired());
        let interrupted = deadline.interruptible_by(|| true);
        assert!(interrupted.is_expired());
        assert!(!interrupted.uninterruptible().is_expired());
        assert_eq!(interrupted, deadline);
        assert_eq!(
            interrupted.remaining().is_none(),
            deadline == Deadline::NEVER
        );
    }
    let hooked = later.interruptible_by(|| true);
    for earlier in [
        Deadline::NEVER.earlier(hooked),
        hooked.earlier(Deadline::NEVER),
    ] {
        assert!(earlier == later && earlier.is_expired());
    }
}
