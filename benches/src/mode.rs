//! What the command line asks for.

use std::env;

/// How much a bench does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Contests of so many rounds, and then criterion.
    Measure { rounds: usize },
    /// Everything once with few operations, for `cargo test --benches`; nothing is written.
    Smoke,
    /// Only criterion.
    Skip,
}

/// Rounds of a contest.
const ROUNDS: usize = 15;

/// The same with `--quick`: too few to trust.
const QUICK_ROUNDS: usize = 3;

/// Options of criterion's that are followed by a value.
const WITH_VALUE: [&str; 12] = [
    "--color",
    "--save-baseline",
    "--baseline",
    "--baseline-lenient",
    "--format",
    "--sample-size",
    "--warm-up-time",
    "--measurement-time",
    "--nresamples",
    "--noise-threshold",
    "--confidence-level",
    "--significance-level",
];

/// Options with which criterion measures nothing.
const WITHOUT_MEASUREMENT: [&str; 3] = ["--list", "--profile-time", "--load-baseline"];

impl Mode {
    /// The mode, and the words that a contest must have in its name.
    pub(crate) fn from_arguments() -> (Self, Option<String>) {
        Self::parse(env::args().skip(1).collect())
    }

    fn parse(arguments: Vec<String>) -> (Self, Option<String>) {
        let has = |option: &str| {
            arguments
                .iter()
                .any(|argument| argument.split('=').next() == Some(option))
        };
        let mode = if WITHOUT_MEASUREMENT.into_iter().any(has) {
            Self::Skip
        } else if has("--test") || !has("--bench") {
            Self::Smoke
        } else if has("--quick") {
            Self::Measure {
                rounds: QUICK_ROUNDS,
            }
        } else {
            Self::Measure { rounds: ROUNDS }
        };
        let mut before = "";
        let filter = arguments.iter().find(|argument| {
            let is_value = WITH_VALUE.contains(&before);
            before = argument;
            !argument.starts_with('-') && !is_value
        });
        (mode, filter.cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (Mode, Option<String>) {
        Mode::parse(line.split_whitespace().map(String::from).collect())
    }

    #[test]
    fn values_of_options_are_no_filter() {
        let (mode, filter) = parse("--save-baseline before --bench alone");
        assert_eq!(
            (mode, filter.as_deref()),
            (Mode::Measure { rounds: ROUNDS }, Some("alone"))
        );
    }

    #[test]
    fn measures_only_when_cargo_bench_asks() {
        assert_eq!(parse("").0, Mode::Smoke);
        assert_eq!(parse("--bench --test").0, Mode::Smoke);
        assert_eq!(parse("--bench --list --format terse"), (Mode::Skip, None));
        assert_eq!(
            parse("--bench --quick").0,
            Mode::Measure {
                rounds: QUICK_ROUNDS
            }
        );
    }
}
