//! Getting a task, finishing it, and waiting for it.

use killcheck::Check;
use mp_layout::ErrorKind;
use mp_queue::{JoinableQueue, Wait};

use super::{STRIDE, announce_first_bell, begin};

type Tasks = JoinableQueue<u64>;

/// So many points of what is too long to try them all.
const POINTS: usize = 300;

/// Why the one that waits needs its recheck.
const DEAD: &str = "whether a task's process is dead is found out at the recheck";

fn tasks() -> Tasks {
    Tasks::new().expect("a queue").with_wait(Wait::Sleep)
}

/// One task, put or also got by this process, whoever died before.
fn restart(tasks: &Tasks) {
    while tasks.try_get().is_ok() {}
    while tasks.task_done().is_ok() {}
    // Finds the dead ones.
    drop(tasks.join());
    tasks.take_abandoned();
    assert_eq!(tasks.unfinished(), 0);
    tasks.put(1).expect("room");
}

fn join(tasks: &Tasks) {
    if let Err(error) = tasks.join() {
        assert_eq!(error.kind(), ErrorKind::ProcessDied, "{error}");
    }
}

/// What a process does once in its life, it does with another queue, and takes its place.
fn warm_up(tasks: &Tasks) {
    let other = self::tasks();
    other.put(1).expect("room");
    other.get().expect("a task");
    other.task_done().expect("it was got");
    assert!(tasks.task_done().is_err(), "nothing was got");
    announce_first_bell();
}

#[track_caller]
fn assert_safe(check: Check<'_, Tasks>) {
    check
        .warm_up(warm_up)
        .allow_missed(0.1, "libc does not always go the same way")
        .stride(STRIDE)
        .max_points(POINTS)
        .assert_safe(&tasks());
}

/// The task is done, or waits, or its process is dead: it is never waited for in vain, and never
/// forgotten while it waits.
#[test]
fn a_task_is_got_and_done_while_two_wait() {
    let _watchdog = begin();
    assert_safe(
        Check::new("get and task_done, two in join")
            .setup(restart)
            .victim(|tasks| {
                assert_eq!(tasks.get().expect("a task"), 1);
                tasks.task_done().expect("it was got");
            })
            .sleepers(2, join)
            .must_wake(Tasks::is_empty)
            .survivor(|tasks| {
                while tasks.try_get().is_ok() {
                    tasks.task_done().map_err(|error| error.to_string())?;
                }
                // Finds the dead process, which may have counted the task and not taken it.
                join(tasks);
                Ok(())
            })
            .invariant(|tasks| match tasks.unfinished() {
                0 if tasks.take_abandoned() <= 1 => Ok(()),
                unfinished => Err(format!("{unfinished} unfinished")),
            })
            .allow_rescues_if(|tasks, _| tasks.unfinished() != 0, DEAD),
    );
}

/// Once it is counted as done, no timeout is needed.
#[test]
fn a_task_is_done_while_two_wait() {
    let _watchdog = begin();
    let check = Check::new("task_done, two in join")
        .setup(restart)
        .victim(|tasks| tasks.task_done().expect("it was got"))
        .sleepers(2, join)
        .must_wake(|tasks| tasks.unfinished() == 0)
        .without_timeouts();
    check
        .warm_up(|tasks: &Tasks| {
            warm_up(tasks);
            assert_eq!(tasks.get().expect("a task"), 1);
        })
        .allow_missed(0.1, "libc does not always go the same way")
        .stride(STRIDE)
        .assert_safe(&tasks());
}
