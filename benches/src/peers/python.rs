//! CPython's own `multiprocessing`.

use std::process::Command;
use std::time::Duration;

use crate::cores::allowed;
use crate::{Placement, Sample};

/// Forks, as Python did by default then, pins both, and prints nanoseconds and rounds.
const ROUND_TRIPS: &str = r"
import multiprocessing, os, sys, time
here, there, rounds = map(int, sys.argv[1:])
ours, theirs = multiprocessing.Pipe()
def answer():
    os.sched_setaffinity(0, {there})
    for _ in range(2 * rounds):
        theirs.send(theirs.recv())
other = multiprocessing.get_context('fork').Process(target=answer)
other.start()
os.sched_setaffinity(0, {here})
for part in range(2):
    start = time.perf_counter_ns()
    for number in range(rounds):
        ours.send(number)
        assert ours.recv() == number
    elapsed = time.perf_counter_ns() - start
other.join()
print(elapsed)
";

/// Whether there is a Python to compare with.
pub fn python_is_there() -> bool {
    let asked = Command::new("python3")
        .arg("-c")
        .arg("import multiprocessing")
        .status();
    asked.is_ok_and(|status| status.success())
}

/// `count` round trips of a number over CPython's `Pipe` between two of its processes, after as
/// many to warm up.
///
/// # Panics
///
/// If there is no Python, or if its program fails.
pub fn python_pipe_round_trips(placement: Placement, count: usize) -> Sample {
    let cores = allowed();
    let there = match placement {
        Placement::TwoCores => cores[1 % cores.len()],
        Placement::OneCore => cores[0],
    };
    let arguments = [cores[0], there, count].map(|number| number.to_string());
    let done = Command::new("python3")
        .arg("-c")
        .arg(ROUND_TRIPS)
        .args(arguments)
        .output()
        .expect("there is a Python");
    let printed = String::from_utf8_lossy(&done.stdout);
    let elapsed = printed.trim().parse().expect("nanoseconds");
    Sample::of(Duration::from_nanos(elapsed), count)
}

/// Single calls that a program of CPython times itself: it prints the nanoseconds of each, of which
/// the first is not counted.
///
/// # Panics
///
/// If there is no Python, or if its program fails.
pub fn python_calls(placement: Placement, program: &str, arguments: &[String]) -> Sample {
    placement.spread();
    let ran = Command::new("python3")
        .args(["-c", program])
        .args(arguments)
        .output()
        .expect("there is a Python");
    assert!(ran.status.success(), "{ran:?}");
    let text = String::from_utf8(ran.stdout).expect("numbers");
    let latencies = text.lines().skip(1).map(|line| {
        let nanos: u64 = line.parse().expect("a number");
        u32::try_from(nanos).unwrap_or(u32::MAX)
    });
    Sample::of_latencies(latencies.collect())
}
