//! The carrying out of a check: one trace, then one kill per point.

use std::mem;
use std::time::{Duration, Instant};

use crate::bystander::{self, Bystander, Slip, Time};
use crate::check::{Action, Check, Judgement, Mode};
use crate::company::{Company, Watch};
use crate::guide::Guide;
use crate::kill_point::{KillPoint, Moment};
use crate::report::{Failure, Finding, Report, Role};
use crate::route::{self, Route};
use crate::symbols::Symbols;
use crate::trace::{Trace, Until};
use crate::tracee::{Progress, Tracee};
use crate::{Error, ErrorKind, SharedArea};

/// How often a point is tried in which the operation took another way than in the trace.
const TRIES: usize = 3;

/// How often the missed points are come back to when all others are done: what kept the operation from going the same way,
/// such as another thread that shares its allocator, may be over by then.
const RETURNS: usize = 2;

/// What must happen for a check to be carried out at all has at least so long, however small the
/// limit and busy the machine.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Campaign<'c, 'a, M: ?Sized> {
    check: &'c Check<'a, M>,
    victim: &'c Action<'a, M>,
    mem: &'c M,
    /// Result of survivor, waker or invariant, which never run at the same time.
    slip: SharedArea<Slip>,
    sleeper_slips: Vec<SharedArea<Slip>>,
}

/// The trace, and the ways that lead to its instructions.
struct Itinerary {
    trace: Trace,
    /// From the start to each instruction, up to the first one after the wake in a woken victim.
    to_sleep: Vec<Route>,
    /// From instruction `first` to each one after it.
    routes: Vec<Route>,
    first: usize,
}

/// What one attempt at a kill point gave.
#[derive(Default)]
struct Outcome {
    finding: Option<(Role, Failure)>,
    /// Of each sleeper that woke by what the victim had left, after how many nanoseconds; `None` if
    /// before the kill.
    wakes: Vec<Option<u64>>,
    /// Somebody needed a timeout.
    rescued: bool,
}

