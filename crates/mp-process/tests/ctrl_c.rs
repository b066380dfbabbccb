//! Ctrl-C at any instant of starting and joining processes.

#[path = "shared/joined.rs"]
mod joined;

use std::io::pipe;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use joined::{LONG, joined, sleep_for_ever, started};
use mp_object::Event;
use mp_os::clock::Deadline;
use mp_os::wakeup::wait_any;
use mp_process::{Process, SignalAction, spawn};

/// A program with a process group of its own, as a shell makes it, that starts and joins processes
/// until it is ended.
fn program(ready: Event) {
    // SAFETY: takes numbers, and changes this process only.
    assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
    ready.set();
    let _others = [(); 2].map(|()| spawn(sleep_for_ever, ()).unwrap());
    loop {
        let process = spawn(|n: u32| n + 1, (1,)).unwrap();
        process.join().unwrap();
    }
}

/// Who lives holds a copy of the pipe's end as its standard output.
#[test]
fn ends_the_whole_program_at_any_instant() {
    let mut longest = Duration::ZERO;
    for round in 0..50_u32 {
        let (output, to_output) = pipe().unwrap();
        let ready = Event::new().unwrap();
        let program = Process::new(program, (ready.clone(),))
            .stdout(to_output)
            // A shell's background jobs ignore it, and so does what they start.
            .signal(libc::SIGINT, SignalAction::Default);
        let program = started(program);
        assert!(ready.wait_timeout(LONG), "it does not begin");
        // Chooses the instant.
        std::thread::sleep(Duration::from_micros(250) * round);
        let group = program.pid().unwrap().cast_signed();
        let sent_at = Instant::now();
        // SAFETY: a signal to the group of a process that has not been reaped.
        assert_eq!(unsafe { libc::kill(-group, libc::SIGINT) }, 0);
        joined(&program);
        let hung_up = wait_any(&[output.as_fd()], Deadline::after(LONG)).unwrap();
        assert_eq!(hung_up, [0], "a process outlives Ctrl-C, round {round}");
        longest = longest.max(sent_at.elapsed());
        assert_eq!(program.exitcode(), Some(-libc::SIGINT), "round {round}");
    }
    println!("the longest of 50 ends took {longest:?}");
}
