//! What a process is given at its start: streams, niceness, processors, limits, signals.

#[path = "shared/joined.rs"]
mod joined;

use std::io::{Read, Write, pipe, read_to_string};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use joined::{joined, started};
use mp_layout::ErrorKind;
use mp_object::Event;
use mp_os::{cpu, this_process};
use mp_process::{
    Process, Resource, Setup, SignalAction, Status, Stream, active_children, cpu_count, spawn,
};

#[test]
fn streams_are_those_that_were_given() {
    fn echo() {
        let text = read_to_string(std::io::stdin()).unwrap();
        println!("out: {text}");
        eprintln!("err: {text}");
    }
    let (input, mut feed) = pipe().unwrap();
    let (output, to_output) = pipe().unwrap();
    let (errors, to_errors) = pipe().unwrap();
    let process = started(
        Process::new(echo, ())
            .stdin(input)
            .stdout(to_output)
            .stderr(to_errors),
    );
    feed.write_all(b"hello").unwrap();
    drop(feed);
    // They end: this process has closed its copies.
    assert_eq!(read_to_string(output).unwrap(), "out: hello\n");
    assert_eq!(read_to_string(errors).unwrap(), "err: hello\n");
    joined(&process);
    process.result().unwrap();
}

#[test]
fn null_streams_are_empty() {
    fn look() -> (String, Vec<String>) {
        let text = read_to_string(std::io::stdin()).unwrap();
        let names = (0..3).map(|number| std::fs::read_link(format!("/proc/self/fd/{number}")));
        let names = names.map(|name| name.unwrap().display().to_string());
        (text, names.collect())
    }
    let setup = Setup::new()
        .stdin(Stream::null())
        .stdout(Stream::null())
        .stderr(Stream::null());
    let process = started(Process::new(look, ()).setup(setup));
    joined(&process);
    let (text, names) = process.result().unwrap();
    assert_eq!(
        (text.as_str(), names),
        ("", vec!["/dev/null".to_owned(); 3])
    );
}

#[test]
fn one_setup_gives_its_streams_to_several_processes() {
    let (mut output, to_output) = pipe().unwrap();
    let setup = Setup::new().stdout(to_output);
    for n in 0..2_u8 {
        let task = |n: u8| println!("{n}");
        joined(&started(Process::new(task, (n,)).setup(setup.clone())));
        let mut line = [0; 2];
        output.read_exact(&mut line).unwrap();
        assert_eq!(line, [b'0' + n, b'\n']);
    }
    drop(setup);
    assert_eq!(read_to_string(output).unwrap(), "");
}

#[test]
fn niceness_processors_and_limits_are_in_force_when_the_task_begins() {
    fn look() -> (i32, Vec<usize>, usize, [u64; 4]) {
        let (open_files, core_size) = (Resource::OpenFiles.limits(), Resource::CoreSize.limits());
        (
            this_process::niceness().unwrap(),
            cpu::allowed().unwrap(),
            cpu_count(),
            [
                open_files.soft,
                open_files.hard,
                core_size.soft,
                core_size.hard,
            ],
        )
    }
    let niceness = (this_process::niceness().unwrap() + 3).min(19);
    let cpu = *cpu::allowed().unwrap().last().unwrap();
    let process = started(
        Process::new(look, ())
            .niceness(niceness)
            .cpus([cpu])
            .limit(Resource::OpenFiles, 61)
            .hard_limit(Resource::OpenFiles, 70)
            .hard_limit(Resource::CoreSize, 0),
    );
    joined(&process);
    let seen = process.result().unwrap();
    assert_eq!(seen, (niceness, vec![cpu], 1, [61, 70, 0, 0]));
    assert_ne!(Resource::OpenFiles.limits().soft, 61, "that of the parent");
}