impl<'c, 'a, M: ?Sized> Campaign<'c, 'a, M> {
    pub(crate) fn new(
        check: &'c Check<'a, M>,
        victim: &'c Action<'a, M>,
        mem: &'c M,
    ) -> Result<Self, Error> {
        let slip = bystander::new_slip()?;
        let sleeper_slips = check
            .sleepers
            .iter()
            .map(|_| bystander::new_slip())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            check,
            victim,
            mem,
            slip,
            sleeper_slips,
        })
    }

    pub(crate) fn run(&self) -> Result<Report, Error> {
        let start = Instant::now();
        self.rehearse()?;
        let itinerary = self.trace()?;
        let all = itinerary.trace.kill_points(itinerary.first);
        let chosen = self.choose(&all);
        let mut report = Report {
            name: self.check.name.clone(),
            mode: self.check.mode,
            instructions: itinerary.trace.instructions(itinerary.first),
            points: Vec::with_capacity(chosen.len()),
            skipped: all.len(),
            missed: Vec::new(),
            findings: Vec::new(),
            wakes: Vec::new(),
            wakes_before: 0,
            rescued: Vec::new(),
            allowed_missed: self.check.allowed_missed.clone(),
            allowed_rescues: self.check.allowed_rescues.clone(),
            elapsed: Duration::ZERO,
            symbols: Symbols::of_this_process(),
        };
        for point in chosen {
            if report.findings.len() == self.check.stop_after {
                break;
            }
            report.skipped -= 1;
            self.try_point(&itinerary, point, &mut report)?;
        }
        for _ in 0..RETURNS {
            for point in mem::take(&mut report.missed) {
                self.try_point(&itinerary, point, &mut report)?;
            }
        }
        report.sort();
        report.elapsed = start.elapsed();
        Ok(report)
    }

    /// Goes once through what comes before a kill, so that what the set-up does only the first time,
    /// or only after somebody died, is done before the trace.
    fn rehearse(&self) -> Result<(), Error> {
        self.prepare();
        let mut company = Company::new();
        if self.check.waker.is_none() {
            company = self.start_sleepers()?;
        }
        let victim = self.start_victim()?;
        victim.resume()?;
        if victim.wait(self.patience())? == Progress::Asleep && self.check.waker.is_some() {
            company = self.start_sleepers()?;
            self.must_wake(&victim)?;
        }
        drop(victim);
        drop(company);
        Ok(())
    }

    /// Runs the operation once, step by step, and lists what it executes.
    fn trace(&self) -> Result<Itinerary, Error> {
        let (limit, most) = (self.check.limit, self.check.max_instructions);
        self.prepare();
        let mut trace = Trace::default();
        let mut first = 0;
        let mut company = Company::new();
        if self.check.waker.is_none() {
            company = self.start_sleepers()?;
        }
        let victim = self.start_victim()?;
        if self.check.waker.is_some() {
            let until = if self.check.without_timeouts {
                Until::AsleepForGood
            } else {
                Until::Asleep
            };
            trace.record(&victim, limit, most, until)?;
            if trace.complete {
                let message = "the victim returned without falling asleep, so it cannot be woken";
                return Err(Error::new(ErrorKind::VictimNotWoken, message));
            }
            first = trace.addresses.len();
            company = self.start_sleepers()?;
            self.must_wake(&victim)?;
        }
        trace.record(&victim, limit, most, Until::Returned)?;
        trace.probe(&victim);
        drop(victim);
        drop(company);
        let (to_sleep, routes) = match self.check.mode {
            Mode::Stepped => (
                route::stepped(first),
                route::stepped(trace.addresses.len() - first),
            ),
            Mode::Planted => (
                route::planted(&trace.addresses[..first], &trace.plantable),
                route::planted(&trace.addresses[first..], &trace.plantable),
            ),
        };
        Ok(Itinerary {
            trace,
            to_sleep,
            routes,
            first,
        })
    }

    fn choose(&self, all: &[KillPoint]) -> Vec<KillPoint> {
        let strided: Vec<_> = all.iter().copied().step_by(self.check.stride).collect();
        let most = self.check.max_points;
        if strided.len() <= most {
            return strided;
        }
        (0..most)
            .map(|i| strided[i * strided.len() / most])
            .collect()
    }

    fn try_point(
        &self,
        itinerary: &Itinerary,
        point: KillPoint,
        report: &mut Report,
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            let Some(outcome) = self.kill_at(itinerary, &point)? else {
                continue;
            };
            report.points.push(point);
            report.wakes.extend(outcome.wakes.iter().flatten());
            report.wakes_before += outcome.wakes.iter().filter(|after| after.is_none()).count();
            if outcome.rescued {
                report.rescued.push(point);
            }
            if let Some((role, failure)) = outcome.finding {
                report.findings.push(Finding {
                    point,
                    role,
                    failure,
                });
            }
            return Ok(());
        }
        report.missed.push(point);
        Ok(())
    }

    /// Kills the victim at `point` and lets the others go on. `None`: it did not come by there.
    fn kill_at(&self, itinerary: &Itinerary, point: &KillPoint) -> Result<Option<Outcome>, Error> {
        self.prepare();
        let mut company = Company::new();
        if self.check.waker.is_none() {
            company = self.start_sleepers()?;
        }
        let victim = self.start_victim()?;
        let guide = Guide {
            victim: &victim,
            trace: &itinerary.trace,
            limit: self.patience(),
            may_sleep: itinerary.trace.sleeps_from(itinerary.first),
            without_timeouts: self.check.without_timeouts,
        };
        if let Some(route) = itinerary.to_sleep.last() {
            if !guide.follow(route)? || !guide.sleep()? {
                return Ok(None);
            }
            company = self.start_sleepers()?;
            if !self.wake(&victim)? {
                return Ok(None);
            }
        }
        if !guide.follow(&itinerary.routes[point.index - itinerary.first])? {
            return Ok(None);
        }
        if victim.address()? != point.address {
            return Ok(None);
        }
        if point.moment == Moment::Asleep && !guide.sleep()? {
            return Ok(None);
        }
        company.note_the_woken();
        let killed_at = victim.kill();
        if let Some(observer) = &self.check.observer {
            observer(self.mem, point);
        }
        self.aftermath(company, killed_at).map(Some)
    }

    fn patience(&self) -> Duration {
        self.check.limit.max(PATIENCE)
    }

    fn prepare(&self) {
        if let Some(setup) = &self.check.setup {
            setup(self.mem);
        }
    }

    fn start_victim(&self) -> Result<Tracee, Error> {
        let warm_up = || {
            if let Some(warm_up) = &self.check.warm_up {
                warm_up(self.mem);
            }
        };
        Tracee::start(&warm_up, &|| (self.victim)(self.mem), self.patience())
    }

    fn start_sleepers(&self) -> Result<Company<'_>, Error> {
        let mut company = Company::new();
        for (operation, slip) in self.check.sleepers.iter().zip(&self.sleeper_slips) {
            let sleeper = Bystander::start(slip, self.time(), &|| {
                operation(self.mem);
                Ok(())
            })?;
            company
                .admit(sleeper, self.patience())?
                .map_err(|message| Error::new(ErrorKind::SleeperAwake, message))?;
        }
        Ok(company)
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
            let waker = Bystander::start(&self.slip, Time::Passes, &|| {
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

    /// What the others do after the kill, and what was wrong with it.
    fn aftermath(&self, company: Company<'_>, killed_at: u64) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        outcome.finding = self.judge(company, killed_at, &mut outcome)?;
        Ok(outcome)
    }

    fn judge(
        &self,
        mut company: Company<'_>,
        killed_at: u64,
        outcome: &mut Outcome,
    ) -> Result<Option<(Role, Failure)>, Error> {
        let limit = self.check.limit;
        if self.a_wake_is_lost(&company, outcome)? {
            return Ok(Some((Role::Sleeper, Failure::LostWake(limit))));
        }
        outcome.wakes = company.wakes(killed_at).collect();
        if let Some(survivor) = &self.check.survivor {
            if let Some(failure) = self.let_act(survivor, &company, outcome)? {
                return Ok(Some((Role::Survivor, failure)));
            }
            let failure = match company.end_within(limit, usize::MAX)? {
                Watch::Reached => None,
                Watch::Stuck => Some(Failure::Stuck),
                Watch::Late => Some(Failure::Hang(limit)),
            };
            if let Some(failure) = failure {
                return Ok(Some((Role::Sleeper, failure)));
            }
        }
        if let Some(failure) = company.take_ends() {
            return Ok(Some((Role::Sleeper, failure)));
        }
        drop(company);
        if let Some(invariant) = &self.check.invariant
            && let Some(failure) = self.let_act(invariant, &Company::new(), outcome)?
        {
            return Ok(Some((Role::Invariant, failure)));
        }
        Ok(None)
    }

    /// Lets survivor or invariant run in a process of its own and says what was wrong with it.
    fn let_act(
        &self,
        judgement: &Judgement<'a, M>,
        company: &Company<'_>,
        outcome: &mut Outcome,
    ) -> Result<Option<Failure>, Error> {
        let limit = self.check.limit;
        let mut actor = Bystander::start(&self.slip, self.time(), &|| judgement(self.mem))?;
        let mut watch = company.accompany(&actor, limit)?;
        if watch == Watch::Stuck && self.check.allowed_rescues.is_some() {
            company.pass_timeouts()?;
            actor.pass_timeout()?;
            watch = company.accompany(&actor, limit)?;
            outcome.rescued |= watch == Watch::Reached;
        }
        Ok(match watch {
            Watch::Reached => actor.take_end(),
            Watch::Stuck => Some(Failure::Stuck),
            Watch::Late => Some(Failure::Hang(limit)),
        })
    }

    /// Sees what the victim has left make of the sleepers; true if more should have woken than have.
    fn a_wake_is_lost(&self, company: &Company<'_>, outcome: &mut Outcome) -> Result<bool, Error> {
        let limit = self.check.limit;
        if company.is_empty() {
            return Ok(false);
        }
        let ended = company.ended();
        let due = self.check.must_wake.as_ref().map_or(0, |due| due(self.mem));
        let due = ended.saturating_add(due);
        if company.end_within(limit, due)? != Watch::Reached {
            if self.check.allowed_rescues.is_none() {
                return Ok(true);
            }
            company.pass_timeouts()?;
            outcome.rescued = company.end_within(limit, due)? == Watch::Reached;
            return Ok(!outcome.rescued);
        }
        company.come_to_rest_within(limit)?;
        Ok(false)
    }
}
