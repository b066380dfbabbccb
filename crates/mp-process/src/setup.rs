//! What a process has that differs from its parent.

use std::ffi::OsString;
use std::path::PathBuf;

use mp_os::resource::Resource;
use mp_os::spawn::Options;
use mp_os::stream::Stream;

use crate::attributes::{Attributes, SignalAction};
use crate::start_method::StartMethod;

/// What a process has that differs from its parent: environment, directory, standard streams,
/// processors, niceness, limits and signals.
///
/// [`Process`](crate::Process) has the same methods; a `Setup` is for several processes, see
/// [`Process::setup`](crate::Process::setup). Everything is in force before any code of the task
/// runs.
///
/// ```
/// use mp_process::{Process, Resource, Setup};
///
/// let setup = Setup::new().env("LEVEL", "debug").niceness(5).limit(Resource::CoreSize, 0);
/// for n in 0..2 {
///     let mut process = Process::new(|n: u32| (n, std::env::var("LEVEL").ok()), (n,)).setup(setup.clone());
///     process.start()?;
///     assert_eq!(process.result()?, (n, Some("debug".to_owned())));
/// }
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a setup does nothing before a process has it"]
pub struct Setup {
    /// Without the signals that are held back.
    pub(crate) options: Options,
    pub(crate) stdin: Stream,
    pub(crate) attributes: Attributes,
    pub(crate) method: StartMethod,
}

impl Setup {
    /// What inherits everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how it comes to be, by Python's word; see [`StartMethod`] for what each does.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = method;
        self
    }

    /// Sets an environment variable; all others are inherited.
    pub fn env(mut self, variable: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.options.env.push((variable.into(), value.into()));
        self
    }

    /// Sets the working directory.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.options.directory = Some(directory.into());
        self
    }

    /// Sets the standard input.
    pub fn stdin(mut self, stream: impl Into<Stream>) -> Self {
        self.stdin = stream.into();
        self
    }

    /// Sets the standard output.
    pub fn stdout(mut self, stream: impl Into<Stream>) -> Self {
        self.options.stdout = stream.into();
        self
    }

    /// Sets the standard error, where a panic and a returned `Err` are said as well.
    pub fn stderr(mut self, stream: impl Into<Stream>) -> Self {
        self.options.stderr = stream.into();
        self
    }

    /// Sets the niceness: -20 is served first, 19 last.
    pub fn niceness(mut self, niceness: i32) -> Self {
        self.attributes.niceness = Some(niceness);
        self
    }

    /// Sets the processors that it may run on, by their numbers.
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.attributes.cpus = Some(cpus.into_iter().collect());
        self
    }

    /// Sets the soft limit of a resource; `u64::MAX` is none.
    pub fn limit(mut self, resource: Resource, soft: u64) -> Self {
        self.attributes.set_soft(resource, soft);
        self
    }

    /// Sets the hard limit of a resource, up to which the process may move the soft one; `u64::MAX`
    /// is none. A soft limit that is not set follows it down.
    pub fn hard_limit(mut self, resource: Resource, hard: u64) -> Self {
        self.attributes.set_hard(resource, hard);
        self
    }

    /// Sets what becomes of a signal, such as 2 for `SIGINT`. One that is ignored or blocked has no
    /// effect at any time, also if it comes while the process starts.
    pub fn signal(mut self, signal: i32, action: SignalAction) -> Self {
        self.attributes.set_signal(signal, action);
        self
    }
}
