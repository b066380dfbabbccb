//! A worker whose start hangs, as where its directory is on a file server that does not answer.
//! What else the pool does goes on.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use mp_object::{Event, Mutex};
use mp_os::clock::Deadline;
use mp_os::pidfd::PidFd;
use mp_pool::Pool;
use mp_process::{Resource, Setup, spawn};
use mp_testkit::{LeakCheck, Watchdog};

/// More than any wait in a test needs.
const LONG: Duration = Duration::from_secs(60);

/// The directory of a [`Gate`], in the environment of a worker.
const GATE: &str = "MP_TEST_GATE";

/// Where a worker waits before it says that it is set up; its parent's start waits for that word.
struct Gate(PathBuf);

/// While it lives, workers do not pass.
struct Shut {
    _locked: File,
}

impl Gate {
    fn new(name: &str) -> Self {
        let name = format!("{name}.{}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).unwrap();
        File::create(directory.join("gate")).unwrap();
        Self(directory)
    }

    fn shut(&self) -> Shut {
        let gate = File::open(self.0.join("gate")).unwrap();
        lock(&gate, libc::LOCK_EX);
        Shut { _locked: gate }
    }

    /// Workers that come to the gate. The start of one with a limit waits for its word, since the
    /// kernel may refuse the limit.
    fn setup(&self) -> Setup {
        let files = Resource::OpenFiles.limits().soft;
        let setup = Setup::new().limit(Resource::OpenFiles, files);
        setup.env(GATE, &self.0)
    }

    /// The workers that have come to the gate.
    fn arrived(&self) -> Vec<u32> {
        let entries = fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .filter_map(|name| name.to_str()?.parse().ok())
            .collect()
    }

    /// Waits until another worker has come than those of `before`, and returns it.
    fn await_arrival(&self, before: &[u32]) -> u32 {
        loop {
            let mut arrived = self.arrived().into_iter();
            if let Some(pid) = arrived.find(|pid| !before.contains(pid)) {
                return pid;
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Called by the loader, before this crate's own code for a child.
#[used]
#[unsafe(link_section = ".init_array.00200")]
static AT_THE_GATE: extern "C" fn() = pass_the_gate;

extern "C" fn pass_the_gate() {
    let Some(directory) = std::env::var_os(GATE) else {
        return;
    };
    let directory = Path::new(&directory);
    let gate = File::open(directory.join("gate")).expect("its parent lives");
    File::create(directory.join(std::process::id().to_string())).expect("its parent lives");
    lock(&gate, libc::LOCK_SH);
}

/// Until the file is closed.
fn lock(file: &File, operation: i32) {
    // SAFETY: takes a descriptor that is open, and a number.
    assert_eq!(unsafe { libc::flock(file.as_raw_fd(), operation) }, 0);
}

fn kill(pid: u32) {
    let process = PidFd::open(pid).unwrap();
    process.send_signal(libc::SIGKILL).unwrap();
}

/// Says which process runs it, and runs until it is killed.
fn announce(pid: Mutex<u32>, runs: Event) {
    *pid.lock().unwrap() = std::process::id();
    runs.set();
    loop {
        std::thread::park();
    }
}

/// A pool of `workers` of which one, killed, is replaced by one that waits at the gate; with that
/// one's pid.
fn with_a_start_that_hangs(gate: &Gate, workers: usize) -> (Pool, Shut, u32) {
    let builder = Pool::builder().workers(workers).setup(gate.setup());
    let pool = builder.build().unwrap();
    let shut = gate.shut();
    let before = gate.arrived();
    kill(pool.worker_pids()[0]);
    let hangs = gate.await_arrival(&before);
    (pool, shut, hangs)
}

#[test]
fn a_start_that_hangs_holds_up_no_death_no_result_and_no_callback() {
    let _watchdog = Watchdog::new(LONG);
    let gate = Gate::new("holds_up");
    let (pool, shut, hangs) = with_a_start_that_hangs(&gate, 3);
    assert!(!pool.worker_pids().contains(&hangs));
    // No thread waits for the result but that of callbacks.
    let (sender, receiver) = channel();
    let _result = pool
        .apply_async(|n: u32| n + 1, (6,))
        .callback(move |value| sender.send(value).unwrap());
    assert_eq!(receiver.recv_timeout(LONG), Ok(7));
    // This one waits for a result that only the death of its worker brings.
    let (pid, runs) = (Mutex::new(0).unwrap(), Event::new().unwrap());
    let result = pool.apply_async(announce, (pid.clone(), runs.clone()));
    runs.wait();
    let killed = *pid.lock().unwrap();
    kill(killed);
    let error = result.get_timeout(LONG).unwrap_err();
    assert_eq!(error.death().expect("it died").pid(), killed, "{error}");
    // The last worker runs all that there is.
    assert_eq!(pool.map(|n: u32| n, 0..100).unwrap().len(), 100);
    drop(shut);
    // Both come to work.
    while pool.worker_pids().len() < 3 {
        std::thread::yield_now();
    }
    assert!(pool.worker_pids().contains(&hangs));
    assert_eq!(pool.stats().replaced, 2);
}

/// In a process of its own: descriptors and children belong to the whole process.
#[test]
fn a_pool_ends_while_a_start_hangs_and_the_worker_that_comes_after_that_is_ended() {
    fn program() {
        let gate = Gate::new("ends");
        // What a process keeps for all its children.
        drop(Pool::new(1).unwrap());
        let check = LeakCheck::start();
        let (pool, shut, hangs) = with_a_start_that_hangs(&gate, 2);
        let process = PidFd::open(hangs).unwrap();
        let never = pool.apply_async(announce, (Mutex::new(0).unwrap(), Event::new().unwrap()));
        let start = Instant::now();
        pool.terminate();
        assert!(never.ready());
        pool.join().unwrap();
        drop((pool, never));
        println!("it ended after {:?}", start.elapsed());
        assert!(!process.is_exited().unwrap(), "it was let through");
        drop(shut);
        assert!(process.wait_end(Deadline::after(LONG)).unwrap());
        drop(process);
        check.assert_clean();
    }
    let _watchdog = Watchdog::new(LONG);
    spawn(program, ()).unwrap().result().unwrap();
}

/// A closed pool waits for its tasks; the place of the worker whose start hangs runs none.
#[test]
fn a_closed_pool_is_joined_while_a_start_hangs() {
    let _watchdog = Watchdog::new(LONG);
    let gate = Gate::new("is_joined");
    let (pool, shut, hangs) = with_a_start_that_hangs(&gate, 2);
    let results = pool.map_async(|n: u32| n, 0..100);
    pool.close();
    pool.join().unwrap();
    assert_eq!(results.get().unwrap().len(), 100);
    let process = PidFd::open(hangs).unwrap();
    drop(shut);
    assert!(process.wait_end(Deadline::after(LONG)).unwrap());
}
