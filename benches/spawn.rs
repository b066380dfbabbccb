//! Starting a process and waiting for its end.

use std::env;
use std::ffi::{CString, c_char};
use std::ptr;
use std::time::Instant;

use criterion::Criterion;
use mp_benches::{Bench, Contest, Placement, Sample};
use mp_process::Process;
use rustix::process::{Pid, WaitOptions, waitpid};

const OURS: &str = "mp-process Process, start + join";
const POSIX_SPAWN: &str = "posix_spawn + wait, same binary";

/// The argument with which this program ends at once.
const EXIT: &str = "exit-at-once";

fn main() {
    if env::args().nth(1).as_deref() == Some(EXIT) {
        return;
    }
    #[cfg(feature = "compare")]
    procspawn::init();
    let mut bench = Bench::start("spawn", env!("CARGO_TARGET_TMPDIR"));
    for placement in bench.placements() {
        start_and_join(&mut bench, placement);
    }
    with_criterion(&mut bench.finish());
}

fn start_and_join(bench: &mut Bench, placement: Placement) {
    let count = bench.count(40);
    let mut contest = Contest::of_times(format!("start + join, {placement}"));
    contest.ours(OURS, || each(placement, count, process));
    contest.peer(POSIX_SPAWN, || each(placement, count, posix_spawn));
    #[cfg(feature = "compare")]
    contest.peer("procspawn", || {
        each(placement, count, || {
            procspawn::spawn((), |()| ()).join().expect("it returns");
        })
    });
    contest.limit("fork + exit + wait", || each(placement, count, fork));
    contest.limit("thread, spawn + join", || {
        each(placement, count, || {
            std::thread::spawn(|| ()).join().expect("it returns");
        })
    });
    let outcome = bench.contest(contest);
    let cost = outcome.map(|outcome| outcome.cost(OURS, POSIX_SPAWN));
    let text = format!("start + join / posix_spawn + wait of the same binary, {placement}");
    bench.goal_at_most(text, 1.25, cost);
}

fn each(placement: Placement, count: usize, start_and_join: impl Fn()) -> Sample {
    placement.spread();
    start_and_join();
    let one = |_| {
        let start = Instant::now();
        start_and_join();
        u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX)
    };
    Sample::of_latencies((0..count).map(one).collect())
}

fn process() {
    let mut process = Process::new(|| (), ());
    process.start().expect("it starts");
    process.join().expect("it was started");
    assert_eq!(process.exitcode(), Some(0));
}

fn posix_spawn() {
    let program = CString::new("/proc/self/exe").expect("no NUL");
    let argument = CString::new(EXIT).expect("no NUL");
    let arguments = [
        program.as_ptr().cast_mut(),
        argument.as_ptr().cast_mut(),
        ptr::null_mut(),
    ];
    let mut pid = 0;
    // SAFETY: a path, arguments and an environment that end with null pointers and live through the
    // call; nobody changes the environment.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            ptr::null(),
            ptr::null(),
            arguments.as_ptr(),
            environ.cast_const(),
        )
    };
    assert_eq!(error, 0, "{}", std::io::Error::from_raw_os_error(error));
    wait(pid);
}

unsafe extern "C" {
    static environ: *mut *mut c_char;
}

fn fork() {
    // SAFETY: the child only exits.
    match unsafe { libc::fork() } {
        // SAFETY: in the child, with nothing to clean up.
        0 => unsafe { libc::_exit(0) },
        pid => wait(pid),
    }
}

fn wait(pid: libc::pid_t) {
    let pid = Pid::from_raw(pid)
        .filter(|_| pid > 0)
        .expect("a child was made");
    let waited = waitpid(Some(pid), WaitOptions::empty()).expect("it is our child");
    let (_, status) = waited.expect("without NOHANG it ends first");
    assert_eq!(status.exit_status(), Some(0));
}

fn with_criterion(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spawn");
    Placement::TwoCores.spread();
    group.bench_function("start + join", |bencher| bencher.iter(process));
    group.finish();
}
