//! What the others do after the kill, and what was wrong with it.

use super::{Campaign, Outcome};
use crate::Error;
use crate::bystander::Bystander;
use crate::check::Judgement;
use crate::company::{Company, Watch};
use crate::report::{Failure, Role};

impl<'a, M: ?Sized> Campaign<'_, 'a, M> {
    /// Lets the others go on after the last kill.
    pub(super) fn aftermath(
        &self,
        mut company: Company<'_>,
        killed_at: u64,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        outcome.finding = self.judge(&mut company, killed_at, &mut outcome)?;
        outcome.longest_timeout = outcome.longest_timeout.max(company.longest_timeout());
        if outcome.finding.is_some() {
            return Ok(outcome);
        }
        drop(company);
        if let Some(invariant) = &self.check.invariant {
            let failure = self.let_act(invariant, &Company::new(), &mut outcome)?;
            outcome.finding = failure.map(|failure| (Role::Invariant, failure));
        }
        Ok(outcome)
    }

    /// Lets sleepers and survivor go on and says what was wrong with them.
    fn judge(
        &self,
        company: &mut Company<'_>,
        killed_at: u64,
        outcome: &mut Outcome,
    ) -> Result<Option<(Role, Failure)>, Error> {
        let limit = self.check.limit;
        if self.a_wake_is_lost(company, outcome)? {
            return Ok(Some((Role::Sleeper, Failure::LostWake(limit))));
        }
        outcome.wakes = company.wakes(killed_at).collect();
        if let Some(survivor) = &self.check.survivor {
            if let Some(failure) = self.let_act(survivor, company, outcome)? {
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
        Ok(company.take_ends().map(|failure| (Role::Sleeper, failure)))
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
        outcome.longest_timeout = outcome.longest_timeout.max(actor.longest_timeout());
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
