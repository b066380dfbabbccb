//! A worker's place in a pool: the process that has it, and what its parent knows of that.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mp_layout::{Error, Result};
use mp_os::clock::Deadline;
use mp_os::socket;
use mp_process::{Process, SignalAction, Status, call};

use crate::shared::Shared;
use crate::worker;

/// Its number on Linux.
const SIGINT: i32 = 2;

/// What a worker's process returns.
pub(crate) type WorkerProcess = Process<Result<()>>;

#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) occupant: Option<Occupant>,
    /// When an empty seat is filled.
    pub(crate) fill_at: Deadline,
    /// Whether a thread is about to fill it, without the state's lock.
    pub(crate) is_starting: bool,
}

/// A process that is a worker.
#[derive(Debug)]
pub(crate) struct Occupant {
    pub(crate) process: Arc<WorkerProcess>,
    pub(crate) socket: OwnedFd,
    started: Instant,
    /// The pieces that came of an outcome.
    pub(crate) pieces: Vec<u8>,
    /// Whether it said that it is about to end.
    pub(crate) is_leaving: bool,
    /// Whether it wrote what no worker writes: then it was killed, and nothing more of it counts.
    pub(crate) is_damaged: bool,
}

impl Seat {
    pub(crate) fn new() -> Self {
        Self {
            occupant: None,
            fill_at: Deadline::PASSED,
            is_starting: false,
        }
    }

    /// Whether a worker is to be started for it.
    pub(crate) fn is_empty(&self) -> bool {
        self.occupant.is_none() && !self.is_starting
    }
}

impl Occupant {
    /// Starts the worker of an empty seat. It takes milliseconds, and as long as the setup does:
    /// so without the state's lock, in a thread of its own.
    pub(crate) fn start(number: usize, shared: &Shared) -> Result<Self> {
        let failed = |source| Error::os("start", "a worker of a pool", source);
        shared.board.reset_worker(number)?;
        let (ours, theirs) = socket::pair().map_err(failed)?;
        let memory = shared.board.as_fd().try_clone_to_owned().map_err(failed)?;
        let wakeup = shared.wakeup.as_fd().try_clone_to_owned().map_err(failed)?;
        let (bytes, objects) = &shared.config.initializer;
        let objects: Vec<_> = objects.iter().map(AsFd::as_fd).collect();
        call::send(ours.as_fd(), bytes, &objects, Deadline::PASSED).map_err(failed)?;
        let arguments = (
            memory.as_raw_fd(),
            wakeup.as_raw_fd(),
            theirs.as_raw_fd(),
            number as u32,
            shared.config.most_tasks,
        );
        // Ctrl-C reaches all processes of a terminal; what is to become of the workers is the
        // parent's decision.
        let setup = shared.config.setup.clone();
        let setup = setup.signal(SIGINT, SignalAction::Block);
        let mut process = Process::new(worker::run, arguments)
            .setup(setup)
            .name(format!("PoolWorker-{}", number + 1))
            .daemon(true)
            .pass_fd(memory)
            .pass_fd(wakeup)
            .pass_fd(theirs);
        // Before it can use a processor.
        let started = Instant::now();
        process.start()?;
        Ok(Self {
            process: Arc::new(process),
            socket: ours,
            started,
            pieces: Vec::new(),
            is_leaving: false,
            is_damaged: false,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid().unwrap_or(0)
    }

    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends it. An error means that it has ended.
    pub(crate) fn kill(&self) {
        drop(self.process.kill());
    }

    /// Ends it, and waits for that.
    pub(crate) fn end_now(&self) {
        self.kill();
        // The kernel refuses it only for a process that was reaped.
        drop(self.process.join());
    }

    /// Ends it for what it wrote.
    pub(crate) fn kill_damaged(&mut self) {
        self.is_damaged = true;
        self.kill();
    }

    /// How it ended, with its error if it had one.
    pub(crate) fn end(&self) -> String {
        let status = self.process.status();
        let error = match (&status, self.process.result()) {
            (Status::Exited(_), Ok(Err(error))) => format!(": {error}"),
            _ => String::new(),
        };
        format!("worker (pid {}) {status}{error}", self.pid())
    }
}
