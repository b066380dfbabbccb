//! Sleeping on words, alone and on several at once.

#[cfg(not(miri))]
#[path = "shared/step.rs"]
mod step;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mp_os::clock::Deadline;
use mp_os::futex::{self, MAX_WORDS, WaitAny, Wake};

#[test]
fn does_not_sleep_on_another_value() {
    let word = AtomicU32::new(1);
    assert_eq!(futex::wait(&word, 0, Deadline::NEVER), Wake::Changed);
}

#[test]
fn passed_deadline_is_timed_out() {
    let word = AtomicU32::new(0);
    assert_eq!(futex::wait(&word, 0, Deadline::PASSED), Wake::TimedOut);
}

#[test]
fn sleeps_until_the_deadline() {
    let word = AtomicU32::new(0);
    let start = Instant::now();
    let timeout = Duration::from_millis(20);
    let deadline = Deadline::after(timeout);
    while futex::wait(&word, 0, deadline) != Wake::TimedOut {}
    assert!(start.elapsed() >= timeout);
}

#[test]
fn wakes_nobody_where_nobody_sleeps() {
    assert_eq!(futex::wake(&AtomicU32::new(0), u32::MAX), 0);
}

#[test]
fn wakes_a_sleeper_before_the_longest_timeout() {
    let word = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let deadline = Deadline::after(Duration::MAX);
            while word.load(Ordering::Acquire) == 0 {
                assert_ne!(futex::wait(&word, 0, deadline), Wake::TimedOut);
            }
        });
        word.store(1, Ordering::Release);
        futex::wake(&word, 1);
        sleeper.join().expect("it only waits");
    });
}

#[cfg(not(miri))]
#[test]
fn wakes_another_process() {
    let step = step::Step::shared();
    let child = mp_testkit::Forked::new(|| {
        step.await_step(1);
        step.reach(2);
        true
    });
    step.reach(1);
    step.await_step(2);
    assert_eq!(child.exit(), mp_os::pidfd::Exit::Code(0));
}

#[track_caller]
fn no_waitv() {
    mp_testkit::not_checked("there is no futex_waitv here");
}

#[test]
fn names_the_word_that_was_woken() {
    let words = [AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0)];
    let waited: Vec<_> = words.iter().map(|word| (word, 0)).collect();
    if !futex::waitv_supported() {
        assert_eq!(
            futex::wait_any(&waited, Deadline::NEVER),
            WaitAny::Unsupported
        );
        no_waitv();
        return;
    }
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| futex::wait_any(&waited, Deadline::NEVER));
        // Nobody changes the word, so wake until there was somebody to wake.
        while futex::wake(&words[2], 1) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(sleeper.join().expect("it only waits"), WaitAny::Woken(2));
    });
}

#[test]
fn several_words_end_like_one() {
    if !futex::waitv_supported() {
        no_waitv();
        return;
    }
    let words: Vec<_> = (0..MAX_WORDS).map(|_| AtomicU32::new(5)).collect();
    let mut waited: Vec<_> = words.iter().map(|word| (word, 5)).collect();
    assert_eq!(
        futex::wait_any(&waited, Deadline::PASSED),
        WaitAny::TimedOut
    );
    waited[MAX_WORDS - 1].1 = 6;
    assert_eq!(futex::wait_any(&waited, Deadline::NEVER), WaitAny::Changed);
}

#[test]
#[should_panic(expected = "takes 1 to 128 words, not 0")]
fn no_words_are_a_bug() {
    let _never = futex::wait_any(&[], Deadline::PASSED);
}
