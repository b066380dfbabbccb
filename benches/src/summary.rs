//! All benches in one table and one picture.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bench::directory;
use crate::mode::Mode;
use crate::record::Record;
use crate::{machine, picture, table};

/// What the benches left.
#[derive(Debug)]
pub struct Summary {
    directory: PathBuf,
    records: Vec<Record>,
}

/// Rows that are so much older than the newest are from another run, in seconds.
const SAME_RUN: u64 = 30 * 60;

impl Summary {
    /// Reads what the benches left beside `target_tmpdir`; `None` if the command line asks for no
    /// measurement.
    ///
    /// # Panics
    ///
    /// If there is something else in the files.
    pub fn read(target_tmpdir: &str) -> Option<Self> {
        let (mode, _) = Mode::from_arguments();
        if !matches!(mode, Mode::Measure { .. }) {
            return None;
        }
        let directory = directory(target_tmpdir);
        let mut paths: Vec<_> = fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "tsv"))
            .collect();
        paths.sort();
        let records = paths.iter().map(|path| read(path)).collect();
        Some(Self { directory, records })
    }

    /// Prints the table and writes it as Markdown, beside the picture.
    ///
    /// # Panics
    ///
    /// If the target directory cannot be written.
    pub fn publish(&self) {
        if self.records.is_empty() {
            println!("no bench has run yet: cargo bench");
            return;
        }
        let rows: Vec<_> = self
            .records
            .iter()
            .flat_map(|record| record.rows.clone())
            .collect();
        let goals: Vec<_> = self
            .records
            .iter()
            .flat_map(|record| record.goals.clone())
            .collect();
        let (figures, goals_table) = (table::measurements(&rows), table::goals(&goals));
        let (head, legend) = (self.head(), table::legend(&rows));
        println!(
            "\n{head}\n{legend}\n\n{}\n{}",
            figures.to_text(),
            goals_table.to_text()
        );
        let markdown = format!(
            "{head}\n{legend}\n\n![ratios](summary.svg)\n\n## Goals\n\n{}\n## Figures\n\n{}",
            goals_table.to_markdown(),
            figures.to_markdown()
        );
        self.write("summary.md", &markdown);
        self.write(
            "summary.svg",
            &picture::draw(&rows, &goals, &machine::describe(), &self.newest_date()),
        );
    }

    fn head(&self) -> String {
        let mut head = format!(
            "Measured {} on {}; load {} at the end.\n",
            self.newest_date(),
            machine::describe(),
            machine::load()
        );
        for record in &self.records {
            if record.written + SAME_RUN < self.newest() {
                let date = machine::date(record.written);
                head += &format!(
                    "The rows of {} are from another run, {date}.\n",
                    record.bench
                );
            }
            for note in &record.notes {
                head += &format!("{}: {note}.\n", record.bench);
            }
        }
        let rounds = self
            .records
            .iter()
            .map(|record| record.rounds)
            .min()
            .unwrap_or(0);
        head + &format!("At least {rounds} rounds each.\n")
    }

    fn newest(&self) -> u64 {
        self.records
            .iter()
            .map(|record| record.written)
            .max()
            .unwrap_or(0)
    }

    fn newest_date(&self) -> String {
        machine::date(self.newest())
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.directory.join(name);
        fs::write(&path, text)
            .unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
        println!("{}", path.display());
    }
}

fn read(path: &Path) -> Record {
    let text = fs::read_to_string(path).unwrap_or_default();
    Record::from_text(&text)
        .unwrap_or_else(|| panic!("{} is not from these benches; remove it", path.display()))
}
