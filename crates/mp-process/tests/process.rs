//! Describing, starting, naming, waiting for and ending real processes.

#[path = "shared/joined.rs"]
mod joined;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use joined::{LONG, joined, started};
use mp_layout::ErrorKind;
use mp_object::{Event, wait};
use mp_os::clock::Deadline;
use mp_process::{
    Process, Stateless, Status, StillRunning, Task, active_children, current_process,
    parent_process, spawn,
};

fn add(a: i32, b: i64) -> i64 {
    i64::from(a) + b
}

/// Runs until the event is set, or is killed.
fn wait_for(event: Event) {
    event.wait();
}

fn announce_and_wait(ready: Event, end: Event) {
    ready.set();
    end.wait();
}

/// A child that is known to run its task.
fn running() -> (Process<()>, Event) {
    running_as(announce_and_wait)
}

fn running_as<F>(task: F) -> (Process<()>, Event)
where
    F: Task<(Event, Event), Output = ()> + Stateless,
{
    let (ready, end) = (Event::new().unwrap(), Event::new().unwrap());
    let process = spawn(task, (ready.clone(), end.clone())).unwrap();
    assert!(ready.wait_timeout(LONG), "the child never ran");
    (process, end)
}

#[test]
fn lives_between_start_and_end() {
    let end = Event::new().unwrap();
    let mut process = Process::new(wait_for, (end.clone(),));
    assert!(!process.is_alive());
    assert_eq!((process.pid(), process.exitcode()), (None, None));
    assert_eq!(process.status(), Status::NotStarted);
    assert!(process.sentinel().is_none());
    process.start().unwrap();
    assert!(process.is_alive());
    assert_eq!(process.exitcode(), None);
    assert_eq!(process.status(), Status::Running);
    assert!(!process.join_timeout(Duration::ZERO).unwrap());
    assert!(!process.join_timeout(Duration::from_millis(1)).unwrap());
    let moment = Instant::now() + Duration::from_millis(1);
    assert!(!process.join_timeout(moment).unwrap());
    assert!(Instant::now() >= moment);
    assert!(!process.join_timeout(Deadline::PASSED).unwrap());
    end.set();
    joined(&process);
    assert!(!process.is_alive());
    joined(&process);
    process.join().unwrap();
}

#[test]
fn what_needs_a_started_process_says_so() {
    let process = Process::new(add, (1, 2)).name("idle");
    for error in [
        process.join().unwrap_err(),
        process.kill().unwrap_err(),
        process.result().unwrap_err(),
        process.join_timeout(Duration::MAX).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidState);
        assert!(
            error.to_string().contains("\"idle\": it was not started"),
            "{error}"
        );
    }
}

#[test]
fn starts_once() {
    let mut process = started(Process::new(add, (1, 2)));
    assert_eq!(process.start().unwrap_err().kind(), ErrorKind::InvalidState);
    joined(&process);
    assert_eq!(process.start().unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(process.result().unwrap(), 3);
}

#[test]
fn a_kill_names_pid_and_signal() {
    let (process, _end) = running();
    process.kill().unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(-9));
    assert_eq!(
        process.status(),
        Status::Signaled {
            signal: 9,
            core: false
        }
    );
    let error = process.result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProcessDied);
    let text = error.to_string();
    assert!(
        text.contains(&format!("pid {}", process.pid().unwrap())),
        "{text}"
    );
    assert!(
        text.contains("signal 9 (SIGKILL)") && text.contains("memory"),
        "{text}"
    );
}

#[test]
fn terminate_and_interrupt_end_it_by_their_signals() {
    let (process, _end) = running();
    process.terminate().unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(-15));
    let (process, _end) = running_as(interruptible);
    process.interrupt().unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(-2));
    process.kill().unwrap();
    process.terminate().unwrap();
}

/// Where the tests run in the background of a shell, all of them inherit that SIGINT is ignored.
fn interruptible(ready: Event, end: Event) {
    // SAFETY: the default action runs no code of this process.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    announce_and_wait(ready, end);
}

