//! What a process has of a manager: the queue of requests, and connections for replies.
//!
//! A thread takes a connection for each request and gives it back with the reply, so that the
//! requests of several threads are under way at the same time.
//!
//! A forked copy of a process has the links, and makes connections of its own: two processes with
//! one connection would get each other's replies.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::ProcessIdentity;
use mp_os::clock::Deadline;
use mp_os::of_process::OfProcess;
use mp_queue::{Connection, GetError, Nothing, PutError, Queue, pipe_one_way};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::parcel::Parcel;
#[cfg(feature = "net")]
use crate::remote::RemoteLink;
use crate::request::{Answer, Operation, Receipt, Reply, Request, Sender};
use crate::staging::{self, Staging};

/// The longest wait for a reply between two looks whether the server lives.
const RECHECK: Duration = Duration::from_millis(250);

/// How long a server that has closed its connections may take to end; its end is heard at once, so
/// this is only how long a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a request is put again that the system refuses although no other waits.
const ATTEMPTS: u32 = 100;

/// The pause before a request that was refused is put again.
const PAUSE: Duration = Duration::from_millis(10);

/// Connections that are kept for the next requests. More threads than these make new ones.
const KEPT: usize = 64;

/// A manager, as all proxies of it in this process see it.
#[derive(Debug)]
pub(crate) enum Link {
    Local(LocalLink),
    #[cfg(feature = "net")]
    Remote(RemoteLink),
}

/// A manager of this machine.
#[derive(Debug)]
pub(crate) struct LocalLink {
    requests: Queue<Request>,
    server: ProcessIdentity,
    /// By which its idle connections are found.
    number: u64,
    /// Whether the server was found dead.
    is_over: AtomicBool,
}

/// By what one thread at a time waits for replies.
#[derive(Debug)]
pub(crate) struct ReplyConnection {
    id: u64,
    /// The number of the last request.
    number: u64,
    replies: Connection<Nothing, Reply>,
    /// By what large values go and come, if there were some.
    staging: Option<Staging>,
    /// Bytes of a reply for which it was too small.
    wanted: usize,
}

/// A link as it travels: the queue of requests and the word that names the server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LinkHandle(Queue<Request>, u64);

/// The links of this process.
static LINKS: OfProcess<Mutex<Vec<Weak<Link>>>> = OfProcess::new(Mutex::default);

/// The connections of this process that wait for no reply, by the numbers of their links. Locked
/// after `LINKS`.
static IDLE: OfProcess<Mutex<HashMap<u64, Vec<ReplyConnection>>>> = OfProcess::new(Mutex::default);

/// The number of the last link that was made here, or where this process was forked from.
static LAST_LINK: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The manager for which this thread writes or reads a value now. A proxy of the same manager
    /// needs no link then: where the value is read there is one.
    static CURRENT: RefCell<Option<Arc<Link>>> = const { RefCell::new(None) };
}