#[test]
fn what_the_kernel_refuses_fails_the_start_with_the_figures_and_leaves_nothing() {
    fn descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }
    fn check() {
        let hard = Resource::OpenFiles.limits().hard;
        let cpu = cpu::allowed().unwrap()[0];
        let (none, some) = (vec![cpu::MAX_CPUS - 1], vec![cpu, cpu::MAX_CPUS - 1]);
        let huge = 1_u64 << 40;
        // No process may have them, whatever its privileges.
        let refused: [(Setup, ErrorKind, Vec<String>); 4] = [
            (
                Setup::new().hard_limit(Resource::OpenFiles, huge),
                ErrorKind::PermissionDenied,
                vec![
                    format!("RLIMIT_NOFILE (ulimit -n) to {huge} (hard)"),
                    format!("the hard one {hard}; to raise"),
                ],
            ),
            (
                Setup::new().limit(Resource::OpenFiles, huge),
                ErrorKind::InvalidInput,
                vec![format!("the hard one {hard}")],
            ),
            (
                Setup::new().cpus(none),
                ErrorKind::InvalidInput,
                vec!["processors [1023]".to_owned(), format!("may use [{cpu}")],
            ),
            (
                Setup::new().cpus(some),
                ErrorKind::InvalidInput,
                vec!["not processor 1023".to_owned()],
            ),
        ];
        // What all children share is made.
        joined(&spawn(|| (), ()).unwrap());
        let before = descriptors();
        for (setup, kind, parts) in refused {
            let (errors, to_errors) = pipe().unwrap();
            let ran = Event::new().unwrap();
            let mut process = Process::new(|ran: Event| ran.set(), (ran.clone(),))
                .name("limited")
                .setup(setup.stderr(to_errors));
            for _ in 0..2 {
                let error = process.start().unwrap_err();
                assert_eq!(error.kind(), kind, "{error}");
                let text = error.to_string();
                let missing = parts.iter().find(|part| !text.contains(*part));
                assert!(missing.is_none() && text.contains("\"limited\""), "{text}");
                assert_eq!(
                    (process.status(), process.pid()),
                    (Status::NotStarted, None)
                );
                assert!(active_children().is_empty());
            }
            // The arguments are kept for another try.
            process = process.setup(Setup::new());
            assert!(!ran.is_set(), "it ran all the same");
            process.start().unwrap();
            joined(&process);
            assert!(ran.is_set());
            assert_eq!(
                read_to_string(errors).unwrap(),
                "",
                "said by the error alone"
            );
        }
        assert_eq!(descriptors(), before);
        let me = std::process::id();
        let children = std::fs::read_to_string(format!("/proc/self/task/{me}/children"));
        assert_eq!(children.unwrap_or_default().trim(), "");
    }
    // In a process of its own: other tests start processes, too.
    let process = spawn(check, ()).unwrap();
    joined(&process);
    process.result().unwrap();
}

#[test]
fn what_no_process_can_have_is_refused_before_the_start() {
    let open_files = Resource::OpenFiles;
    let crossed = Setup::new().limit(open_files, 9).hard_limit(open_files, 8);
    let wrong = [
        (Setup::new().niceness(20), "niceness 20: it is -20 to 19"),
        (Setup::new().niceness(-21), "niceness -21"),
        (Setup::new().cpus([]), "the list is empty"),
        (
            Setup::new().cpus([0, 1024]),
            "processor 1024: they are 0 to 1023",
        ),
        (crossed, "to 9 (soft) and 8 (hard): the soft limit is above"),
    ];
    let signals = [-1, 0, libc::SIGKILL, libc::SIGSTOP, 32, 65, i32::MAX];
    let signals =
        signals.map(|signal| (Setup::new().signal(signal, SignalAction::Block), "signal"));
    for (setup, part) in wrong.into_iter().chain(signals) {
        let error = Process::new(|| (), ()).setup(setup).start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// Sent at any instant of the start, also before the child runs any code of its own.
#[test]
fn a_signal_that_is_ignored_or_blocked_has_no_effect_while_the_process_starts() {
    for round in 0..20_u32 {
        let action = [SignalAction::Ignore, SignalAction::Block][round as usize % 2];
        let go = Event::new().unwrap();
        let wait_for_go = |go: Event| go.wait();
        let process =
            started(Process::new(wait_for_go, (go.clone(),)).signal(libc::SIGINT, action));
        for _ in 0..1 << (round / 2) {
            process.interrupt().unwrap();
        }
        go.set();
        joined(&process);
        assert_eq!(process.status(), Status::Exited(0), "{action:?}");
    }
    let mut blocked = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: changes nothing, and fills the set that it is given.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), blocked.as_mut_ptr()) };
    // SAFETY: a set that was filled, and a signal that exists.
    let is_blocked = unsafe { libc::sigismember(blocked.as_ptr(), libc::SIGINT) };
    assert_eq!(is_blocked, 0, "this thread gets it again");
}

#[test]
fn a_signal_that_the_parent_ignores_can_be_made_to_work() {
    fn check() -> Option<i32> {
        this_process::ignore_signal(libc::SIGINT).unwrap();
        let ready = Event::new().unwrap();
        let task = |ready: Event| {
            ready.set();
            joined::sleep_for_ever();
        };
        let process = Process::new(task, (ready.clone(),));
        let process = started(process.signal(libc::SIGINT, SignalAction::Default));
        assert!(ready.wait_timeout(joined::LONG));
        process.interrupt().unwrap();
        joined(&process);
        process.exitcode()
    }
    let process = spawn(check, ()).unwrap();
    joined(&process);
    assert_eq!(process.result().unwrap(), Some(-libc::SIGINT));
}

#[test]
fn standard_error_may_go_where_standard_output_goes() {
    /// Starts a process whose standard error is this one's standard output.
    fn check() -> bool {
        let error = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
        let process = started(Process::new(|| eprint!("hello"), ()).stderr(error));
        joined(&process);
        process.exitcode() == Some(0)
    }
    let (output, to_output) = pipe().unwrap();
    let process = started(Process::new(check, ()).stdout(to_output));
    assert_eq!(read_to_string(output).unwrap(), "hello");
    joined(&process);
    assert!(process.result().unwrap());
}
