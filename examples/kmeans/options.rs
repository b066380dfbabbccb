//! The command line, parsed by hand.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use crate::clusters::MAX_COLOURS;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Reduces a picture to a few colours by k-means; several processes share the one picture.

usage: kmeans [PICTURE] [options]

  PICTURE         a PNG or JPEG; without it, the built-in photograph of a coffee cup
  --colours K     colours in the result, 1 to 64 (default 24)
  --processes N   processes that work, at most one per row (default: one per core, at least 2)
  --rounds R      rounds at most; fewer when the colours come to rest (default 30)
  --no-kill       let every process live
  --out FILE      where the reduced picture goes (default kmeans.png)
  --hold          at the end, keep the shared array open until Enter is pressed
  --help          print this
";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The picture's file; `None` for the built-in photograph.
    pub(crate) picture: Option<PathBuf>,
    /// 1 to [`MAX_COLOURS`].
    pub(crate) colours: usize,
    /// At least 1; `None` for one per core.
    pub(crate) processes: Option<usize>,
    /// At least 1.
    pub(crate) rounds: usize,
    /// Whether one worker is killed half-way.
    pub(crate) kill: bool,
    /// The PNG to write.
    pub(crate) out: PathBuf,
    /// Whether to wait at the end.
    pub(crate) hold: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            picture: None,
            colours: 24,
            processes: None,
            rounds: 30,
            kill: true,
            out: PathBuf::from("kmeans.png"),
            hold: false,
        }
    }
}

/// A parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Do the work.
    Run(Options),
    /// Print [`HELP`].
    Help,
}

/// What is wrong with the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UsageError {
    /// An option that does not exist.
    UnknownOption(String),
    /// A second picture.
    SecondPicture(PathBuf),
    /// An option without its value.
    NoValue(&'static str),
    /// A value that is not a number in the accepted range.
    BadNumber {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// The least and the greatest accepted.
        range: (usize, usize),
    },
    /// More processes than rows.
    TooManyProcesses {
        /// Asked for.
        processes: usize,
        /// What the picture has.
        rows: usize,
    },
}

impl Display for UsageError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOption(option) => write!(f, "unknown option {option}; see --help"),
            Self::SecondPicture(path) => {
                write!(f, "one picture at a time; {} is the second", path.display())
            }
            Self::NoValue(option) => write!(f, "{option} needs a value; see --help"),
            Self::BadNumber {
                option,
                value,
                range: (least, usize::MAX),
            } => {
                write!(
                    f,
                    "{option} {value}: a whole number from {least} on is needed"
                )
            }
            Self::BadNumber {
                option,
                value,
                range: (least, most),
            } => {
                write!(
                    f,
                    "{option} {value}: a whole number from {least} to {most} is needed"
                )
            }
            Self::TooManyProcesses { processes, rows } => {
                write!(
                    f,
                    "--processes {processes}: at most {rows} for this picture, one per row"
                )
            }
        }
    }
}

impl Error for UsageError {}

impl Options {
    /// The number of processes for a picture of this many rows on this many cores.
    ///
    /// # Errors
    /// When more were asked for than there are rows.
    pub(crate) fn processes_for(&self, rows: usize, cores: usize) -> Result<usize, UsageError> {
        match self.processes {
            Some(processes) if processes > rows => {
                Err(UsageError::TooManyProcesses { processes, rows })
            }
            Some(processes) => Ok(processes),
            None => Ok(cores.max(2).min(rows)),
        }
    }
}

