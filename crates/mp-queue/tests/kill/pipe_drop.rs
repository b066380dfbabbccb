//! The order in which the last connection of a side is closed, and a death at each system call of
//! that.
//!
//! A death closes all descriptors of the process, and so hides an end that was told of before its
//! descriptor was closed. So this looks while the process stands still, and kills it after that.

use libc::{c_int, pid_t};
use mp_os::clock::Deadline;
use mp_queue::{GetError, PutError};
use mp_testkit::{Forked, not_checked};

use super::begin_alone;
use super::pipe::{Scene, unbounded};

/// More system calls than a drop makes, twice.
const MOST_STOPS: usize = 100;

/// What a traced child did when it was waited for.
#[derive(Debug, PartialEq)]
enum Seen {
    Stopped,
    Ended(c_int),
}

/// What a child ends with that may not be traced.
const REFUSED: c_int = 77;

/// Waits until the child stops or ends. The set-up's watchdog bounds it.
fn wait_for(child: &Forked) -> Seen {
    let mut status: c_int = 0;
    // SAFETY: fills the status of a child of this thread.
    let pid = unsafe { libc::waitpid(child.pid() as pid_t, &raw mut status, 0) };
    assert_eq!(
        pid,
        child.pid() as pid_t,
        "{}",
        std::io::Error::last_os_error()
    );
    if libc::WIFSTOPPED(status) {
        Seen::Stopped
    } else {
        Seen::Ended(libc::WEXITSTATUS(status))
    }
}

/// Lets the child run to the next begin or end of a system call.
fn to_next_call(child: &Forked) -> Seen {
    // SAFETY: the child is stopped and traced by this thread; no signal is passed on.
    let done = unsafe { libc::ptrace(libc::PTRACE_SYSCALL, child.pid() as pid_t, 0, 0) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    wait_for(child)
}

/// A child that has the only connection of the left side, stopped before it drops it. `None` where
/// no process may be traced.
fn about_to_drop(scene: &Scene) -> Option<Forked> {
    scene.set(unbounded(), &[]);
    let child = Forked::new(|| {
        scene.take_left();
        // SAFETY: no arguments.
        if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } == -1 {
            // SAFETY: may be called at any time.
            unsafe { libc::_exit(REFUSED) };
        }
        // SAFETY: a signal number by value.
        unsafe { libc::raise(libc::SIGSTOP) };
        scene.drop_left();
        true
    });
    match wait_for(&child) {
        Seen::Stopped => Some(child),
        Seen::Ended(code) => {
            assert_eq!(code, REFUSED, "the child failed");
            None
        }
    }
}

#[test]
fn the_other_side_finds_the_end_whenever_it_is_told_of_it() {
    let _watchdog = begin_alone();
    let scene = Scene::default();
    for stops in 1..MOST_STOPS {
        let Some(child) = about_to_drop(&scene) else {
            return not_checked("no process may be traced");
        };
        let right = scene.take_right();
        assert!(
            !right.poll(Deadline::PASSED).expect("this way"),
            "too early"
        );
        let mut seen = Seen::Stopped;
        for stop in 1..=stops {
            seen = to_next_call(&child);
            // The one that is told looks once, and sleeps on if the other side is there.
            if scene.left_has_closed() {
                let is_over = right.poll(Deadline::PASSED).expect("this way");
                assert!(is_over, "told of an end that has not come, at stop {stop}");
            }
            if seen != Seen::Stopped {
                break;
            }
        }
        if seen == Seen::Stopped {
            child.kill();
            child.exit();
        }
        let received = right.recv();
        assert!(matches!(received, Err(GetError::Closed)), "{received:?}");
        let sent = right.send([1; 4]);
        assert!(matches!(sent, Err(PutError::Closed(_))), "{sent:?}");
        if seen != Seen::Stopped {
            assert_eq!(seen, Seen::Ended(0));
            assert!(scene.left_has_closed() && stops > 2, "{stops} stops");
            return;
        }
    }
    panic!("the drop makes more than {MOST_STOPS} system calls");
}
