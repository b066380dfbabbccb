//! State of a process is its own: threads share it, and a forked child starts afresh.
#![cfg(not(miri))]

use std::sync::Mutex;
use std::thread;

use mp_os::of_process::OfProcess;
use mp_testkit::Forked;

type Numbers = Mutex<Vec<u32>>;

fn numbers() -> Numbers {
    Mutex::new(vec![7])
}

#[test]
fn a_child_forked_while_another_thread_holds_the_lock_does_not_wait_for_it() {
    static STATE: OfProcess<Numbers> = OfProcess::new(numbers);
    let (held, is_held) = std::sync::mpsc::channel();
    let (done, is_done) = std::sync::mpsc::channel();
    let holder = thread::spawn(move || {
        let mut numbers = STATE.get().lock().expect("not poisoned");
        numbers.push(8);
        held.send(()).expect("the test waits");
        is_done.recv().expect("the test says so");
        numbers.push(9);
    });
    is_held.recv().expect("the thread takes it");
    let child = Forked::new(|| {
        let numbers = STATE.get().lock().expect("not poisoned");
        // A child of this child starts afresh as well.
        *numbers == [7] && Forked::new(|| STATE.get().try_lock().is_ok()).succeeds()
    });
    let is_afresh = child.succeeds();
    done.send(()).expect("the thread waits");
    holder.join().expect("it does not panic");
    assert!(is_afresh);
    assert_eq!(*STATE.get().lock().expect("not poisoned"), [7, 8, 9]);
}

/// Two processes that are each the first of a PID namespace have the same number.
#[test]
fn a_child_with_the_number_of_its_parent_starts_afresh() {
    static STATE: OfProcess<Numbers> = OfProcess::new(numbers);
    let outer = Forked::new(|| {
        // As root, else as the root of a user namespace.
        let ways = [libc::CLONE_NEWPID, libc::CLONE_NEWPID | libc::CLONE_NEWUSER];
        let unshare = |flags: &i32| {
            // SAFETY: takes flags; this process has one thread.
            unsafe { libc::unshare(*flags) == 0 }
        };
        if !ways.iter().any(unshare) {
            mp_testkit::not_checked("a PID namespace needs root or user namespaces");
            return true;
        }
        first_of_a_namespace(|| {
            let _held = STATE.get().lock().expect("not poisoned");
            // SAFETY: takes flags; this process has one thread.
            let unshared = unsafe { libc::unshare(libc::CLONE_NEWPID) };
            assert_eq!(unshared, 0, "{}", std::io::Error::last_os_error());
            first_of_a_namespace(|| {
                std::process::id() == 1 && STATE.get().try_lock().is_ok_and(|it| *it == [7])
            })
        })
    });
    assert!(outer.succeeds());
}

/// Forks and waits by number: without `/proc` of its own a namespace knows its processes in no
/// other way.
fn first_of_a_namespace(work: impl FnOnce() -> bool) -> bool {
    Forked::new(|| std::process::id() == 1 && work()).succeeds()
}

#[test]
fn threads_that_ask_together_get_one_state() {
    static STATE: OfProcess<Numbers> = OfProcess::new(numbers);
    thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || STATE.get().lock().expect("not poisoned").push(number));
        }
    });
    assert_eq!(STATE.get().lock().expect("not poisoned").len(), 9);
}