/// Reads the arguments behind the program's name.
///
/// # Errors
/// On the first argument that cannot be understood.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut options = Options::default();
    let mut arguments = arguments.into_iter();
    let mut only_paths = false;
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        if only_paths || !text.starts_with('-') {
            if options.picture.replace(argument.clone().into()).is_some() {
                return Err(UsageError::SecondPicture(argument.into()));
            }
            continue;
        }
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text.as_str(), None),
        };
        let mut value = |option| inline.clone().or_else(|| arguments.next()).ok_or(option);
        match name {
            "--colours" | "--colors" => {
                options.colours = number("--colours", value("--colours"), MAX_COLOURS)?;
            }
            "--processes" => {
                let processes = number("--processes", value("--processes"), usize::MAX)?;
                options.processes = Some(processes);
            }
            "--rounds" => options.rounds = number("--rounds", value("--rounds"), usize::MAX)?,
            "--out" => options.out = value("--out").map_err(UsageError::NoValue)?.into(),
            _ if inline.is_some() => return Err(UsageError::UnknownOption(text)),
            "--no-kill" => options.kill = false,
            "--hold" => options.hold = true,
            "--help" | "-h" => return Ok(Command::Help),
            "--" => only_paths = true,
            _ => return Err(UsageError::UnknownOption(text)),
        }
    }
    Ok(Command::Run(options))
}

fn number(
    option: &'static str,
    value: Result<OsString, &'static str>,
    most: usize,
) -> Result<usize, UsageError> {
    let value = value
        .map_err(UsageError::NoValue)?
        .to_string_lossy()
        .into_owned();
    match value.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(UsageError::BadNumber {
            option,
            value,
            range: (1, most),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, UsageError> {
        parse(arguments.iter().map(OsString::from))
    }

    fn refused(arguments: &[&str]) -> String {
        parsed(arguments).expect_err("refused").to_string()
    }

    #[test]
    fn no_argument_gives_the_defaults() {
        assert_eq!(parsed(&[]), Ok(Command::Run(Options::default())));
    }

    #[test]
    fn every_option_arrives() {
        let arguments = "a.png --colours 5 --processes=3 --rounds 7 --no-kill --out b.png --hold";
        let options = Options {
            picture: Some("a.png".into()),
            colours: 5,
            processes: Some(3),
            rounds: 7,
            kill: false,
            out: "b.png".into(),
            hold: true,
        };
        let arguments: Vec<_> = arguments.split(' ').collect();
        assert_eq!(parsed(&arguments), Ok(Command::Run(options)));
        assert_eq!(parsed(&["--hold", "-h"]), Ok(Command::Help));
    }

    #[test]
    fn a_path_may_begin_with_a_dash_behind_two() {
        let Ok(Command::Run(options)) = parsed(&["--", "--odd.png"]) else {
            panic!("refused")
        };
        assert_eq!(options.picture, Some("--odd.png".into()));
    }

    #[test]
    fn numbers_out_of_range_name_the_range() {
        let wanted = "a whole number from 1 to 64 is needed";
        for value in ["0", "65", "-1", "x", "", "99999999999999999999"] {
            let message = refused(&["--colours", value]);
            assert_eq!(message, format!("--colours {value}: {wanted}"));
        }
        let wanted = "a whole number from 1 on is needed";
        assert_eq!(refused(&["--rounds=0"]), format!("--rounds 0: {wanted}"));
        assert_eq!(
            refused(&["--processes", "0"]),
            format!("--processes 0: {wanted}")
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(refused(&["--fast"]), "unknown option --fast; see --help");
        assert_eq!(
            refused(&["--hold=yes"]),
            "unknown option --hold=yes; see --help"
        );
        assert_eq!(refused(&["--out"]), "--out needs a value; see --help");
        assert_eq!(refused(&["--rounds"]), "--rounds needs a value; see --help");
        assert_eq!(
            refused(&["a.png", "b.png"]),
            "one picture at a time; b.png is the second"
        );
    }

    #[test]
    fn processes_never_outnumber_rows() {
        let asked = |processes| Options {
            processes,
            ..Options::default()
        };
        assert_eq!(asked(None).processes_for(400, 8), Ok(8));
        assert_eq!(asked(None).processes_for(400, 1), Ok(2));
        assert_eq!(asked(None).processes_for(1, 8), Ok(1));
        assert_eq!(asked(Some(4)).processes_for(4, 1), Ok(4));
        assert_eq!(
            asked(Some(5))
                .processes_for(4, 8)
                .expect_err("refused")
                .to_string(),
            "--processes 5: at most 4 for this picture, one per row"
        );
    }
}
