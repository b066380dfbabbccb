//! Parents that are killed or exit, daemons, dropped handles, and what is left of children.
//!
//! The parents in these tests are processes themselves, so that they can be killed.

#[path = "shared/joined.rs"]
mod joined;

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use joined::{LONG, joined, sleep_for_ever, started};
use mp_layout::ErrorKind;
use mp_object::{Event, Mutex, Semaphore};
use mp_os::clock::Deadline;
use mp_os::pidfd::{Exit, PidFd};
use mp_os::wakeup::wait_any;
use mp_process::{Process, Status, active_children, spawn, take_passed_fd};

fn announce_and_sleep(pid: Mutex<u32>, ready: Event) {
    *pid.lock().unwrap() = std::process::id();
    ready.set();
    sleep_for_ever();
}

/// Fails, and kills it, if the process does not end in time.
fn ends(pid: u32) {
    let process = match PidFd::open(pid) {
        Ok(process) => process,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return,
        Err(error) => panic!("{error}"),
    };
    if !process.wait_end(Deadline::after(LONG)).unwrap() {
        process.send_signal(libc::SIGKILL).unwrap();
        panic!("process {pid} outlives its parent");
    }
}

#[test]
fn a_child_dies_with_a_parent_that_is_killed() {
    fn parent(pid: Mutex<u32>, ready: Event) {
        let _child = spawn(announce_and_sleep, (pid, ready)).unwrap();
        sleep_for_ever();
    }
    let (pid, ready) = (Mutex::new(0).unwrap(), Event::new().unwrap());
    let parent = spawn(parent, (pid.clone(), ready.clone())).unwrap();
    assert!(ready.wait_timeout(LONG));
    parent.kill().unwrap();
    joined(&parent);
    ends(*pid.lock().unwrap());
}

/// Who lives holds a copy of the pipe's end: when the last one has died, the pipe hangs up.
#[test]
fn nobody_outlives_a_parent_that_is_killed_100_times_of_100() {
    fn parent(number: RawFd, kills_itself: bool) {
        let held = take_passed_fd(number).unwrap();
        let mut children = Vec::new();
        for _ in 0..4 {
            let held = held.try_clone().unwrap();
            children.push(started(Process::new(sleep_for_ever, ()).pass_fd(held)));
            if kills_itself {
                // SAFETY: ends this process; nothing of it is used after.
                unsafe { libc::raise(libc::SIGKILL) };
            }
        }
        sleep_for_ever();
    }
    for round in 0..100_u32 {
        let (reader, writer) = std::io::pipe().unwrap();
        let number = writer.as_raw_fd();
        let kills_itself = round.is_multiple_of(2);
        let parent = Process::new(parent, (number, kills_itself)).pass_fd(writer);
        let parent = started(parent);
        if !kills_itself {
            // Another instant of its start and of its children's each time.
            std::thread::sleep(Duration::from_micros(100) * round);
            parent.kill().unwrap();
        }
        joined(&parent);
        assert_eq!(parent.exitcode(), Some(-libc::SIGKILL));
        let hung_up = wait_any(&[reader.as_fd()], Deadline::after(LONG)).unwrap();
        assert_eq!(hung_up, [0], "a child outlives its parent, round {round}");
    }
}

#[test]
fn an_exit_waits_for_children_whose_handles_were_dropped() {
    fn child(go: Event, done: Event) {
        go.wait();
        done.set();
    }
    fn parent(go: Event, done: Event) -> u8 {
        drop(spawn(child, (go, done)).unwrap());
        7
    }
    let (go, done) = (Event::new().unwrap(), Event::new().unwrap());
    let parent = spawn(parent, (go.clone(), done.clone())).unwrap();
    assert!(!parent.join_timeout(Duration::from_millis(200)).unwrap());
    go.set();
    joined(&parent);
    assert!(done.is_set());
    assert_eq!(parent.result().unwrap(), 7);
}

#[test]
fn an_exit_ends_daemons() {
    fn parent(pid: Mutex<u32>, ready: Event) {
        let mut child = Process::new(announce_and_sleep, (pid, ready.clone())).daemon(true);
        child.start().unwrap();
        ready.wait();
    }
    let (pid, ready) = (Mutex::new(0).unwrap(), Event::new().unwrap());
    let parent = spawn(parent, (pid.clone(), ready)).unwrap();
    joined(&parent);
    assert_eq!(parent.exitcode(), Some(0));
    ends(*pid.lock().unwrap());
}