#[test]
fn may_be_waited_for_by_several_threads() {
    let (process, end) = running();
    std::thread::scope(|scope| {
        let waits: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| process.join_timeout(LONG).unwrap()))
            .collect();
        end.set();
        for wait in waits {
            assert!(wait.join().unwrap());
        }
    });
    assert_eq!(process.exitcode(), Some(0));
}

#[test]
fn survives_the_thread_that_started_it() {
    let end = Event::new().unwrap();
    let for_child = end.clone();
    let process = std::thread::spawn(move || spawn(wait_for, (for_child,)).unwrap())
        .join()
        .unwrap();
    assert!(!process.join_timeout(Duration::from_millis(100)).unwrap());
    end.set();
    joined(&process);
    assert_eq!(process.exitcode(), Some(0));
}

#[test]
fn the_sentinel_tells_the_end() {
    let (process, end) = running();
    let sentinel = process.sentinel().unwrap().try_clone_to_owned().unwrap();
    let sentinel = mp_os::pidfd::PidFd::from(sentinel);
    assert!(!sentinel.is_exited().unwrap());
    end.set();
    assert!(sentinel.wait_end(Deadline::after(LONG)).unwrap());
    joined(&process);
    assert!(
        process
            .sentinel()
            .unwrap()
            .as_fd()
            .try_clone_to_owned()
            .is_ok()
    );
}

#[test]
fn close_gives_a_running_process_back() {
    let (process, end) = running();
    let pid = process.pid();
    let Err(StillRunning(process)) = process.close() else {
        panic!("it runs");
    };
    assert_eq!((process.pid(), process.is_alive()), (pid, true));
    let refused = process.close().unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("join or kill it first"), "{text}");
    end.set();
    joined(&refused.0);
    refused.0.close().unwrap();

    let (process, end) = running();
    let error = mp_layout::Error::from(process.close().unwrap_err());
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    let text = error.to_string();
    assert!(text.contains("join or kill it first"), "{text}");
    end.set();
}

#[test]
fn a_child_of_a_daemon_is_a_daemon_unless_told_otherwise() {
    fn children() -> (bool, bool, bool) {
        let by_itself = Process::new(|| (), ());
        let told = Process::new(|| (), ()).daemon(false);
        let me = current_process().is_daemon();
        (me, by_itself.is_daemon(), told.is_daemon())
    }
    for daemon in [true, false] {
        let process = started(Process::new(children, ()).daemon(daemon));
        joined(&process);
        assert_eq!(process.result().unwrap(), (daemon, daemon, false));
    }
}

#[test]
fn is_named_by_number_or_by_hand() {
    let process = Process::new(add, (1, 2));
    assert!(process.get_name().starts_with("Process-"), "{process:?}");
    fn who() -> (String, bool, String, Vec<String>) {
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        let mut child = Process::new(|| current_process().name().to_owned(), ());
        child.start().unwrap();
        let names = vec![child.get_name().to_owned(), child.result().unwrap()];
        let me = current_process();
        (me.name().to_owned(), me.is_alive(), comm, names)
    }
    let process = started(Process::new(who, ()).name("greeter"));
    joined(&process);
    let (name, alive, comm, names) = process.result().unwrap();
    assert_eq!(
        (name.as_str(), alive, comm.trim()),
        ("greeter", true, "greeter")
    );
    assert_eq!(names[0], names[1]);
    assert!(
        names[0].contains(":1"),
        "a child's child has two numbers: {names:?}"
    );
}

#[test]
fn knows_its_parent() {
    fn parents() -> (u32, String, u32, bool) {
        let parent = parent_process().unwrap();
        let pid = current_process().parent_pid();
        (
            pid,
            parent.name().to_owned(),
            parent.pid(),
            parent.is_alive(),
        )
    }
    assert!(parent_process().is_none());
    assert_eq!(current_process().name(), "MainProcess");
    let process = spawn(parents, ()).unwrap();
    joined(&process);
    let me = std::process::id();
    assert_eq!(
        process.result().unwrap(),
        (me, "MainProcess".to_owned(), me, true)
    );
}

