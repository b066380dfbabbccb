//! What a client of another machine has of a manager.

use std::fmt;
use std::sync::Arc;

#[cfg(doc)]
use mp_layout::ErrorKind;
use mp_layout::Result;
use mp_net::Address;
use mp_os::clock::Deadline;
use mp_process::Argument;

use super::RemoteLink;
use super::wire::PATIENCE;
use crate::link::Link;
use crate::proxy::{Proxy, number};
use crate::request::{Kind, Operation};
use crate::{Dict, List, Namespace, Set, names};

/// A manager of another process, on this machine or on another, by a socket: Python's
/// `BaseManager(address, authkey).connect()`.
///
/// It finds what is [published](Self::published) there, and makes objects. The proxies are those of
/// local managers, with the same methods: a [`Dict`], [`List`], [`Set`] or [`Namespace`] from here
/// asks by the socket. A proxy may be a value of the same manager, and what is read from there is a
/// proxy that asks by this connection.
///
/// What does not cross a socket:
///
/// - Shared objects (locks, queues, values, arrays): their memory stays on its machine. A value
///   with one in it is an error where it is read or written.
/// - Methods of an [`Object`](crate::Object): a function is named by its place in the server's
///   program. Its proxy can be read, but calls are [`ErrorKind::Unsupported`].
/// - The proxy itself, to other processes, and to a forked copy of this one: connect there.
///
/// Each thread that asks has a connection of its own, which is kept for the next request. A request
/// may have 64 MiB, and so may each value that is read: [`ErrorKind::WrongSize`] else. A copy of a
/// container may be of any size.
///
/// # If a process dies
///
/// - This one: a request was carried out or it was not. What it was taking out
///   ([`pop`](List::pop)) comes back within 250 ms, if it had not received it; the objects of which
///   it had the last proxies are freed. A forked copy of it keeps the connections open: all this
///   then happens when the copy has ended, too. If the network fails just then, it may have
///   received what also comes back.
/// - The server: every thread that waits gets [`ErrorKind::Closed`], and so does every call after
///   that. Connect again when there is a new one.
/// - A whole machine: the same, within a minute if nothing was on its way, else after about 15
///   minutes (`net.ipv4.tcp_retries2`).
///
/// # Examples
///
/// ```
/// use mp_manager::{List, Manager, RemoteManager};
///
/// let manager = Manager::bind(([127, 0, 0, 1], 0), b"a secret")?;
/// manager.publish("jobs", manager.list::<String>()?)?;
/// let address = manager.address().expect("it listens").clone();
///
/// // In another program:
/// let remote = RemoteManager::connect(&address, b"a secret")?;
/// let jobs: List<String> = remote.published("jobs")?;
/// jobs.append("sweep".to_owned())?;
/// assert_eq!(jobs.pop_at(0)?, "sweep");
///
/// let wrong = RemoteManager::connect(&address, b"another").unwrap_err();
/// assert_eq!(wrong.kind(), mp_layout::ErrorKind::PermissionDenied);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone)]
pub struct RemoteManager {
    link: Arc<Link>,
}

impl RemoteManager {
    /// Connects to a manager that listens there and has the same key; waits up to 30 s for its
    /// answer.
    ///
    /// # Errors
    ///
    /// Those of [`Client::connect`](mp_net::Client::connect): no process listens there, it has
    /// another key. [`ErrorKind::TimedOut`] if what listens there does not answer: a stopped
    /// manager, or a program that is none. [`ErrorKind::Full`] or
    /// [`ErrorKind::TooManyDescriptors`] if it can have no more clients.
    pub fn connect(address: impl Into<Address>, authkey: impl AsRef<[u8]>) -> Result<Self> {
        Self::connect_timeout(address, authkey, PATIENCE)
    }

    /// Connects as [`connect`](Self::connect) does; waits up to `timeout`.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect).
    pub fn connect_timeout(
        address: impl Into<Address>,
        authkey: impl AsRef<[u8]>,
        timeout: impl Into<Deadline>,
    ) -> Result<Self> {
        let link = RemoteLink::connect(address.into(), authkey.as_ref(), timeout.into())?;
        let link = Arc::new(Link::Remote(link));
        Ok(Self { link })
    }

    /// What is published under a name, which must be read as the type that it was published as:
    /// what a method is that Python's `register` gives a manager.
    ///
    /// Types are compared by their paths, so both programs take their own types from one crate.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is nothing of that name, [`ErrorKind::WrongType`] or
    /// [`ErrorKind::Decode`] if it is of another type; else those of [`Dict::get`].
    pub fn published<T: Argument>(&self, name: &str) -> Result<T> {
        names::published(&self.link, name)
    }

    /// Publishes a proxy of this manager, or another value, under a name:
    /// [`ManagerHandle::publish`](crate::ManagerHandle::publish).
    ///
    /// # Errors
    ///
    /// Those of [`Dict::set`].
    pub fn publish<T: Argument>(&self, name: &str, value: T) -> Result<()> {
        names::publish(&self.link, name, value)
    }

    /// Takes a name back; returns whether something was published under it.
    ///
    /// # Errors
    ///
    /// Those of [`Dict::remove`].
    pub fn unpublish(&self, name: &str) -> Result<bool> {
        names::unpublish(&self.link, name)
    }

    /// All names under which something is published, in the order in which they came.
    ///
    /// # Errors
    ///
    /// Those of [`Dict::keys`].
    pub fn published_names(&self) -> Result<Vec<String>> {
        names::published_names(&self.link)
    }

    /// Makes an empty dictionary at the server.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] if the server or the connection to it has ended;
    /// [`ErrorKind::TooManyDescriptors`] if the server has no descriptor left for it.
    pub fn dict<K: Argument, V: Argument>(&self) -> Result<Dict<K, V>> {
        Proxy::create(&self.link, Kind::Dict).map(Dict::of)
    }

    /// Makes an empty list at the server.
    ///
    /// # Errors
    ///
    /// Those of [`dict`](Self::dict).
    pub fn list<T: Argument>(&self) -> Result<List<T>> {
        Proxy::create(&self.link, Kind::List).map(List::of)
    }

    /// Makes an empty set at the server.
    ///
    /// # Errors
    ///
    /// Those of [`dict`](Self::dict).
    pub fn set<T: Argument>(&self) -> Result<Set<T>> {
        Proxy::create(&self.link, Kind::Dict).map(Set::of)
    }

    /// Makes an empty namespace at the server.
    ///
    /// # Errors
    ///
    /// Those of [`dict`](Self::dict).
    pub fn namespace(&self) -> Result<Namespace> {
        Proxy::create(&self.link, Kind::Dict).map(Namespace::of)
    }

    /// How many objects the server has:
    /// [`ManagerHandle::number_of_objects`](crate::ManagerHandle::number_of_objects).
    ///
    /// # Errors
    ///
    /// Those of [`dict`](Self::dict).
    pub fn number_of_objects(&self) -> Result<usize> {
        number(self.link.call(0, Operation::CountObjects)?)
    }

    /// The pid of the server, on its machine.
    pub fn pid(&self) -> u32 {
        self.link.server_pid()
    }
}

impl fmt::Debug for RemoteManager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RemoteManager")
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}
