//! What the threads of a pool's parent share: the board, the tasks, and the workers' seats.
//!
//! One thread, the collector, waits for the workers: it finds out what dead ones had begun, and
//! has new ones started. It takes their outcomes as well while no other thread waits for one, see
//! [`Leading`](crate::leading::Leading). Other threads submit. A start may take long, or hang where
//! its setup does: so a thread that is made for it starts the workers that are due, and ends.
//!
//! Lock order: the state, then a job's progress.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::Deadline;
use mp_os::cpu;
use mp_os::wakeup::{self, Wakeup};
use mp_process::Setup;

use crate::board::Board;
use crate::callbacks::Callbacks;
use crate::error::Cause;
use crate::job::Job;
use crate::packet::{Attention, Packet};
use crate::seat::{Occupant, WorkerProcess};
use crate::state::{Leader, Phase, State};
use crate::stats::{Ended, Stats};
use crate::worker::own_word;
use crate::worker_stats::WorkerStats;

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
    /// Rung by workers, for the leader or for the collector.
    pub(crate) wakeup: Wakeup,
    /// Rung by threads of this process, for the collector.
    control: Wakeup,
    pub(crate) config: Config,
    pub(crate) callbacks: Arc<Callbacks>,
    /// How many tasks have ended; jobs count them.
    pub(crate) counts: Arc<Ended>,
    /// The word of the process whose children the workers are.
    made_by: u64,
    state: Mutex<State>,
    /// Notified when workers were started, and when all have ended.
    changed: Condvar,
}

