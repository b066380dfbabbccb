//! This process and its parent.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::start_request::StartRequest;

/// A program that starts itself more often than this inside itself does not mean to.
pub(crate) const DEPTH_MAX: u32 = 64;

/// Set in a child before its task. Code before `main` may read it earlier.
static CHILD: OnceLock<ThisProcess> = OnceLock::new();

static MAIN: ThisProcess = ThisProcess {
    name: Cow::Borrowed("MainProcess"),
    identity: Vec::new(),
    daemon: false,
    depth: 0,
    parent: None,
};

/// A process as its parent describes it; the program that a user started is at depth 0.
struct ThisProcess {
    name: Cow<'static, str>,
    identity: Vec<u32>,
    daemon: bool,
    depth: u32,
    parent: Option<Parent>,
}

struct Parent {
    name: String,
    pid: u32,
}

fn here() -> &'static ThisProcess {
    CHILD.get().unwrap_or(&MAIN)
}

/// Stores what the start request says of this process.
pub(crate) fn become_child(request: StartRequest) {
    CHILD.get_or_init(|| ThisProcess {
        name: request.name.into(),
        identity: request.identity,
        daemon: request.daemon,
        depth: request.depth,
        parent: Some(Parent {
            name: request.parent_name,
            pid: request.parent_pid,
        }),
    });
}

/// The name of this process on standard error: `process 'Process-1' (4711)`.
pub(crate) fn title() -> String {
    let pid = std::process::id();
    match CHILD.get() {
        Some(child) => format!("process '{}' ({pid})", child.name),
        None => format!("process {pid}"),
    }
}

/// Whether children are daemons by default.
pub(crate) fn is_daemon() -> bool {
    here().daemon
}

pub(crate) fn depth() -> u32 {
    here().depth
}

/// The identity of this process's next child: its own, and a number.
pub(crate) fn next_identity() -> Vec<u32> {
    static CHILDREN: AtomicU32 = AtomicU32::new(0);
    // Relaxed: the number alone matters.
    let number = CHILDREN.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    let mut identity = here().identity.clone();
    identity.push(number);
    identity
}

/// The name of a process that was given none: `Process-1`, and `Process-1:2` for its second child.
pub(crate) fn default_name(identity: &[u32]) -> String {
    let numbers: Vec<_> = identity.iter().map(u32::to_string).collect();
    format!("Process-{}", numbers.join(":"))
}

/// This process, as [`current_process`] gives it.
///
/// ```
/// use mp_process::{Process, current_process};
///
/// let mut process = Process::new(|| current_process().name().to_owned(), ()).name("greeter");
/// process.start()?;
/// assert_eq!(process.result()?, "greeter");
/// assert_eq!(current_process().name(), "MainProcess");
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CurrentProcess(());

impl CurrentProcess {
    /// Its name; `MainProcess` for the one that the user started.
    pub fn name(&self) -> &'static str {
        &here().name
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// The number of the process that started it.
    pub fn parent_pid(&self) -> u32 {
        let parent = here().parent.as_ref();
        parent.map_or_else(std::os::unix::process::parent_id, |parent| parent.pid)
    }

    /// Whether it is ended when its parent exits.
    pub fn is_daemon(&self) -> bool {
        here().daemon
    }

    /// True, as this process calls it.
    pub fn is_alive(&self) -> bool {
        true
    }
}

/// The process that started this one, as [`parent_process`] gives it.
#[derive(Clone, Copy, Debug)]
pub struct ParentProcess(());

impl ParentProcess {
    /// Its name.
    pub fn name(&self) -> &'static str {
        here().parent.as_ref().map_or("", |parent| &parent.name)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        here().parent.as_ref().map_or(0, |parent| parent.pid)
    }

    /// Whether it still runs. A child dies with its parent, so it hardly ever sees `false`.
    pub fn is_alive(&self) -> bool {
        std::os::unix::process::parent_id() == self.pid()
    }
}

/// This process.
pub fn current_process() -> CurrentProcess {
    CurrentProcess(())
}

/// The process that started this one; `None` in the one that the user started.
pub fn parent_process() -> Option<ParentProcess> {
    here().parent.as_ref().map(|_| ParentProcess(()))
}

/// The number of processors that this process may use in parallel: the lesser of its affinity and
/// the quotas of its container.
pub fn cpu_count() -> usize {
    mp_os::cpu::cpu_count()
}
