//! The owner's side of a manager.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::ProcessIdentity;
use mp_os::clock::Deadline;
use mp_process::{Process, SignalAction};
use mp_queue::Queue;

use crate::link::Link;
use crate::{ManagerHandle, server};

/// Its number on Linux.
const SIGINT: i32 = 2;

/// How long a server may take to answer what was asked before it was shut down. Then it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server process whose objects other processes use by proxies: Python's
/// `multiprocessing.Manager`.
///
/// It makes objects by the methods of its [`ManagerHandle`], which travels to other processes.
///
/// The server ends when the manager is dropped or [shut down](Self::shutdown), and when its process
/// ends, by whatever cause. Proxies that are left then answer with [`ErrorKind::Closed`] or
/// [`ErrorKind::ProcessDied`].
///
/// # If a process dies
///
/// - A process with proxies: what it was doing was done or was not; the objects of which it had the
///   last proxies are freed.
/// - The server: every process that waits for an answer gets [`ErrorKind::ProcessDied`] within a
///   second, and so does every call after that. The objects are gone; make a new manager.
/// - The owner: the kernel kills the server.
///
/// # Examples
///
/// ```
/// use mp_manager::{Dict, List, Manager};
///
/// fn worker(dict: Dict<String, String>, list: List<i32>) -> mp_layout::Result<()> {
///     dict.set("key", "value".to_owned())?;
///     list.append(42)
/// }
///
/// let manager = Manager::new()?;
/// let (dict, list) = (manager.dict()?, manager.list()?);
/// mp_process::spawn(worker, (dict.clone(), list.clone()))?.result()??;
/// assert_eq!(dict.get("key")?.as_deref(), Some("value"));
/// assert_eq!(list.to_vec()?, [42]);
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct Manager {
    handle: ManagerHandle,
    process: Process<Result<()>>,
    /// The process that made it. A forked copy does not end the server.
    owner: u32,
}

impl Manager {
    /// Starts a server process.
    ///
    /// # Errors
    ///
    /// Those of [`Process::start`], and of [`Queue::new`] for the queue of requests.
    pub fn new() -> Result<Self> {
        let requests = Queue::new()?;
        let mut process = Process::new(server::run, (requests.clone(),))
            .name("Manager")
            .daemon(true)
            // Ctrl-C reaches all processes of a terminal; the owner decides when the server ends.
            .signal(SIGINT, SignalAction::Block);
        process.start()?;
        match identity(&process) {
            Ok(server) => Ok(Self {
                handle: ManagerHandle::of(Link::new(requests, server)),
                process,
                owner: std::process::id(),
            }),
            Err(error) => {
                process.kill()?;
                process.join()?;
                Err(error)
            }
        }
    }

    /// What makes objects at the server, for another process. It ends nothing.
    pub fn handle(&self) -> ManagerHandle {
        self.handle.clone()
    }

    /// The pid of the server.
    pub fn pid(&self) -> u32 {
        self.handle.link().server_pid()
    }

    /// Ends the server when it has answered what was asked before; kills it if that takes longer
    /// than 5 s. A drop does the same.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if the queue of requests is damaged; the server is ended
    /// nevertheless.
    pub fn shutdown(&self) -> Result<()> {
        let deadline = Deadline::after(PATIENCE);
        let link = self.handle.link();
        let closed = if link.is_over() {
            Ok(())
        } else {
            link.close(deadline)
        };
        if closed.is_err() || !self.process.join_timeout(deadline)? {
            self.process.kill()?;
            self.process.join()?;
        }
        match closed {
            // A client was stopped in the middle of a put.
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                link.end();
                Ok(())
            }
            closed => closed,
        }
    }
}

fn identity(process: &Process<Result<()>>) -> Result<ProcessIdentity> {
    let identity = ProcessIdentity::of(process.pid().unwrap_or_default())
        .map_err(|source| Error::os("read the start time of", "a manager's server", source))?;
    identity.ok_or_else(|| {
        Error::new(ErrorKind::ProcessDied, "start", "a manager's server")
            .with_detail(format!("it ended: {}", process.status()))
    })
}

impl Deref for Manager {
    type Target = ManagerHandle;

    /// What makes objects, here and in other processes.
    fn deref(&self) -> &ManagerHandle {
        &self.handle
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            // It can fail only after the server is gone.
            drop(self.shutdown());
        }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Manager")
            .field("pid", &self.pid())
            .field("status", &self.process.status())
            .finish_non_exhaustive()
    }
}
