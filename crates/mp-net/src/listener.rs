//! The side that is connected to.
//!
//! # Source
//!
//! Python's `multiprocessing.connection.Listener`. There, `accept` speaks with one client, so that
//! a silent one keeps all others out, and a wrong key is an exception that ends the server. Here
//! all handshakes go on together, and `accept` returns those that succeed.
//!
//! # Layout
//!
//! One epoll instance has the listening socket and those of all handshakes that are under way; so
//! the listener is waited for by one descriptor.
//!
//! # Invariants
//!
//! - I1: at most [`MOST_GREETINGS`] handshakes are under way. A further connection ends the oldest
//!   of those whose client has not proved that it has the key, or the oldest if all have: strangers
//!   end no handshake that a client with the key is in the middle of.
//! - I2: a handshake that a call of `accept` left has the time that it had left then. So a process
//!   that accepts rarely does not drop the clients that wait for it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::{Waitable, Watch};
use mp_os::clock::Deadline;
use mp_os::poll;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::auth_key::AuthKey;
use crate::greeting::Greeting;
use crate::handshake::Side;
use crate::{Address, Connection, socket};

/// How long a client may take to prove that it has the key, while the listener accepts.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long [`Listener::rebind`] waits for others in the same directory. A turn takes microseconds.
const TURN: Duration = Duration::from_secs(2);

/// The time between two tries to have the turn.
const TURN_STEP: Duration = Duration::from_millis(5);

/// So many handshakes are under way at most.
const MOST_GREETINGS: usize = 256;

/// So many sockets are looked at after one system call.
const AT_ONCE: usize = 64;

/// The listening socket among the epoll instance's.
const LISTENING: u64 = 0;

/// Where clients connect: Python's `multiprocessing.connection.Listener`.
///
/// A client becomes a connection when both sides have proved that they have the same key. One that
/// has another key, speaks another protocol, is silent for 5 s or closes is dropped, and
/// [`refused`](Self::refused) counts it; it is no error of `accept`, and others are served
/// meanwhile. Handshakes go on while a thread is in `accept`.
///
/// That keeps strangers out while no client connects to a false listener: choose an address that
/// others cannot take. The crate's README says why.
///
/// The socket's file, if it has one, is removed when the listener is dropped. Only one process
/// accepts: a forked copy has its handshakes in common with the first.
///
/// # If a process dies
///
/// - A client: it is no connection, or the connection has an end.
/// - The listener: connecting fails, and handshakes end. An abstract name and a TCP port are free
///   again; a file stays, and the next [`bind`](Self::bind) says that it has to be removed.
///
/// # Examples
///
/// ```
/// use mp_net::{Client, Listener};
/// use std::net::Ipv4Addr;
///
/// let mut listener = Listener::bind((Ipv4Addr::LOCALHOST, 0), b"key")?;
/// let address = listener.address().clone();
/// let clients = std::thread::spawn(move || {
///     assert!(Client::connect(&address, b"another key").is_err());
///     Client::connect(&address, b"key")?.send(&42)
/// });
/// let mut connection = listener.accept()?; // the one with the key
/// assert_eq!(connection.recv::<i32>()?, 42);
/// assert_eq!(listener.refused(), 1);
/// clients.join().expect("no panic")?;
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    /// Dropped first: a file that is there is served.
    _file: Option<SocketFile>,
    socket: OwnedFd,
    epoll: OwnedFd,
    address: Address,
    key: AuthKey,
    patience: Duration,
    /// By the number that epoll knows them by; the lowest is the oldest.
    greetings: BTreeMap<u64, Waiting>,
    next: u64,
    last_accepted: Option<Address>,
    refused: u64,
}

/// A client whose handshake is under way.
#[derive(Debug)]
struct Waiting {
    greeting: Greeting,
    address: Option<Address>,
    deadline: Deadline,
    /// What was left of it when `accept` returned.
    left: Option<Duration>,
}

impl Listener {
    /// Listens at an address.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::AlreadyExists`] if the address is taken. The error says whether a process
    ///   listens there, or a file is left of one that was killed, or why that could not be found
    ///   out: another user's listener may not let this process ask.
    /// - [`ErrorKind::InvalidInput`] for a key that is empty or has more than 4096 bytes,
    ///   [`ErrorKind::InvalidName`] for a name that is empty or too long for a UNIX socket.
    /// - [`ErrorKind::NotFound`], [`ErrorKind::PermissionDenied`],
    ///   [`ErrorKind::TooManyDescriptors`], [`ErrorKind::Os`]: what the system reports.
    pub fn bind(address: impl Into<Address>, authkey: impl AsRef<[u8]>) -> Result<Self> {
        let address = address.into();
        let key = AuthKey::new(authkey.as_ref(), "listen at", &address.to_string())?;
        let socket = socket::listen_at(&address)?;
        match &address {
            Address::Path(path) => {
                let file = SocketFile::of(path);
                Self::listening(socket, address, file, key)
            }
            _ => {
                let address = socket::address_of(&socket)?;
                Self::listening(socket, address, None, key)
            }
        }
    }

