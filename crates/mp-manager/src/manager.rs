//! The owner's side of a manager.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::ProcessIdentity;
use mp_os::clock::Deadline;
use mp_process::{Process, SignalAction};
use mp_queue::Queue;

#[cfg(feature = "net")]
use crate::RemoteManager;
use crate::link::Link;
#[cfg(feature = "net")]
use crate::request::{Answer, Operation};
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
    #[cfg(feature = "net")]
    address: Option<mp_net::Address>,
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
                #[cfg(feature = "net")]
                address: None,
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

    /// Starts a server process that also listens at an address, for clients of this machine and of
    /// others that have the same key: Python's `BaseManager(address, authkey)`. They
    /// [connect](Self::connect), and find what is [published](ManagerHandle::publish) by its name.
    ///
    /// The key opens all objects of the manager, published or not, for reading and for writing: a
    /// client may ask for any by its number. Nothing is encrypted, and after the two sides have
    /// proved the key nothing is signed: whoever can change packets on the way has what the client
    /// has. Over a network that others use, go through a tunnel (ssh, WireGuard).
    ///
    /// The socket file of a manager that was killed is replaced; that of one that lives, or another
    /// file, is not. Let it be in a directory of your own: in one that others use (`/tmp`), any of
    /// them can lock the directory, and `bind` then waits 2 s and fails if there is a file to
    /// replace.
    ///
    /// It listens from the start. A client that connects before something is published gets
    /// [`ErrorKind::NotFound`]: publish what clients ask for first as the last, and let a client that
    /// may be early try again.
    ///
    /// To end one that listens takes up to 250 ms.
    ///
    /// ```
    /// use mp_manager::{Dict, Manager};
    ///
    /// let manager = Manager::bind(([127, 0, 0, 1], 0), b"a secret")?;
    /// manager.publish("ages", manager.dict::<String, u32>()?)?;
    ///
    /// // In another process, also on another machine:
    /// # let address = manager.address().expect("it listens").clone();
    /// let remote = Manager::connect(address, b"a secret")?;
    /// let ages: Dict<String, u32> = remote.published("ages")?;
    /// ages.set("Ada", 36)?;
    /// assert_eq!(ages.to_map()?["Ada"], 36);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new), and those of [`Listener::bind`](mp_net::Listener::bind): the
    /// address is taken, the name of a socket is too long, the key is empty or has more than 4096
    /// bytes.
    #[cfg(feature = "net")]
    pub fn bind(address: impl Into<mp_net::Address>, authkey: impl AsRef<[u8]>) -> Result<Self> {
        let mut manager = Self::new()?;
        let link = manager.handle.link();
        let listen = link.local().map(|local| crate::request::Listen {
            link: local.handle(),
            address: address.into(),
            key: authkey.as_ref().to_vec(),
        });
        let listen = listen.ok_or_else(crate::proxy::unexpected)?;
        match link.call(0, Operation::Listen(listen))? {
            Answer::Listening(address) => manager.address = Some(address),
            _ => return Err(crate::proxy::unexpected()),
        }
        Ok(manager)
    }

    /// Connects to a manager that [listens](Self::bind): [`RemoteManager::connect`].
    ///
    /// # Errors
    ///
    /// Those of [`RemoteManager::connect`].
    #[cfg(feature = "net")]
    pub fn connect(
        address: impl Into<mp_net::Address>,
        authkey: impl AsRef<[u8]>,
    ) -> Result<RemoteManager> {
        RemoteManager::connect(address, authkey)
    }

    /// Where the server listens, with the port or the name that the kernel chose; `None` without
    /// [`bind`](Self::bind).
    #[cfg(feature = "net")]
    pub fn address(&self) -> Option<&mp_net::Address> {
        self.address.as_ref()
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
        let Some(link) = self.handle.link().local() else {
            return Ok(());
        };
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
