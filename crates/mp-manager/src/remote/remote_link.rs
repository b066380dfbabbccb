//! A manager of another machine, as all proxies of it in this process see it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use mp_layout::{Error, ErrorKind, Result};
use mp_net::{Address, Client, Connection};
use mp_os::clock::Deadline;
use mp_os::poll;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::references;
use super::session::Session;
use super::wire::{self, Hello, LONGEST, MOST_ELEMENTS, PATIENCE, ToServer, Welcome, too_many};
use crate::parcel::Parcel;
use crate::request::{Answer, Operation};

/// Connections that are kept for the next requests. More threads than these make new ones.
const KEPT: usize = 64;

/// The pause before a connection that was ended is tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// A session, and the connections by which threads ask.
pub(crate) struct RemoteLink {
    address: Address,
    key: Vec<u8>,
    session: Arc<Session>,
    /// Which server it is.
    server: u128,
    pid: u32,
    /// Those that wait for no answer.
    idle: Mutex<Vec<Connection>>,
}

impl RemoteLink {
    /// Begins a session.
    pub(crate) fn connect(address: Address, key: &[u8], deadline: Deadline) -> Result<Self> {
        let (connection, welcome) = join(&address, key, None, deadline)?;
        let welcome = welcome?;
        Ok(Self {
            address,
            key: key.to_vec(),
            session: Session::new(welcome.session, connection),
            server: welcome.server,
            pid: welcome.pid,
            idle: Mutex::default(),
        })
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.server == other.server
    }

    pub(crate) fn server_pid(&self) -> u32 {
        self.pid
    }

    /// Writes a value for this manager.
    pub(crate) fn pack<T: Serialize + DeserializeOwned>(&self, value: &T) -> Result<Parcel> {
        Parcel::of_remote(value, &self.session)
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call(&self, object: u64, operation: Operation) -> Result<Answer> {
        if !self.session.is_own() {
            return Err(forked());
        }
        let (takes, elements) = (operation.takes(), operation.elements());
        if elements > MOST_ELEMENTS {
            return Err(too_many(elements));
        }
        let mut connection = self.connection()?;
        let answer = self.ask(&mut connection, object, operation)?;
        if takes && !matches!(answer, Answer::Failed(_)) {
            // Else the item comes back, and is not the caller's.
            self.send(&mut connection, &ToServer::Ask(0, Operation::Received))?;
        }
        self.keep(connection);
        match answer {
            Answer::Failed(error) => Err(error),
            answer => Ok(answer),
        }
    }

    /// Asks for a copy that comes in pages of one state, and gives each to `take`, which says
    /// whether it was the last.
    pub(crate) fn read_pages(
        &self,
        object: u64,
        mut operation: Operation,
        mut take: impl FnMut(Answer) -> Result<bool>,
    ) -> Result<()> {
        if !self.session.is_own() {
            return Err(forked());
        }
        // The server keeps the rest for this connection, up to its next request.
        let mut connection = self.connection()?;
        loop {
            let is_last = match self.ask(&mut connection, object, operation)? {
                Answer::Failed(error) => {
                    self.keep(connection);
                    return Err(error);
                }
                page => take(page)?,
            };
            if is_last {
                self.keep(connection);
                return Ok(());
            }
            operation = Operation::NextPage;
        }
    }

    /// Sends a request by a connection and waits for its answer, which may be a failure.
    fn ask(
        &self,
        connection: &mut Connection,
        object: u64,
        operation: Operation,
    ) -> Result<Answer> {
        let ask = ToServer::Ask(object, operation);
        self.send(connection, &ask)?;
        let bytes = connection.recv_bytes().map_err(|error| self.lost(error))?;
        // Until here the references in the request were kept: the server has read it.
        drop(ask);
        references::in_frame_of(&self.session, || wire::read(&bytes))
    }

    fn send(&self, connection: &mut Connection, frame: &ToServer) -> Result<()> {
        let frame = references::in_frame_of(&self.session, || wire::write(frame))?;
        if frame.len() > LONGEST {
            return Err(too_long(frame.len()));
        }
        connection
            .send_bytes(&frame)
            .map_err(|error| self.lost(error))
    }

    /// One that waits for no answer, or a new one.
    fn connection(&self) -> Result<Connection> {
        while let Some(connection) = self.take_idle() {
            // The server says nothing now, so the connection has ended if something is there.
            if let Ok(false) = poll::wait_readable(&connection, Deadline::PASSED) {
                return Ok(connection);
            }
        }
        self.join()
    }

    /// In a function of its own: no other thread waits for the lock while this one connects.
    fn take_idle(&self) -> Option<Connection> {
        self.idle().pop()
    }

    /// A new connection of the session. The server may end one before its welcome to make room for
    /// others: nothing was asked then, and it is tried again.
    fn join(&self) -> Result<Connection> {
        let deadline = Deadline::after(PATIENCE);
        loop {
            if self.session.is_over() {
                return Err(self.over("it is closed"));
            }
            match join(
                &self.address,
                &self.key,
                Some(self.session.number),
                deadline,
            ) {
                Ok((connection, Ok(_))) => return Ok(connection),
                Ok((_, Err(refused))) => return Err(self.lost(refused)),
                Err(error) if !is_end(&error) => return Err(self.lost(error)),
                Err(error) if deadline.is_expired() => return Err(self.crowded(&error)),
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle();
        if idle.len() < KEPT {
            idle.push(connection);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn lost(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Closed | ErrorKind::Truncated | ErrorKind::NotFound => {
                self.over(&error.to_string())
            }
            _ => error,
        }
    }

    #[cold]
    fn crowded(&self, error: &Error) -> Error {
        let object = format!("the manager at {}", self.address);
        Error::new(ErrorKind::TimedOut, "ask", object).with_detail(format!(
            "its server is there, but has ended each new connection of this thread ({error}): too many connect; try again"
        ))
    }

    #[cold]
    fn over(&self, why: &str) -> Error {
        let object = format!("the manager at {}", self.address);
        Error::new(ErrorKind::Closed, "ask", object).with_detail(format!(
            "the connection to it has ended ({why}): its server was shut down or killed, or the machine was lost; connect \
             again when it is back"
        ))
    }
}

impl fmt::Debug for RemoteLink {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("RemoteLink");
        shown
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Connects, and begins or joins a session, if the server does not refuse it.
fn join(
    address: &Address,
    key: &[u8],
    session: Option<u128>,
    deadline: Deadline,
) -> Result<(Connection, Result<Welcome>)> {
    let mut connection = Client::connect_timeout(address, key, deadline)?.with_longest(LONGEST);
    let hello = wire::write(&Hello::new(session))?;
    connection.send_bytes_timeout(&hello, deadline)?;
    let welcome = connection.recv_bytes_timeout(deadline)?;
    Ok((connection, wire::read(&welcome)?))
}

/// Whether the other side has ended the connection.
fn is_end(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Closed | ErrorKind::Truncated)
}

#[cold]
fn too_long(len: usize) -> Error {
    Error::new(ErrorKind::WrongSize, "ask", "a manager").with_detail(format!(
        "a request of {len} bytes where {LONGEST} are the most; send its values in parts"
    ))
}

#[cold]
fn forked() -> Error {
    Error::new(ErrorKind::InvalidState, "ask", "a remote manager").with_detail(
        "the connection belongs to the process that this one was forked from; connect in this process, too",
    )
}
