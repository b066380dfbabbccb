//! What the others do after the kill, and what was wrong with it.

use std::time::Duration;

use super::{Outcome, Runner, Scene};
use crate::Error;
use crate::check::Judgement;
use crate::child::Child;
use crate::report::{Failure, Role};
use crate::sleepers::{STUCK_FOR, STUCK_IN_A_GAP, Sleepers, Watch};

/// How often the timeouts pass for a rescue: of several that look again, one may leave it to
/// another, and that one to its next look.
const TIMEOUTS: usize = 2;

impl<'a, M: ?Sized> Runner<'_, 'a, M> {
    /// Lets the others go on after the last kill.
    pub(super) fn aftermath(&self, mut scene: Scene<'_>) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        outcome.finding = self.judge(&mut scene, &mut outcome)?;
        let longest = scene.sleepers.longest_timeout();
        outcome.longest_timeout = outcome.longest_timeout.max(longest);
        if outcome.finding.is_some() {
            return Ok(outcome);
        }
        scene.sleepers = Sleepers::new();
        if let Some(invariant) = &self.check.invariant {
            let failure = self.let_act(invariant, &scene, &mut outcome)?;
            outcome.finding = failure.map(|failure| (Role::Invariant, failure));
        }
        Ok(outcome)
    }

    /// Lets sleepers and survivor go on and says what was wrong with them.
    fn judge(
        &self,
        scene: &mut Scene<'_>,
        outcome: &mut Outcome,
    ) -> Result<Option<(Role, Failure)>, Error> {
        let limit = self.check.limit;
        if self.a_wake_is_lost(scene, outcome)? {
            return Ok(Some((Role::Sleeper, Failure::LostWake(limit))));
        }
        outcome.wakes = scene.sleepers.wakes(scene.killed_at).collect();
        if let Some(survivor) = &self.check.survivor {
            if let Some(failure) = self.let_act(survivor, scene, outcome)? {
                return Ok(Some((Role::Survivor, failure)));
            }
            let failure = match scene.sleepers.end_within(limit, STUCK_FOR, usize::MAX)? {
                Watch::Reached => None,
                Watch::Stuck => Some(Failure::Stuck),
                Watch::Late => Some(Failure::Hang(limit)),
            };
            if let Some(failure) = failure {
                return Ok(Some((Role::Sleeper, failure)));
            }
        }
        let failure = scene.sleepers.take_ends();
        Ok(failure.map(|failure| (Role::Sleeper, failure)))
    }

    /// Lets survivor or invariant run in a process of its own and says what was wrong with it.
    fn let_act(
        &self,
        judgement: &Judgement<'a, M>,
        scene: &Scene<'_>,
        outcome: &mut Outcome,
    ) -> Result<Option<Failure>, Error> {
        let limit = self.check.limit;
        let sleepers = &scene.sleepers;
        let mut actor = Child::start(&self.slot, self.time(), &|| judgement(self.mem))?;
        let mut watch = sleepers.wait_beside(&actor, limit, self.stuck_at_first(scene))?;
        for _ in 0..TIMEOUTS {
            if watch != Watch::Stuck || !scene.may_be_rescued {
                break;
            }
            sleepers.pass_timeouts()?;
            actor.pass_timeout()?;
            watch = sleepers.wait_beside(&actor, limit, STUCK_FOR)?;
            outcome.rescued |= watch == Watch::Reached;
        }
        outcome.longest_timeout = outcome.longest_timeout.max(actor.longest_timeout());
        Ok(match watch {
            Watch::Reached => actor.take_end(),
            Watch::Stuck => Some(Failure::Stuck),
            Watch::Late => Some(Failure::Hang(limit)),
        })
    }

    /// How long the others must be stuck before their timeouts pass.
    fn stuck_at_first(&self, scene: &Scene<'_>) -> Duration {
        if scene.may_be_rescued && self.check.gap.is_some() {
            STUCK_IN_A_GAP
        } else {
            STUCK_FOR
        }
    }

    /// Sees what the victim has left make of the sleepers; true if more should have woken than
    /// have.
    fn a_wake_is_lost(&self, scene: &Scene<'_>, outcome: &mut Outcome) -> Result<bool, Error> {
        let limit = self.check.limit;
        let sleepers = &scene.sleepers;
        if sleepers.is_empty() {
            return Ok(false);
        }
        let ended = sleepers.ended();
        let due = self.check.must_wake.as_ref().map_or(0, |due| due(self.mem));
        let due = ended.saturating_add(due);
        if sleepers.end_within(limit, self.stuck_at_first(scene), due)? != Watch::Reached {
            if !scene.may_be_rescued {
                return Ok(true);
            }
            for _ in 0..TIMEOUTS {
                sleepers.pass_timeouts()?;
                let watch = sleepers.end_within(limit, STUCK_FOR, due)?;
                outcome.rescued = watch == Watch::Reached;
                if outcome.rescued {
                    break;
                }
            }
            return Ok(!outcome.rescued);
        }
        sleepers.come_to_rest_within(limit)?;
        Ok(false)
    }
}
