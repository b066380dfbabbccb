//! Why a task has no value.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mp_layout::{Error, ErrorKind};
use mp_process::{Panic, Status};

/// A task of a [`Pool`](crate::Pool) that has no value: which one, and why.
///
/// It converts into an [`Error`], whose kind is [`kind`](Self::kind).
///
/// ```
/// use mp_pool::{Cause, Pool};
///
/// fn reciprocal(n: i32) -> i32 {
///     100 / n
/// }
///
/// let pool = Pool::new(2)?;
/// let error = pool.map(reciprocal, [5, 0, 2]).unwrap_err();
/// assert_eq!(error.index(), 1);
/// assert!(matches!(error.cause(), Cause::Panicked(panic) if panic.message().contains("divide")));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TaskError {
    index: usize,
    cause: Cause,
}

/// Why a task has no value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// It panicked; its worker lives on.
    Panicked(Arc<Panic>),
    /// Its worker ended while it ran.
    Died(Death),
    /// It was not run, or its arguments or its value could not be written or read.
    Failed(Arc<Error>),
    /// It was taken back before a worker took it.
    Cancelled,
    /// The wait for it timed out; it may still be waiting or running.
    TimedOut,
}

const CANCELLED: &str = "it was cancelled";

/// The end of a worker in a task.
#[derive(Clone, Debug)]
pub struct Death {
    pub(crate) pid: u32,
    pub(crate) status: Status,
    pub(crate) ran_for: Duration,
}

impl TaskError {
    pub(crate) fn new(index: usize, cause: Cause) -> Self {
        Self { index, cause }
    }

    /// Which task of its call it is, counted from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Why it has no value.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The end of its worker, if that is the cause.
    pub fn death(&self) -> Option<&Death> {
        match &self.cause {
            Cause::Died(death) => Some(death),
            _ => None,
        }
    }

    /// The class of the error: [`ErrorKind::Panicked`], [`ErrorKind::ProcessDied`],
    /// [`ErrorKind::TimedOut`], [`ErrorKind::Closed`] of what was cancelled, or that of what
    /// failed.
    pub fn kind(&self) -> ErrorKind {
        match &self.cause {
            Cause::Panicked(_) => ErrorKind::Panicked,
            Cause::Died(_) => ErrorKind::ProcessDied,
            Cause::Failed(error) => error.kind(),
            Cause::Cancelled => ErrorKind::Closed,
            Cause::TimedOut => ErrorKind::TimedOut,
        }
    }
}

impl Death {
    /// The pid of the worker.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How the worker ended: its exit code or the signal.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// How long the task had run, in whole milliseconds.
    pub fn ran_for(&self) -> Duration {
        self.ran_for
    }
}

impl fmt::Display for Death {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            status,
            ran_for,
        } = self;
        write!(
            formatter,
            "its worker (pid {pid}) {status} after the task had run for {ran_for:?}"
        )
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "task {}: ", self.index)?;
        match &self.cause {
            Cause::Panicked(panic) => panic.fmt(formatter),
            Cause::Died(death) => death.fmt(formatter),
            Cause::Failed(error) => error.fmt(formatter),
            Cause::Cancelled => formatter.write_str(CANCELLED),
            Cause::TimedOut => formatter.write_str("the wait for it timed out"),
        }
    }
}

impl std::error::Error for TaskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Failed(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<TaskError> for Error {
    fn from(error: TaskError) -> Self {
        let text = match &error.cause {
            Cause::Panicked(panic) => panic.to_string(),
            Cause::Died(death) => death.to_string(),
            Cause::Failed(error) => error.to_string(),
            Cause::Cancelled => CANCELLED.to_owned(),
            Cause::TimedOut => String::new(),
        };
        Self::new(error.kind(), "run", format!("task {}", error.index)).with_detail(text)
    }
}
