//! One process.

use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use mp_layout::{Error, ErrorKind, Result};
use mp_object::{Waitable, Watch};
use mp_os::clock::Deadline;
use mp_os::resource::Resource;
use mp_os::stream::Stream;

use crate::attributes::SignalAction;
use crate::current;
use crate::entry::Entry;
use crate::running::Running;
use crate::setup::Setup;
use crate::start::{Encode, Start};
use crate::start_method::StartMethod;
use crate::status::Status;
use crate::task::{Arguments, Returned, Run, Stateless, Task};

/// A process that runs one function of this program, and whose value comes back.
///
/// [`new`](Self::new) describes it, [`start`](Self::start) starts it, [`join`](Self::join) and
/// [`result`](Self::result) wait for it. Several threads may wait, and again after its end.
/// Dropping a `Process` does not end it. When this process exits, it waits for all children that
/// are not [daemons](Self::daemon).
///
/// # If a process dies
///
/// [`result`](Self::result) of a child that was killed is [`ErrorKind::ProcessDied`], and its
/// [`Status`] has the signal. When this process dies, by an exit or by any signal, the kernel kills
/// its children.
///
/// # Examples
///
/// ```
/// use mp_process::Process;
///
/// fn power(base: u64, exponent: u32) -> u64 {
///     base.pow(exponent)
/// }
///
/// let mut process = Process::new(power, (2, 10)).name("power");
/// process.start()?;
/// process.join()?;
/// assert_eq!(process.exitcode(), Some(0));
/// assert_eq!(process.result()?, 1024);
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct Process<R> {
    entry: &'static Entry,
    /// `None` after the start. Never locked: the mutex makes this `Sync` though the arguments need
    /// not be.
    arguments: Mutex<Option<Box<dyn Encode>>>,
    name: String,
    identity: Vec<u32>,
    daemon: bool,
    setup: Setup,
    /// Until it was started.
    passed: Vec<OwnedFd>,
    running: Option<Arc<Running>>,
    returns: PhantomData<fn() -> R>,
}

impl<R> Process<R> {
    /// Describes a process that will call `task` with `arguments`, a tuple.
    ///
    /// `task` is a function or a closure without captures. Arguments are serde values or shared
    /// objects of mp, and are written when the process starts.
    ///
    /// ```compile_fail
    /// let text = String::from("captured");
    /// mp_process::Process::new(move || println!("{text}"), ());
    /// ```
    #[must_use = "a process runs when it is started"]
    pub fn new<F, A, W>(task: F, arguments: A) -> Self
    where
        F: Task<A, Output = R> + Stateless,
        A: Arguments,
        R: Returned<W>,
    {
        // A value of a function's type is needed to name the type, and for nothing else.
        let _: F = task;
        let identity = current::next_identity();
        Self {
            entry: Entry::of::<F, A, W>(),
            arguments: Mutex::new(Some(Box::new(arguments))),
            name: current::default_name(&identity),
            identity,
            daemon: current::is_daemon(),
            setup: Setup::new(),
            passed: Vec::new(),
            running: None,
            returns: PhantomData,
        }
    }

    /// Describes a process whose task is `value.run()`.
    #[must_use = "a process runs when it is started"]
    pub fn from_run<T: Run<Output = R>>(value: T) -> Self
    where
        R: Returned,
    {
        let name = value.name();
        let process = Self::new(|value: T| value.run(), (value,));
        match name {
            Some(name) => process.name(name),
            None => process,
        }
    }

    /// Sets its name, which is `Process-N` by default. `ps`, errors and [`current_process`] in the
    /// child show it.
    ///
    /// [`current_process`]: crate::current_process
    #[must_use = "a process runs when it is started"]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Whether the exit of this process ends it (SIGTERM, then SIGKILL) instead of waiting for it.
    /// The default is what this process is: children of daemons are daemons.
    #[must_use = "a process runs when it is started"]
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Sets all that a [`Setup`] says, in place of what was said before.
    #[must_use = "a process runs when it is started"]
    pub fn setup(mut self, setup: Setup) -> Self {
        self.setup = setup;
        self
    }

