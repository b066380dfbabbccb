//! The server's side of remote clients: a thread that listens, and one per connection, which is a
//! local client for the remote one.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mp_layout::{Error, ErrorKind, Result};
use mp_net::{Address, Connection, Listener};

use super::numbers::Numbers;
use super::references;
use super::session::{Table, exhausted, over};
#[cfg(test)]
use super::tests::UNTAKEN;
use super::wire::{self, Hello, LONGEST, PATIENCE, ToServer, Welcome};
use crate::link::{Link, LocalLink, ReplyConnection};
use crate::request::{Answer, Listen, Operation, Receipt};

/// The longest time between two looks whether the server ends.
const RECHECK: Duration = Duration::from_millis(250);

/// The pause when no descriptor is free for a further client.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a client may take to prove that it has the key. An honest one needs milliseconds, or a
/// few seconds on a busy machine.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a client with the key may take to say what it wants.
const FIRST_FRAME: Duration = Duration::from_secs(10);

/// How long a client may take to take its answer.
#[cfg(not(test))]
const UNTAKEN: Duration = PATIENCE;

/// So many connections of clients with the key there are at most; each has a thread.
const MOST_CONNECTIONS: usize = 1024;

/// So many more have a thread for as long as it takes to tell them that there are too many.
const MOST_REFUSED: usize = 64;

/// Bytes of the longest first frame; one of this version has at most 27.
const LONGEST_FIRST: usize = 1024;

/// The listening thread keeps so many descriptors for handshakes under way.
const HANDSHAKES: u64 = 256;

/// The listening thread. When it is dropped it ends, and its socket's file is removed.
#[derive(Debug)]
pub(crate) struct Gateway {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// To the server's own thread.
    link: Arc<Link>,
    server: u128,
    is_over: AtomicBool,
    connections: AtomicUsize,
    /// Descriptors from this number on are kept free.
    limit: u64,
    sessions: Mutex<HashMap<u128, Weak<Table>>>,
}

