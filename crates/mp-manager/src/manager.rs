//! The owner's side of a manager.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mp_layout::Plain;
use mp_layout::{Error, ErrorKind, Result};
use mp_object::{Barrier, Condition, Event, Lock, PermitSemaphore, ProcessIdentity, RLock};
use mp_os::clock::Deadline;
use mp_process::{Argument, Process, SignalAction};
use mp_queue::{JoinableQueue, Queue};
use mp_value::{Array, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::link::Link;
use crate::proxy::{Proxy, number};
use crate::request::{Kind, Operation};
use crate::{Dict, List, Namespace, Set, server};

/// Its number on Linux.
const SIGINT: i32 = 2;

/// How long a server may take to answer what was asked before it was shut down. Then it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server process whose objects other processes use by proxies: Python's
/// `multiprocessing.Manager`.
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
    link: Arc<Link>,
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
                link: Link::new(requests, server),
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

    /// Makes an empty dictionary.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ProcessDied`], [`ErrorKind::Closed`],
    /// [`ErrorKind::TooManyDescriptors`] if the server has no descriptor left for it.
    pub fn dict<K: Argument, V: Argument>(&self) -> Result<Dict<K, V>> {
        Proxy::create(&self.link, Kind::Dict).map(Dict::of)
    }

    /// Makes an empty list.
    ///
    /// # Errors
    ///
    /// Those of [`dict`](Self::dict).
    pub fn list<T: Argument>(&self) -> Result<List<T>> {
        Proxy::create(&self.link, Kind::List).map(List::of)
    }

    /// Makes an empty set.
    ///
    /// # Errors
    ///
    /// Those of [`dict`](Self::dict).
    pub fn set<T: Argument>(&self) -> Result<Set<T>> {
        Proxy::create(&self.link, Kind::Dict).map(Set::of)
    }

    /// Makes an empty namespace.
    ///
    /// # Errors
    ///
    /// Those of [`dict`](Self::dict).
    pub fn namespace(&self) -> Result<Namespace> {
        Proxy::create(&self.link, Kind::Dict).map(Namespace::of)
    }

    /// How many objects the server has. One without proxies counts for up to 250 ms.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ProcessDied`], [`ErrorKind::Closed`].
    pub fn number_of_objects(&self) -> Result<usize> {
        number(self.link.call(0, Operation::CountObjects)?)
    }

    /// The pid of the server.
    pub fn pid(&self) -> u32 {
        self.process.pid().unwrap_or_default()
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
        let closed = if self.link.is_over() {
            Ok(())
        } else {
            self.link.close(deadline)
        };
        if closed.is_err() || !self.process.join_timeout(deadline)? {
            self.process.kill()?;
            self.process.join()?;
        }
        match closed {
            // A client was stopped in the middle of a put.
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                self.link.end();
                Ok(())
            }
            closed => closed,
        }
    }
}

/// Objects that live in shared memory: nothing of them is at the server, no operation asks it, and
/// they stay when the manager ends.
///
/// ```
/// use mp_manager::Manager;
/// use mp_object::Lock;
/// use mp_queue::Queue;
///
/// fn worker(lock: Lock, queue: Queue<u32>) -> mp_layout::Result<()> {
///     let _guard = lock.lock()?;
///     queue.put(std::process::id())?;
///     Ok(())
/// }
///
/// let manager = Manager::new()?;
/// let (lock, queue) = (manager.lock()?, manager.queue()?);
/// let process = mp_process::spawn(worker, (lock.clone(), queue.clone()))?;
/// assert_eq!(Some(queue.get()?), process.pid());
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # Errors
///
/// Of all methods: those of the objects' own constructors.
impl Manager {
    /// Makes a [`Value`], which is read and written in place: Python's `manager.Value`.
    pub fn value<T: Plain>(&self, first: T) -> Result<Value<T>> {
        Value::new(first)
    }

    /// Makes an [`Array`], which is read and written in place: Python's `manager.Array`.
    pub fn array<T: Plain>(&self, elements: &[T]) -> Result<Array<T>> {
        Array::from_slice(elements)
    }

    /// Makes a [`Queue`] without a bound: Python's `manager.Queue()`.
    pub fn queue<T: Serialize + DeserializeOwned + 'static>(&self) -> Result<Queue<T>> {
        Queue::new()
    }

    /// Makes a [`Queue`] of at most `messages` messages: Python's `manager.Queue(n)`.
    pub fn queue_bounded<T: Serialize + DeserializeOwned + 'static>(
        &self,
        messages: usize,
    ) -> Result<Queue<T>> {
        Queue::bounded(messages)
    }

    /// Makes a [`JoinableQueue`]: Python's `manager.JoinableQueue()`.
    pub fn joinable_queue<T: Serialize + DeserializeOwned + 'static>(
        &self,
    ) -> Result<JoinableQueue<T>> {
        JoinableQueue::new()
    }

    /// Makes a [`Lock`]. If a process dies with it, the next owner gets `OwnerDied`.
    pub fn lock(&self) -> Result<Lock> {
        Lock::new()
    }

    /// Makes an [`RLock`], which its owner may lock again.
    pub fn rlock(&self) -> Result<RLock> {
        RLock::new()
    }

    /// Makes a semaphore with so many permits, which come back when their process dies.
    ///
    /// A permit is given back by dropping it. So more can never be given back than were taken, as
    /// with Python's `BoundedSemaphore`.
    #[doc(alias = "bounded_semaphore")]
    pub fn semaphore(&self, permits: u32) -> Result<PermitSemaphore> {
        PermitSemaphore::new(permits)
    }

    /// Makes a semaphore that refuses to have more permits than these; what it makes is that of
    /// [`semaphore`](Self::semaphore).
    pub fn bounded_semaphore(&self, permits: u32) -> Result<PermitSemaphore> {
        PermitSemaphore::new(permits)
    }

    /// Makes an [`Event`].
    pub fn event(&self) -> Result<Event> {
        Event::new()
    }

    /// Makes a [`Condition`].
    pub fn condition(&self) -> Result<Condition> {
        Condition::new()
    }

    /// Makes a [`Barrier`] for so many parties.
    pub fn barrier(&self, parties: u32) -> Result<Barrier> {
        Barrier::new(parties)
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
