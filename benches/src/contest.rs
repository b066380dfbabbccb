//! Contenders that do the same work, in interleaved rounds.

use std::fmt;

use crate::{Placement, Sample, Watchdog};

/// Which side a contender is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Ours.
    Ours,
    /// What a user would pick instead.
    Peer,
    /// What no program can beat.
    Limit,
}

/// What the figures of a contest are shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Time per operation.
    Time,
    /// Operations per second.
    Rate,
}

/// Some contenders and their common work.
pub struct Contest<'a> {
    pub(crate) case: String,
    pub(crate) unit: Unit,
    contenders: Vec<Contender<'a>>,
}

struct Contender<'a> {
    name: String,
    role: Role,
    run: Box<dyn FnMut() -> Sample + 'a>,
}

/// What a contest found.
#[derive(Debug)]
pub struct Outcome {
    pub(crate) case: String,
    pub(crate) unit: Unit,
    pub(crate) contenders: Vec<Measured>,
}

/// One contender's rounds.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) rounds: Vec<f64>,
    /// p50, p99 and p99.9 over the single operations of all rounds.
    pub(crate) percentiles: Option<[f64; 3]>,
}

/// The median of some rounds between their extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl<'a> Contest<'a> {
    /// A contest of times per operation.
    pub fn of_times(case: impl Into<String>) -> Self {
        Self {
            case: case.into(),
            unit: Unit::Time,
            contenders: Vec::new(),
        }
    }

    /// A contest of operations per second.
    pub fn of_rates(case: impl Into<String>) -> Self {
        Self {
            case: case.into(),
            unit: Unit::Rate,
            contenders: Vec::new(),
        }
    }

    /// Adds ours. The first that is added is what the others are compared with.
    pub fn ours(&mut self, name: impl Into<String>, run: impl FnMut() -> Sample + 'a) {
        self.add(name.into(), Role::Ours, Box::new(run));
    }

    /// Adds what a user would pick instead.
    pub fn peer(&mut self, name: impl Into<String>, run: impl FnMut() -> Sample + 'a) {
        self.add(name.into(), Role::Peer, Box::new(run));
    }

    /// Adds what no program can beat.
    pub fn limit(&mut self, name: impl Into<String>, run: impl FnMut() -> Sample + 'a) {
        self.add(name.into(), Role::Limit, Box::new(run));
    }

    fn add(&mut self, name: String, role: Role, run: Box<dyn FnMut() -> Sample + 'a>) {
        self.contenders.push(Contender { name, role, run });
    }

    /// Runs all contenders, each starting on the first core: once to warm up, if there is more than
    /// one round, and then `rounds` times in turn, every second time backwards: who runs after
    /// whom must not decide.
    pub(crate) fn run(mut self, rounds: usize) -> Outcome {
        if rounds > 1 {
            self.round(false);
        }
        let rounds: Vec<_> = (0..rounds)
            .map(|round| self.round(round % 2 == 1))
            .collect();
        let measured = |(index, contender): (usize, Contender<'_>)| {
            let samples: Vec<_> = rounds.iter().map(|round| &round[index]).collect();
            Measured {
                name: contender.name,
                role: contender.role,
                rounds: samples.iter().map(|sample| sample.ns).collect(),
                percentiles: percentiles(&samples),
            }
        };
        Outcome {
            case: self.case,
            unit: self.unit,
            contenders: self
                .contenders
                .into_iter()
                .enumerate()
                .map(measured)
                .collect(),
        }
    }

    fn round(&mut self, backwards: bool) -> Vec<Sample> {
        let mut run_one = |contender: &mut Contender<'_>| {
            let _watchdog = Watchdog::start();
            Placement::OneCore.pin(0);
            (contender.run)()
        };
        let contenders = self.contenders.iter_mut();
        if backwards {
            let mut samples: Vec<_> = contenders.rev().map(&mut run_one).collect();
            samples.reverse();
            samples
        } else {
            contenders.map(&mut run_one).collect()
        }
    }
}

impl fmt::Debug for Contest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Contest")
            .field("case", &self.case)
            .finish_non_exhaustive()
    }
}

impl Outcome {
    /// How many times as long `contender` takes as `reference`, round by round.
    ///
    /// # Panics
    ///
    /// If one of them was not in the contest.
    pub fn cost(&self, contender: &str, reference: &str) -> Spread {
        self.find(contender).cost(self.find(reference))
    }

    /// How many times as fast `contender` is as `reference`, round by round.
    ///
    /// # Panics
    ///
    /// If one of them was not in the contest.
    pub fn speed(&self, contender: &str, reference: &str) -> Spread {
        self.cost(reference, contender)
    }

    /// The times of `contender`, as multiples of `ns`.
    ///
    /// # Panics
    ///
    /// If it was not in the contest.
    pub fn multiples_of(&self, ns: f64, contender: &str) -> Spread {
        Spread::of(
            self.find(contender)
                .rounds
                .iter()
                .map(|round| round / ns)
                .collect(),
        )
    }

    fn find(&self, name: &str) -> &Measured {
        let found = self
            .contenders
            .iter()
            .find(|contender| contender.name == name);
        found.unwrap_or_else(|| panic!("there is no {name:?} in the contest {:?}", self.case))
    }
}

impl Measured {
    pub(crate) fn cost(&self, reference: &Self) -> Spread {
        let rounds = self.rounds.iter().zip(&reference.rounds);
        Spread::of(rounds.map(|(mine, theirs)| mine / theirs).collect())
    }
}

impl Spread {
    /// The spread of `values`.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self {
            min: values[0],
            median: values[values.len() / 2],
            max: values[values.len() - 1],
        }
    }
}

/// Nearest-rank percentiles, or none where single operations were not timed.
fn percentiles(samples: &[&Sample]) -> Option<[f64; 3]> {
    let mut all: Vec<_> = samples
        .iter()
        .flat_map(|sample| &sample.latencies)
        .copied()
        .collect();
    all.sort_unstable();
    let rank = |per_mille: usize| (all.len() * per_mille).div_ceil(1000).saturating_sub(1);
    let at = |per_mille| all.get(rank(per_mille)).copied().map(f64::from);
    Some([at(500)?, at(990)?, at(999)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let mut ours = [9.0, 10.0, 40.0, 10.0].into_iter();
        let mut peer = [1.0, 5.0, 10.0, 20.0].into_iter();
        let sample = |ns| Sample {
            ns,
            latencies: Vec::new(),
        };
        let mut contest = Contest::of_times("case");
        contest.ours("ours", || sample(ours.next().unwrap()));
        contest.peer("peer", || sample(peer.next().unwrap()));
        contest.run(3)
    }

    #[test]
    fn ratios_are_taken_per_round() {
        let cost = outcome().cost("ours", "peer");
        assert_eq!(
            cost,
            Spread {
                min: 0.5,
                median: 2.0,
                max: 4.0
            }
        );
        assert_eq!(outcome().speed("ours", "peer").median, 0.5);
    }

    #[test]
    fn percentiles_are_nearest_ranks_over_all_rounds() {
        let sample =
            |latencies: std::ops::RangeInclusive<u32>| Sample::of_latencies(latencies.collect());
        let (one, two) = (sample(1..=500), sample(501..=1000));
        assert_eq!(percentiles(&[&one, &two]), Some([500.0, 990.0, 999.0]));
        assert_eq!(percentiles(&[]), None);
    }
}