    /// Listens at an address as [`bind`](Self::bind) does. If a listener that was killed left its
    /// file there, it is replaced; a file that is no socket, or whose listener lives, is not.
    ///
    /// Of several processes that do so one has the address. Do not mix it with `bind` at one path:
    /// between the two steps of a `bind`, its file looks as if its listener had been killed.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind).
    pub fn rebind(address: impl Into<Address>, authkey: impl AsRef<[u8]>) -> Result<Self> {
        let address = address.into();
        let Address::Path(path) = &address else {
            return Self::bind(address, authkey);
        };
        // Where the directory cannot be read, nothing is replaced.
        let turn = Turn::take(path);
        match Self::bind(&address, &authkey) {
            Err(taken)
                if taken.kind() == ErrorKind::AlreadyExists
                    && turn.is_some()
                    && socket::is_abandoned(path) =>
            {
                fs::remove_file(path)
                    .map_err(|source| Error::os("replace", address.to_string(), source))?;
                Self::bind(address, authkey)
            }
            bound => bound,
        }
    }

    /// Listens at an abstract name that no other socket has; [`address`](Self::address) says which.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind), except for names.
    pub fn new(authkey: impl AsRef<[u8]>) -> Result<Self> {
        let key = AuthKey::new(authkey.as_ref(), "listen at", "a new address")?;
        let socket = socket::listen_anywhere()?;
        let address = socket::address_of(&socket)?;
        Self::listening(socket, address, None, key)
    }

