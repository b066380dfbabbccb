//! What the threads of a pool's parent share: the board, the tasks, and the workers' seats.
//!
//! One thread, the collector, waits for the workers: it takes their outcomes, finds out what dead
//! ones had begun, and starts new ones. Other threads submit.
//!
//! Lock order: the state, then a job's progress.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::Deadline;
use mp_os::wakeup::{self, Wakeup};
use mp_process::Setup;

use crate::board::Board;
use crate::callbacks::Callbacks;
use crate::error::Cause;
use crate::job::Job;
use crate::packet::Packet;
use crate::seat::{Occupant, WorkerProcess};
use crate::state::{Phase, State};

/// What every worker of a pool gets.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    /// How many tasks a worker runs before it is replaced; 0 for any number.
    pub(crate) most_tasks: u64,
    /// The call that a worker makes first, empty for none.
    pub(crate) initializer: (Vec<u8>, Vec<OwnedFd>),
    pub(crate) setup: Setup,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) board: Board,
    pub(crate) wakeup: Wakeup,
    pub(crate) config: Config,
    pub(crate) callbacks: Callbacks,
    state: Mutex<State>,
    ended: Condvar,
}

impl Shared {
    /// Makes the memory and starts the workers.
    pub(crate) fn new(config: Config) -> Result<Self> {
        let failed = |source| Error::os("make", "a pool", source);
        let shared = Self {
            board: Board::new(config.workers)?,
            wakeup: Wakeup::new().map_err(failed)?,
            callbacks: Callbacks::start().map_err(failed)?,
            state: Mutex::default(),
            config,
            ended: Condvar::new(),
        };
        let mut state = State::new(&shared.board, shared.config.workers);
        if let Err(error) = state.fill_seats(&shared) {
            let ended = Error::new(ErrorKind::Closed, "make", "a pool");
            state.end(&shared.board, Arc::new(ended));
            return Err(error);
        }
        *shared.locked() = state;
        Ok(shared)
    }

    /// Gives tasks to the workers; if they take none any more, the tasks fail.
    pub(crate) fn submit(&self, packet: Packet) {
        let mut state = self.locked();
        match state.phase() {
            Phase::Open => {
                state.push(packet);
                self.fill_board(&mut state);
            }
            Phase::Closing => {
                let error = Error::new(ErrorKind::Closed, "submit to", "a pool");
                fail(packet, &Cause::Failed(Arc::new(error)));
            }
            Phase::Ended(error) => fail(packet, &Cause::Failed(Arc::clone(error))),
        }
    }

    fn fill_board(&self, state: &mut State) {
        let filled = state
            .fill_board(&self.board)
            .and_then(|count| self.board.wake_workers(count));
        if let Err(error) = filled {
            state.end(&self.board, Arc::new(error));
        }
    }

    /// Takes no more tasks; the workers end when all are done.
    pub(crate) fn close(&self) {
        self.locked().close();
        self.wake_collector();
    }

    /// Ends the workers. Their tasks fail.
    pub(crate) fn terminate(&self) {
        let error = Error::new(ErrorKind::Closed, "run", "a task")
            .with_detail("the pool was terminated before");
        self.locked().end(&self.board, Arc::new(error));
        self.wake_collector();
    }

    /// Takes back a job's packet that no worker has taken.
    pub(crate) fn cancel(&self, job: &Arc<Job>) {
        let mut state = self.locked();
        if let Err(error) = state.cancel(&self.board, job) {
            state.end(&self.board, Arc::new(error));
        }
        drop(state);
        // It may have been all that a closed pool waited for.
        self.wake_collector();
    }

    /// Takes back every packet that no worker has taken.
    pub(crate) fn cancel_all(&self) {
        let jobs = self.locked().jobs();
        jobs.iter().for_each(|job| self.cancel(job));
    }

    /// Whether a worker has taken a packet of a job.
    pub(crate) fn is_running(&self, job: &Arc<Job>) -> bool {
        self.locked().is_running(&self.board, job)
    }

    /// Waits until all workers have ended, and the callbacks have been run; the error says that
    /// nothing makes them.
    pub(crate) fn join(&self) -> Result<()> {
        let mut state = self.locked();
        if matches!(state.phase(), Phase::Open) {
            return Err(Error::new(ErrorKind::InvalidState, "join", "a pool")
                .with_detail("it is open; close or terminate it first"));
        }
        while !state.is_deserted() {
            state = self
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.callbacks.flush();
        Ok(())
    }

    /// The pids of the workers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let state = self.locked();
        state.occupants().map(|(_, one)| one.pid()).collect()
    }

    fn wake_collector(&self) {
        // It fails only if other code closed the descriptor, and then the collector sees an error
        // as well.
        drop(self.wakeup.ring());
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The collector's thread.
    pub(crate) fn collect(&self) {
        let mut ended = Vec::new();
        for sleep in 1.. {
            let Some((processes, until)) = self.step(&std::mem::take(&mut ended)) else {
                break;
            };
            let fds: Vec<_> = processes
                .iter()
                .filter_map(|(_, process)| process.sentinel())
                .chain([self.wakeup.as_fd()])
                .collect();
            match self.sleep(sleep, &fds, until) {
                Ok(places) => {
                    let seat = |place: usize| processes.get(place).map(|(seat, _)| *seat);
                    ended = places.into_iter().filter_map(seat).collect();
                }
                Err(error) => self.locked().end(&self.board, Arc::new(error)),
            }
        }
        self.ended.notify_all();
    }

    /// Takes what has come, replaces who has ended, and gives out what is left; returns for whom to
    /// wait, and until when, or `None` when all workers have ended.
    fn step(&self, ended: &[usize]) -> Option<(Vec<Watched>, Deadline)> {
        let mut state = self.locked();
        let stepped = state
            .take_outcomes(&self.board)
            .and_then(|()| state.bury(&self.board, ended));
        match stepped {
            Ok(()) => self.fill_board(&mut state),
            Err(error) => state.end(&self.board, Arc::new(error)),
        }
        if let Err(error) = state.stop_if_done(&self.board) {
            state.end(&self.board, Arc::new(error));
        }
        let until = state.refill_seats(self);
        if state.is_deserted() {
            return None;
        }
        let watched = |(seat, one): (usize, &Occupant)| (seat, Arc::clone(&one.process));
        Some((state.occupants().map(watched).collect(), until))
    }

    /// Waits until a worker has pushed or ended, or a thread of this process rings; returns who has
    /// ended.
    fn sleep(&self, number: u64, fds: &[BorrowedFd<'_>], until: Deadline) -> Result<Vec<usize>> {
        let failed = |source| Error::os("wait for", "the workers of a pool", source);
        let until = if self.board.may_sleep(number)? {
            until
        } else {
            Deadline::PASSED
        };
        let places = wakeup::wait_any(fds, until).map_err(failed)?;
        self.board.wakes()?;
        // Before the next look, so that what is rung after it is seen.
        self.wakeup.clear().map_err(failed)?;
        Ok(places)
    }
}

type Watched = (usize, Arc<WorkerProcess>);

/// Delivers one cause for each task.
pub(crate) fn fail(packet: Packet, cause: &Cause) {
    for at in 0..packet.items.len() {
        packet.job.deliver(packet.first + at, Err(cause.clone()));
    }
}
