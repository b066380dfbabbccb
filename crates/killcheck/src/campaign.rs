//! The carrying out of a check: one trace, then one kill per point.

use std::mem;
use std::time::{Duration, Instant};

use crate::bystander::{self, Bystander, Slip};
use crate::check::{Action, Check, Mode};
use crate::guide::Guide;
use crate::kill_point::{KillPoint, Moment};
use crate::report::{Failure, Finding, Report, Role};
use crate::route::{self, Route};
use crate::sleeper::Sleeper;
use crate::symbols::Symbols;
use crate::trace::{Trace, Until};
use crate::tracee::{Progress, Tracee};
use crate::{Error, ErrorKind, SharedArea, clock};

/// How often a point is tried in which the operation took another way than in the trace.
const TRIES: usize = 3;

/// How often the missed points are come back to when all others are done: what kept the operation from going the same way,
/// such as another thread that shares its allocator, may be over by then.
const RETURNS: usize = 2;

/// What must happen for a check to be carried out at all has at least so long, however small the
/// limit and busy the machine.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) struct Campaign<'c, 'a, M: ?Sized> {
    check: &'c Check<'a, M>,
    victim: &'c Action<'a, M>,
    mem: &'c M,
    /// Result of survivor, waker or invariant, which never run at the same time.
    slip: SharedArea<Slip>,
    sleeper_slip: SharedArea<Slip>,
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
    wake: Option<Wake>,
    /// The sleeper needed its timeout.
    rescued: bool,
}

/// When the sleeper woke by what the victim did.
enum Wake {
    BeforeTheKill,
    /// So many nanoseconds.
    After(u64),
}

/// The sleeper and what is known of it at the kill.
struct Company<'s> {
    sleeper: Option<Sleeper<'s>>,
    woke_before: bool,
    killed_at: u64,
}