#[test]
fn an_exit_ends_daemons_that_ignore_sigterm() {
    fn stubborn(pid: Mutex<u32>, ready: Event) {
        // SAFETY: ignores a signal, which needs no handler.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        announce_and_sleep(pid, ready);
    }
    fn parent(pid: Mutex<u32>, ready: Event) {
        let mut child = Process::new(stubborn, (pid, ready.clone())).daemon(true);
        child.start().unwrap();
        ready.wait();
    }
    let (pid, ready) = (Mutex::new(0).unwrap(), Event::new().unwrap());
    let parent = spawn(parent, (pid.clone(), ready)).unwrap();
    joined(&parent);
    ends(*pid.lock().unwrap());
}

#[test]
fn the_exit_of_a_forked_copy_ends_nobody() {
    fn check() -> bool {
        let mut child = Process::new(sleep_for_ever, ()).daemon(true);
        child.start().unwrap();
        // SAFETY: this process has one thread; the copy leaves at once.
        let copy = unsafe { libc::fork() };
        if copy == 0 {
            // SAFETY: runs the handlers of exit, which is what this test is about.
            unsafe { libc::exit(0) };
        }
        let copy = PidFd::open(copy.unsigned_abs()).unwrap();
        assert!(copy.wait_exit(Deadline::after(LONG)).unwrap().is_some());
        // SIGTERM of the copy would have come before its end.
        !child.join_timeout(Duration::from_millis(100)).unwrap()
    }
    let process = spawn(check, ()).unwrap();
    joined(&process);
    assert!(process.result().unwrap());
}

/// Each runs the rest of the task; one outcome is sent, and the handlers of one exit run.
#[test]
fn a_forked_copy_that_returns_from_the_task_leaves_the_outcome_to_it() {
    static EXITS: OnceLock<Semaphore> = OnceLock::new();
    extern "C" fn count_exit() {
        if let Some(exits) = EXITS.get() {
            exits.release().unwrap();
        }
    }
    fn fork(exits: Semaphore, panics: bool) -> Result<u8, String> {
        assert!(EXITS.set(exits).is_ok());
        // SAFETY: a function that may be called at any time.
        assert_eq!(unsafe { libc::atexit(count_exit) }, 0);
        // SAFETY: this process has one thread.
        let copy = unsafe { libc::fork() };
        if copy == 0 {
            assert!(!panics, "in the copy");
            return Err("the copy's".to_owned());
        }
        let copy = PidFd::open(copy.unsigned_abs()).unwrap();
        let ended = copy.wait_exit(Deadline::after(LONG)).unwrap();
        assert_eq!(ended, Some(Exit::Code(1)));
        Ok(7)
    }
    for panics in [false, true] {
        let exits = Semaphore::new(0).unwrap();
        let process = spawn(fork, (exits.clone(), panics)).unwrap();
        joined(&process);
        assert_eq!(process.result().unwrap(), Ok(7));
        assert_eq!((process.exitcode(), exits.value()), (Some(0), 1));
    }
}

#[test]
fn a_dropped_child_that_ended_is_reaped_by_the_next_start() {
    fn nothing() {}
    fn check() -> bool {
        let child = spawn(nothing, ()).unwrap();
        let pid = child.pid().unwrap();
        let end = PidFd::from(child.sentinel().unwrap().try_clone_to_owned().unwrap());
        drop(child);
        assert!(end.wait_end(Deadline::after(LONG)).unwrap());
        let stat = format!("/proc/{pid}/stat");
        assert!(std::fs::exists(&stat).unwrap(), "nobody has reaped it yet");
        let next = spawn(nothing, ()).unwrap();
        joined(&next);
        !std::fs::exists(&stat).unwrap()
    }
    // In a process of its own: other tests start processes, too.
    let process = spawn(check, ()).unwrap();
    joined(&process);
    assert!(process.result().unwrap());
}

