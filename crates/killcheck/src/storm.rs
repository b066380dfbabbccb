//! Random kills: many processes at work, and a killer among them.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::check::{Action, Judgement};
use crate::child::{self, Child, ResultSlot, Time};
use crate::report::{Failure, Role};
use crate::{Error, ErrorKind, SharedArea, clock};

/// Set this variable to the seed of an earlier storm to repeat its choices.
const SEED_VARIABLE: &str = "KILLCHECK_SEED";

/// Counts the storm's processes may leave behind.
#[repr(C)]
struct Progress {
    stop: AtomicU32,
    operations: AtomicU64,
}

/// One of the storm's processes, from its start to its end or its kill.
struct Worker<'s> {
    process: Child<'s>,
    /// 1 when it has come to its operation.
    begun: SharedArea<AtomicU32>,
}

impl Worker<'_> {
    /// Waits until it has come to its operation, or is no more.
    fn await_begin(&self) {
        for looks in 0.. {
            if self.begun.load(Ordering::Relaxed) == 1 || self.process.has_ended() {
                return;
            }
            clock::pause(looks);
        }
    }
}

type Work<'a, M> = Box<dyn Fn(&M, usize) + 'a>;

/// Returns the description of a storm: processes that run an operation over and over, and a killer
/// that kills random ones of them and starts new ones in their place.
///
/// It complements [`Check`](crate::Check): it does not try every instruction, but it does try
/// deaths in the middle of what others are doing, in operations of any size. It needs no ptrace and
/// runs on every architecture.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
///
/// // SAFETY: zero is a valid AtomicU64, and an atomic may be written through a shared reference.
/// let area = unsafe { killcheck::SharedArea::<AtomicU64>::zeroed() }?;
/// let report = killcheck::storm("fetch_add")
///     .worker(|count: &killcheck::SharedArea<AtomicU64>, _| {
///         count.fetch_add(2, Ordering::Relaxed);
///     })
///     .invariant(|count| match count.load(Ordering::Relaxed) % 2 {
///         0 => Ok(()),
///         _ => Err("half an addition".to_owned()),
///     })
///     .duration(Duration::from_millis(50))
///     .assert_safe(&area);
/// assert!(report.kills() > 0);
/// # Ok::<(), killcheck::Error>(())
/// ```
#[must_use]
pub fn storm<'a, M: ?Sized>(name: impl Into<String>) -> Storm<'a, M> {
    Storm {
        name: name.into(),
        setup: None,
        worker: None,
        invariant: None,
        processes: 4,
        duration: Duration::from_secs(1),
        max_kills: u64::MAX,
        limit: Duration::from_secs(10),
        seed: None,
    }
}

/// The description of a storm of random kills; [`storm`] starts one.
pub struct Storm<'a, M: ?Sized> {
    name: String,
    setup: Option<Action<'a, M>>,
    worker: Option<Work<'a, M>>,
    invariant: Option<Judgement<'a, M>>,
    processes: usize,
    duration: Duration,
    max_kills: u64,
    limit: Duration,
    seed: Option<u64>,
}

impl<'a, M: ?Sized> Storm<'a, M> {
    /// Sets what puts the memory into its first state, once.
    #[must_use]
    pub fn setup(mut self, setup: impl Fn(&M) + 'a) -> Self {
        self.setup = Some(Box::new(setup));
        self
    }

    /// Sets the operation that every process repeats; it is told which place, from 0, it fills.
    ///
    /// Its successor after a kill fills the same place. The operation must end by itself even if
    /// all others have gone: one that does not return within the limit at the end is a hang. Every
    /// process does it at least once, or is killed in it: the killer waits for its choice to begin.
    #[must_use]
    pub fn worker(mut self, worker: impl Fn(&M, usize) + 'a) -> Self {
        self.worker = Some(Box::new(worker));
        self
    }

    /// Sets what must hold when all processes have ended, in a process of its own, bounded.
    #[must_use]
    pub fn invariant(mut self, invariant: impl Fn(&M) -> Result<(), String> + 'a) -> Self {
        self.invariant = Some(Box::new(invariant));
        self
    }

    /// Sets how many processes run at a time; 4 if not set.
    ///
    /// # Panics
    ///
    /// If `processes` is 0.
    #[must_use]
    #[track_caller]
    pub fn processes(mut self, processes: usize) -> Self {
        assert!(processes > 0, "a storm needs at least one process");
        self.processes = processes;
        self
    }

    /// Sets how long the killer is at work; 1 s if not set. How often it kills in that time depends
    /// on the machine and its load: a test that counts on a number sets
    /// [`max_kills`](Self::max_kills) and a duration that is too long.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// Ends the storm after so many kills, if its duration has not ended it before.
    #[must_use]
    pub fn max_kills(mut self, kills: u64) -> Self {
        self.max_kills = kills;
        self
    }