impl Link {
    /// The link to the manager whose server gets these requests.
    pub(crate) fn new(requests: Queue<Request>, server: ProcessIdentity) -> Arc<Self> {
        let mut links = LINKS.get().lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.strong_count() != 0);
        let mut there = links.iter().filter_map(Weak::upgrade);
        if let Some(there) = there.find(|link| link.is_of(&requests)) {
            return there;
        }
        let link = Arc::new(Self::Local(LocalLink {
            requests,
            server,
            // Relaxed: the number alone matters.
            number: LAST_LINK.fetch_add(1, Ordering::Relaxed),
            is_over: AtomicBool::new(false),
        }));
        links.push(Arc::downgrade(&link));
        link
    }

    fn is_of(&self, requests: &Queue<Request>) -> bool {
        self.local().is_some_and(|link| link.is_of(requests))
    }

    /// The link, if it is to a manager of this machine.
    pub(crate) fn local(&self) -> Option<&LocalLink> {
        match self {
            Self::Local(link) => Some(link),
            #[cfg(feature = "net")]
            Self::Remote(_) => None,
        }
    }

    /// Whether both are to the same manager. A forked copy may have two.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || match (self, other) {
                (Self::Local(link), Self::Local(other)) => link.is_of(&other.requests),
                #[cfg(feature = "net")]
                (Self::Remote(link), Self::Remote(other)) => link.is_same(other),
                #[cfg(feature = "net")]
                _ => false,
            }
    }

    /// What travels with a proxy: nothing in a value for this manager, nor from a remote one, of
    /// which the token is refused.
    pub(crate) fn handle(&self) -> Option<LinkHandle> {
        let link = self.local()?;
        let is_current = current().is_some_and(|current| current.is_same(self));
        (!is_current).then(|| link.handle())
    }

    /// The link of a proxy that has arrived.
    pub(crate) fn received(handle: Option<LinkHandle>) -> Result<Arc<Self>> {
        let missing = |detail: &str| {
            Error::new(ErrorKind::Decode, "receive", "a proxy of a manager").with_detail(detail)
        };
        match handle {
            None => current().ok_or_else(|| missing("its manager did not come with it")),
            Some(LinkHandle(requests, server)) => {
                let server = ProcessIdentity::from_word(server)
                    .ok_or_else(|| missing("it names no server"))?;
                Ok(Self::new(requests, server))
            }
        }
    }

    /// Writes a value for this manager.
    pub(crate) fn pack<T: Serialize + DeserializeOwned>(
        self: &Arc<Self>,
        value: &T,
    ) -> Result<Parcel> {
        let _inside = Inside::new(self);
        match &**self {
            Self::Local(_) => Parcel::of(value),
            #[cfg(feature = "net")]
            Self::Remote(link) => link.pack(value),
        }
    }

    /// Reads a value of this manager.
    pub(crate) fn unpack<T: DeserializeOwned>(self: &Arc<Self>, parcel: Parcel) -> Result<T> {
        let _inside = Inside::new(self);
        parcel.open()
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call(&self, object: u64, operation: Operation) -> Result<Answer> {
        match self {
            Self::Local(link) => link.call(object, operation),
            #[cfg(feature = "net")]
            Self::Remote(link) => link.call(object, operation),
        }
    }

    /// Asks for a copy that comes in pages of one state, and gives each to `take`, which says
    /// whether it was the last.
    pub(crate) fn read_pages(
        &self,
        object: u64,
        operation: Operation,
        take: impl FnMut(Answer) -> Result<bool>,
    ) -> Result<()> {
        match self {
            Self::Local(link) => link.read_pages(object, operation, take),
            #[cfg(feature = "net")]
            Self::Remote(link) => link.read_pages(object, operation, take),
        }
    }

    /// The pid of the server, on its machine.
    pub(crate) fn server_pid(&self) -> u32 {
        match self {
            Self::Local(link) => link.server.pid(),
            #[cfg(feature = "net")]
            Self::Remote(link) => link.server_pid(),
        }
    }
}

impl LocalLink {
    fn is_of(&self, requests: &Queue<Request>) -> bool {
        self.requests.object().is_same(requests.object())
    }

    pub(crate) fn handle(&self) -> LinkHandle {
        LinkHandle(self.requests.clone(), self.server.word())
    }

    fn call(&self, object: u64, operation: Operation) -> Result<Answer> {
        let mut connection = self.connection()?;
        // A connection that does not answer is dropped.
        let answer = self.ask(&mut connection, object, operation)?;
        self.keep(connection);
        match answer {
            Answer::Failed(error) => Err(error),
            answer => Ok(answer),
        }
    }

