//! The recoverer, which is killed after the victim.

use std::rc::Rc;

use super::choice::Choice;
use super::tally::Tally;
use super::{Outcome, RETURNS, Runner, TRIES, TracePlan, only};
use crate::Error;
use crate::kill_point::{Kill, KillPoint};
use crate::report::{Failure, Role};
use crate::trace::Trace;
use crate::tracee::Progress;

/// How a recoverer goes on from what the victim's death has left.
pub(super) struct Recovery {
    plan: TracePlan,
    /// Which of the states it is that the victim leaves behind; `None` if that is not known.
    from: Option<usize>,
}

impl<M: ?Sized> Runner<'_, '_, M> {
    /// Kills the victim at `point` and then a recoverer at each of its instructions; both are new
    /// processes each time.
    pub(super) fn kill_recoverers(
        &self,
        plan: &TracePlan,
        point: KillPoint,
        choice: &Choice,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let Some(recovery) = self.recovery_from(plan, point, tally)? else {
            return Ok(());
        };
        let recovery = &recovery.plan;
        let all = recovery.kill_points();
        let mut left = choice.among(&all);
        tally.skipped += all.len() - left.len();
        tally.longest_recovery = tally.longest_recovery.max(recovery.instructions());
        for _ in 0..=RETURNS {
            let mut missed = Vec::new();
            for recoverer in left {
                if tally.findings.len() >= self.check.stop_after {
                    tally.skipped += 1;
                    continue;
                }
                match self.kill_both(plan, &point, recovery, &recoverer)? {
                    Some((kill, outcome)) => {
                        tally.alike += recovery.points_like(&recoverer) - 1;
                        tally.add(kill, outcome);
                    }
                    None => missed.push(recoverer),
                }
            }
            left = missed;
        }
        let missed = left.into_iter().map(|recoverer| both(point, recoverer));
        tally.missed.extend(missed);
        Ok(())
    }

    /// Returns the recovery from the victim's death at `point`: the last one if that was from the
    /// same state, else one that is traced now.
    fn recovery_from(
        &self,
        plan: &TracePlan,
        point: KillPoint,
        tally: &mut Tally,
    ) -> Result<Option<Rc<Recovery>>, Error> {
        let from = plan.remains_at(&point);
        if let Some(last) = &*self.last_recovery.borrow()
            && from.is_some()
            && last.from == from
        {
            return Ok(Some(Rc::clone(last)));
        }
        let Some(plan) = self.trace_recovery(plan, point, tally)? else {
            return Ok(None);
        };
        tally.recoveries += 1;
        let recovery = Rc::new(Recovery { plan, from });
        self.last_recovery.replace(Some(Rc::clone(&recovery)));
        Ok(Some(recovery))
    }

    /// Lists the instructions of a recovery from the victim's death at `point`. `None` if there was
    /// none to be listed, which the tally knows.
    fn trace_recovery(
        &self,
        plan: &TracePlan,
        point: KillPoint,
        tally: &mut Tally,
    ) -> Result<Option<TracePlan>, Error> {
        for attempt in 0..TRIES {
            let point = plan.at_attempt(&point, attempt);
            let Some(scene) = self.kill_at(plan, &point)? else {
                continue;
            };
            let Some(recoverer) = scene.recoverer else {
                return Ok(None);
            };
            let mut trace = match &*self.last_recovery.borrow() {
                Some(last) => Trace::after(&last.plan.trace),
                None => Trace::default(),
            };
            let (end, states) = self.record_to_end(&mut trace, &recoverer, scene.first_words)?;
            if trace.complete {
                trace.probe(&recoverer);
                return Ok(Some(self.plan(trace, 0, states)));
            }
            let failure = match end {
                Progress::Ended(status) => Failure::of_status(status),
                Progress::Asleep | Progress::Running | Progress::Stopped => {
                    Failure::Hang(self.check.limit)
                }
            };
            let outcome = Outcome {
                finding: Some((Role::Recoverer, failure)),
                ..Outcome::default()
            };
            tally.add(only(point), outcome);
            return Ok(None);
        }
        tally.missed.push(only(point));
        Ok(None)
    }

    /// Kills the victim, then the recoverer, and lets the others go on. `None`: one of the two did
    /// not come by.
    fn kill_both(
        &self,
        plan: &TracePlan,
        victim: &KillPoint,
        recovery: &TracePlan,
        recoverer: &KillPoint,
    ) -> Result<Option<(Kill, Outcome)>, Error> {
        for attempt in 0..TRIES {
            let victim = plan.at_attempt(victim, attempt);
            let recoverer = recovery.at_attempt(recoverer, attempt);
            let Some(mut scene) = self.kill_at(plan, &victim)? else {
                continue;
            };
            let Some(tracee) = scene.recoverer.take() else {
                return Ok(None);
            };
            let guide = self.guide(&tracee, recovery);
            if self.arrives(&guide, recovery, &recoverer, scene.first_words.as_deref())? {
                scene.sleepers.note_the_woken();
                scene.may_be_rescued |= self.may_be_rescued_from(&tracee)?;
                scene.killed_at = tracee.kill();
                self.observe(&recoverer);
                let outcome = self.aftermath(scene)?;
                return Ok(Some((both(victim, recoverer), outcome)));
            }
        }
        Ok(None)
    }
}

fn both(victim: KillPoint, recoverer: KillPoint) -> Kill {
    Kill {
        victim,
        recoverer: Some(recoverer),
    }
}
