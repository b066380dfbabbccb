//! Shared futexes: sleeping on a word that several processes map.
//!
//! All calls use shared futexes (never `FUTEX_PRIVATE_FLAG`) and absolute deadlines. A wait may
//! end early; the caller looks at the word again and decides.

use std::ffi::c_void;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::ClockId;

use crate::clock::Deadline;

/// How a [`wait`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Wake {
    /// Someone woke this word, or the kernel woke it spuriously.
    Woken,
    /// The word did not hold the expected value, so there was no sleep.
    Changed,
    /// The deadline passed.
    TimedOut,
    /// A signal was handled.
    Interrupted,
}

/// How a [`wait_any`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum WaitAny {
    /// The word at this index was woken; others may have been too.
    Woken(usize),
    /// One of the words did not hold its expected value, so there was no sleep.
    Changed,
    /// The deadline passed.
    TimedOut,
    /// A signal was handled.
    Interrupted,
    /// The kernel (before 5.16), a sandbox or `MP_FORCE_FALLBACK=1` does not allow `futex_waitv`.
    Unsupported,
}

/// The most words one [`wait_any`] takes.
pub const MAX_WORDS: usize = 128;

/// As many as a sleeper on one eventcount has.
const FEW: usize = 2;

/// Sleeps while `word` holds `expected`, until a [`wake`] or the deadline.
///
/// # Examples
///
/// ```
/// use mp_os::{clock::Deadline, futex};
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// let word = AtomicU32::new(0);
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         word.store(1, Ordering::Release);
///         futex::wake(&word, 1);
///     });
///     while word.load(Ordering::Acquire) == 0 {
///         let _woken_or_changed = futex::wait(&word, 0, Deadline::NEVER);
///     }
/// });
/// ```
pub fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) -> Wake {
    let until = deadline.to_timespec();
    let any = NonZeroU32::MAX;
    match futex::wait_bitset(word, futex::Flags::empty(), expected, until.as_ref(), any) {
        Ok(()) => Wake::Woken,
        Err(Errno::AGAIN) => Wake::Changed,
        Err(Errno::TIMEDOUT) => Wake::TimedOut,
        Err(Errno::INTR) => Wake::Interrupted,
        Err(_) => {
            // A valid word cannot get here unless its page vanished (a truncated file). The
            // caller will loop: let others run, rather than burn the processor.
            std::thread::yield_now();
            Wake::Interrupted
        }
    }
}

/// Wakes at most `count` sleepers of `word` and returns how many it woke.
///
/// Counts above `i32::MAX` mean all. Makes one system call, so look for sleepers first.
pub fn wake(word: &AtomicU32, count: u32) -> u32 {
    let count = count.min(i32::MAX as u32);
    match futex::wake(word, futex::Flags::empty(), count) {
        Ok(woken) => u32::try_from(woken).unwrap_or(u32::MAX),
        Err(_) => 0,
    }
}

/// Sleeps while every word holds its expected value, until one is woken or the deadline passes.
///
/// Returns [`WaitAny::Unsupported`] without sleeping where `futex_waitv` is missing; the caller
/// then falls back to [`wait`] on one word with a short deadline.
///
/// # Panics
///
/// If `words` is empty or longer than [`MAX_WORDS`].
#[track_caller]
pub fn wait_any(words: &[(&AtomicU32, u32)], deadline: Deadline) -> WaitAny {
    assert!(
        !words.is_empty() && words.len() <= MAX_WORDS,
        "futex::wait_any takes 1 to {MAX_WORDS} words, not {}",
        words.len()
    );
    if !waitv_supported() {
        return WaitAny::Unsupported;
    }
    // Most sleep on two, for whom the 3 KiB of 128 words need not be filled.
    let (mut few, mut many);
    let waiters: &mut [futex::Wait] = if words.len() <= FEW {
        few = [futex::Wait::new(); FEW];
        &mut few
    } else {
        many = [futex::Wait::new(); MAX_WORDS];
        &mut many
    };
    for (waiter, (word, expected)) in waiters.iter_mut().zip(words) {
        waiter.val = u64::from(*expected);
        waiter.uaddr = futex::WaitPtr::new(word.as_ptr().cast::<c_void>());
        waiter.flags = futex::WaitFlags::SIZE_U32;
    }
    waitv(&waiters[..words.len()], deadline)
}

/// Whether `MP_FORCE_FALLBACK=1` was set when this process first asked.
///
/// It turns `futex_waitv` and the robust list off, so that the slower paths can be tested on a
/// kernel that has both.
pub fn fallback_forced() -> bool {
    static FORCED: AtomicU8 = AtomicU8::new(UNKNOWN);
    cached(&FORCED, || {
        std::env::var_os("MP_FORCE_FALLBACK").is_some_and(|value| value == "1")
    })
}

/// Whether [`wait_any`] works here; the first call asks the kernel.
pub fn waitv_supported() -> bool {
    cached(&WAITV, || {
        !cfg!(miri) && !fallback_forced() && waitv_probe()
    })
}

static WAITV: AtomicU8 = AtomicU8::new(UNKNOWN);

const UNKNOWN: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;

/// Remembers the answer of `ask`. A plain byte instead of a `OnceLock`: another thread of a
/// process that forks may be inside, and its child must not find a lock that no thread releases.
pub(crate) fn cached(answer: &AtomicU8, ask: impl FnOnce() -> bool) -> bool {
    match answer.load(Ordering::Relaxed) {
        YES => true,
        NO => false,
        _ => {
            let yes = ask();
            answer.store(if yes { YES } else { NO }, Ordering::Relaxed);
            yes
        }
    }
}

/// Waits for a word to have a value it does not have: `EAGAIN` proves that the call exists.
fn waitv_probe() -> bool {
    let word = AtomicU32::new(0);
    let mut waiter = futex::Wait::new();
    waiter.val = 1;
    waiter.uaddr = futex::WaitPtr::new(word.as_ptr().cast::<c_void>());
    waiter.flags = futex::WaitFlags::SIZE_U32;
    waitv(&[waiter], Deadline::PASSED) != WaitAny::Unsupported
}

fn waitv(waiters: &[futex::Wait], deadline: Deadline) -> WaitAny {
    let until = deadline.to_timespec();
    let flags = futex::WaitvFlags::empty();
    match futex::waitv(waiters, flags, until.as_ref(), ClockId::Monotonic) {
        Ok(index) => WaitAny::Woken(index),
        Err(Errno::AGAIN) => WaitAny::Changed,
        Err(Errno::TIMEDOUT) => WaitAny::TimedOut,
        Err(Errno::INTR) => WaitAny::Interrupted,
        // Sandboxes answer EPERM where old kernels say ENOSYS; neither changes later.
        Err(Errno::NOSYS | Errno::PERM) => {
            WAITV.store(NO, Ordering::Relaxed);
            WaitAny::Unsupported
        }
        // Out of kernel memory for this call, or a page that vanished: the other path may do.
        Err(_) => WaitAny::Unsupported,
    }
}
