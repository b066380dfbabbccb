//! What it costs to start a process and wait for it, beside `posix_spawn` and `wait` of the same
//! program.
//!
//! `cargo run --release -p mp-process --example start_cost`

use std::process::Command;
use std::time::{Duration, Instant};

use mp_process::Process;

const ROUNDS: usize = 400;

fn nothing() {}

/// Starts this program by the standard library, which uses `posix_spawn`; it returns from `main` at
/// once.
fn plain() {
    let mut child = Command::new("/proc/self/exe")
        .arg("nothing")
        .spawn()
        .expect("spawn");
    assert!(child.wait().expect("wait").success());
}

fn ours() {
    let mut process = Process::new(nothing, ());
    process.start().expect("start");
    process.join().expect("join");
    assert_eq!(process.exitcode(), Some(0));
}

fn timed(start_and_wait: fn()) -> Duration {
    let begun = Instant::now();
    start_and_wait();
    begun.elapsed()
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("nothing") {
        return;
    }
    let mut times = [Vec::new(), Vec::new()];
    // In turn, so that both meet the same disturbances.
    for _ in 0..ROUNDS {
        times[0].push(timed(plain));
        times[1].push(timed(ours));
    }
    let mut medians = [0.0; 2];
    for (name, (times, median)) in ["posix_spawn + wait", "Process: start + join"]
        .iter()
        .zip(times.iter_mut().zip(&mut medians))
    {
        times.sort();
        *median = times[ROUNDS / 2].as_secs_f64() * 1e6;
        let late = times[ROUNDS * 99 / 100].as_secs_f64() * 1e6;
        println!("{name:<22} p50 {median:>7.0} us   p99 {late:>7.0} us");
    }
    let ratio = medians[1] / medians[0];
    println!("ratio of the medians   {ratio:.2}");
    assert!(ratio > 0.1, "a process that costs nothing was not started");
}