impl Gateway {
    /// Listens. `limit` is the number from which on descriptors are kept free.
    pub(crate) fn listen(listen: Listen, limit: u64) -> Result<(Self, Address)> {
        let Listen { link, address, key } = listen;
        let listener = Listener::rebind(address, key)?.with_patience(HANDSHAKE);
        let address = listener.address().clone();
        let shared = Arc::new(Shared {
            link: Link::received(Some(link))?,
            server: random()?,
            is_over: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            limit,
            sessions: Mutex::default(),
        });
        if !shared.has_room(HANDSHAKES) {
            return Err(exhausted(limit));
        }
        let thread = thread::Builder::new()
            .name("remote clients".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || run(listener, &shared)
            });
        let thread =
            thread.map_err(|source| Error::os("start a thread for", "remote clients", source))?;
        let thread = Some(thread);
        Ok((Self { shared, thread }, address))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Relaxed: the flag alone matters.
        self.shared.is_over.store(true, Ordering::Relaxed);
        // It panics for no client; the listener is gone either way.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn run(mut listener: Listener, shared: &Arc<Shared>) {
    while !shared.is_over.load(Ordering::Relaxed) {
        // Those under way have their descriptors already.
        let further = HANDSHAKES.saturating_sub(listener.handshakes() as u64);
        if !shared.has_room(further) {
            thread::sleep(PAUSE);
            continue;
        }
        match listener.accept_timeout(RECHECK) {
            Ok(connection) => shared.begin(connection),
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            // What is short may be given back.
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

impl Shared {
    /// Whether a client may take so many descriptors.
    fn has_room(&self, descriptors: u64) -> bool {
        let probe = io::pipe();
        let next = probe
            .ok()
            .and_then(|(end, _)| u64::try_from(end.as_raw_fd()).ok());
        next.is_some_and(|next| next + descriptors < self.limit)
    }

    /// Starts the thread of a connection. Where there can be none the client finds it closed.
    fn begin(self: &Arc<Self>, connection: Connection) {
        let seat = Seat::new(self);
        // Relaxed: no more than a count.
        if self.connections.load(Ordering::Relaxed) > MOST_CONNECTIONS + MOST_REFUSED {
            return;
        }
        let started = thread::Builder::new()
            .name("remote client".to_owned())
            .spawn(move || serve(connection.with_longest(LONGEST_FIRST), &seat));
        drop(started);
    }

    fn begin_session(&self) -> Result<(u128, Arc<Table>)> {
        let (number, table) = (random()?, Arc::new(Table::new(self.limit)));
        let mut sessions = self.sessions();
        sessions.retain(|_, table| table.strong_count() != 0);
        sessions.insert(number, Arc::downgrade(&table));
        Ok((number, table))
    }

    fn session(&self, number: u128) -> Result<Arc<Table>> {
        let found = self.sessions().get(&number).and_then(Weak::upgrade);
        found.filter(|table| !table.is_over()).ok_or_else(over)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<u128, Weak<Table>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the connections.
struct Seat(Arc<Shared>);

impl Seat {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a connection until it ends. Whatever ends it, the client finds it closed.
fn serve(mut connection: Connection, seat: &Seat) {
    let shared = &seat.0;
    let welcome = first_frame(&mut connection).and_then(|hello| shared.welcome(&hello));
    let (welcome, session) = match welcome {
        Ok((welcome, session)) => (Ok(welcome), Some(session)),
        Err(error) => (Err(error), None),
    };
    let sent = wire::write::<Result<Welcome>>(&welcome)
        .and_then(|frame| connection.send_bytes_timeout(&frame, PATIENCE));
    let (Ok(()), Some(session)) = (sent, session) else {
        return;
    };
    let Some(link) = shared.link.local() else {
        return;
    };
    let mut client = RemoteClient {
        connection: connection.with_longest(LONGEST),
        shared,
        link,
        table: Arc::clone(&session.table),
        replies: None,
    };
    while client.serve_one().unwrap_or(false) {}
}

fn first_frame(connection: &mut Connection) -> Result<Hello> {
    let hello: Hello = wire::read(&connection.recv_bytes_timeout(FIRST_FRAME)?)?;
    hello.check()?;
    Ok(hello)
}

impl Shared {
    fn welcome(&self, hello: &Hello) -> Result<(Welcome, Membership)> {
        if self.connections.load(Ordering::Relaxed) > MOST_CONNECTIONS {
            return Err(crowded());
        }
        if !self.has_room(0) {
            return Err(exhausted(self.limit));
        }
        let (session, table) = match hello.session {
            Some(number) => (number, self.session(number)?),
            None => self.begin_session()?,
        };
        let welcome = Welcome {
            session,
            server: self.server,
            pid: std::process::id(),
        };
        let is_lifeline = hello.session.is_none();
        Ok((welcome, Membership { table, is_lifeline }))
    }
}

/// A connection's part of a session, which ends with its lifeline.
struct Membership {
    table: Arc<Table>,
    is_lifeline: bool,
}

impl Drop for Membership {
    fn drop(&mut self) {
        if self.is_lifeline {
            self.table.end();
        }
    }
}

/// A remote client's connection, and the local client that asks for it.
struct RemoteClient<'s> {
    connection: Connection,
    shared: &'s Shared,
    link: &'s LocalLink,
    table: Arc<Table>,
    /// Made with the first request. When it is dropped, what it was sent last comes back.
    replies: Option<ReplyConnection>,
}

impl RemoteClient<'_> {
    /// Receives a frame and does what it says; whether there may be more.
    ///
    /// # Errors
    ///
    /// Why the connection has ended.
    fn serve_one(&mut self) -> Result<bool> {
        let bytes = wire::receive(&mut self.connection, PATIENCE)?;
        if self.table.is_over() {
            return Ok(false);
        }
        let (frame, _) = references::in_frame_at(&self.table, || wire::read(&bytes));
        drop(bytes);
        match frame {
            Ok(ToServer::Release(Numbers(numbers))) => {
                self.table.release(&numbers);
            }
            Ok(ToServer::Ask(_, Operation::Received)) => {
                if let Some(replies) = &mut self.replies {
                    // Answered here: a look at a connection that ends right after must find that it
                    // was carried out.
                    self.link.confirm(replies)?;
                }
            }
            Ok(ToServer::Ask(object, operation)) => {
                let answer = self.ask(object, operation);
                self.answer(answer.unwrap_or_else(Answer::Failed))?;
            }
            // What does not speak the protocol is told, and dropped.
            Err(error) => {
                self.answer(Answer::Failed(error))?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has the server's thread carry out a request.
    fn ask(&mut self, object: u64, operation: Operation) -> Result<Answer> {
        check(&operation)?;
        let replies = match &mut self.replies {
            Some(replies) => replies,
            // A pipe, and what comes by it.
            none if self.shared.has_room(0) => none.insert(self.link.connect(Receipt::Told)?),
            _ => return Err(exhausted(self.shared.limit)),
        };
        let answer = self.link.ask(replies, object, operation);
        // A reply that failed may come later, and would be taken for the next.
        if answer.is_err() {
            self.replies = None;
        }
        answer
    }

    /// Sends an answer. One that cannot be sent is not received: what is in it comes back.
    fn answer(&mut self, answer: Answer) -> Result<()> {
        let (frame, given) = references::in_frame_at(&self.table, || {
            // Before it is copied.
            check_length(answer.len())?;
            let frame = wire::write(&answer)?;
            check_length(frame.len())?;
            Ok(frame)
        });
        drop(answer);
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                self.replies = None;
                self.table.release(&given);
                wire::write(&Answer::Failed(error))?
            }
        };
        let sent = self.connection.send_bytes_timeout(&frame, UNTAKEN);
        if sent.is_err() {
            self.table.release(&given);
        }
        sent
    }
}

/// Refuses what remote clients may not ask.
pub(crate) fn check(operation: &Operation) -> Result<()> {
    match operation {
        Operation::Make(_) | Operation::Call(_) => Err(Error::new(
            ErrorKind::Unsupported,
            "call",
            "a method of a managed object",
        )
        .with_detail(
            "a function is named by its place in the server's program, which a remote client does not share",
        )),
        Operation::Connect(..) | Operation::Stage(_) | Operation::Listen(_) => Err(Error::new(
            ErrorKind::Unsupported,
            "ask",
            "a manager",
        )
        .with_detail("only clients of its own machine may ask this")),
        _ => Ok(()),
    }
}

fn random() -> Result<u128> {
    mp_os::random::random_id()
        .map(u128::from_le_bytes)
        .map_err(|source| Error::os("draw", "a random identity", source))
}

#[cold]
fn crowded() -> Error {
    Error::new(ErrorKind::Full, "connect to", "a manager").with_detail(format!(
        "it has {MOST_CONNECTIONS} connections of remote clients, which are the most; drop some"
    ))
}

fn check_length(len: usize) -> Result<()> {
    if len > LONGEST {
        return Err(too_long(len));
    }
    Ok(())
}

/// Copies of containers come in pages: it is one value, or one key.
#[cold]
fn too_long(len: usize) -> Error {
    Error::new(ErrorKind::WrongSize, "read", "a managed object").with_detail(format!(
        "a value of {len} bytes where {LONGEST} are the most that travel between machines; read it by a program on the \
         server's machine, or replace it by smaller ones"
    ))
}
