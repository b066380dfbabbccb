//! One bench target.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use criterion::Criterion;

use crate::contest::{Contest, Outcome, Spread};
use crate::mode::Mode;
use crate::record::{Bound, Goal, Record};
use crate::{Leftovers, Placement, cores, table};

/// One bench: its contests, its goals, and then criterion with our own operations.
#[derive(Debug)]
pub struct Bench {
    mode: Mode,
    filter: Option<String>,
    directory: PathBuf,
    record: Record,
}

impl Bench {
    /// Starts the bench `name`, which leaves its rows beside `target_tmpdir`, cargo's
    /// `CARGO_TARGET_TMPDIR`.
    pub fn start(name: &str, target_tmpdir: &str) -> Self {
        cores::allowed();
        Leftovers::remove_of_dead_benches();
        let (mode, filter) = Mode::from_arguments();
        let mut bench = Self {
            mode,
            filter,
            directory: directory(target_tmpdir),
            record: Record {
                bench: name.to_owned(),
                ..Record::default()
            },
        };
        if !Placement::TwoCores.is_available() {
            bench.note("only one core is allowed here: rows on two cores are left out".to_owned());
        }
        bench
    }

    /// `count` operations, or a few where figures do not matter.
    pub fn count(&self, count: usize) -> usize {
        if self.mode == Mode::Smoke {
            count / 100 + 10
        } else {
            count
        }
    }

    /// The placements that this machine has.
    pub fn placements(&self) -> impl Iterator<Item = Placement> + use<> {
        Placement::ALL
            .into_iter()
            .filter(|placement| placement.is_available())
    }

    /// Says something that the reader of the table must know.
    pub fn note(&mut self, note: String) {
        eprintln!("{}: {note}", self.record.bench);
        self.record.notes.push(note);
    }

    /// Runs a contest, unless the command line asks for others.
    pub fn contest(&mut self, contest: Contest<'_>) -> Option<Outcome> {
        let rounds = match self.mode {
            Mode::Measure { rounds } => rounds,
            Mode::Smoke => 1,
            Mode::Skip => return None,
        };
        let name = format!("{}: {}", self.record.bench, contest.case);
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| !name.contains(filter))
        {
            return None;
        }
        eprintln!("{name}");
        self.record.rounds = rounds;
        let outcome = contest.run(rounds);
        self.record.add(&outcome);
        Some(outcome)
    }

    /// States a goal: a cost that is `at_most` so many times that of something else.
    pub fn goal_at_most(
        &mut self,
        text: impl Into<String>,
        at_most: f64,
        measured: Option<Spread>,
    ) {
        self.goal(text.into(), Bound::AtMost(at_most), measured);
    }

    /// States a goal: a speed that is `at_least` so many times that of something else.
    pub fn goal_at_least(
        &mut self,
        text: impl Into<String>,
        at_least: f64,
        measured: Option<Spread>,
    ) {
        self.goal(text.into(), Bound::AtLeast(at_least), measured);
    }

    fn goal(&mut self, text: String, bound: Bound, measured: Option<Spread>) {
        if self.filter.is_none() || measured.is_some() {
            let bench = self.record.bench.clone();
            let measured = measured.ok_or_else(|| "not measured".to_owned());
            self.record.goals.push(Goal {
                bench,
                text,
                bound,
                measured,
            });
        }
    }

    /// Prints the rows, leaves them for the summary, and goes on with criterion.
    ///
    /// # Panics
    ///
    /// If the target directory cannot be written, or if a peer's files are left.
    pub fn finish(mut self) -> Criterion {
        if matches!(self.mode, Mode::Measure { .. }) {
            println!("\n{}", table::of_one(&self.record));
            if self.filter.is_none() {
                self.write();
            }
        }
        let left = Leftovers::of_this_process();
        assert!(left.is_empty(), "the bench leaves {left:?}");
        Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(500))
            .configure_from_args()
    }

    fn write(&mut self) {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.record.written = since_1970.map_or(0, |duration| duration.as_secs());
        let path = self.directory.join(format!("{}.tsv", self.record.bench));
        let written = fs::create_dir_all(&self.directory)
            .and_then(|()| fs::write(&path, self.record.to_text()));
        written.unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
    }
}

/// Where the benches leave their rows, and the summary its table and picture.
pub(crate) fn directory(target_tmpdir: &str) -> PathBuf {
    Path::new(target_tmpdir).with_file_name("mp-bench")
}
