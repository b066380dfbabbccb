//! Who outlives whom: parents that are killed or exit, daemons, dropped handles, limits of the system.
//!
//! The parents in these tests are processes themselves, so that they can be killed and limited.

use std::io;
use std::process::Command;
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_object::{Event, Mutex};
use mp_os::clock::Deadline;
use mp_os::pidfd::PidFd;
use mp_process::{Process, Status, spawn};
use mp_testkit::refuse;

const LONG: Duration = Duration::from_secs(20);

fn joined<R>(process: &Process<R>) {
    if !process.join_timeout(LONG).unwrap() {
        process.kill().unwrap();
        panic!("{process:?} does not end");
    }
}

fn sleep_for_ever() {
    loop {
        std::thread::park();
    }
}

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

#[test]
fn a_child_dies_with_a_parent_that_is_killed_right_after_start() {
    fn parent(pid: Mutex<u32>) {
        let child = spawn(sleep_for_ever, ()).unwrap();
        *pid.lock().unwrap() = child.pid().unwrap();
        // SAFETY: ends this process; nothing of it is used after.
        unsafe { libc::raise(libc::SIGKILL) };
    }
    for _ in 0..20 {
        let pid = Mutex::new(0).unwrap();
        let parent = spawn(parent, (pid.clone(),)).unwrap();
        joined(&parent);
        assert_eq!(parent.exitcode(), Some(-9));
        ends(*pid.lock().unwrap());
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
    // The two ends of the pipe that all children hang on stay, and the listener that they can reach by name.
    assert_eq!(before + 3, after);
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

#[test]
fn without_descriptors_a_start_is_an_error_and_can_be_repeated() {
    fn limit(resource: libc::__rlimit_resource_t, limit: u64) {
        let limit = libc::rlimit {
            rlim_cur: limit,
            rlim_max: 1024,
        };
        // SAFETY: reads the limits that it is given.
        assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
    }
    fn check() -> (u32, u32) {
        let mut process = Process::new(|n: u32| n + 1, (1,));
        let (mut refused, mut last) = (0, 0);
        for room in 3..40 {
            limit(libc::RLIMIT_NOFILE, room);
            match process.start() {
                Ok(()) => break,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TooManyDescriptors, "{error}");
                    assert!(error.to_string().contains("ulimit -n"), "{error}");
                    refused += 1;
                }
            }
        }
        limit(libc::RLIMIT_NOFILE, 1024);
        joined(&process);
        // The child has the same small limit, and may say so instead.
        match process.result() {
            Ok(value) => last = value,
            Err(error) => assert!(error.to_string().contains("descriptor"), "{error}"),
        }
        (refused, last)
    }
    let process = spawn(check, ()).unwrap();
    joined(&process);
    let (refused, last) = process.result().unwrap();
    assert!(refused >= 3, "{refused} starts were refused");
    assert_eq!(last, 2);
}

#[test]
fn at_the_limit_of_processes_a_start_is_an_error() {
    fn check() -> String {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: reads the limits that it is given.
        let limited = unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const none) };
        assert_eq!(limited, 0, "{}", io::Error::last_os_error());
        // The limit holds for every user but the system's root, who becomes nobody. A namespace's own root cannot, and is
        // limited as any user.
        // SAFETY: takes a number, and changes this process only.
        unsafe { libc::setuid(65534) };
        spawn(|| (), ()).map(drop).unwrap_err().to_string()
    }
    let process = spawn(check, ()).unwrap();
    joined(&process);
    let text = process.result().unwrap();
    assert!(text.contains("ulimit -u"), "{text}");
}

#[test]
fn recursion_ends_with_an_error() {
    fn dive(depth: u32) -> String {
        match spawn(dive, (depth + 1,)) {
            Ok(child) => child.result().unwrap_or_else(|error| error.to_string()),
            Err(error) => format!("{depth}: {error}"),
        }
    }
    let process = spawn(dive, (1,)).unwrap();
    joined(&process);
    let text = process.result().unwrap();
    assert!(
        text.starts_with("64: ") && text.contains("without end"),
        "{text}"
    );
}