    /// Sets how long one operation may take at the end, and the invariant; 10 s if not set.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the seed of the killer's choices; else `KILLCHECK_SEED` or the clock gives it.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Carries the storm out. The seed repeats the killer's choices, not the kernel's scheduling.
    ///
    /// # Errors
    ///
    /// `Incomplete` without a worker, `Os` if a process or memory cannot be had.
    pub fn run(&self, mem: &M) -> Result<StormReport, Error> {
        let Some(worker) = &self.worker else {
            return Err(Error::new(ErrorKind::Incomplete, "the storm has no worker"));
        };
        // SAFETY: Progress is atomics only, for which zero is valid.
        let progress = unsafe { SharedArea::<Progress>::zeroed() }?;
        let slips = (0..self.processes)
            .map(|_| child::new_result_slot())
            .collect::<Result<Vec<SharedArea<ResultSlot>>, Error>>()?;
        if let Some(setup) = &self.setup {
            setup(mem);
        }
        let seed = self.seed.unwrap_or_else(chance);
        let start = Instant::now();
        let begin = |place: usize| {
            // SAFETY: an atomic, for which zero is valid.
            let begun = unsafe { SharedArea::<AtomicU32>::zeroed() }?;
            let process = Child::start(&slips[place], Time::Passes, &|| {
                begun.store(1, Ordering::Relaxed);
                loop {
                    worker(mem, place);
                    progress.operations.fetch_add(1, Ordering::Relaxed);
                    if progress.stop.load(Ordering::Relaxed) == 1 {
                        return Ok(());
                    }
                }
            })?;
            Ok(Worker { process, begun })
        };
        let mut workers = (0..self.processes)
            .map(begin)
            .collect::<Result<Vec<_>, Error>>()?;
        let mut failures = Vec::new();
        let kills = self.kill_loop(seed, begin, &mut workers, &mut failures)?;
        workers.iter().for_each(Worker::await_begin);
        progress.stop.store(1, Ordering::Relaxed);
        for worker in workers {
            let failure = worker.process.finish(self.limit);
            failures.extend(failure.map(|failure| (Role::Survivor, failure)));
        }
        if let Some(invariant) = &self.invariant {
            let invariant = Child::start(&slips[0], Time::Passes, &|| invariant(mem))?;
            failures.extend(invariant.finish(self.limit).map(|f| (Role::Invariant, f)));
        }
        Ok(StormReport {
            name: self.name.clone(),
            seed,
            kills,
            operations: progress.operations.load(Ordering::Relaxed),
            elapsed: start.elapsed(),
            failures,
        })
    }

    /// Carries the storm out, prints its report, and panics if anything was wrong; returns the
    /// report.
    ///
    /// # Panics
    ///
    /// If the storm cannot be carried out, and as [`StormReport::assert_safe`] does.
    #[track_caller]
    #[expect(clippy::panic, reason = "a test that cannot be carried out fails")]
    pub fn assert_safe(&self, mem: &M) -> StormReport {
        match self.run(mem) {
            Ok(report) => {
                println!("{report}");
                report.assert_safe();
                report
            }
            Err(error) => panic!("{}: the storm cannot be carried out: {error}", self.name),
        }
    }

    /// Kills random workers and starts others in their places until time or kills are used up.
    fn kill_loop<'s>(
        &self,
        seed: u64,
        begin: impl Fn(usize) -> Result<Worker<'s>, Error>,
        workers: &mut [Worker<'s>],
        failures: &mut Vec<(Role, Failure)>,
    ) -> Result<u64, Error> {
        let start = Instant::now();
        let mut random = Random(seed);
        let mut kills = 0;
        while kills < self.max_kills && start.elapsed() < self.duration {
            let place = random.below(self.processes as u64) as usize;
            let worker = &mut workers[place];
            // On a busy machine it may not have run at all by now, and its death would show
            // nothing.
            worker.await_begin();
            std::thread::sleep(Duration::from_micros(random.below(2000)));
            if worker.process.has_ended() {
                let failure = worker.process.take_end();
                failures.extend(failure.map(|failure| (Role::Survivor, failure)));
            } else {
                worker.process.kill();
                kills += 1;
            }
            workers[place] = begin(place)?;
        }
        Ok(kills)
    }
}

impl<M: ?Sized> fmt::Debug for Storm<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storm")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn chance() -> u64 {
    let given = std::env::var(SEED_VARIABLE)
        .ok()
        .and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(0, |now| now.as_nanos() as u64)
    })
}

/// SplitMix64, after Steele, Lea and Flood.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What a storm found.
#[derive(Debug)]
pub struct StormReport {
    name: String,
    seed: u64,
    kills: u64,
    operations: u64,
    elapsed: Duration,
    failures: Vec<(Role, Failure)>,
}

impl StormReport {
    /// Returns the seed of the killer's choices.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns how many processes were killed during the storm.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.kills
    }

    /// Returns how many operations were finished.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Returns what went wrong; the role of a worker is that of a survivor.
    #[must_use]
    pub fn failures(&self) -> &[(Role, Failure)] {
        &self.failures
    }

    /// Panics with the printed report if anything was wrong.
    ///
    /// # Panics
    ///
    /// If there is a failure, or if no process was killed or nothing done, which proves nothing.
    #[track_caller]
    pub fn assert_safe(&self) {
        assert!(
            self.kills > 0,
            "no process was killed, so nothing is proved\n{self}"
        );
        assert!(
            self.operations > 0,
            "no operation was finished, so nothing is proved\n{self}"
        );
        assert!(
            self.failures.is_empty(),
            "not safe against random kills\n{self}"
        );
    }

    /// Panics if nothing was wrong: for controls, which show that the storm is able to fail.
    ///
    /// # Panics
    ///
    /// If there is no failure.
    #[track_caller]
    pub fn assert_caught(&self) {
        assert!(
            !self.failures.is_empty(),
            "the storm did not catch its control\n{self}"
        );
    }
}

impl fmt::Display for StormReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        write!(
            f,
            "  {} random kills, {} operations, {:.2} s; {SEED_VARIABLE}={}",
            self.kills,
            self.operations,
            self.elapsed.as_secs_f64(),
            self.seed,
        )?;
        if self.failures.is_empty() {
            return write!(f, "\n  nothing hangs, tears or is lost");
        }
        for (role, failure) in &self.failures {
            write!(f, "\n  {role} {failure}")?;
        }
        Ok(())
    }
}
