//! Python's words for how a child comes to be.

use std::fmt;
use std::str::FromStr;

use mp_layout::{Error, ErrorKind, Result};

/// How a child comes to be, in Python's words; for programs that have them in their options.
///
/// ```
/// use mp_process::{Process, StartMethod};
///
/// let method: StartMethod = "forkserver".parse()?;
/// let mut process = Process::new(|| 7, ()).start_method(method);
/// process.start()?;
/// assert_eq!(process.result()?, 7);
///
/// let error = Process::new(|| 7, ()).start_method(StartMethod::Fork).start().unwrap_err();
/// assert!(error.to_string().contains("spawn"), "{error}");
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartMethod {
    /// The program is run again, which is the default.
    #[default]
    Spawn,
    /// The same as [`Spawn`](Self::Spawn): a server that forks saves the start of an interpreter
    /// and its imports, and there are none.
    ForkServer,
    /// A copy of this process. Refused: the copy has every lock that another thread holds at that
    /// moment, and not the thread that would release it.
    Fork,
}

impl FromStr for StartMethod {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let mut all = [Self::Spawn, Self::ForkServer, Self::Fork].into_iter();
        all.find(|method| method.word() == word).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "read", "a start method")
                .with_detail(format!("{word:?} is none of spawn, forkserver and fork"))
        })
    }
}

impl StartMethod {
    fn word(self) -> &'static str {
        match self {
            Self::Spawn => "spawn",
            Self::ForkServer => "forkserver",
            Self::Fork => "fork",
        }
    }
}

impl fmt::Display for StartMethod {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_read_as_it_is_written() {
        for method in [
            StartMethod::Spawn,
            StartMethod::ForkServer,
            StartMethod::Fork,
        ] {
            assert_eq!(method.to_string().parse::<StartMethod>().unwrap(), method);
        }
        let error = "Fork".parse::<StartMethod>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(
            error.to_string().contains("spawn, forkserver and fork"),
            "{error}"
        );
    }
}
