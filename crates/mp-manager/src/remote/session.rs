//! What a remote client and its server know of each other.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mp_layout::{Error, ErrorKind, Result};
use mp_net::Connection;
use mp_os::clock::Deadline;
use mp_os::poll;

use super::numbers::Numbers;
use super::wire::{self, MOST_RELEASES, ToServer};

/// The client's side: what all its connections have in common.
pub(crate) struct Session {
    /// By which further connections join it.
    pub(crate) number: u128,
    lifeline: Mutex<Lifeline>,
    /// A forked copy has the same sockets, and must not use them.
    owner: u32,
}

/// The first connection.
struct Lifeline {
    connection: Connection,
    /// The references that were dropped, of which the server was not told.
    dropped: Vec<u64>,
}

impl Session {
    pub(crate) fn new(number: u128, connection: Connection) -> Arc<Self> {
        Arc::new(Self {
            number,
            lifeline: Mutex::new(Lifeline {
                connection,
                dropped: Vec::new(),
            }),
            owner: std::process::id(),
        })
    }

    /// Whether it belongs to this process.
    pub(crate) fn is_own(&self) -> bool {
        self.owner == std::process::id()
    }

    /// Whether the server, or the way to it, is gone.
    pub(crate) fn is_over(&self) -> bool {
        // The server says nothing on it after the welcome.
        poll::wait_readable(&self.lifeline().connection, Deadline::PASSED).unwrap_or(true)
    }

    /// Tells the server of a reference that is dropped, if the socket has room: else with the next.
    fn release(&self, number: u64) {
        if !self.is_own() {
            return;
        }
        let mut lifeline = self.lifeline();
        let Lifeline {
            connection,
            dropped,
        } = &mut *lifeline;
        dropped.push(number);
        // Then there is room for a whole frame. A connection that has ended releases all.
        while !dropped.is_empty()
            && poll::wait_writable(&*connection, Deadline::PASSED).unwrap_or(false)
        {
            let from = dropped.len().saturating_sub(MOST_RELEASES);
            let sent = wire::write(&ToServer::Release(Numbers(dropped.split_off(from))))
                .and_then(|frame| connection.send_bytes_timeout(&frame, Deadline::PASSED));
            if sent.is_err() {
                return;
            }
        }
    }

    fn lifeline(&self) -> MutexGuard<'_, Lifeline> {
        self.lifeline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Session").finish_non_exhaustive()
    }
}

/// What stands at the client for a descriptor in the server's table.
#[derive(Debug)]
pub(crate) struct Reference {
    session: Arc<Session>,
    number: u64,
}

impl Reference {
    /// The server's table has this number for it.
    pub(crate) fn new(session: &Arc<Session>, number: u64) -> Arc<Self> {
        let session = Arc::clone(session);
        Arc::new(Self { session, number })
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn is_of(&self, session: &Arc<Session>) -> bool {
        Arc::ptr_eq(&self.session, session)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.session.release(self.number);
    }
}

/// The server's side: what a client has references to.
#[derive(Debug)]
pub(crate) struct Table {
    files: Mutex<Files>,
    /// Descriptors from this number on are kept free.
    limit: u64,
}

#[derive(Debug, Default)]
struct Files {
    by_number: HashMap<u64, Arc<OwnedFd>>,
    last: u64,
    /// The lifeline has ended: nothing would release what came now.
    is_over: bool,
}

impl Table {
    pub(crate) fn new(limit: u64) -> Self {
        let files = Mutex::default();
        Self { files, limit }
    }

    /// Keeps a descriptor; returns its number. A session has at most as many as it leaves free: no
    /// client alone can take what the others need.
    pub(crate) fn insert(&self, file: Arc<OwnedFd>) -> Result<u64> {
        let next = u64::try_from(file.as_raw_fd()).unwrap_or(0);
        let free = self.limit.saturating_sub(next);
        let mut files = self.files();
        if files.is_over {
            return Err(over());
        }
        if files.by_number.len() as u64 >= free {
            return Err(exhausted(self.limit));
        }
        files.last += 1;
        let number = files.last;
        files.by_number.insert(number, file);
        Ok(number)
    }

    pub(crate) fn get(&self, number: u64) -> Result<Arc<OwnedFd>> {
        let files = self.files();
        if files.is_over {
            return Err(over());
        }
        let found = files.by_number.get(&number).map(Arc::clone);
        found.ok_or_else(|| {
            Error::new(ErrorKind::Decode, "receive", "a request").with_detail(format!(
                "the client has no reference {number}, or has released it"
            ))
        })
    }

    pub(crate) fn release(&self, numbers: &[u64]) {
        let mut files = self.files();
        for number in numbers {
            files.by_number.remove(number);
        }
    }

    /// Ends the session.
    pub(crate) fn end(&self) {
        let ended = Files {
            is_over: true,
            ..Files::default()
        };
        let files = std::mem::replace(&mut *self.files(), ended);
        drop(files);
    }

    /// How many descriptors it has.
    #[cfg(fuzzing)]
    pub(crate) fn len(&self) -> usize {
        self.files().by_number.len()
    }

    /// Whether the session has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.files().is_over
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session's first connection has ended, and with it all that belonged to it.
#[cold]
pub(crate) fn over() -> Error {
    Error::new(ErrorKind::Closed, "ask", "a manager")
        .with_detail("the session has ended; connect again")
}

/// The server keeps the rest of its descriptors free.
#[cold]
pub(crate) fn exhausted(limit: u64) -> Error {
    Error::new(ErrorKind::TooManyDescriptors, "ask", "a manager").with_detail(format!(
        "its server has {limit} descriptors for the connections and proxies of its clients, and this client has as many \
         as are left of them; drop some proxies, or raise ulimit -Hn before its owner starts"
    ))
}