    /// Sets how it comes to be, by Python's word; see [`StartMethod`] for what each does.
    #[must_use = "a process runs when it is started"]
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.setup = self.setup.start_method(method);
        self
    }

    /// Sets one of its environment variables; it inherits all others.
    #[must_use = "a process runs when it is started"]
    pub fn env(mut self, variable: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.setup = self.setup.env(variable, value);
        self
    }

    /// Sets its working directory, by default that of this process.
    #[must_use = "a process runs when it is started"]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.setup = self.setup.current_dir(directory);
        self
    }

    /// Sets its standard input, by default that of this process.
    #[must_use = "a process runs when it is started"]
    pub fn stdin(mut self, stream: impl Into<Stream>) -> Self {
        self.setup = self.setup.stdin(stream);
        self
    }

    /// Sets its standard output, by default that of this process. A pipe (`std::io::pipe`) is read
    /// here; this process closes its copy of the other end after the start.
    ///
    /// ```
    /// use mp_process::Process;
    ///
    /// let (reader, writer) = std::io::pipe()?;
    /// let mut process = Process::new(|| println!("hello"), ()).stdout(writer);
    /// process.start()?;
    /// assert_eq!(std::io::read_to_string(reader)?, "hello\n");
    /// # process.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "a process runs when it is started"]
    pub fn stdout(mut self, stream: impl Into<Stream>) -> Self {
        self.setup = self.setup.stdout(stream);
        self
    }

    /// Sets its standard error, by default that of this process. A panic and a returned `Err` are
    /// said there.
    #[must_use = "a process runs when it is started"]
    pub fn stderr(mut self, stream: impl Into<Stream>) -> Self {
        self.setup = self.setup.stderr(stream);
        self
    }

    /// Sets its niceness: -20 is served first, 19 last. The [`start`](Self::start) waits for the
    /// child then, as for [`cpus`](Self::cpus) and limits: the kernel may refuse it.
    #[must_use = "a process runs when it is started"]
    pub fn niceness(mut self, niceness: i32) -> Self {
        self.setup = self.setup.niceness(niceness);
        self
    }

    /// Sets the processors that it may run on, by their numbers.
    #[must_use = "a process runs when it is started"]
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.setup = self.setup.cpus(cpus);
        self
    }

    /// Sets the soft limit of a resource; `u64::MAX` is none.
    ///
    /// ```
    /// use mp_process::{Process, Resource};
    ///
    /// let many = Process::new(|| (), ()).limit(Resource::OpenFiles, 1 << 40).start();
    /// let text = many.unwrap_err().to_string();
    /// assert!(text.contains("RLIMIT_NOFILE (ulimit -n) to 1099511627776 (soft)"), "{text}");
    /// ```
    #[must_use = "a process runs when it is started"]
    pub fn limit(mut self, resource: Resource, soft: u64) -> Self {
        self.setup = self.setup.limit(resource, soft);
        self
    }

    /// Sets the hard limit of a resource, see [`Setup::hard_limit`].
    #[must_use = "a process runs when it is started"]
    pub fn hard_limit(mut self, resource: Resource, hard: u64) -> Self {
        self.setup = self.setup.hard_limit(resource, hard);
        self
    }

    /// Sets what becomes of a signal in it, see [`Setup::signal`].
    #[must_use = "a process runs when it is started"]
    pub fn signal(mut self, signal: i32, action: SignalAction) -> Self {
        self.setup = self.setup.signal(signal, action);
        self
    }

    /// Passes it a descriptor, which it has under the same number, close-on-exec; all others but
    /// the standard streams stay in this process. May be called several times.
    ///
    /// The task takes it by its number with [`take_passed_fd`](crate::take_passed_fd). This process
    /// closes it after the start: pass a copy (`try_clone`) to keep it. The number must be
    /// above 2, and in the child not be in use by code that ran before `main`; else
    /// [`start`](Self::start) or [`result`](Self::result) is an error.
    #[must_use = "a process runs when it is started"]
    pub fn pass_fd(mut self, descriptor: impl Into<OwnedFd>) -> Self {
        self.passed.push(descriptor.into());
        self
    }

    /// Starts it.
    ///
    /// It may be called again after an error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidState`] if it was started before, if code before `main` starts it, or if
    /// 64 processes have started one another in a row; [`ErrorKind::Encode`] if an argument does
    /// not serialise; [`ErrorKind::InvalidInput`] for a variable, a directory, a
    /// [passed](Self::pass_fd) descriptor, a niceness, a processor, a limit or a signal that the
    /// system does not take, and [`ErrorKind::PermissionDenied`] for one that this process may not
    /// set, with the figures; [`ErrorKind::TooManyDescriptors`]; [`ErrorKind::Unsupported`] for a
    /// function in a shared library, for a program that its loader runs, and where the system lacks
    /// process descriptors; [`ErrorKind::NotFound`] or [`ErrorKind::PermissionDenied`] if the
    /// directory cannot be entered or the program cannot be run; [`ErrorKind::NotEnoughMemory`];
    /// [`ErrorKind::Os`] at the limit of processes (`ulimit -u`). Where this waits for the child's
    /// word, because the kernel may refuse what was asked for: [`ErrorKind::ProcessDied`] if the
    /// child is killed before. That wait has no timeout: a child that is stopped before its word
    /// stops this as well.
    pub fn start(&mut self) -> Result<()> {
        let arguments = self.arguments.get_mut();
        let arguments = arguments.unwrap_or_else(PoisonError::into_inner);
        let Some(encode) = arguments.as_deref() else {
            return Err(invalid(&self.name, "start", "it was started before"));
        };
        let start = Start {
            entry: self.entry,
            arguments: encode,
            name: &self.name,
            identity: &self.identity,
            daemon: self.daemon,
            setup: &self.setup,
            passed: &self.passed,
        };
        self.running = Some(start.run()?);
        // The child has its own handles now; this process's end when the caller's do.
        *arguments = None;
        self.setup = Setup::new();
        self.passed.clear();
        Ok(())
    }

    /// Waits for its end and returns what its task returned.
    ///
    /// Each call returns an equal value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Panicked`] with message and location, [`ErrorKind::ProcessDied`] with pid and
    /// signal or exit code, [`ErrorKind::Decode`] or [`ErrorKind::Encode`] if the arguments or
    /// the result could not be read or written, [`ErrorKind::TooManyDescriptors`] if this
    /// process has none left for the result, and [`ErrorKind::InvalidState`] if it was not
    /// started.
    pub fn result<W>(&self) -> Result<R>
    where
        R: Returned<W>,
    {
        self.started("take the result of")?.result()
    }

    /// Waits for its end. How it ended is no error here, see [`status`](Self::status).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidState`] if it was not started; [`ErrorKind::Os`] if the kernel refuses
    /// the wait.
    pub fn join(&self) -> Result<()> {
        self.started("join")?.join(Deadline::NEVER).map(drop)
    }

    /// Waits for its end, up to a [`Duration`](std::time::Duration), an
    /// [`Instant`](std::time::Instant) or a [`Deadline`]; returns whether it has ended. A span
    /// of zero looks once, `Duration::MAX` is no limit.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let one = mp_process::spawn(|| std::thread::sleep(Duration::MAX), ())?;
    /// let two = mp_process::spawn(|| (), ())?;
    /// let deadline = Instant::now() + Duration::from_secs(20);
    /// assert!(two.join_timeout(deadline)?);
    /// assert!(!one.join_timeout(Duration::from_millis(1))?);
    /// one.kill()?;
    /// assert!(one.join_timeout(deadline)?);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`join`](Self::join); a timeout is `Ok(false)`.
    pub fn join_timeout(&self, timeout: impl Into<Deadline>) -> Result<bool> {
        self.started("join")?.join(timeout.into())
    }

    /// Whether it was started and has not ended.
    pub fn is_alive(&self) -> bool {
        self.status() == Status::Running
    }

    /// Its pid; `None` before it was started.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.pid)
    }

    /// `None` until it has ended; 0, the code it exited with, or the negative number of the signal
    /// that ended it.
    ///
    /// A task that returned an `Err` or panicked exits with 1.
    pub fn exitcode(&self) -> Option<i32> {
        self.running.as_ref()?.exitcode()
    }

    /// What it is doing, or how it ended.
    pub fn status(&self) -> Status {
        self.running
            .as_ref()
            .map_or(Status::NotStarted, |running| running.poll_status())
    }

    /// Its name.
    pub fn get_name(&self) -> &str {
        &self.name
    }

    /// Whether it is ended when this process exits.
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }

    /// Sends SIGKILL. Nothing happens if it has ended.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidState`] if it was not started; [`ErrorKind::PermissionDenied`] if it
    /// runs as another user now.
    pub fn kill(&self) -> Result<()> {
        self.started("kill")?.send_signal(libc::SIGKILL)
    }

    /// Sends SIGTERM, which ends it unless it handles that. Nothing happens if it has ended.
    ///
    /// # Errors
    ///
    /// As for [`kill`](Self::kill).
    pub fn terminate(&self) -> Result<()> {
        self.started("terminate")?.send_signal(libc::SIGTERM)
    }

    /// Sends SIGINT, as Ctrl-C does. Nothing happens if it has ended, or if it ignores the signal:
    /// a child inherits that from this process, and this process from a shell that started it
    /// in the background.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidState`] if it was not started.
    pub fn interrupt(&self) -> Result<()> {
        self.started("interrupt")?.send_signal(libc::SIGINT)
    }

    /// The descriptor that becomes readable when it ends (a pidfd), to `poll` with others; `None`
    /// before it was started.
    pub fn sentinel(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.sentinel())
    }

    /// Releases what this process keeps of it: two descriptors at most, and its result.
    ///
    /// # Errors
    ///
    /// [`StillRunning`], with the process, if it has not ended.
    #[expect(clippy::result_large_err, reason = "it is the process itself")]
    pub fn close(self) -> std::result::Result<(), StillRunning<R>> {
        if self.is_alive() {
            return Err(StillRunning(self));
        }
        Ok(())
    }

    fn started(&self, operation: &'static str) -> Result<&Running> {
        self.running
            .as_deref()
            .ok_or_else(|| invalid(&self.name, operation, "it was not started"))
    }
}

