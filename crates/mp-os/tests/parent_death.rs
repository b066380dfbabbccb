//! Children die with their parent process, and with nothing less.
#![cfg(not(miri))]

#[path = "shared/step.rs"]
mod step;

use std::sync::atomic::{AtomicU32, Ordering};

use mp_os::parent_death::{ParentPipe, die_with_parent};
use mp_os::pidfd::PidFd;
use mp_testkit::{Forked, stay};
use step::{Shared, Step, patience};

/// Forks a child as a parent with a life pipe does; the child has no copy of the write end.
fn start(pipe: ParentPipe, child: impl FnOnce(std::os::fd::BorrowedFd<'_>)) -> ParentPipe {
    use std::os::fd::AsFd;
    // SAFETY: the child runs `child` and ends.
    if unsafe { libc::fork() } == 0 {
        let read = pipe.read_end().try_clone_to_owned().expect("a descriptor");
        drop(pipe);
        child(read.as_fd());
        // SAFETY: ends the process.
        unsafe { libc::_exit(7) };
    }
    pipe
}

/// What a grandchild tells the test.
fn shared_pid() -> Shared<AtomicU32> {
    // SAFETY: an atomic number.
    unsafe { Shared::zeroed() }
}

fn tell(pid: &AtomicU32) {
    pid.store(std::process::id(), Ordering::Release);
}

#[test]
fn dies_when_the_parent_is_killed() {
    let (step, pid) = (Step::shared(), shared_pid());
    let parent = Forked::new(|| {
        let _pipe = start(ParentPipe::new().expect("a pipe"), |read| {
            die_with_parent(read).expect("it may ask");
            tell(&pid);
            step.reach(1);
            stay();
        });
        stay()
    });
    step.await_step(1);
    let child = PidFd::open(pid.load(Ordering::Acquire)).expect("alive");
    assert!(!child.is_exited().expect("poll"));
    parent.kill_and_reap();
    assert!(
        child.wait_end(patience()).expect("poll"),
        "the child outlived its parent"
    );
}

#[test]
fn dies_when_it_asks_too_late() {
    let (step, pid) = (Step::shared(), shared_pid());
    let parent = Forked::new(|| {
        let _pipe = start(ParentPipe::new().expect("a pipe"), |read| {
            tell(&pid);
            step.reach(1);
            step.await_step(2);
            die_with_parent(read).expect("it may ask");
            step.reach(3);
        });
        stay()
    });
    step.await_step(1);
    let child = PidFd::open(pid.load(Ordering::Acquire)).expect("alive");
    parent.kill_and_reap();
    step.reach(2);
    assert!(child.wait_end(patience()).expect("poll"));
    // It reaches step 3 only if it went on after asking.
    assert_eq!(step.now(), 2);
}

#[test]
fn dies_wherever_in_asking_the_parent_is_killed() {
    for delay in 0..200 {
        let (step, pid) = (Step::shared(), shared_pid());
        let parent = Forked::new(|| {
            let _pipe = start(ParentPipe::new().expect("a pipe"), |read| {
                tell(&pid);
                step.reach(1);
                die_with_parent(read).expect("it may ask");
                stay();
            });
            stay()
        });
        step.await_step(1);
        let child = PidFd::open(pid.load(Ordering::Acquire)).expect("alive");
        for _ in 0..delay * 50 {
            std::hint::spin_loop();
        }
        parent.kill();
        assert!(child.wait_end(patience()).expect("poll"), "delay {delay}");
    }
}

#[test]
fn outlives_the_thread_that_started_it() {
    let step = Step::shared();
    let parent = Forked::new(|| {
        let pipe = ParentPipe::new().expect("a pipe");
        let pipe = std::thread::spawn(move || {
            start(pipe, |read| {
                die_with_parent(read).expect("it may ask");
                step.reach(1);
                step.await_step(2);
            })
        })
        .join()
        .expect("it only forks");
        step.await_step(1);
        step.reach(2);
        let mut status = 0;
        // SAFETY: waits for any child, of which there is one.
        unsafe { libc::wait(&raw mut status) };
        drop(pipe);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7
    });
    assert!(parent.succeeds());
}

#[test]
fn dies_when_the_pipe_is_dropped() {
    let step = Step::shared();
    let parent = Forked::new(|| {
        let pipe = start(ParentPipe::new().expect("a pipe"), |read| {
            die_with_parent(read).expect("it may ask");
            step.reach(1);
            stay();
        });
        step.await_step(1);
        drop(pipe);
        let mut status = 0;
        // SAFETY: waits for any child, of which there is one.
        unsafe { libc::wait(&raw mut status) };
        libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL
    });
    assert!(parent.succeeds());
}
