//! What it is for a wait to have no timeout, and for its timeout to pass, call by call.
#![cfg(target_arch = "x86_64")]

use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use killcheck::{Check, Failure, SharedArea};

/// Long enough for a process on a busy machine to come to its wait before it has passed.
const TIMEOUT: Duration = Duration::from_millis(500);

const LIMIT: Duration = Duration::from_secs(10);

fn span() -> libc::timespec {
    libc::timespec {
        tv_sec: 0,
        tv_nsec: TIMEOUT.as_nanos() as i64,
    }
}

fn from_now(clock: libc::clockid_t) -> libc::timespec {
    let mut time = span();
    // SAFETY: `time` is a writable timespec.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_nsec += TIMEOUT.as_nanos() as i64;
    time.tv_sec += time.tv_nsec / 1_000_000_000;
    time.tv_nsec %= 1_000_000_000;
    time
}

type Word = SharedArea<AtomicU32>;

fn word() -> Word {
    // SAFETY: an atomic, for which zero is valid.
    unsafe { SharedArea::zeroed() }.expect("a page")
}

/// Makes a system call and returns its result, having seen that it changed no argument.
fn call(number: libc::c_long, arguments: [usize; 6]) -> i64 {
    let [mut a, mut b, mut c, mut d, mut e, mut f] = arguments;
    let result: i64;
    // SAFETY: the callers below pass what their calls need; the kernel changes rcx and r11 only.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            inout("rdi") a, inout("rsi") b, inout("rdx") c,
            inout("r10") d, inout("r8") e, inout("r9") f,
            out("rcx") _, out("r11") _,
        );
    }
    assert_eq!([a, b, c, d, e, f], arguments, "the caller's registers");
    result
}

fn at<T>(place: &T) -> usize {
    std::ptr::from_ref(place).addr()
}

/// Waits for what nobody does, with a timeout; returns the result and the one that a timeout has.
type Wait = fn(&Word) -> (i64, i64);

const TIMED_OUT: i64 = -(libc::ETIMEDOUT as i64);
const AGAIN: i64 = -(libc::EAGAIN as i64);

const WAITS: [(&str, Wait); 9] = [
    ("futex, a span", |word| {
        let operation = libc::FUTEX_WAIT as usize;
        let span = span();
        let arguments = [word.as_ptr().addr(), operation, 0, at(&span), 0, 0];
        (call(libc::SYS_futex, arguments), TIMED_OUT)
    }),
    ("futex, a point in time", |word| {
        let operation = libc::FUTEX_WAIT_BITSET as usize;
        let until = from_now(libc::CLOCK_MONOTONIC);
        let any = u32::MAX as usize;
        let arguments = [word.as_ptr().addr(), operation, 0, at(&until), 0, any];
        (call(libc::SYS_futex, arguments), TIMED_OUT)
    }),
    ("futex, a time of day", |word| {
        let operation = (libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME) as usize;
        let until = from_now(libc::CLOCK_REALTIME);
        let any = u32::MAX as usize;
        let arguments = [word.as_ptr().addr(), operation, 0, at(&until), 0, any];
        (call(libc::SYS_futex, arguments), TIMED_OUT)
    }),
    ("futex_waitv", |word| {
        let until = from_now(libc::CLOCK_MONOTONIC);
        // A value, an address, the flags for 32 bits.
        let waiter = [0_u64, word.as_ptr().addr() as u64, 2];
        let clock = libc::CLOCK_MONOTONIC as usize;
        let arguments = [at(&waiter), 1, 0, at(&until), clock, 0];
        (call(libc::SYS_futex_waitv, arguments), TIMED_OUT)
    }),
    ("poll", |_| {
        let millis = TIMEOUT.as_millis() as usize;
        (call(libc::SYS_poll, [0, 0, millis, 0, 0, 0]), 0)
    }),
    ("ppoll", |_| {
        (call(libc::SYS_ppoll, [0, 0, at(&span()), 0, 8, 0]), 0)
    }),
    ("select", |_| {
        let span = libc::timeval {
            tv_sec: 0,
            tv_usec: TIMEOUT.as_micros() as i64,
        };
        (call(libc::SYS_select, [0, 0, 0, 0, at(&span), 0]), 0)
    }),
    ("epoll_wait", |_| {
        // SAFETY: no flags.
        let epoll = unsafe { libc::epoll_create1(0) } as usize;
        let millis = TIMEOUT.as_millis() as usize;
        let event = [0_u64; 2];
        let arguments = [epoll, at(&event), 1, millis, 0, 8];
        (call(libc::SYS_epoll_pwait, arguments), 0)
    }),
    ("sigtimedwait", |_| {
        let (none, span) = (0_u64, span());
        let arguments = [at(&none), 0, at(&span), 8, 0, 0];
        (call(libc::SYS_rt_sigtimedwait, arguments), AGAIN)
    }),
];

