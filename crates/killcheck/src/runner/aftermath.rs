//! What the others do after the kill, and what was wrong with it.

use super::{Outcome, Runner};
use crate::Error;
use crate::check::Judgement;
use crate::child::Child;
use crate::report::{Failure, Role};
use crate::sleepers::{Sleepers, Watch};

impl<'a, M: ?Sized> Runner<'_, 'a, M> {
    /// Lets the others go on after the last kill.
    pub(super) fn aftermath(
        &self,
        mut sleepers: Sleepers<'_>,
        killed_at: u64,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        outcome.finding = self.judge(&mut sleepers, killed_at, &mut outcome)?;
        outcome.longest_timeout = outcome.longest_timeout.max(sleepers.longest_timeout());
        if outcome.finding.is_some() {
            return Ok(outcome);
        }
        drop(sleepers);
        if let Some(invariant) = &self.check.invariant {
            let failure = self.let_act(invariant, &Sleepers::new(), &mut outcome)?;
            outcome.finding = failure.map(|failure| (Role::Invariant, failure));
        }
        Ok(outcome)
    }

    /// Lets sleepers and survivor go on and says what was wrong with them.
    fn judge(
        &self,
        sleepers: &mut Sleepers<'_>,
        killed_at: u64,
        outcome: &mut Outcome,
    ) -> Result<Option<(Role, Failure)>, Error> {
        let limit = self.check.limit;
        if self.a_wake_is_lost(sleepers, outcome)? {
            return Ok(Some((Role::Sleeper, Failure::LostWake(limit))));
        }
        outcome.wakes = sleepers.wakes(killed_at).collect();
        if let Some(survivor) = &self.check.survivor {
            if let Some(failure) = self.let_act(survivor, sleepers, outcome)? {
                return Ok(Some((Role::Survivor, failure)));
            }
            let failure = match sleepers.end_within(limit, usize::MAX)? {
                Watch::Reached => None,
                Watch::Stuck => Some(Failure::Stuck),
                Watch::Late => Some(Failure::Hang(limit)),
            };
            if let Some(failure) = failure {
                return Ok(Some((Role::Sleeper, failure)));
            }
        }
        Ok(sleepers.take_ends().map(|failure| (Role::Sleeper, failure)))
    }

    /// Lets survivor or invariant run in a process of its own and says what was wrong with it.
    fn let_act(
        &self,
        judgement: &Judgement<'a, M>,
        sleepers: &Sleepers<'_>,
        outcome: &mut Outcome,
    ) -> Result<Option<Failure>, Error> {
        let limit = self.check.limit;
        let mut actor = Child::start(&self.slot, self.time(), &|| judgement(self.mem))?;
        let mut watch = sleepers.wait_beside(&actor, limit)?;
        if watch == Watch::Stuck && self.check.allowed_rescues.is_some() {
            sleepers.pass_timeouts()?;
            actor.pass_timeout()?;
            watch = sleepers.wait_beside(&actor, limit)?;
            outcome.rescued |= watch == Watch::Reached;
        }
        outcome.longest_timeout = outcome.longest_timeout.max(actor.longest_timeout());
        Ok(match watch {
            Watch::Reached => actor.take_end(),
            Watch::Stuck => Some(Failure::Stuck),
            Watch::Late => Some(Failure::Hang(limit)),
        })
    }

    /// Sees what the victim has left make of the sleepers; true if more should have woken than
    /// have.
    fn a_wake_is_lost(
        &self,
        sleepers: &Sleepers<'_>,
        outcome: &mut Outcome,
    ) -> Result<bool, Error> {
        let limit = self.check.limit;
        if sleepers.is_empty() {
            return Ok(false);
        }
        let ended = sleepers.ended();
        let due = self.check.must_wake.as_ref().map_or(0, |due| due(self.mem));
        let due = ended.saturating_add(due);
        if sleepers.end_within(limit, due)? != Watch::Reached {
            if self.check.allowed_rescues.is_none() {
                return Ok(true);
            }
            sleepers.pass_timeouts()?;
            outcome.rescued = sleepers.end_within(limit, due)? == Watch::Reached;
            return Ok(!outcome.rescued);
        }
        sleepers.come_to_rest_within(limit)?;
        Ok(false)
    }
}
