//! The one error type of the harness.

use std::fmt;
use std::io;

/// Why a check could not be carried out; [`Error::kind`] returns it.
///
/// A failing *operation* is never an error: it is a finding in the [`Report`](crate::Report).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// This machine cannot single-step a process the way the harness needs it.
    Unsupported,
    /// The check lacks a part, such as its victim.
    Incomplete,
    /// The kernel refused to let the harness trace its own child.
    TraceRefused,
    /// The victim died or misbehaved by itself before anybody killed it.
    VictimFailed,
    /// The victim ran more instructions than the check allows.
    VictimTooLong,
    /// The sleeper did not fall asleep, so there was no process to wake.
    SleeperAwake,
    /// The waker did not wake the victim.
    VictimNotWoken,
    /// Any other refusal of the operating system.
    Os,
}

/// A check that could not be carried out.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<io::Error>,
}

impl Error {
    /// Returns what kind of obstacle it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Wraps `errno` as the call that just failed left it.
    pub(crate) fn last_os(attempt: impl Into<String>) -> Self {
        let source = io::Error::last_os_error();
        Self {
            kind: ErrorKind::Os,
            message: attempt.into(),
            source: Some(source),
        }
    }

    /// Tells whether the process that the attempt was made on is no more.
    pub(crate) fn is_of_nobody(&self) -> bool {
        let errno = self.source.as_ref().and_then(io::Error::raw_os_error);
        matches!(errno, Some(libc::ESRCH | libc::ECHILD))
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
