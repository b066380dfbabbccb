//! Looking for a change for a while, before sleeping.

use std::time::Duration;

use mp_os::clock::Deadline;

/// Looks with a pause between: a microsecond or two, as a short task takes there and back. Where
/// the other side has no other processor, they are in vain.
const PAUSES: u32 = 50;

/// How long looks with `sched_yield` between go on, as in `mp_sync::Wait`.
const YIELD_FOR: Duration = Duration::from_micros(100);

/// Looks with a pause instruction between, then with `sched_yield` between for as long as waking a
/// sleeping core takes; ends early when it `may_look` no more.
pub(crate) fn look_for_a_while<R>(
    look: &mut impl FnMut() -> Option<R>,
    may_look: impl Fn() -> bool,
) -> Option<R> {
    for _ in 0..PAUSES {
        std::hint::spin_loop();
        let seen = look();
        if seen.is_some() {
            return seen;
        }
    }
    let until = Deadline::after(YIELD_FOR);
    while may_look() && !until.is_expired() {
        std::thread::yield_now();
        let seen = look();
        if seen.is_some() {
            return seen;
        }
    }
    None
}