impl Shared {
    /// Makes the memory and starts the workers.
    pub(crate) fn new(config: Config) -> Result<Self> {
        let failed = |source| Error::os("make", "a pool", source);
        let shared = Self {
            board: Board::new(config.workers)?,
            wakeup: Wakeup::new().map_err(failed)?,
            control: Wakeup::new().map_err(failed)?,
            callbacks: Arc::new(Callbacks::start().map_err(failed)?),
            counts: Arc::default(),
            made_by: own_word(),
            state: Mutex::default(),
            config,
            changed: Condvar::new(),
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

    /// Whether this is a copy in a process that was forked: workers and threads are another's, and
    /// another thread may have had the state's lock.
    pub(crate) fn is_copy(&self) -> bool {
        own_word() != self.made_by
    }

    /// Gives tasks to the workers; if they take none any more, the tasks fail.
    pub(crate) fn submit(&self, packet: Packet) {
        if self.is_copy() {
            return fail(packet, &of_a_copy());
        }
        let mut state = self.locked();
        match state.phase() {
            Phase::Open => {
                let attention = packet.attention;
                state.push(packet);
                if state.is_in_want_of_board() && state.leader == Leader::None {
                    let taken = state.take_outcomes(&self.board);
                    self.end_if_failed(&mut state, taken);
                }
                self.fill_board(&mut state);
                let is_attended = state.leader != Leader::None || state.collector_watches;
                if !is_attended && attention != Attention::Now {
                    state.collector_watches = true;
                    self.wake_collector();
                }
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
        self.end_if_failed(state, filled);
    }

    /// Takes what workers have pushed, and gives out what is left.
    pub(crate) fn take(&self) {
        let mut state = self.locked();
        self.take_and_fill(&mut state, &[]);
    }

    /// The same in a thread that neither leads nor is the collector.
    pub(crate) fn take_unasked(&self) {
        if self.is_copy() {
            return;
        }
        let mut state = self.locked();
        let delivered = self.counts.all();
        self.take_and_fill(&mut state, &[]);
        if self.counts.all() != delivered {
            self.wake_leader(&state);
        }
    }

    pub(crate) fn take_and_fill(&self, state: &mut State, ended: &[usize]) {
        let taken = state
            .take_outcomes(&self.board)
            .and_then(|()| state.bury(&self.board, ended));
        self.end_if_failed(state, taken);
        self.fill_board(state);
        let stopped = state.stop_if_done(&self.board);
        self.end_if_failed(state, stopped);
    }

    /// Ends the pool for an error, if it is one.
    pub(crate) fn end_if_failed(&self, state: &mut State, result: Result<()>) {
        if let Err(error) = result {
            state.end(&self.board, Arc::new(error));
            self.wake_leader(state);
        }
    }

    /// Takes no more tasks; the workers end when all are done.
    pub(crate) fn close(&self) {
        if self.is_copy() {
            return;
        }
        self.locked().close();
        self.wake_collector();
    }

    /// Ends the workers. Their tasks fail.
    pub(crate) fn terminate(&self) {
        if self.is_copy() {
            return;
        }
        let error = Error::new(ErrorKind::Closed, "run", "a task")
            .with_detail("the pool was terminated before");
        let mut state = self.locked();
        state.end(&self.board, Arc::new(error));
        self.wake_leader(&state);
        self.wake_collector();
        // A worker that is about to be started ends when it has started.
        while let Some(until) = state.awaits_starts() {
            state = self.wait(state, until);
        }
    }

    /// Waits until workers were started or all have ended, or until the deadline passes.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, until: Deadline) -> MutexGuard<'a, State> {
        let Some(left) = until.remaining() else {
            let woken = self.changed.wait(state);
            return woken.unwrap_or_else(PoisonError::into_inner);
        };
        let woken = self.changed.wait_timeout(state, left);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Takes back a job's packet that no worker has taken.
    pub(crate) fn cancel(&self, job: &Arc<Job>) {
        self.cancel_by(|state| state.cancel(&self.board, job));
    }

    fn cancel_by(&self, cancel: impl FnOnce(&mut State) -> Result<()>) {
        if self.is_copy() {
            return;
        }
        let mut state = self.locked();
        let cancelled = cancel(&mut state);
        self.end_if_failed(&mut state, cancelled);
        self.wake_leader(&state);
        drop(state);
        // It may have been all that a closed pool waited for.
        self.wake_collector();
    }

    /// Takes back every packet that no worker has taken.
    pub(crate) fn cancel_all(&self) {
        self.cancel_if(|_| true);
    }

    /// Takes back every packet of a job that no worker has taken.
    pub(crate) fn cancel_all_of(&self, job: &Arc<Job>) {
        self.cancel_if(|packet| Arc::ptr_eq(&packet.job, job));
    }

    fn cancel_if(&self, is_meant: impl Fn(&Packet) -> bool) {
        self.cancel_by(|state| state.cancel_if(&self.board, is_meant));
    }

    /// Whether a worker has taken a packet of a job.
    pub(crate) fn is_running(&self, job: &Arc<Job>) -> bool {
        !self.is_copy() && self.locked().is_running(&self.board, job)
    }

    /// Waits until all workers have ended, and the callbacks have been run; the error says that
    /// nothing makes them.
    pub(crate) fn join(&self) -> Result<()> {
        if self.is_copy() {
            return Err(copy_error("join"));
        }
        let mut state = self.locked();
        if matches!(state.phase(), Phase::Open) {
            return Err(Error::new(ErrorKind::InvalidState, "join", "a pool")
                .with_detail("it is open; close or terminate it first"));
        }
        while !state.is_deserted() {
            let until = state.awaits_starts().unwrap_or(Deadline::NEVER);
            state = self.wait(state, until);
        }
        drop(state);
        self.callbacks.flush();
        Ok(())
    }

    /// What was done and is to be done.
    pub(crate) fn stats(&self) -> Stats {
        // Workers need not have told of what they did last.
        self.take_unasked();
        // In a copy the lock may be that of a thread which is not here.
        let (queued, running, replaced) = if self.is_copy() {
            (0, 0, 0)
        } else {
            let state = self.locked();
            let (queued, running) = state.unfinished(&self.board);
            (queued, running, state.replaced())
        };
        Stats {
            queued,
            running,
            done: self.counts.done.load(Ordering::Relaxed),
            failed: self.counts.failed.load(Ordering::Relaxed),
            replaced,
        }
    }

    /// The pids of the workers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        if self.is_copy() {
            return Vec::new();
        }
        let state = self.locked();
        state.occupants().map(|(_, one)| one.pid()).collect()
    }

    /// How much the workers have worked.
    pub(crate) fn worker_stats(&self) -> Result<Vec<WorkerStats>> {
        if self.is_copy() {
            return Err(copy_error("look at the workers of"));
        }
        let known = |(_, one): (usize, &Occupant)| (one.pid(), one.age(), Arc::clone(&one.process));
        // Without the lock: it takes system calls for each.
        let workers: Vec<_> = self.locked().occupants().map(known).collect();
        let stats = |(pid, age, process): (u32, _, Arc<WorkerProcess>)| {
            let cpu_time = cpu::time_of(pid);
            // If it lives after that, no other process had its pid.
            process.is_alive().then(|| match cpu_time {
                Ok(cpu_time) => Ok(WorkerStats { pid, age, cpu_time }),
                Err(source) => Err(Error::os("look at", "a worker of a pool", source)),
            })
        };
        workers.into_iter().filter_map(stats).collect()
    }

    pub(crate) fn wake_collector(&self) {
        // It fails only if other code closed the descriptor, and then the collector sees an error
        // as well.
        drop(self.control.ring());
    }

    /// Lets a leader that sleeps see what another thread delivered.
    pub(crate) fn wake_leader(&self, state: &State) {
        if state.leader == Leader::Asleep {
            // As above, of the leader.
            drop(self.wakeup.ring());
        }
    }

    pub(crate) fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The collector's thread.
    pub(crate) fn collect(self: &Arc<Self>) {
        let mut ended = Vec::new();
        while let Some(watch) = self.step(&std::mem::take(&mut ended)) {
            if !watch.due.is_empty() {
                self.begin_starts(&watch.due);
            }
            match self.sleep(&watch) {
                Ok(seats) => ended = seats,
                Err(error) => {
                    self.end_if_failed(&mut self.locked(), Err(error));
                }
            }
        }
        self.changed.notify_all();
    }

    /// Has a thread of its own start workers for seats that are due.
    fn begin_starts(self: &Arc<Self>, due: &[usize]) {
        let (pool, seats) = (Arc::clone(self), due.to_vec());
        let thread = thread::Builder::new().name("mp-pool-start".to_owned());
        if let Err(source) = thread.spawn(move || pool.start_workers(&seats)) {
            // As if the system had refused each of the processes.
            let failed = |_| {
                let kind = || io::Error::from(source.kind());
                let number = source.raw_os_error();
                let source = number.map_or_else(kind, io::Error::from_raw_os_error);
                let way_out = match source.kind() {
                    io::ErrorKind::WouldBlock => {
                        "no further thread is allowed; raise ulimit -u, or pids.max of the container"
                    }
                    _ => "",
                };
                Err(Error::os("start", "a worker of a pool", source).with_detail(way_out))
            };
            due.iter()
                .for_each(|number| self.fill(*number, failed(number)));
        }
    }

    /// Starts workers for seats that are due.
    fn start_workers(&self, due: &[usize]) {
        for &number in due {
            if self.locked().still_wants(number) {
                self.fill(number, Occupant::start(number, self));
            }
        }
        // What was not wanted may have been all that they waited for.
        self.changed.notify_all();
        self.wake_collector();
    }

    /// Fills a seat that was due, and has the collector look.
    fn fill(&self, number: usize, started: Result<Occupant>) {
        let mut state = self.locked();
        let delivered = self.counts.all();
        state.fill_seat(&self.board, number, started);
        if self.counts.all() != delivered {
            self.wake_leader(&state);
        }
        drop(state);
        self.changed.notify_all();
        self.wake_collector();
    }

    /// Takes what has come, finds who has ended, and gives out what is left; returns whom to start
    /// and for what to wait, or `None` when all workers have ended.
    fn step(&self, ended: &[usize]) -> Option<Watch> {
        let mut state = self.locked();
        if state.leader == Leader::None {
            // Before the look, so that what is rung after it is seen.
            let number = state.next_sleep();
            let announced = self.clear(&self.wakeup);
            let announced = announced.and_then(|()| self.board.announce_sleep(number));
            self.end_if_failed(&mut state, announced);
        }
        let delivered = self.counts.all();
        self.take_and_fill(&mut state, ended);
        let (due, mut until) = state.due_seats(&self.board);
        // For nothing it would look for a while before it sleeps again.
        if self.counts.all() != delivered {
            self.wake_leader(&state);
        }
        if state.is_deserted() {
            return None;
        }
        until = until.earlier(state.awaits_starts().unwrap_or(Deadline::NEVER));
        // What workers ring is a leader's to clear, and would wake this thread over and over.
        state.collector_watches = state.leader == Leader::None;
        if state.leader == Leader::None {
            let (number, least) = (state.next_sleep(), state.least_to_go_on());
            if !matches!(self.board.may_sleep(number, least), Ok(true)) {
                until = Deadline::PASSED;
            }
        }
        let watched = |(seat, one): (usize, &Occupant)| (seat, Arc::clone(&one.process));
        Some(Watch {
            processes: state.occupants().map(watched).collect(),
            is_rung: state.collector_watches,
            due,
            until,
        })
    }

    /// Waits until a worker has ended, a worker or a thread of this process rings, or the time has
    /// come; returns the seats of those that have ended.
    fn sleep(&self, watch: &Watch) -> Result<Vec<usize>> {
        let failed = |source| Error::os("wait for", "the workers of a pool", source);
        let fds: Vec<_> = watch
            .processes
            .iter()
            .filter_map(|(_, process)| process.sentinel())
            .chain([self.control.as_fd()])
            .chain(watch.is_rung.then(|| self.wakeup.as_fd()))
            .collect();
        let places = wakeup::wait_any(&fds, watch.until).map_err(failed)?;
        self.clear(&self.control)?;
        let seat = |place: usize| watch.processes.get(place).map(|(seat, _)| *seat);
        Ok(places.into_iter().filter_map(seat).collect())
    }

    fn clear(&self, wakeup: &Wakeup) -> Result<()> {
        let cleared = wakeup.clear();
        cleared.map_err(|source| Error::os("wait for", "the workers of a pool", source))
    }
}

/// What the collector waits for.
struct Watch {
    processes: Vec<(usize, Arc<WorkerProcess>)>,
    /// Whether it is to be rung by workers.
    is_rung: bool,
    /// Seats whose workers are to be started.
    due: Vec<usize>,
    until: Deadline,
}

/// Why a task has no value in a copy of its pool.
pub(crate) fn of_a_copy() -> Cause {
    Cause::Failed(Arc::new(copy_error("use")))
}

fn copy_error(action: &'static str) -> Error {
    Error::new(ErrorKind::InvalidState, action, "a pool")
        .with_detail("this process is a copy of the one that made it; make a pool here")
}

/// Delivers one cause for each task.
pub(crate) fn fail(packet: Packet, cause: &Cause) {
    for at in 0..packet.items {
        packet.job.deliver(packet.first + at, Err(cause.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::Arc;

    use mp_layout::{Error, ErrorKind};
    use mp_os::clock::Deadline;
    use mp_os::wakeup::wait_any;

    use super::{Config, Shared};
    use crate::job::Job;
    use crate::leading::Leading;
    use crate::packet::{Attention, Packet, begin};
    use crate::seat::Occupant;
    use crate::state::{Leader, Phase};

    /// A pool whose collector is the test.
    fn pool() -> Shared {
        let config = Config {
            workers: 1,
            ..Config::default()
        };
        Shared::new(config).unwrap()
    }

    fn is_rung(pool: &Shared) -> bool {
        let rung = wait_any(&[pool.wakeup.as_fd()], Deadline::PASSED).unwrap();
        !rung.is_empty()
    }

    #[test]
    fn the_collector_does_not_wake_for_what_a_leader_sees() {
        let pool = pool();
        pool.wakeup.ring().unwrap();
        for leader in [Leader::Awake, Leader::Asleep] {
            pool.locked().leader = leader;
            let watch = pool.step(&[]).unwrap();
            assert!(!watch.is_rung && !pool.locked().collector_watches);
            assert!(is_rung(&pool), "it is the leader's to clear");
        }
        pool.locked().leader = Leader::None;
        let watch = pool.step(&[]).unwrap();
        assert!(watch.is_rung && pool.locked().collector_watches);
        pool.terminate();
    }

    #[test]
    fn the_collector_wakes_a_leader_that_sleeps_only_for_what_it_delivered() {
        let pool = Arc::new(pool());
        pool.locked().leader = Leader::Asleep;
        pool.step(&[]).unwrap();
        assert!(!is_rung(&pool));
        let job = Job::new(&pool, None);
        job.expect(1);
        pool.submit(refused(&job));
        // The leader's word does not say that it sleeps, so the worker does not ring.
        while job.locked().outstanding > 0 {
            assert!(!is_rung(&pool));
            pool.step(&[]).unwrap();
        }
        assert!(is_rung(&pool));
        pool.terminate();
    }

    #[test]
    fn a_pool_that_fails_wakes_a_leader_that_sleeps() {
        let pool = pool();
        let mut state = pool.locked();
        state.leader = Leader::Asleep;
        pool.end_if_failed(&mut state, Ok(()));
        assert!(!is_rung(&pool));
        let error = Error::new(ErrorKind::Corrupt, "fill", "a board");
        pool.end_if_failed(&mut state, Err(error));
        assert!(is_rung(&pool));
    }

    #[test]
    fn a_thread_that_waits_as_well_wakes_a_leader_that_sleeps_for_many_outcomes() {
        let pool = pool();
        pool.locked().leader = Leader::Asleep;
        for (share, rings) in [(1, false), (2, true)] {
            pool.locked().leader_share = share;
            // It has nothing to wait for yet.
            assert!(Leading::begin_if_free(&pool).is_none() && !is_rung(&pool));
            let follows = Leading::begin(&pool).err().expect("another leads");
            assert_eq!((is_rung(&pool), pool.locked().followers), (rings, 1));
            drop(follows);
            assert_eq!(pool.locked().followers, 0);
        }
        pool.terminate();
    }

    /// The seat of the only worker, which was killed, and is due.
    fn killed(pool: &Shared) -> Vec<usize> {
        let process = pool
            .locked()
            .occupants()
            .map(|(_, one)| Arc::clone(&one.process))
            .next();
        let process = process.expect("a worker");
        process.kill().unwrap();
        process.join().unwrap();
        pool.step(&[0]).expect("it goes on").due
    }

    #[test]
    fn a_worker_is_started_without_the_lock_and_ended_if_the_pool_ends_meanwhile() {
        let pool = Arc::new(pool());
        let due = killed(&pool);
        assert_eq!(due, [0]);
        // The collector starts it now, and others submit.
        let job = Job::new(&pool, None);
        job.expect(1);
        pool.submit(refused(&job));
        pool.start_workers(&due);
        assert_eq!((pool.pids().len(), pool.locked().replaced()), (1, 1));
        while job.locked().outstanding > 0 {
            pool.step(&[]).expect("it goes on");
        }
        let due = killed(&pool);
        std::thread::scope(|scope| {
            let end = scope.spawn(|| pool.terminate());
            while !matches!(pool.locked().phase(), Phase::Ended(_)) {
                std::thread::yield_now();
            }
            assert!(!pool.locked().is_deserted(), "one is about to start");
            // It was about to, and it was already.
            let started = Occupant::start(0, &pool).unwrap();
            let process = Arc::clone(&started.process);
            pool.locked().fill_seat(&pool.board, 0, Ok(started));
            assert!(!process.is_alive());
            pool.start_workers(&due);
            end.join().unwrap();
        });
        assert!(pool.pids().is_empty());
        assert!(pool.step(&[]).is_none());
    }

    #[test]
    fn what_no_worker_has_taken_when_the_pool_ends_is_taken_by_none_that_starts_later() {
        let pool = Arc::new(pool());
        killed(&pool);
        let job = Job::new(&pool, None);
        job.expect(1);
        pool.submit(refused(&job));
        let error = Error::new(ErrorKind::Closed, "run", "a task");
        pool.locked().end(&pool.board, Arc::new(error));
        assert_eq!(job.locked().outstanding, 0, "it has failed");
        // As the worker does whose start hung.
        assert_eq!(pool.board.claim(0).unwrap(), None);
    }

    /// One task that its worker refuses: there is no such function.
    fn refused(job: &Arc<Job>) -> Packet {
        let mut packet = Packet {
            job: Arc::clone(job),
            first: 0,
            context: None,
            bytes: begin(None, b"no function"),
            items: 0,
            descriptors: Vec::new(),
            moves: 0,
            attention: Attention::Now,
        };
        packet.push(&[]);
        packet
    }
}
