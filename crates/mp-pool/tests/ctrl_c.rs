//! Ctrl-C at any instant of a pool's life. Alone in its binary: what is left is looked for in the
//! whole process.

use std::fs;
use std::io::{PipeReader, Read, pipe};
use std::os::fd::AsFd;
use std::ptr;
use std::time::{Duration, Instant};

use mp_object::Event;
use mp_os::wakeup::wait_any;
use mp_pool::{Deadline, Pool};
use mp_process::{Process, SignalAction};
use mp_testkit::{LeakCheck, Watchdog};

/// More than any wait in a test needs; a test that reaches it has failed.
const LONG: Duration = Duration::from_secs(60);

const ROUNDS: u32 = 50;

/// What the program does, over and over, until it is ended.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
enum Phase {
    Start,
    Map,
    Join,
    Terminate,
    /// A process of its own group outlives it, which must be seen.
    Escape,
}

impl Phase {
    /// About how long it takes once, and the program to come to it.
    fn micros(self) -> u64 {
        match self {
            Self::Map => 5_000,
            Self::Start | Self::Join | Self::Terminate | Self::Escape => 20_000,
        }
    }
}

/// A program with a process group of its own, as a shell makes it.
fn program(phase: Phase, ready: Event) {
    // SAFETY: takes numbers, and changes this process only.
    assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
    if matches!(phase, Phase::Escape) {
        escape();
    }
    let pool = || Pool::new(2).unwrap();
    let mapping = matches!(phase, Phase::Map).then(pool);
    ready.set();
    if let Some(pool) = mapping {
        loop {
            assert_eq!(pool.map(|n: u32| n + 1, 0..100).unwrap()[99], 100);
        }
    }
    loop {
        let pool = pool();
        match phase {
            // A drop terminates it, before its workers run anything.
            Phase::Start | Phase::Map | Phase::Escape => {}
            Phase::Join => {
                let results = pool.map_async(|n: u32| n + 1, 0..100);
                pool.close();
                pool.join().unwrap();
                assert!(results.successful());
            }
            Phase::Terminate => {
                let _never = pool.map_async(run_for_ever, 0..9);
                pool.terminate();
                pool.join().unwrap();
            }
        }
    }
}

/// Leaves a process that Ctrl-C does not end, and that ends when its standard output is read no
/// more.
fn escape() {
    let mut output = libc::pollfd {
        fd: libc::STDOUT_FILENO,
        events: 0,
        revents: 0,
    };
    // SAFETY: plain data, for which zero is valid.
    let mut interrupt: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: a set of this thread's, and a signal that there is.
    unsafe { libc::sigaddset(&raw mut interrupt, libc::SIGINT) };
    // The other process begins with it blocked: it may be sent before that process has run at all.
    // SAFETY: the set is initialised; no set of before is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const interrupt, ptr::null_mut()) };
    // SAFETY: the child makes system calls only.
    if unsafe { libc::fork() } != 0 {
        // SAFETY: as above.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const interrupt, ptr::null_mut()) };
        return;
    }
    // SAFETY: `output` is one structure, and no other thread has it.
    unsafe { libc::poll(&raw mut output, 1, -1) };
    // SAFETY: nothing of the parent's that this process has a copy of is to be dropped here.
    unsafe { libc::_exit(0) }
}

fn run_for_ever(_: u32) {
    loop {
        std::thread::park();
    }
}

/// The next of a row of numbers that look random (xorshift).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Whether each process that holds the other end has ended, by a deadline; what they write is
/// passed over.
fn is_hung_up(output: &mut PipeReader, deadline: Deadline) -> bool {
    while wait_any(&[output.as_fd()], deadline).unwrap() == [0] {
        if output.read(&mut [0; 4096]).unwrap() == 0 {
            return true;
        }
    }
    false
}

/// Entries of `/dev/shm` that came since, and that no living process has mapped or open. Other
/// programs make entries as well.
fn is_left(leak: &str) -> bool {
    let Some(name) = leak.strip_prefix("/dev/shm entry ") else {
        return true;
    };
    let path = format!("/dev/shm/{name}");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    !processes.map(|entry| entry.path()).any(|process| {
        let maps = fs::read_to_string(process.join("maps")).unwrap_or_default();
        let open = fs::read_dir(process.join("fd")).into_iter().flatten();
        let mut targets = open
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok());
        maps.contains(&path) || targets.any(|target| target.as_os_str() == path.as_str())
    })
}

/// Each process that lives holds a copy of the pipe's end as its standard output. Returns how long
/// it took until all had ended; `None` if one outlives the program by `patience`.
fn interrupt(phase: Phase, after: Duration, patience: Duration) -> Option<Duration> {
    let (mut output, to_output) = pipe().unwrap();
    let ready = Event::new().unwrap();
    let mut program = Process::new(program, (phase, ready.clone()))
        .stdout(to_output)
        // A shell's background jobs ignore it, and so does what they start.
        .signal(libc::SIGINT, SignalAction::Default);
    program.start().unwrap();
    assert!(ready.wait_timeout(LONG), "{phase:?} does not begin");
    // Chooses the instant.
    std::thread::sleep(after);
    let group = program.pid().unwrap().cast_signed();
    let sent_at = Instant::now();
    // SAFETY: a signal to the group of a process that has not been reaped.
    assert_eq!(unsafe { libc::kill(-group, libc::SIGINT) }, 0);
    assert!(program.join_timeout(LONG).unwrap(), "{phase:?} goes on");
    assert_eq!(program.exitcode(), Some(-libc::SIGINT), "{phase:?}");
    is_hung_up(&mut output, Deadline::after(patience)).then(|| sent_at.elapsed())
}

#[test]
fn ends_the_whole_program_at_any_instant() {
    let _watchdog = Watchdog::new(10 * LONG);
    // What a process keeps for all its children.
    interrupt(Phase::Start, Duration::ZERO, LONG).expect("all end");
    // The control: a process that goes on is seen.
    let escaped = interrupt(Phase::Escape, Duration::ZERO, Duration::from_secs(1));
    assert_eq!(escaped, None);
    let check = LeakCheck::start();
    let seed = u64::from(std::process::id()) << 32 | 0x9e37_79b9;
    println!("seed {seed:#x}");
    let mut random = seed;
    for phase in [Phase::Start, Phase::Map, Phase::Join, Phase::Terminate] {
        let mut instant = || Duration::from_micros(next(&mut random) % phase.micros());
        let ends = (0..ROUNDS).map(|_| {
            let took = interrupt(phase, instant(), LONG);
            took.unwrap_or_else(|| panic!("a process outlives Ctrl-C, {phase:?}"))
        });
        let longest = ends.max().unwrap_or_default();
        println!("{phase:?}: the longest of {ROUNDS} ends took {longest:?}");
    }
    // What another program makes is unmapped for a moment, too.
    let deadline = Instant::now() + LONG;
    let left = || check.leaks().into_iter().filter(|leak| is_left(leak));
    while left().next().is_some() {
        let left: Vec<_> = left().collect();
        assert!(Instant::now() < deadline, "left behind: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