fn check<'a>(name: &str, wait: Wait) -> Check<'a, Word> {
    Check::new(name)
        .setup(|word: &Word| word.reset())
        .victim(|_| ())
        .sleeper(move |word| {
            let (result, expected) = wait(word);
            if result == expected {
                word.store(1, Ordering::Release);
            }
        })
        // Longer than the timeout, so that it would have passed.
        .observer(|_, _| std::thread::sleep(TIMEOUT * 6 / 5))
        .must_wake(|_| true)
        .max_points(1)
        .limit(LIMIT)
}

#[test]
fn timeouts_do_not_pass() {
    let word = word();
    for (name, wait) in WAITS {
        let report = check(name, wait)
            .without_timeouts()
            .run(&word)
            .expect("it runs");
        assert_eq!(report.findings().len(), 1, "{report}");
        let lost = Failure::LostWake(LIMIT);
        assert_eq!(report.findings()[0].failure, lost, "{report}");
        let longest = report.longest_timeout();
        assert!(
            longest > Some(Duration::ZERO) && longest <= Some(TIMEOUT),
            "{name}: {longest:?}"
        );
    }
}

#[test]
fn timeouts_pass_once_when_they_are_the_rescue() {
    let word = word();
    for (name, wait) in WAITS {
        let report = check(name, wait)
            .allow_rescues(usize::MAX, "nothing else is there")
            .invariant(|word| match word.load(Ordering::Acquire) {
                1 => Ok(()),
                _ => Err("the wait did not end as by a timeout".to_owned()),
            })
            .run(&word)
            .expect("it runs");
        report.assert_safe();
        assert_eq!(report.rescued().len(), 1, "{report}");
    }
}

#[test]
fn a_wait_without_a_timeout_is_the_longest() {
    let endless: Wait = |word| {
        let operation = libc::FUTEX_WAIT as usize;
        let arguments = [word.as_ptr().addr(), operation, 0, 0, 0, 0];
        (call(libc::SYS_futex, arguments), 0)
    };
    let report = check("futex, no timeout", endless).without_timeouts();
    let report = report.run(&word()).expect("it runs");
    assert_eq!(report.longest_timeout(), Some(Duration::MAX));
}

#[test]
fn who_does_not_wait_has_no_timeout() {
    let report = Check::new("nothing")
        .victim(|_: &Word| ())
        .survivor(|_| Ok(()))
        .max_points(1)
        .without_timeouts()
        .run(&word())
        .expect("it runs");
    assert_eq!(report.longest_timeout(), None);
}

#[test]
fn questions_that_do_not_wait_are_answered() {
    let futex = |word: &Word, until: *const libc::timespec| {
        // SAFETY: the word lives in a mapping, `until` is null or a timespec.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, 0, until) };
    };
    Check::new("a look at descriptors, a wait of no length, a pause, then a sleep")
        .setup(|word: &Word| word.reset())
        .victim(move |word| {
            word.store(1, Ordering::Release);
            // SAFETY: the word lives in a mapping.
            unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
        })
        .sleeper(move |word| {
            // SAFETY: no descriptors, no wait.
            assert_eq!(unsafe { libc::poll(null_mut(), 0, 0) }, 0);
            let none = libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            futex(word, &raw const none);
            std::thread::sleep(Duration::from_micros(100));
            futex(word, null());
        })
        .survivor(|word| {
            word.store(1, Ordering::Release);
            // SAFETY: the word lives in a mapping.
            unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
            Ok(())
        })
        .without_timeouts()
        .run(&word())
        .expect("it runs")
        .assert_safe();
}
