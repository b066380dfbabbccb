//! The carrying out of a check: one trace, then one kill per point.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::check::{Action, Check, Mode};
use crate::child::{self, Child, ResultSlot, Time};
use crate::guide::Guide;
use crate::kill_point::{Kill, KillPoint, Moment};
use crate::processor::OneProcessor;
use crate::remains::{Remains, Snapshot, States};
use crate::report::{Failure, Report, Role};
use crate::route::{self, Route};
use crate::sleepers::Sleepers;
use crate::trace::{Trace, Until};
use crate::tracee::{Progress, Tracee};
use crate::{Error, ErrorKind, SharedArea};

mod aftermath;
mod choice;
mod recovery;
mod tally;

use choice::{Choice, spread};
use recovery::Recovery;
use tally::Tally;

/// Set this variable to kill at each instruction, also where other points leave the same behind.
const EACH_VARIABLE: &str = "KILLCHECK_EVERY_INSTRUCTION";

/// How often a point is tried in which the operation took another way than in the trace.
const TRIES: usize = 3;

/// How often the missed points are come back to when all others are done: what kept the operation
/// from going the same way, such as another thread that shares its allocator, may be over by then.
const RETURNS: usize = 2;

/// How often the operation is traced, and killed at each point of the trace, while it misses too
/// many points: what another thread of this process does once, forked processes do no longer.
const TRACES: usize = 3;

/// What must happen for a check to be carried out at all has at least so long, however small the
/// limit and busy the machine.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Runner<'c, 'a, M: ?Sized> {
    check: &'c Check<'a, M>,
    victim: &'c Action<'a, M>,
    mem: &'c M,
    /// Result of survivor, waker or invariant, which never run at the same time.
    slot: SharedArea<ResultSlot>,
    sleeper_slots: Vec<SharedArea<ResultSlot>>,
    /// Each point is tried, also where another one leaves the same behind.
    tries_each: bool,
    last_recovery: RefCell<Option<Rc<Recovery>>>,
    /// How often a set-up left other bytes than before the trace.
    not_compared: Cell<usize>,
}

/// The trace, and the ways that lead to its instructions.
struct TracePlan {
    trace: Trace,
    /// From the start to each instruction, up to the first one after the wake in a woken victim.
    to_sleep: Vec<Route>,
    /// From instruction `first` to each one after it.
    routes: Vec<Route>,
    first: usize,
    /// What would be left behind before each instruction from `first` on.
    states: States,
    /// All points, in runs of which one is tried.
    runs: Vec<Vec<KillPoint>>,
}

impl TracePlan {
    fn of(trace: Trace, first: usize, states: States, mode: Mode) -> Self {
        let (before, after) = trace.addresses.split_at(first);
        let (to_sleep, routes) = match mode {
            Mode::Stepped => (route::stepped(before.len()), route::stepped(after.len())),
            Mode::Planted => (
                route::planted(before, &trace.plantable),
                route::planted(after, &trace.plantable),
            ),
        };
        Self {
            trace,
            to_sleep,
            routes,
            first,
            states,
            runs: Vec::new(),
        }
    }

    /// Which of the states that it leaves behind a death at `point` leaves; `None` if that is not
    /// known.
    fn remains_at(&self, point: &KillPoint) -> Option<usize> {
        match point.moment {
            Moment::Asleep => None,
            Moment::Before | Moment::Returned => self.states.number(point.index - self.first),
        }
    }

    /// Finds the runs of points: of those that leave the same behind, or of one each.
    fn find_runs(mut self, of_one_each: bool) -> Self {
        let is_same = |one: &KillPoint, next: &KillPoint| {
            let same = self.remains_at(one) == self.remains_at(next);
            !of_one_each && same && self.remains_at(one).is_some()
        };
        let points = self.trace.kill_points(self.first);
        self.runs = points.chunk_by(is_same).map(<[_]>::to_vec).collect();
        self
    }

    /// Returns the first point of each run.
    fn kill_points(&self) -> Vec<KillPoint> {
        self.runs.iter().map(|run| run[0]).collect()
    }

    /// How many points the run has whose first one this is.
    fn points_like(&self, first: &KillPoint) -> usize {
        self.run_from(first).map_or(1, <[_]>::len)
    }

    fn run_from(&self, first: &KillPoint) -> Option<&[KillPoint]> {
        let at = self.runs.partition_point(|run| run[0].index < first.index);
        let run = self.runs[at..].iter().find(|run| run[0] == *first);
        run.map(Vec::as_slice)
    }

    /// Returns where to kill at the given attempt at the first point of a run: there, then in the
    /// run's middle and at its end. The operation may not come by the first again.
    fn at_attempt(&self, first: &KillPoint, attempt: usize) -> KillPoint {
        let run = self.run_from(first);
        run.map_or(*first, |run| run[attempt * (run.len() - 1) / (TRIES - 1)])
    }