/// Runs this test program again with one of the `#[ignore]`d tests below.
fn this_program(program: impl AsRef<std::ffi::OsStr>, test: &str) -> Command {
    let mut command = Command::new(program);
    command.args([
        "--exact",
        test,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command
}

#[test]
fn the_child_reads_the_real_standard_input() {
    use std::io::Write;
    use std::process::Stdio;
    let mut program = this_program(std::env::current_exe().unwrap(), "helper_reads_stdin");
    let mut program = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    program
        .stdin
        .take()
        .unwrap()
        .write_all(b"a line for the child")
        .unwrap();
    let ran = program.wait_with_output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert!(
        String::from_utf8_lossy(&ran.stdout).contains("1 passed"),
        "{ran:?}"
    );
}

#[test]
#[ignore = "run by another test with a pipe as standard input"]
fn helper_reads_stdin() {
    /// By a program of the child's, which is no child of ours.
    fn read() -> String {
        let ran = Command::new("cat")
            .stdin(std::process::Stdio::inherit())
            .output()
            .unwrap();
        String::from_utf8(ran.stdout).unwrap()
    }
    let process = spawn(read, ()).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), "a line for the child");
}

#[test]
fn what_the_child_printed_is_flushed() {
    let ran = this_program(std::env::current_exe().unwrap(), "helper_prints_in_a_child")
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&ran.stdout).contains("no line end here"),
        "{ran:?}"
    );
}

#[test]
#[ignore = "run by another test that reads the output"]
fn helper_prints_in_a_child() {
    joined(&spawn(|| print!("no line end here"), ()).unwrap());
}

#[test]
fn a_strangers_socket_as_standard_input_is_left_alone() {
    let (ours, theirs) = mp_os::socket::pair().unwrap();
    mp_os::socket::send(&ours, b"for somebody else", &[]).unwrap();
    let kept = theirs.try_clone().unwrap();
    let mut program = Command::new(std::env::current_exe().unwrap());
    let ran = program.arg("--list").stdin(theirs).output().unwrap();
    assert!(
        String::from_utf8_lossy(&ran.stdout).contains("helper_reads_stdin"),
        "{ran:?}"
    );
    let mut buffer = [0; 64];
    let message = mp_os::socket::recv_deadline(&kept, &mut buffer, Deadline::PASSED).unwrap();
    assert_eq!(&buffer[..message.len], b"for somebody else");
}

#[test]
fn a_start_without_process_descriptors_names_the_call_and_the_way_out() {
    fn check(call: i64, error: i32, ran: Event) -> String {
        refuse(call, error, None);
        let refused = spawn(|ran: Event| ran.set(), (ran,)).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        refused.to_string()
    }
    for (call, name, error) in [
        (libc::SYS_pidfd_open, "pidfd_open", libc::ENOSYS),
        (libc::SYS_pidfd_open, "pidfd_open", libc::EPERM),
        (
            libc::SYS_pidfd_send_signal,
            "pidfd_send_signal",
            libc::ENOSYS,
        ),
        (libc::SYS_waitid, "waitid with P_PIDFD", libc::EINVAL),
    ] {
        let ran = Event::new().unwrap();
        let process = spawn(check, (call, error, ran.clone())).unwrap();
        joined(&process);
        let text = process.result().unwrap();
        for part in [
            &format!("{name} is not offered"),
            "Linux 5.4",
            "seccomp",
            "valgrind",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!ran.is_set(), "it was started all the same");
    }
}

fn standard_error_of(helper: &str) -> String {
    let mut program = this_program(std::env::current_exe().unwrap(), helper);
    let ran = program.env_remove("RUST_BACKTRACE").output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stderr).unwrap()
}

#[test]
fn a_panic_on_standard_error_names_the_process() {
    let text = standard_error_of("helper_children_panic");
    let has = |wanted: &str| text.lines().any(|line| line.contains(wanted));
    assert!(has("process 'first' (") && has(") panicked at "), "{text}");
    assert!(text.contains("tests/lifetime.rs:"), "{text}");
    assert!(has("not today") && has("RUST_BACKTRACE=1"), "{text}");
    assert!(
        has("process 'second' (") && has(", thread 'helper' panicked at "),
        "{text}"
    );
    assert!(
        has("process 'third' (") && has("with a trace") && has("stack backtrace:"),
        "{text}"
    );
    assert!(!text.contains("unnamed"), "{text}");
}

