//! Ctrl-C at any instant of a pool's life. Alone in its binary: what is left is looked for in the
//! whole process.

use std::io::pipe;
use std::os::fd::AsFd;
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
}

impl Phase {
    /// About how long it takes once, and the program to come to it.
    fn micros(self) -> u64 {
        match self {
            Self::Map => 5_000,
            Self::Start | Self::Join | Self::Terminate => 20_000,
        }
    }
}

/// A program with a process group of its own, as a shell makes it.
fn program(phase: Phase, ready: Event) {
    // SAFETY: takes numbers, and changes this process only.
    assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
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
            Phase::Start | Phase::Map => {}
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

/// Each process that lives holds a copy of the pipe's end as its standard output.
fn interrupt(phase: Phase, after: Duration) -> Duration {
    let (output, to_output) = pipe().unwrap();
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
    let hung_up = wait_any(&[output.as_fd()], Deadline::after(LONG)).unwrap();
    assert_eq!(hung_up, [0], "a process outlives Ctrl-C, {phase:?}");
    assert_eq!(program.exitcode(), Some(-libc::SIGINT), "{phase:?}");
    sent_at.elapsed()
}

#[test]
fn ends_the_whole_program_at_any_instant() {
    let _watchdog = Watchdog::new(10 * LONG);
    // What a process keeps for all its children.
    interrupt(Phase::Start, Duration::ZERO);
    let check = LeakCheck::start();
    let seed = u64::from(std::process::id()) << 32 | 0x9e37_79b9;
    println!("seed {seed:#x}");
    let mut random = seed;
    for phase in [Phase::Start, Phase::Map, Phase::Join, Phase::Terminate] {
        let mut instant = || Duration::from_micros(next(&mut random) % phase.micros());
        let ends = (0..ROUNDS).map(|_| interrupt(phase, instant()));
        let longest = ends.max().unwrap_or_default();
        println!("{phase:?}: the longest of {ROUNDS} ends took {longest:?}");
    }
    // Other programs make entries of /dev/shm as well, and remove them.
    let deadline = Instant::now() + LONG;
    while !check.leaks().is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    check.assert_clean();
}
