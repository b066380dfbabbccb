//! The only test of its process, which therefore has no children but those of the harness.
#![cfg(target_arch = "x86_64")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use killcheck::{Check, SharedArea, storm};

fn wait_for_ever(word: &AtomicU32) {
    loop {
        // SAFETY: the word lives in a mapping; no timeout.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, 0, 0usize) };
    }
}

#[track_caller]
fn assert_childless() {
    let mut status = 0;
    // SAFETY: `status` is a writable int.
    let child = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
    let error = std::io::Error::last_os_error().raw_os_error();
    assert_eq!(
        (child, error),
        (-1, Some(libc::ECHILD)),
        "a child is left, alive or a zombie"
    );
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .expect("descriptors")
        .count()
}

#[test]
fn no_process_and_no_descriptor_is_left() {
    // SAFETY: an atomic, for which zero is valid.
    let area = unsafe { SharedArea::<AtomicU32>::zeroed() }.expect("a page");
    let before = open_descriptors();
    let check = || {
        Check::new("leftovers")
            .victim(|word: &SharedArea<AtomicU32>| {
                word.fetch_add(2, Ordering::Relaxed);
            })
            .max_points(3)
    };
    check()
        .survivor(|_| Ok(()))
        .run(&area)
        .expect("it runs")
        .assert_safe();
    assert_childless();
    check()
        .limit(Duration::from_millis(50))
        .setup(|word| word.reset())
        .sleeper(|word| wait_for_ever(word))
        .must_wake(|_| true)
        .survivor(|word| wait_for_ever_as_result(word))
        .run(&area)
        .expect("it runs")
        .assert_caught();
    assert_childless();
    area.reset();
    check()
        .victim(|word| wait_for_ever(word))
        .waker(|_| panic!("while the victim sleeps"))
        .survivor(|_| Ok(()))
        .run(&area)
        .expect_err("the waker fails");
    assert_childless();
    storm("leftovers")
        .worker(|word: &SharedArea<AtomicU32>, _| wait_for_ever(word))
        .limit(Duration::from_millis(50))
        .duration(Duration::from_millis(50))
        .run(&area)
        .expect("it runs")
        .assert_caught();
    assert_childless();
    assert_eq!(open_descriptors(), before);
}

fn wait_for_ever_as_result(word: &AtomicU32) -> Result<(), String> {
    wait_for_ever(word);
    Ok(())
}
