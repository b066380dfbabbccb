//! The table, for a terminal and as Markdown.

use crate::contest::{Role, Unit};
use crate::figures::{figure, range, ratio, time};
use crate::record::{Bound, Goal, Record, Row};

/// Columns of one table, the first row being the heads.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

/// What one bench prints when it is done.
pub(crate) fn of_one(record: &Record) -> String {
    let mut text = measurements(&record.rows).to_text();
    if !record.goals.is_empty() {
        text += "\n";
        text += &goals(&record.goals).to_text();
    }
    text
}

/// All contenders, case by case.
pub(crate) fn measurements(rows: &[Row]) -> Table {
    let heads = [
        "bench",
        "case",
        "who",
        "median",
        "min..max",
        "p50",
        "p99",
        "p99.9",
        "ours vs it",
    ];
    let mut table = Table::with_heads(&heads);
    let mut before = "";
    for row in rows {
        let is_new = row.case != before;
        before = &row.case;
        let mut cells = if is_new {
            vec![row.bench.clone(), row.case.clone()]
        } else {
            vec![String::new(); 2]
        };
        cells.push(match row.role {
            Role::Ours => format!("* {}", row.name),
            Role::Peer => row.name.clone(),
            Role::Limit => format!("(limit) {}", row.name),
        });
        cells.push(figure(row.unit, row.ns.median));
        cells.push(range(row.unit, &row.ns));
        match row.percentiles {
            Some(percentiles) => cells.extend(percentiles.map(time)),
            None => cells.extend([const { String::new() }; 3]),
        }
        cells.push(row.ours_is_faster.as_ref().map_or(String::new(), ratio));
        table.rows.push(cells);
    }
    table
}

/// All goals and whether they were met.
pub(crate) fn goals(goals: &[Goal]) -> Table {
    let mut table = Table::with_heads(&["bench", "goal", "allowed", "measured", "met?"]);
    for goal in goals {
        table.rows.push(vec![
            goal.bench.clone(),
            goal.text.clone(),
            match goal.bound {
                Bound::AtMost(most) => format!("at most {most}x"),
                Bound::AtLeast(least) => format!("at least {least}x"),
            },
            match &goal.measured {
                Ok(spread) => ratio(spread),
                Err(why) => why.clone(),
            },
            match goal.is_met() {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "-",
            }
            .to_owned(),
        ]);
    }
    table
}

impl Table {
    fn with_heads(heads: &[&str]) -> Self {
        Self {
            rows: vec![heads.iter().map(ToString::to_string).collect()],
        }
    }

    /// Aligned with spaces.
    pub(crate) fn to_text(&self) -> String {
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].len())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        text
    }

    /// As Markdown.
    pub(crate) fn to_markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let (heads, body) = self.rows.split_first().expect("the heads");
        let rule = format!("|{}\n", "---|".repeat(heads.len()));
        line(heads) + &rule + &body.iter().map(|row| line(row)).collect::<String>()
    }
}

/// What the marks of the tables mean.
pub(crate) fn legend(rows: &[Row]) -> String {
    let rates = if rows.iter().any(|row| row.unit == Unit::Rate) {
        " M/s are millions of operations per second."
    } else {
        ""
    };
    format!(
        "\"*\" is ours, \"(limit)\" what no program beats. Medians of interleaved rounds. \"ours vs it\" says how \
         many times as fast the first of ours is, taken per round. Percentiles are of single operations and contain one reading of the clock.{rates}"
    )
}