#[test]
#[ignore = "run by another test that reads its standard error"]
fn helper_children_panic() {
    fn in_a_thread() {
        let thread = std::thread::Builder::new().name("helper".to_owned());
        let ended = thread.spawn(|| panic!("in a thread")).unwrap().join();
        assert!(ended.is_err());
    }
    let processes = [
        Process::new(|| panic!("not today"), ()).name("first"),
        Process::new(in_a_thread, ()).name("second"),
        Process::new(|| panic!("with a trace"), ())
            .name("third")
            .env("RUST_BACKTRACE", "1"),
    ];
    for mut process in processes {
        process.start().unwrap();
        joined(&process);
    }
}

#[test]
fn an_err_is_said_on_standard_error_though_the_parent_only_joins() {
    let text = standard_error_of("helper_children_return_err");
    let says = |name: &str, error: &str| {
        text.lines().any(|line| {
            line.starts_with(&format!("process '{name}' ("))
                && line.ends_with(&format!("): Error: {error}"))
        })
    };
    assert!(says("text", "\"3 is bad\""), "{text}");
    assert!(
        says("own", "TooLarge { limit: 7, given: [8, 9] }"),
        "{text}"
    );
    assert!(says("mp", "Closed(put into a queue: closed)"), "{text}");
    let unread = text.lines().find(|line| line.contains("'unread'"));
    assert!(
        unread.is_some_and(|line| line.contains("Error: Decode(") && line.contains("Lossy")),
        "{text}"
    );
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[derive(serde::Serialize, serde::Deserialize)]
enum OwnError {
    TooLarge { limit: u8, given: Vec<u8> },
}

/// Writes nothing, and then lacks what it reads.
struct Lossy;

impl serde::Serialize for Lossy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> serde::Deserialize<'de> for Lossy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer).map(|_| Self)
    }
}

#[test]
#[ignore = "run by another test that reads its standard error"]
fn helper_children_return_err() {
    fn join_only<R: mp_process::Returned>(name: &str, process: Process<R>) -> Process<R> {
        let mut process = process.name(name);
        process.start().unwrap();
        joined(&process);
        assert_eq!(process.exitcode(), Some(1));
        process
    }
    let text = Process::new(|n: u8| Err::<(), _>(format!("{n} is bad")), (3,));
    let text = join_only("text", text);
    let own = || {
        Err::<u8, _>(OwnError::TooLarge {
            limit: 7,
            given: vec![8, 9],
        })
    };
    join_only("own", Process::new(own, ()));
    let closed = || {
        let error = mp_layout::Error::new(ErrorKind::Closed, "put into", "a queue");
        Err::<(), _>(error)
    };
    join_only("mp", Process::new(closed, ()));
    join_only("unread", Process::new(|_: Lossy| (), (Lossy,)));
    let also = text.result().unwrap();
    assert_eq!(
        also,
        Err("3 is bad".to_owned()),
        "the parent has it as well"
    );
}

#[test]
fn a_child_that_closed_its_way_and_finds_no_other_says_so() {
    let text = standard_error_of("helper_child_cannot_answer");
    let line = text
        .lines()
        .find(|line| line.starts_with("process 'mute' ("));
    let says = |line: &str| line.contains("the task closed the descriptor");
    assert!(line.is_some_and(says), "{text}");
}

#[test]
#[ignore = "run by another test that reads its standard error"]
fn helper_child_cannot_answer() {
    fn mute() -> u8 {
        refuse(libc::SYS_connect, libc::EPERM, None);
        // SAFETY: what is being tested is what happens to those who use them.
        unsafe { libc::close_range(3, u32::MAX, 0) };
        1
    }
    let mut process = Process::new(mute, ()).name("mute");
    process.start().unwrap();
    joined(&process);
    let error = process.result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProcessDied);
    assert_eq!(process.exitcode(), Some(1));
}