impl<R> Waitable for Process<R> {
    fn watch(&self) -> Result<Watch<'_>> {
        let running = self.started("wait for")?;
        Ok(Watch::Descriptor(running.sentinel()))
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.pid())
            .field("status", &self.status())
            .field("daemon", &self.daemon)
            .finish()
    }
}

/// The answer of [`Process::close`] for a process that still runs, which it gives back.
///
/// It converts into an [`Error`] of the kind [`ErrorKind::InvalidState`], which drops the handle;
/// the process keeps running.
///
/// ```
/// use mp_process::{StillRunning, spawn};
///
/// let sleeper = spawn(|| std::thread::sleep(std::time::Duration::MAX), ())?;
/// let Err(StillRunning(sleeper)) = sleeper.close() else {
///     unreachable!("it sleeps")
/// };
/// sleeper.kill()?;
/// sleeper.join()?;
/// sleeper.close()?;
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[must_use = "the process is in it"]
pub struct StillRunning<R>(pub Process<R>);

const STILL_RUNS: &str = "it still runs; join or kill it first";

impl<R> fmt::Display for StillRunning<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.get_name();
        write!(formatter, "close process {name:?}: {STILL_RUNS}")
    }
}

impl<R> fmt::Debug for StillRunning<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("StillRunning")
            .field(&self.0)
            .finish()
    }
}

impl<R> std::error::Error for StillRunning<R> {}

impl<R> From<StillRunning<R>> for Error {
    fn from(StillRunning(process): StillRunning<R>) -> Self {
        invalid(process.get_name(), "close", STILL_RUNS)
    }
}

/// Starts a process that calls `task` with `arguments`: [`Process::new`] and [`Process::start`].
///
/// ```
/// let process = mp_process::spawn(std::process::id, ())?;
/// assert_eq!(process.result()?, process.pid().unwrap());
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # Errors
///
/// As for [`Process::start`].
pub fn spawn<F, A, W>(task: F, arguments: A) -> Result<Process<F::Output>>
where
    F: Task<A> + Stateless,
    F::Output: Returned<W>,
    A: Arguments,
{
    let mut process = Process::new(task, arguments);
    process.start()?;
    Ok(process)
}

fn invalid(name: &str, operation: &'static str, why: &'static str) -> Error {
    Error::new(
        ErrorKind::InvalidState,
        operation,
        format!("process {name:?}"),
    )
    .with_detail(why)
}