#[test]
fn results_survive_where_the_kernel_reaps() {
    fn check() -> (Option<i32>, u8) {
        // SAFETY: asks the kernel to reap by itself; no handler is involved.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let killed = spawn(sleep_for_ever, ()).unwrap();
        killed.kill().unwrap();
        killed.join().unwrap();
        assert_eq!(
            (killed.status(), killed.exitcode()),
            (Status::Unknown, None)
        );
        assert_eq!(killed.result().unwrap_err().kind(), ErrorKind::ProcessDied);
        let go = Event::new().unwrap();
        let wait_for_go = |go: Event| {
            go.wait();
            5
        };
        let whole = spawn(wait_for_go, (go.clone(),)).unwrap();
        go.set();
        whole.join().unwrap();
        (whole.exitcode(), whole.result().unwrap())
    }
    let process = spawn(check, ()).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), (Some(0), 5));
}

/// The kernel has forgotten the shortest of them before this process could open them.
#[test]
fn the_shortest_children_are_no_errors_where_the_kernel_reaps() {
    fn check() -> u32 {
        // SAFETY: asks the kernel to reap by itself; no handler is involved.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let started: Vec<_> = (0..40_u32)
            .map(|n| spawn(|n: u32| n, (n,)).unwrap())
            .collect();
        for process in &started {
            joined(process);
            assert!(!process.is_alive() && process.sentinel().is_some());
            process.kill().unwrap();
            assert_eq!(process.exitcode(), Some(0));
        }
        started
            .iter()
            .map(|process| process.result().unwrap())
            .sum()
    }
    let process = spawn(check, ()).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), (0..40).sum());
}

#[test]
fn nothing_is_left_behind() {
    fn descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }
    fn one(object: &Mutex<u64>, kill: bool) {
        if kill {
            let process = spawn(sleep_for_ever, ()).unwrap();
            process.kill().unwrap();
            joined(&process);
        } else {
            let process = spawn(|m: Mutex<u64>| m, (object.clone(),)).unwrap();
            joined(&process);
            assert_eq!(*process.result().unwrap().lock().unwrap(), 5);
        }
    }
    fn check() -> (usize, usize, String) {
        let object = Mutex::new(5_u64).unwrap();
        let before = descriptors();
        for round in 0..20 {
            one(&object, round % 2 == 0);
        }
        let me = std::process::id();
        let children = std::fs::read_to_string(format!("/proc/self/task/{me}/children"));
        (before, descriptors(), children.unwrap_or_default())
    }
    let process = spawn(check, ()).unwrap();
    joined(&process);
    let (before, after, children) = process.result().unwrap();
    // The two ends of the pipe that all children hang on stay, and the listener that they can reach
    // by name.
    assert_eq!(before + 3, after);
    assert_eq!(children.trim(), "");
}

#[test]
fn a_thousand_short_processes_leave_no_zombie_and_no_descriptor() {
    fn descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }
    fn check() -> (usize, usize, String) {
        joined(&spawn(|| (), ()).unwrap());
        let before = descriptors();
        for n in 0..1000_u32 {
            let process = spawn(|n: u32| n, (n,)).unwrap();
            // The others are dropped while they run.
            if n.is_multiple_of(2) {
                joined(&process);
                assert_eq!(process.result().unwrap(), n);
            }
        }
        for child in active_children() {
            assert!(child.join_timeout(LONG).unwrap());
        }
        let me = std::process::id();
        let children = std::fs::read_to_string(format!("/proc/self/task/{me}/children"));
        (before, descriptors(), children.unwrap_or_default())
    }
    // In a process of its own: other tests start processes, too.
    let process = spawn(check, ()).unwrap();
    process.join().unwrap();
    let (before, after, children) = process.result().unwrap();
    assert_eq!(before, after);
    assert_eq!(children.trim(), "");
}

#[test]
fn a_child_has_two_descriptors_more_than_any_other_program() {
    use std::io::{Read, Write};
    fn count(pid: &str) -> usize {
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .count()
    }
    fn check() -> (usize, usize) {
        let ours = spawn(|| count("self"), ()).unwrap().result().unwrap();
        let mut other = Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        other.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        other.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let theirs = count(&other.id().to_string());
        drop(other.stdin.take());
        other.wait().unwrap();
        (ours, theirs)
    }
    let process = spawn(check, ()).unwrap();
    joined(&process);
    let (ours, other) = process.result().unwrap();
    // The way to the parent, the pipe that ours dies by, and the directory that is being read.
    assert_eq!(ours, other + 3);
}