    /// As [`Link::read_pages`].
    fn read_pages(
        &self,
        object: u64,
        mut operation: Operation,
        mut take: impl FnMut(Answer) -> Result<bool>,
    ) -> Result<()> {
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

    /// One that no other request waits by.
    fn connection(&self) -> Result<ReplyConnection> {
        // In a statement of its own: no other thread waits while this one connects.
        let kept = idle().get_mut(&self.number).and_then(Vec::pop);
        kept.map_or_else(|| self.connect(Receipt::Seen), Ok)
    }

    /// Sends a request by a connection and waits for its answer, which may be a failure.
    pub(crate) fn ask(
        &self,
        connection: &mut ReplyConnection,
        object: u64,
        mut operation: Operation,
    ) -> Result<Answer> {
        let wanted = mem::take(&mut connection.wanted);
        let large = operation.value_mut().filter(|value| value.is_large());
        let len = large.as_ref().map_or(0, |value| value.len());
        self.ensure_staging(connection, len.max(wanted))?;
        if let (Some(value), Some(staging)) = (large, &connection.staging) {
            value.stage(staging);
        }
        let mut answer = self.ask_as_it_is(connection, object, operation)?;
        if let Some(value) = answer.value_mut() {
            if value.is_staged() {
                value.unstage(connection.staging.as_ref(), staging::buffer())?;
            } else if value.is_large() {
                connection.wanted = value.len();
            }
        }
        Ok(answer)
    }

    /// Says that the last reply was received, and no more: a staging that is wanted comes with the
    /// next request, because what fails here brings back what was received.
    #[cfg(feature = "net")]
    pub(crate) fn confirm(&self, connection: &mut ReplyConnection) -> Result<Answer> {
        self.ask_as_it_is(connection, 0, Operation::Received)
    }

    /// Gives a connection a staging for `len` bytes. Where there can be none it keeps the one that
    /// it has, as the server does: values without room there travel in the messages.
    fn ensure_staging(&self, connection: &mut ReplyConnection, len: usize) -> Result<()> {
        let there = connection.staging.as_ref();
        if len == 0 || there.is_some_and(|staging| staging.has_room(len)) {
            return Ok(());
        }
        let Ok(staging) = Staging::new(len) else {
            return Ok(());
        };
        let stage = Operation::Stage(staging.clone());
        if let Answer::Done = self.ask_as_it_is(connection, 0, stage)? {
            connection.staging = Some(staging);
        }
        Ok(())
    }

    fn ask_as_it_is(
        &self,
        connection: &mut ReplyConnection,
        object: u64,
        operation: Operation,
    ) -> Result<Answer> {
        connection.number += 1;
        let sender = Sender {
            connection: connection.id,
            number: connection.number,
        };
        self.put(Request {
            sender,
            object,
            operation,
        })?;
        self.wait(connection)
    }

    /// Ends the taking of requests; those that were put before are answered.
    pub(crate) fn close(&self, deadline: Deadline) -> Result<()> {
        self.requests.close_timeout(deadline)
    }

    /// Says that the server has ended.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Whether the server is known to have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Keeps a connection for the next request, unless there are enough.
    fn keep(&self, connection: ReplyConnection) {
        let mut idle = idle();
        let idle = idle.entry(self.number).or_default();
        if idle.len() < KEPT {
            idle.push(connection);
        }
    }

    pub(crate) fn connect(&self, receipt: Receipt) -> Result<ReplyConnection> {
        let (replies, theirs) = pipe_one_way()?;
        let [a, b, c, d, e, f, g, h, ..] = mp_os::random::random_id()
            .map_err(|source| Error::os("draw", "a random identity", source))?;
        let id = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let sender = Sender {
            connection: id,
            number: 0,
        };
        self.put(Request {
            sender,
            object: 0,
            operation: Operation::Connect(theirs, receipt),
        })?;
        let number = 0;
        Ok(ReplyConnection {
            id,
            number,
            replies,
            staging: None,
            wanted: 0,
        })
    }

    /// Puts a request. While those of other clients take the room for it, it waits for the server,
    /// as for a reply.
    fn put(&self, mut request: Request) -> Result<()> {
        let mut attempts = 0;
        loop {
            if self.is_over() {
                return Err(self.server_died());
            }
            attempts += u32::from(self.requests.is_empty());
            match self.requests.put(request) {
                Ok(()) => return Ok(()),
                Err(PutError::Closed(_)) => return Err(shut_down()),
                Err(PutError::Failed(back, error)) if is_passing(&error) && attempts < ATTEMPTS => {
                    if self.is_server_dead(Duration::ZERO).unwrap_or(false) {
                        return Err(self.gone());
                    }
                    request = back;
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(refused(error)),
            }
        }
    }

    fn wait(&self, connection: &ReplyConnection) -> Result<Answer> {
        loop {
            match connection.replies.recv_timeout(RECHECK) {
                Ok(reply) if reply.number == connection.number => return Ok(reply.answer),
                // The server refused the connection.
                Ok(Reply {
                    number: 0,
                    answer: Answer::Failed(error),
                }) => return Err(error),
                Ok(_) => {}
                // A server that died before it got the connection cannot close it.
                // Where its death cannot be proven it counts as alive: the request is under way.
                Err(GetError::Empty) if self.is_server_dead(Duration::ZERO).unwrap_or(false) => {
                    return Err(self.gone());
                }
                Err(GetError::Empty) => {}
                Err(GetError::Closed) => return Err(self.gone()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether the server answers no more: while the kernel frees its memory it is not yet dead.
    fn is_server_dead(&self, patience: Duration) -> Result<bool> {
        let is_dead = self.server.wait_end(patience);
        is_dead.map_err(|source| Error::os("prove the death of", self.server.to_string(), source))
    }

    /// Why there is no answer.
    #[cold]
    fn gone(&self) -> Error {
        if self.requests.is_closed() {
            return shut_down();
        }
        match self.is_server_dead(PATIENCE) {
            Ok(true) => {
                self.end();
                self.server_died()
            }
            Ok(false) => Error::new(ErrorKind::InvalidState, "ask", "a manager")
                .with_detail("its server closed the connection; it could not receive it"),
            Err(error) => error,
        }
    }

    #[cold]
    fn server_died(&self) -> Error {
        Error::new(ErrorKind::ProcessDied, "ask", "a manager").with_detail(format!(
            "its server (pid {}) has ended, and its objects with it; make a new manager",
            self.server.pid()
        ))
    }
}

impl Drop for LocalLink {
    fn drop(&mut self) {
        let connections = idle().remove(&self.number);
        drop(connections);
    }
}

fn idle() -> MutexGuard<'static, HashMap<u64, Vec<ReplyConnection>>> {
    IDLE.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether there may be room for the request later.
fn is_passing(error: &Error) -> bool {
    use ErrorKind::{NotEnoughMemory, TooManyDescriptors};
    matches!(error.kind(), NotEnoughMemory | TooManyDescriptors)
}

/// Why there is no request, for one who knows of no queue.
#[cold]
fn refused(error: PutError<Request>) -> Error {
    let kind = error.kind();
    let detail = match error {
        PutError::TooLarge { len, max, .. } => {
            format!(
                "a request takes {max} bytes at most, and this one has {len}; send its values in parts"
            )
        }
        PutError::Failed(_, error) if error.kind() == ErrorKind::TooManyDescriptors => {
            "too many descriptors of this user are in messages on their way; raise ulimit -n or \
             net.core.wmem_max"
                .to_owned()
        }
        error => return error.into(),
    };
    Error::new(kind, "ask", "a manager").with_detail(detail)
}

#[cold]
fn shut_down() -> Error {
    Error::new(ErrorKind::Closed, "ask", "a manager").with_detail("it was shut down")
}

/// While it lives, this thread writes or reads a value for a manager.
struct Inside(Option<Arc<Link>>);

impl Inside {
    fn new(link: &Arc<Link>) -> Self {
        Self(replace_current(Some(Arc::clone(link))))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        drop(replace_current(self.0.take()));
    }
}

fn current() -> Option<Arc<Link>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok()?
}

/// While a thread ends there is none any more: proxies travel with their links then.
fn replace_current(link: Option<Arc<Link>>) -> Option<Arc<Link>> {
    CURRENT.try_with(|current| current.replace(link)).ok()?
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;

    use super::*;
    use crate::request::ListOperation;

    /// A request that takes one descriptor.
    fn request(number: u64, value: &Parcel) -> Request {
        let connection = 1;
        let sender = Sender { connection, number };
        let operation = Operation::List(ListOperation::Insert(0, value.clone()));
        let object = 1;
        Request {
            sender,
            object,
            operation,
        }
    }

    #[test]
    fn a_request_waits_while_others_take_the_room_for_its_descriptors() {
        let value = Parcel::of(&mp_object::Lock::new().unwrap()).unwrap();
        let requests = Queue::new().unwrap();
        let server = ProcessIdentity::current().unwrap();
        let link = Link::new(requests.clone(), server);
        let full =
            std::iter::repeat_with(|| requests.put(request(1, &value))).find_map(Result::err);
        assert_eq!(full.unwrap().kind(), ErrorKind::TooManyDescriptors);
        thread::scope(|scope| {
            let (tids, tid) = mpsc::channel();
            let (link, value) = (link.local().unwrap(), &value);
            let put = scope.spawn(move || {
                tids.send(mp_os::robust::tid()).unwrap();
                link.put(request(2, value))
            });
            // It sleeps when it was refused; if for another reason, this only checks less.
            let stat = format!("/proc/self/task/{}/stat", tid.recv().unwrap());
            let is_asleep = || {
                let stat = fs::read_to_string(&stat).unwrap();
                stat.rsplit(") ").next().unwrap().starts_with('S')
            };
            while !is_asleep() {
                thread::yield_now();
            }
            while requests.get_timeout(PATIENCE).unwrap().sender.number == 1 {}
            put.join().unwrap().unwrap();
        });
    }
}