impl<'c, 'a, M: ?Sized> Campaign<'c, 'a, M> {
    pub(crate) fn new(
        check: &'c Check<'a, M>,
        victim: &'c Action<'a, M>,
        mem: &'c M,
    ) -> Result<Self, Error> {
        let slip = bystander::new_slip()?;
        let sleeper_slip = bystander::new_slip()?;
        Ok(Self {
            check,
            victim,
            mem,
            slip,
            sleeper_slip,
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
        let mut sleeper = None;
        if self.check.waker.is_none() {
            sleeper = self.start_sleeper()?;
        }
        let victim = self.start_victim()?;
        victim.resume()?;
        if victim.wait(self.patience())? == Progress::Asleep && self.check.waker.is_some() {
            sleeper = self.start_sleeper()?;
            self.must_wake(&victim)?;
        }
        drop(victim);
        drop(sleeper);
        Ok(())
    }

    /// Runs the operation once, step by step, and lists what it executes.
    fn trace(&self) -> Result<Itinerary, Error> {
        let (limit, most) = (self.check.limit, self.check.max_instructions);
        self.prepare();
        let mut trace = Trace::default();
        let mut first = 0;
        let mut sleeper = None;
        if self.check.waker.is_none() {
            sleeper = self.start_sleeper()?;
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
            sleeper = self.start_sleeper()?;
            self.must_wake(&victim)?;
        }
        trace.record(&victim, limit, most, Until::Returned)?;
        trace.probe(&victim);
        drop(victim);
        drop(sleeper);
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
            match outcome.wake {
                Some(Wake::After(nanos)) => report.wakes.push(nanos),
                Some(Wake::BeforeTheKill) => report.wakes_before += 1,
                None => {}
            }
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
        let mut sleeper = None;
        if self.check.waker.is_none() {
            sleeper = self.start_sleeper()?;
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
            sleeper = self.start_sleeper()?;
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
        let company = Company {
            woke_before: sleeper.as_ref().is_some_and(Sleeper::has_woken),
            sleeper,
            killed_at: victim.kill(),
        };
        if let Some(observer) = &self.check.observer {
            observer(self.mem, point);
        }
        self.aftermath(company).map(Some)
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

    fn start_sleeper(&self) -> Result<Option<Sleeper<'_>>, Error> {
        let Some(operation) = &self.check.sleeper else {
            return Ok(None);
        };
        let without_timeouts = self.check.without_timeouts;
        let sleeper = Sleeper::start(&self.sleeper_slip, without_timeouts, &|| {
            operation(self.mem);
        })?;
        if sleeper.falls_asleep_within(self.patience())? {
            return Ok(Some(sleeper));
        }
        let message = match sleeper.finish(Duration::ZERO)? {
            None => "the sleeper returned instead of falling asleep".to_owned(),
            Some(failure) => format!("the sleeper did not fall asleep: {failure}"),
        };
        Err(Error::new(ErrorKind::SleeperAwake, message))
    }

    /// Runs the waker; the victim then stands right after the call that it slept in.
    fn wake(&self, victim: &Tracee) -> Result<bool, Error> {
        if let Some(waker) = &self.check.waker {
            let waker = Bystander::start(&self.slip, &|| {
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
    fn aftermath(&self, company: Company<'_>) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        outcome.finding = self.judge(company, &mut outcome)?;
        Ok(outcome)
    }

    fn judge(
        &self,
        company: Company<'_>,
        outcome: &mut Outcome,
    ) -> Result<Option<(Role, Failure)>, Error> {
        let limit = self.check.limit;
        if self.sleeps_on(&company, outcome)? {
            return Ok(Some((Role::Sleeper, Failure::LostWake(limit))));
        }
        let sleeper = company.sleeper;
        if let Some(survivor) = &self.check.survivor {
            let survivor = Bystander::start(&self.slip, &|| survivor(self.mem))?;
            if let Some(failure) = finish_beside(survivor, sleeper.as_ref(), limit)? {
                return Ok(Some((Role::Survivor, failure)));
            }
        }
        if let Some(sleeper) = sleeper
            && (self.check.survivor.is_some() || sleeper.done_at().is_some())
            && let Some(failure) = sleeper.finish(limit)?
        {
            return Ok(Some((Role::Sleeper, failure)));
        }
        if let Some(invariant) = &self.check.invariant {
            let invariant = Bystander::start(&self.slip, &|| invariant(self.mem))?;
            if let Some(failure) = invariant.finish(limit) {
                return Ok(Some((Role::Invariant, failure)));
            }
        }
        Ok(None)
    }

    /// Sees what the victim has left make of the sleeper; true if it should have woken and has not.
    fn sleeps_on(&self, company: &Company<'_>, outcome: &mut Outcome) -> Result<bool, Error> {
        let Some(sleeper) = &company.sleeper else {
            return Ok(false);
        };
        let limit = self.check.limit;
        let asked = self.check.must_wake.as_ref();
        if asked.is_some_and(|must_wake| must_wake(self.mem)) {
            if !sleeper.ends_within(limit)? {
                if self.check.allowed_rescues.is_none() {
                    return Ok(true);
                }
                sleeper.pass_timeout()?;
                outcome.rescued = sleeper.ends_within(limit)?;
                return Ok(!outcome.rescued);
            }
        } else if !sleeper.ends_rather_than_sleep(limit)? {
            return Ok(false);
        }
        let done_at = sleeper.done_at();
        let after = done_at.and_then(|done| done.checked_sub(company.killed_at));
        outcome.wake = match after {
            Some(nanos) if !company.woke_before => Some(Wake::After(nanos)),
            _ => Some(Wake::BeforeTheKill),
        };
        Ok(false)
    }
}

/// Waits at most `bound` for the end of `one`, while the sleeper can go on if it is woken.
fn finish_beside(
    one: Bystander<'_>,
    sleeper: Option<&Sleeper<'_>>,
    bound: Duration,
) -> Result<Option<Failure>, Error> {
    let Some(sleeper) = sleeper else {
        return Ok(one.finish(bound));
    };
    let end = clock::now() + clock::nanos(bound);
    for looks in 0.. {
        sleeper.attend()?;
        if one.ends_within(Duration::ZERO) || clock::now() > end {
            break;
        }
        clock::pause(looks);
    }
    Ok(one.finish(Duration::ZERO))
}
