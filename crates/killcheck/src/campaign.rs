//! The carrying out of a check: one trace, then one kill per point.

use std::time::{Duration, Instant};

use crate::bystander::{self, Bystander, Slip};
use crate::check::{Action, Check, Mode};
use crate::guide::Guide;
use crate::kill_point::{KillPoint, Moment};
use crate::report::{Failure, Finding, Report, Role};
use crate::route::{self, Route};
use crate::symbols::Symbols;
use crate::trace::Trace;
use crate::tracee::{Progress, Tracee};
use crate::{Error, ErrorKind, SharedArea};

/// How often a point is tried in which the operation took another way than in the trace.
const TRIES: usize = 3;

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
struct Outcome {
    finding: Option<(Role, Failure)>,
    wake: Option<u64>,
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
        report.wakes.sort_unstable();
        report.elapsed = start.elapsed();
        Ok(report)
    }

    /// Runs the operation once, step by step, and lists what it executes.
    fn trace(&self) -> Result<Itinerary, Error> {
        let (limit, most) = (self.check.limit, self.check.max_instructions);
        let patience = self.patience();
        self.prepare();
        let mut trace = Trace::default();
        let mut first = 0;
        let mut sleeper = None;
        if self.check.waker.is_none() {
            sleeper = self.start_sleeper()?;
        }
        let victim = self.start_victim()?;
        if self.check.waker.is_some() {
            trace.record(&victim, limit, most, true)?;
            if trace.complete {
                let message = "the victim returned without falling asleep, so it cannot be woken";
                return Err(Error::new(ErrorKind::VictimNotWoken, message));
            }
            first = trace.addresses.len();
            sleeper = self.start_sleeper()?;
            if !self.wake(&victim)? {
                let message = format!("the waker did not wake the victim within {patience:?}");
                return Err(Error::new(ErrorKind::VictimNotWoken, message));
            }
        }
        trace.record(&victim, limit, most, false)?;
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
            report.wakes.extend(outcome.wake);
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
        let guide = Guide::new(&victim, &itinerary.trace, self.patience());
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
        let killed_at = victim.kill();
        if let Some(observer) = &self.check.observer {
            observer(self.mem, point);
        }
        self.aftermath(sleeper, killed_at).map(Some)
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
        Tracee::start(&|| (self.victim)(self.mem))
    }

    fn start_sleeper(&self) -> Result<Option<Bystander<'_>>, Error> {
        let Some(operation) = &self.check.sleeper else {
            return Ok(None);
        };
        let sleeper = Bystander::start(&self.sleeper_slip, &|| {
            operation(self.mem);
            Ok(())
        })?;
        if sleeper.falls_asleep_within(self.patience()) {
            return Ok(Some(sleeper));
        }
        let message = match sleeper.finish(Duration::ZERO) {
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

    /// What the others do after the kill, and what was wrong with it.
    fn aftermath(&self, sleeper: Option<Bystander<'_>>, killed_at: u64) -> Result<Outcome, Error> {
        let limit = self.check.limit;
        let mut wake = None;
        let found = |role, failure, wake| {
            Ok(Outcome {
                finding: Some((role, failure)),
                wake,
            })
        };
        if let Some(sleeper) = &sleeper
            && self
                .check
                .must_wake
                .as_ref()
                .is_some_and(|question| question(self.mem))
        {
            if !sleeper.ends_within(limit) {
                return found(Role::Sleeper, Failure::LostWake(limit), None);
            }
            wake = sleeper
                .done_at()
                .and_then(|done| done.checked_sub(killed_at));
        }
        if let Some(survivor) = &self.check.survivor {
            let survivor = Bystander::start(&self.slip, &|| survivor(self.mem))?;
            if let Some(failure) = survivor.finish(limit) {
                return found(Role::Survivor, failure, wake);
            }
        }
        if let Some(sleeper) = sleeper
            && (self.check.survivor.is_some() || sleeper.done_at().is_some())
            && let Some(failure) = sleeper.finish(limit)
        {
            return found(Role::Sleeper, failure, wake);
        }
        if let Some(invariant) = &self.check.invariant {
            let invariant = Bystander::start(&self.slip, &|| invariant(self.mem))?;
            if let Some(failure) = invariant.finish(limit) {
                return found(Role::Invariant, failure, wake);
            }
        }
        Ok(Outcome {
            finding: None,
            wake,
        })
    }
}