#[test]
fn takes_environment_and_directory_of_its_own() {
    fn look() -> (Option<String>, bool, String) {
        let directory = std::env::current_dir().unwrap().display().to_string();
        let inherited = std::env::var_os("PATH").is_some();
        (std::env::var("MP_TEST").ok(), inherited, directory)
    }
    let process = started(
        Process::new(look, ())
            .env("MP_TEST", "yes")
            .current_dir("/usr"),
    );
    joined(&process);
    assert_eq!(
        process.result().unwrap(),
        (Some("yes".into()), true, "/usr".into())
    );

    let mut process = Process::new(look, ()).current_dir("/does/not/exist");
    let error = process.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("directory"), "{error}");
}

#[test]
fn active_children_are_those_that_run() {
    let (process, end) = running();
    let pid = process.pid().unwrap();
    let listed = active_children();
    let child = listed.iter().find(|child| child.pid() == pid).unwrap();
    assert!(child.is_alive() && !child.is_daemon());
    end.set();
    assert!(child.join_timeout(LONG).unwrap());
    assert_eq!(child.exitcode(), Some(0));
    assert!(active_children().iter().all(|child| child.pid() != pid));
}

#[test]
fn an_active_child_is_interrupted_and_waited_for_with_others() {
    let (process, end) = running_as(interruptible);
    let pid = process.pid().unwrap();
    let listed = active_children();
    let child = listed.iter().find(|child| child.pid() == pid).unwrap();
    let never = Event::new().unwrap();
    assert_eq!(wait(&[&never, child], Duration::ZERO).unwrap(), []);
    child.interrupt().unwrap();
    assert_eq!(wait(&[&never, child], LONG).unwrap(), [1]);
    let sentinel = child.sentinel().try_clone_to_owned().unwrap();
    assert!(mp_os::pidfd::PidFd::from(sentinel).is_exited().unwrap());
    assert_eq!(process.exitcode(), Some(-libc::SIGINT));
    child.interrupt().unwrap();
    drop(end);
}

#[test]
fn the_signal_of_a_broken_pipe_is_ignored() {
    fn write_to_nobody() -> Option<i32> {
        use std::io::Write;
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        writer.write_all(b"x").unwrap_err().raw_os_error()
    }
    let process = spawn(write_to_nobody, ()).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), Some(32));
}

#[test]
fn the_child_sees_the_programs_arguments() {
    fn count() -> usize {
        std::env::args().count()
    }
    let process = spawn(count, ()).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), std::env::args().count());
}

#[test]
fn starts_from_many_threads_at_once() {
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            scope.spawn(move || {
                let processes: Vec<_> = (0..5)
                    .map(|number| spawn(|a: u64, b: u64| a * 10 + b, (thread, number)).unwrap())
                    .collect();
                for (number, process) in processes.iter().enumerate() {
                    joined(process);
                    assert_eq!(process.result().unwrap(), thread * 10 + number as u64);
                }
            });
        }
    });
}

#[test]
fn impossible_variables_and_directories_are_refused_before_the_start() {
    fn nothing() {}
    let refused = |mut process: Process<()>| process.start().unwrap_err().kind();
    for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0")] {
        let process = Process::new(nothing, ()).env(name, value);
        assert_eq!(
            refused(process),
            ErrorKind::InvalidInput,
            "{name:?}={value:?}"
        );
    }
    assert_eq!(
        refused(Process::new(nothing, ()).current_dir("/usr\0")),
        ErrorKind::InvalidInput
    );
}

#[test]
fn a_thread_that_blocks_signals_starts_processes_that_can_be_terminated() {
    let started = std::thread::spawn(|| {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: initialises the set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: an initialised set, for this thread only.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) };
        running()
    });
    let (process, _end) = started.join().unwrap();
    process.terminate().unwrap();
    joined(&process);
    assert_eq!(process.exitcode(), Some(-libc::SIGTERM));
}
