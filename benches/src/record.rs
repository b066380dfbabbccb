//! The rows that benches leave for the summary, as lines of fields between tabs.

use crate::contest::{Outcome, Role, Spread, Unit};

/// One contender of one contest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) bench: String,
    pub(crate) case: String,
    pub(crate) unit: Unit,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Nanoseconds per operation.
    pub(crate) ns: Spread,
    pub(crate) percentiles: Option<[f64; 3]>,
    /// How many times as fast as this the first of ours is; `None` for itself.
    pub(crate) ours_is_faster: Option<Spread>,
}

/// What a goal allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// A cost ratio, at most this.
    AtMost(f64),
    /// A speed ratio, at least this.
    AtLeast(f64),
}

/// A goal and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Goal {
    pub(crate) bench: String,
    pub(crate) text: String,
    pub(crate) bound: Bound,
    /// `Err` says why it was not measured.
    pub(crate) measured: Result<Spread, String>,
}

/// What one run of one bench left.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    pub(crate) bench: String,
    /// Seconds since 1970 when it was written.
    pub(crate) written: u64,
    pub(crate) rounds: usize,
    pub(crate) notes: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) goals: Vec<Goal>,
}

impl Record {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        let ours = outcome
            .contenders
            .iter()
            .find(|contender| contender.role == Role::Ours);
        for contender in &outcome.contenders {
            let others_cost = ours.filter(|ours| ours.name != contender.name);
            self.rows.push(Row {
                bench: self.bench.clone(),
                case: outcome.case.clone(),
                unit: outcome.unit,
                name: contender.name.clone(),
                role: contender.role,
                ns: Spread::of(contender.rounds.clone()),
                percentiles: contender.percentiles,
                ours_is_faster: others_cost.map(|ours| contender.cost(ours)),
            });
        }
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("run\t{}\t{}\t{}\n", self.bench, self.written, self.rounds);
        for note in &self.notes {
            text += &format!("note\t{note}\n");
        }
        for row in &self.rows {
            text += &row.to_line();
        }
        for goal in &self.goals {
            text += &goal.to_line();
        }
        text
    }

    /// `None` if a line is not one of ours.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut record = Self::default();
        for line in text.lines() {
            let mut fields = line.split('\t');
            match fields.next()? {
                "run" => {
                    record.bench = fields.next()?.to_owned();
                    record.written = fields.next()?.parse().ok()?;
                    record.rounds = fields.next()?.parse().ok()?;
                }
                "note" => record.notes.push(fields.next()?.to_owned()),
                "row" => record.rows.push(Row::from_fields(&record.bench, fields)?),
                "goal" => record.goals.push(Goal::from_fields(&record.bench, fields)?),
                _ => return None,
            }
        }
        Some(record)
    }
}

impl Row {
    fn to_line(&self) -> String {
        let percentiles = match self.percentiles {
            Some([p50, p99, p999]) => format!("{p50} {p99} {p999}"),
            None => "-".to_owned(),
        };
        format!(
            "row\t{}\t{:?}\t{}\t{:?}\t{}\t{percentiles}\t{}\n",
            self.case,
            self.unit,
            self.name,
            self.role,
            spread_to_text(Some(&self.ns)),
            spread_to_text(self.ours_is_faster.as_ref()),
        )
    }

    fn from_fields<'a>(bench: &str, mut fields: impl Iterator<Item = &'a str>) -> Option<Self> {
        Some(Self {
            bench: bench.to_owned(),
            case: fields.next()?.to_owned(),
            unit: match fields.next()? {
                "Time" => Unit::Time,
                "Rate" => Unit::Rate,
                _ => return None,
            },
            name: fields.next()?.to_owned(),
            role: match fields.next()? {
                "Ours" => Role::Ours,
                "Peer" => Role::Peer,
                "Limit" => Role::Limit,
                _ => return None,
            },
            ns: spread_from_text(fields.next()?)?,
            percentiles: three(fields.next()?),
            ours_is_faster: spread_from_text(fields.next()?),
        })
    }
}

impl Goal {
    /// Whether it was met; `None` if it was not measured.
    pub(crate) fn is_met(&self) -> Option<bool> {
        let median = self.measured.as_ref().ok()?.median;
        Some(match self.bound {
            Bound::AtMost(most) => median <= most,
            Bound::AtLeast(least) => median >= least,
        })
    }

    fn to_line(&self) -> String {
        let (word, bound) = match self.bound {
            Bound::AtMost(most) => ("most", most),
            Bound::AtLeast(least) => ("least", least),
        };
        let (measured, why_not) = match &self.measured {
            Ok(spread) => (spread_to_text(Some(spread)), ""),
            Err(why) => ("-".to_owned(), why.as_str()),
        };
        format!(
            "goal\t{}\t{word}\t{bound}\t{measured}\t{why_not}\n",
            self.text
        )
    }

    fn from_fields<'a>(bench: &str, mut fields: impl Iterator<Item = &'a str>) -> Option<Self> {
        let text = fields.next()?.to_owned();
        let word = fields.next()?;
        let bound = fields.next()?.parse().ok()?;
        let measured = spread_from_text(fields.next()?);
        let why_not = fields.next()?.to_owned();
        Some(Self {
            bench: bench.to_owned(),
            text,
            bound: match word {
                "most" => Bound::AtMost(bound),
                "least" => Bound::AtLeast(bound),
                _ => return None,
            },
            measured: measured.ok_or(why_not),
        })
    }
}

fn spread_to_text(spread: Option<&Spread>) -> String {
    spread.map_or("-".to_owned(), |spread| {
        format!("{} {} {}", spread.min, spread.median, spread.max)
    })
}

fn spread_from_text(text: &str) -> Option<Spread> {
    three(text).map(|[min, median, max]| Spread { min, median, max })
}

fn three(text: &str) -> Option<[f64; 3]> {
    let numbers: Result<Vec<f64>, _> = text.split(' ').map(str::parse).collect();
    numbers.ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back_is_the_same() {
        let spread = Spread {
            min: 1.5,
            median: 2.0,
            max: 1e9,
        };
        let row = |percentiles, ours_is_faster| Row {
            bench: "lock".into(),
            case: "alone".into(),
            unit: Unit::Time,
            name: "std Mutex".into(),
            role: Role::Peer,
            ns: spread,
            percentiles,
            ours_is_faster,
        };
        let goal = |measured| Goal {
            bench: "lock".into(),
            text: "as fast as it".into(),
            bound: Bound::AtMost(1.35),
            measured,
        };
        let record = Record {
            bench: "lock".into(),
            written: 7,
            rounds: 9,
            notes: vec!["one core only".into()],
            rows: vec![row(Some([1.0, 2.0, 3.25]), None), row(None, Some(spread))],
            goals: vec![goal(Ok(spread)), goal(Err("needs a peer".into()))],
        };
        assert_eq!(Record::from_text(&record.to_text()), Some(record));
        assert_eq!(Record::from_text("nonsense"), None);
    }
}