    fn instructions(&self) -> usize {
        self.trace.instructions(self.first)
    }
}

/// The victim has been killed: who else is there.
struct Scene<'s> {
    /// The memory as the set-up left it.
    first_words: Option<Vec<u64>>,
    sleepers: Sleepers<'s>,
    /// Stands before its operation.
    recoverer: Option<Tracee>,
    killed_at: u64,
    /// A process that needs its timeout now is no finding.
    may_be_rescued: bool,
}

/// What one attempt at a kill point gave.
#[derive(Default)]
struct Outcome {
    finding: Option<(Role, Failure)>,
    /// Of each sleeper that woke by what the victim had left, after how many nanoseconds; `None`
    /// if before the kill.
    wakes: Vec<Option<u64>>,
    /// A process needed a timeout.
    rescued: bool,
    longest_timeout: Option<Duration>,
}

impl<'c, 'a, M: ?Sized> Runner<'c, 'a, M> {
    pub(crate) fn new(
        check: &'c Check<'a, M>,
        victim: &'c Action<'a, M>,
        mem: &'c M,
    ) -> Result<Self, Error> {
        let slot = child::new_result_slot()?;
        let sleeper_slots = check
            .sleepers
            .iter()
            .map(|_| child::new_result_slot())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            check,
            victim,
            mem,
            slot,
            sleeper_slots,
            tries_each: std::env::var_os(EACH_VARIABLE).is_some(),
            last_recovery: RefCell::default(),
            not_compared: Cell::default(),
        })
    }

    pub(crate) fn run(&self) -> Result<Report, Error> {
        let start = Instant::now();
        let _processor = OneProcessor::take();
        self.rehearse()?;
        let mut report = self.kill_at_each_point(1, start)?;
        for traces in 2..=TRACES {
            // What another trace would forget ends it as well.
            let is_unsafe = !report.findings.is_empty() || report.too_many_rescued().is_some();
            if is_unsafe || report.too_many_missed().is_none() {
                break;
            }
            report = self.kill_at_each_point(traces, start)?;
        }
        Ok(report)
    }

    /// Traces the operation and kills it at each point of that trace.
    fn kill_at_each_point(&self, traces: usize, start: Instant) -> Result<Report, Error> {
        let plan = self.trace()?;
        self.last_recovery.replace(None);
        let all = plan.kill_points();
        let chosen = match &self.check.recoverer {
            None => Choice::all(self.check).among(&all),
            // The stride is taken through the recoverer's points.
            Some(_) => spread(&all, self.check.max_points, 0),
        };
        let mut tally = Tally::default();
        tally.skipped = all.len();
        let victims = chosen.len();
        for (number, point) in chosen.into_iter().enumerate() {
            if tally.findings.len() >= self.check.stop_after {
                break;
            }
            tally.skipped -= 1;
            let choice = Choice::of(self.check, number, victims);
            self.try_point(&plan, point, &choice, &mut tally)?;
        }
        for _ in 0..RETURNS {
            for kill in tally.take_missed_victims() {
                let choice = Choice::of(self.check, kill.victim.index, victims);
                self.try_point(&plan, kill.victim, &choice, &mut tally)?;
            }
        }
        tally.not_compared = self.not_compared.take();
        Ok(tally.into_report(self.check, plan.instructions(), traces, start.elapsed()))
    }

    /// Goes once through what comes before a kill, so that what the set-up does only the first
    /// time, or only after a death, is done before the trace.
    fn rehearse(&self) -> Result<(), Error> {
        self.prepare();
        let mut sleepers = Sleepers::new();
        if self.check.waker.is_none() {
            sleepers = self.start_sleepers()?;
        }
        let recoverer = self.start_recoverer()?;
        let victim = self.start_victim()?;
        victim.resume()?;
        if victim.wait(self.patience())? == Progress::Asleep && self.check.waker.is_some() {
            sleepers = self.start_sleepers()?;
            self.must_wake(&victim)?;
        }
        drop(victim);
        if let Some(recoverer) = recoverer {
            recoverer.resume()?;
            recoverer.wait(self.patience())?;
        }
        drop(sleepers);
        Ok(())
    }

    /// Runs the operation once, step by step, and lists what it executes.
    fn trace(&self) -> Result<TracePlan, Error> {
        let first_words = self.prepare();
        let mut trace = Trace::default();
        let mut first = 0;
        let mut sleepers = Sleepers::new();
        if self.check.waker.is_none() {
            sleepers = self.start_sleepers()?;
        }
        // Its warm-up comes before the victim's, as before each kill.
        let recoverer = self.start_recoverer()?;
        let victim = self.start_victim()?;
        if self.check.waker.is_some() {
            let until = if self.check.without_timeouts {
                Until::AsleepForGood
            } else {
                Until::Asleep
            };
            let end = self.record(&mut trace, &victim, until, None)?;
            trace.expect_orderly(end)?;
            if trace.complete {
                let message = "the victim returned without falling asleep, so it cannot be woken";
                return Err(Error::new(ErrorKind::VictimNotWoken, message));
            }
            first = trace.addresses.len();
            sleepers = self.start_sleepers()?;
            self.must_wake(&victim)?;
        }
        let (end, states) = self.record_to_end(&mut trace, &victim, first_words)?;
        trace.expect_orderly(end)?;
        trace.probe(&victim);
        drop(victim);
        drop(recoverer);
        drop(sleepers);
        Ok(self.plan(trace, first, states))
    }

    fn plan(&self, trace: Trace, first: usize, states: States) -> TracePlan {
        TracePlan::of(trace, first, states, self.check.mode).find_runs(self.tries_each)
    }

    /// Records up to the return of `one`, with what it would leave behind.
    fn record_to_end(
        &self,
        trace: &mut Trace,
        one: &Tracee,
        first_words: Option<Vec<u64>>,
    ) -> Result<(Progress, States), Error> {
        let words = || self.copy_of_memory().unwrap_or_default();
        let mut remains = first_words.map(|first| Remains::new(&words, first));
        let end = self.record(trace, one, Until::Returned, remains.as_mut())?;
        let states = remains.map(Remains::into_states).unwrap_or_default();
        Ok((end, states))
    }

    /// The memory by which points are told apart, if only the process that is to be killed changes
    /// it: sleepers whose timeouts pass do, too. A waker has ended before its victim goes on.
    fn shared_memory(&self) -> Option<&Snapshot<'a, M>> {
        let check = self.check;
        let sleepers_stand_still = check.without_timeouts || check.sleepers.is_empty();
        check.memory.as_ref().filter(|_| sleepers_stand_still)
    }

    fn record(
        &self,
        trace: &mut Trace,
        one: &Tracee,
        until: Until,
        remains: Option<&mut Remains<'_>>,
    ) -> Result<Progress, Error> {
        let most = self.check.max_instructions;
        trace.record(one, self.check.limit, self.patience(), most, until, remains)
    }

    fn try_point(
        &self,
        plan: &TracePlan,
        point: KillPoint,
        choice: &Choice,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        if self.check.recoverer.is_some() {
            return self.kill_recoverers(plan, point, choice, tally);
        }
        for attempt in 0..TRIES {
            let victim = plan.at_attempt(&point, attempt);
            if let Some(scene) = self.kill_at(plan, &victim)? {
                let outcome = self.aftermath(scene)?;
                tally.alike += plan.points_like(&point) - 1;
                tally.add(only(victim), outcome);
                return Ok(());
            }
        }
        tally.missed.push(only(point));
        tally.missed_like.insert(point, plan.points_like(&point));
        Ok(())
    }

    /// Kills the victim at `point`. `None`: it did not come by there.
    fn kill_at(&self, plan: &TracePlan, point: &KillPoint) -> Result<Option<Scene<'_>>, Error> {
        let first_words = self.prepare();
        let mut sleepers = Sleepers::new();
        if self.check.waker.is_none() {
            sleepers = self.start_sleepers()?;
        }
        let recoverer = self.start_recoverer()?;
        let victim = self.start_victim()?;
        let guide = self.guide(&victim, plan);
        if let Some(route) = plan.to_sleep.last() {
            if !guide.follow(route)? || !guide.sleep()? {
                return Ok(None);
            }
            sleepers = self.start_sleepers()?;
            if !self.wake(&victim)? {
                return Ok(None);
            }
        }
        if !self.arrives(&guide, plan, point, first_words.as_deref())? {
            return Ok(None);
        }
        sleepers.note_the_woken();
        let may_be_rescued = self.may_be_rescued_from(&victim)?;
        let killed_at = victim.kill();
        self.observe(point);
        Ok(Some(Scene {
            first_words,
            sleepers,
            recoverer,
            killed_at,
            may_be_rescued,
        }))
    }

    /// Whether the death of one that stands at its kill point may go unheard.
    fn may_be_rescued_from(&self, one: &Tracee) -> Result<bool, Error> {
        match &self.check.gap {
            Some(gap) => Ok(gap(self.mem, one.pending_lock()?)),
            None => Ok(self.check.allowed_rescues.is_some()),
        }
    }

    fn guide<'v>(&self, victim: &'v Tracee, plan: &'v TracePlan) -> Guide<'v> {
        Guide {
            victim,
            trace: &plan.trace,
            limit: self.patience(),
            may_sleep: self.check.may_sleep || plan.trace.sleeps_from(plan.first),
            without_timeouts: self.check.without_timeouts,
        }
    }

    /// Brings one that is to be killed from instruction `first` of its plan to `point`; the set-up
    /// left the memory of `first_words`. False: it took another way, or came there in another state
    /// than the traced one.
    fn arrives(
        &self,
        guide: &Guide<'_>,
        plan: &TracePlan,
        point: &KillPoint,
        first_words: Option<&[u64]>,
    ) -> Result<bool, Error> {
        // Where each point is tried, so are its neighbours, which are in the same state.
        let state = plan.remains_at(point).filter(|_| !self.tries_each);
        let expected = match (state, first_words, self.copy_of_memory()) {
            (Some(state), Some(first), Some(start)) => {
                let expected = plan.states.expect(state, first, start);
                let unknown = usize::from(expected.is_none());
                self.not_compared.update(|count| count + unknown);
                expected
            }
            _ => None,
        };
        if !guide.follow(&plan.routes[point.index - plan.first])?
            || guide.victim.address()? != point.address
        {
            return Ok(false);
        }
        if let (Some(expected), Some(now)) = (expected, self.copy_of_memory())
            && !expected.is_of(guide.victim, &now)?
        {
            return Ok(false);
        }
        Ok(point.moment != Moment::Asleep || guide.sleep()?)
    }

    fn copy_of_memory(&self) -> Option<Vec<u64>> {
        self.shared_memory().map(|memory| memory(self.mem))
    }

    fn observe(&self, point: &KillPoint) {
        if let Some(observer) = &self.check.observer {
            observer(self.mem, point);
        }
    }

    fn patience(&self) -> Duration {
        self.check.limit.max(PATIENCE)
    }

    /// Sets up, and returns a copy of the memory that points are told apart by.
    fn prepare(&self) -> Option<Vec<u64>> {
        if let Some(setup) = &self.check.setup {
            setup(self.mem);
        }
        self.copy_of_memory()
    }

    fn start_victim(&self) -> Result<Tracee, Error> {
        self.start_to_kill(self.victim)
    }

    /// Before the victim, so that it warms up on memory in its first state.
    fn start_recoverer(&self) -> Result<Option<Tracee>, Error> {
        let recoverer = self.check.recoverer.as_ref();
        recoverer.map(|one| self.start_to_kill(one)).transpose()
    }

    fn start_to_kill(&self, operation: &Action<'a, M>) -> Result<Tracee, Error> {
        let warm_up = || {
            if let Some(warm_up) = &self.check.warm_up {
                warm_up(self.mem);
            }
        };
        Tracee::start(&warm_up, &|| operation(self.mem), self.patience())
    }

    fn start_sleepers(&self) -> Result<Sleepers<'_>, Error> {
        let mut sleepers = Sleepers::new();
        for (operation, slot) in self.check.sleepers.iter().zip(&self.sleeper_slots) {
            let sleeper = Child::start(slot, self.time(), &|| {
                operation(self.mem);
                Ok(())
            })?;
            sleepers
                .admit(sleeper, self.patience())?
                .map_err(|message| Error::new(ErrorKind::SleeperAwake, message))?;
        }
        Ok(sleepers)
    }

    fn time(&self) -> Time {
        if self.check.without_timeouts {
            Time::StandsStill
        } else {
            Time::Passes
        }
    }

    /// Runs the waker; the victim then stands right after the call that it slept in.
    fn wake(&self, victim: &Tracee) -> Result<bool, Error> {
        if let Some(waker) = &self.check.waker {
            let waker = Child::start(&self.slot, Time::Passes, &|| {
                waker(self.mem);
                Ok(())
            })?;
            if let Some(failure) = waker.finish(self.patience()) {
                let message = format!("the waker failed before anybody was killed: {failure}");
                return Err(Error::new(ErrorKind::VictimNotWoken, message));
            }
        }
        Ok(victim.wait_through_sleep(self.patience())? == Progress::Stopped)
    }

    /// Runs the waker before anything else is known, so that its failure is the check's.
    fn must_wake(&self, victim: &Tracee) -> Result<(), Error> {
        if self.wake(victim)? {
            return Ok(());
        }
        let patience = self.patience();
        let message = format!("the waker did not wake the victim within {patience:?}");
        Err(Error::new(ErrorKind::VictimNotWoken, message))
    }
}

/// The death of a victim at `point` with no other after it.
fn only(point: KillPoint) -> Kill {
    Kill {
        victim: point,
        recoverer: None,
    }
}
