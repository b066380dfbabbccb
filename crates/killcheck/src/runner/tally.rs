//! The count of what the attempts gave.

use std::collections::HashMap;
use std::time::Duration;

use super::Outcome;
use crate::Check;
use crate::kill_point::{Kill, KillPoint};
use crate::report::{Finding, Report};
use crate::symbols::Symbols;

/// What all attempts so far gave.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    kills: Vec<Kill>,
    pub(crate) missed: Vec<Kill>,
    rescued: Vec<Kill>,
    pub(crate) skipped: usize,
    /// Points that leave what one leaves at which there was a kill.
    pub(crate) alike: usize,
    /// How many points leave what a missed one leaves, itself included; without an entry one.
    pub(crate) missed_like: HashMap<KillPoint, usize>,
    pub(crate) findings: Vec<Finding>,
    wakes: Vec<u64>,
    wakes_before: usize,
    longest_timeout: Option<Duration>,
    /// Instructions of the longest recovery.
    pub(crate) longest_recovery: usize,
    /// How often a recovery was traced.
    pub(crate) recoveries: usize,
    /// Attempts at states of which the set-up left other bytes than before the trace.
    pub(crate) not_compared: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, kill: Kill, outcome: Outcome) {
        self.kills.push(kill);
        self.wakes.extend(outcome.wakes.iter().flatten());
        self.wakes_before += outcome.wakes.iter().filter(|after| after.is_none()).count();
        self.longest_timeout = self.longest_timeout.max(outcome.longest_timeout);
        if outcome.rescued {
            self.rescued.push(kill);
        }
        self.findings
            .extend(outcome.finding.map(|(role, failure)| Finding {
                point: kill.victim,
                recoverer: kill.recoverer,
                role,
                failure,
            }));
    }

    /// Takes out the kills of which even the victim's point was missed.
    pub(crate) fn take_missed_victims(&mut self) -> Vec<Kill> {
        let is_victim = |kill: &mut Kill| kill.recoverer.is_none();
        self.missed.extract_if(.., is_victim).collect()
    }

    /// Puts everything into the order of the operation, whatever was done first.
    pub(crate) fn into_report<M: ?Sized>(
        mut self,
        check: &Check<'_, M>,
        instructions: usize,
        traces: usize,
        elapsed: Duration,
    ) -> Report {
        let place = |kill: &Kill| (kill.victim.index, kill.recoverer.map(|point| point.index));
        for kills in [&mut self.kills, &mut self.missed, &mut self.rescued] {
            kills.sort_by_key(place);
        }
        self.findings
            .sort_by_key(|found| (found.point.index, found.recoverer.map(|point| point.index)));
        self.wakes.sort_unstable();
        let mut victims = victims(&self.kills);
        let recoverers = self.kills.iter().filter_map(|kill| kill.recoverer);
        let recoverer_points = recoverers.collect();
        let points = victims.clone();
        victims.dedup();
        let symbols = Symbols::of_this_process();
        let is_own = |kill: &&Kill| {
            let point = kill.recoverer.unwrap_or(kill.victim);
            symbols.is_of_the_program(point.address)
        };
        let (missed_pairs, missed_victims): (Vec<&Kill>, Vec<_>) = self
            .missed
            .iter()
            .filter(is_own)
            .partition(|kill| kill.recoverer.is_some());
        let points_of = |kill: &Kill| match kill.recoverer {
            Some(_) => 1,
            None => self.missed_like.get(&kill.victim).copied().unwrap_or(1),
        };
        let missed_victims = missed_victims.into_iter().map(points_of).sum();
        let missed_points = self.missed.iter().map(points_of).sum();
        Report {
            name: check.name.clone(),
            mode: check.mode,
            instructions,
            recovery: check.recoverer.as_ref().map(|_| self.longest_recovery),
            points,
            recoverer_points,
            recoveries: self.recoveries,
            not_compared: self.not_compared,
            victims: victims.len(),
            skipped: self.skipped,
            alike: self.alike,
            missed_points,
            missed_victims,
            missed_pairs: missed_pairs.len(),
            missed: self.missed.iter().map(|kill| kill.victim).collect(),
            findings: self.findings,
            wakes: self.wakes,
            wakes_before: self.wakes_before,
            longest_timeout: self.longest_timeout,
            rescued: self.rescued.iter().map(|kill| kill.victim).collect(),
            allowed_missed: check.allowed_missed.clone(),
            allowed_rescues: check.allowed_rescues.clone(),
            traces,
            elapsed,
            symbols,
        }
    }
}

fn victims(kills: &[Kill]) -> Vec<KillPoint> {
    kills.iter().map(|kill| kill.victim).collect()
}
