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

/// Moves numbered messages through a `Queue` from a forked process to this one, after a quarter as
/// many to warm up, and prints the nanoseconds of the median of 15 parts and its messages.
const QUEUE_TRANSFER: &str = r"
import multiprocessing, os, sys, time
here, there, count, capacity = map(int, sys.argv[1:5])
text = sys.argv[5]
fork = multiprocessing.get_context('fork')
queue = fork.Queue(capacity)
warm_up, parts = count // 4, 15
def send():
    os.sched_setaffinity(0, {there})
    for number in range(warm_up + parts * (count // parts)):
        queue.put((number, text))
other = fork.Process(target=send)
other.start()
os.sched_setaffinity(0, {here})
expected = 0
def receive(messages):
    global expected
    for _ in range(messages):
        number, received = queue.get()
        assert number == expected and received == text
        expected += 1
receive(warm_up)
def part():
    start = time.perf_counter_ns()
    receive(count // parts)
    return time.perf_counter_ns() - start
times = sorted(part() for _ in range(parts))
other.join()
print(times[parts // 2], count // parts)
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
    let [elapsed] = run(placement, ROUND_TRIPS, &[count.to_string()]);
    Sample::of(Duration::from_nanos(elapsed), count)
}

/// Moves about `count` messages, each a number and `text`, over CPython's `Queue` of `capacity`
/// from another of its processes, as [`Pair::transfer`](crate::Pair::transfer) does.
///
/// # Panics
///
/// If there is no Python, or if its program fails.
pub fn python_queue_transfer(
    placement: Placement,
    count: usize,
    capacity: usize,
    text: &str,
) -> Sample {
    // At least one message for each of its parts.
    let arguments = [count.max(15).to_string(), capacity.to_string(), text.into()];
    let [elapsed, messages] = run(placement, QUEUE_TRANSFER, &arguments);
    Sample::of(Duration::from_nanos(elapsed), messages as usize)
}

/// Runs a program of CPython with the numbers of two cores and `arguments`, and returns the `N`
/// numbers that it prints.
fn run<const N: usize>(placement: Placement, program: &str, arguments: &[String]) -> [u64; N] {
    let cores = allowed();
    let there = match placement {
        Placement::TwoCores => cores[1 % cores.len()],
        Placement::OneCore => cores[0],
    };
    let ran = Command::new("python3")
        .args(["-c", program])
        .args([cores[0], there].map(|core| core.to_string()))
        .args(arguments)
        .output()
        .expect("there is a Python");
    assert!(ran.status.success(), "{ran:?}");
    let printed = String::from_utf8_lossy(&ran.stdout);
    let numbers = printed.split_whitespace().map(str::parse);
    let numbers: Result<Vec<u64>, _> = numbers.collect();
    numbers
        .expect("numbers")
        .try_into()
        .expect("as many as it prints")
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