    fn listening(
        socket: OwnedFd,
        address: Address,
        file: Option<SocketFile>,
        key: AuthKey,
    ) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| Error::os("listen at", address.to_string(), error.into()))?;
        let listener = Self {
            socket,
            epoll,
            address,
            _file: file,
            key,
            patience: PATIENCE,
            greetings: BTreeMap::new(),
            next: LISTENING + 1,
            last_accepted: None,
            refused: 0,
        };
        listener.watch_socket(&listener.socket, LISTENING)?;
        Ok(listener)
    }

    /// The same listener with another time for a client to prove that it has the key, instead of 5
    /// s.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Where it listens; with the port or the name that the kernel chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The address of the client that was accepted last; `None` for one of a UNIX socket, which
    /// has none.
    pub fn last_accepted(&self) -> Option<&Address> {
        self.last_accepted.as_ref()
    }

    /// How many clients were dropped because they did not prove that they have the key.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// How many handshakes are under way, each with a descriptor; 256 at most.
    pub fn handshakes(&self) -> usize {
        self.greetings.len()
    }

    /// Accepts the next client that has the key; blocks until there is one.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::TooManyDescriptors`] if this process or the system has none left; the client
    ///   stays, and the next call fails immediately: close some first.
    /// - [`ErrorKind::NotEnoughMemory`], [`ErrorKind::Os`]: what else the system reports.
    pub fn accept(&mut self) -> Result<Connection> {
        self.accept_timeout(Deadline::NEVER)
    }

    /// Accepts the next client that has the key; waits up to `timeout` for it. Handshakes that are
    /// under way then go on in the next call.
    ///
    /// # Errors
    ///
    /// Those of [`accept`](Self::accept), and [`ErrorKind::TimedOut`].
    pub fn accept_timeout(&mut self, timeout: impl Into<Deadline>) -> Result<Connection> {
        let deadline = timeout.into();
        self.resume();
        let accepted = self.accept_before(deadline);
        self.pause();
        accepted
    }

    fn accept_before(&mut self, deadline: Deadline) -> Result<Connection> {
        loop {
            if let Some(connection) = self.advance()? {
                return Ok(connection);
            }
            self.drop_late();
            if deadline.is_expired() {
                return Err(
                    Error::new(ErrorKind::TimedOut, "accept at", self.address.to_string())
                        .with_detail("no client with the key came in time"),
                );
            }
            // The oldest need not be the first whose time is over: others may have had theirs cut
            // by `with_patience`.
            let first_late = self.greetings.values().map(|waiting| waiting.deadline);
            let wake = first_late.fold(deadline, Deadline::earlier);
            poll::wait_readable(&self.epoll, wake).map_err(|source| self.failed(source))?;
        }
    }

    /// Takes new clients, and goes on with each handshake for which something has come, up to the
    /// first that ends well.
    fn advance(&mut self) -> Result<Option<Connection>> {
        let mut events = Vec::with_capacity(AT_ONCE);
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&now)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(self.failed(error.into())),
        }
        for event in events {
            match event.data.u64() {
                LISTENING => self.take_clients()?,
                number => {
                    if let Some(connection) = self.go_on(number) {
                        return Ok(Some(connection));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Begins the handshakes of clients that have connected.
    fn take_clients(&mut self) -> Result<()> {
        for _ in 0..AT_ONCE {
            match socket::accept(&self.socket) {
                Ok(Some((socket, address))) => self.greet(socket, address),
                Ok(None) => break,
                // A client that has not said anything yet has a descriptor that this one needs.
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
                    if self.drop_oldest() => {}
                Err(error) => return Err(self.failed(error.into())),
            }
        }
        Ok(())
    }

    fn greet(&mut self, socket: OwnedFd, address: Option<Address>) {
        if self.greetings.len() >= MOST_GREETINGS {
            self.drop_oldest();
        }
        let number = self.next;
        let Ok(greeting) = Greeting::begin(socket, Side::Listener) else {
            self.refused += 1;
            return;
        };
        if self.watch_socket(&greeting, number).is_err() {
            self.refused += 1;
            return;
        }
        self.next += 1;
        let waiting = Waiting {
            greeting,
            address,
            deadline: Deadline::after(self.patience),
            left: None,
        };
        self.greetings.insert(number, waiting);
    }

    /// Goes on with a handshake; the connection, if it ended well.
    fn go_on(&mut self, number: u64) -> Option<Connection> {
        let waiting = self.greetings.get_mut(&number)?;
        match waiting.greeting.advance(&self.key) {
            Ok(false) => None,
            Ok(true) => {
                let waiting = self.forget(number)?;
                self.last_accepted = waiting.address;
                Some(Connection::new(waiting.greeting.into_socket()))
            }
            Err(_) => {
                self.refuse(number);
                None
            }
        }
    }

    fn drop_late(&mut self) {
        let late = |(number, waiting): (&u64, &Waiting)| {
            (waiting.deadline.is_expired()).then_some(*number)
        };
        let late: Vec<_> = self.greetings.iter().filter_map(late).collect();
        late.into_iter().for_each(|number| self.refuse(number));
    }

    /// Whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let mut strangers = self.greetings.iter();
        let stranger = strangers.find(|(_, waiting)| !waiting.greeting.is_proved());
        let oldest = stranger.or_else(|| self.greetings.iter().next());
        let oldest = oldest.map(|(number, _)| *number);
        oldest.inspect(|number| self.refuse(*number)).is_some()
    }

    fn refuse(&mut self, number: u64) {
        if self.forget(number).is_some() {
            self.refused += 1;
        }
    }

    fn forget(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.greetings.remove(&number)?;
        // A closed socket leaves by itself, but not if a forked process has a copy of it.
        let left = epoll::delete(&self.epoll, &waiting.greeting);
        debug_assert_eq!(left, Ok(()), "it was added");
        Some(waiting)
    }

    fn resume(&mut self) {
        for waiting in self.greetings.values_mut() {
            if let Some(left) = waiting.left.take() {
                waiting.deadline = Deadline::after(left);
            }
        }
    }

    fn pause(&mut self) {
        for waiting in self.greetings.values_mut() {
            waiting.left = waiting.deadline.remaining();
        }
    }

    fn watch_socket(&self, socket: impl AsFd, number: u64) -> Result<()> {
        let data = epoll::EventData::new_u64(number);
        epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN)
            .map_err(|error| self.failed(error.into()))
    }

    #[cold]
    fn failed(&self, source: io::Error) -> Error {
        Error::os("accept at", self.address.to_string(), source)
    }
}

/// What `poll` and [`wait`](mp_object::wait) take: readable when `accept` has something to do. A
/// client that has the key may need several calls, so use a timeout. The time of a silent one
/// passes only in `accept`: with a timeout of zero it keeps its place until 256 others have come.
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Waitable for Listener {
    fn watch(&self) -> Result<Watch<'_>> {
        Ok(Watch::Descriptor(self.as_fd()))
    }
}

/// The right to replace files in a directory, which one process has at a time.
struct Turn(File);

impl Turn {
    /// Waits up to [`TURN`]; `None` without a turn.
    fn take(path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).ok()?;
        let directory = File::open(path.parent()?).ok()?;
        let deadline = Deadline::after(TURN);
        while let Err(error) = flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            if error != Errno::WOULDBLOCK || deadline.is_expired() {
                return None;
            }
            thread::sleep(TURN_STEP);
        }
        Some(Self(directory))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // A forked copy of this process may have the directory open, too.
        let _unlocked = flock(&self.0, FlockOperation::Unlock);
    }
}

/// The file of a socket, to be removed by the process that made it.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode: another listener may have the path by then.
    identity: (u64, u64),
    owner: u32,
}

impl SocketFile {
    /// `None` if it is gone already.
    fn of(path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).ok()?;
        let identity = identity(&path)?;
        Some(Self {
            path,
            identity,
            owner: std::process::id(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.owner == std::process::id() && identity(&self.path) == Some(self.identity) {
            // What cannot be removed stays, and the next `bind` says so.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
