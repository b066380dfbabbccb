//! Results of children that closed the socket to their parent, and so connect to it by name.
//!
//! # Invariants
//!
//! - I1: a child's number is in `children` from its start until just before it is reaped, except
//!   while `starting` counts its start: then the child may run and connect before its number is
//!   noted.
//! - I2: an accepted connection is kept only if it can be a child's: its process's number is in
//!   `children`, or a start is under way. Of the latter at most [`UNKNOWN_MAX`] are kept.
//!
//! # If a process dies
//!
//! What a child sent before its end stays in its connection. A process that connects and is no
//! child cannot hold more than I2 allows: its connection is closed when it is found, at the next
//! start or end of a child.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mp_os::listener::{Accepted, BACKLOG, Listener};

use crate::outcome::Outcome;

/// Connections that are kept while it is not known whether their processes are children; more than
/// the starts that a process has under way together.
const UNKNOWN_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct LateResults {
    /// `None` in a sandbox that forbids it: then only the usual way is left.
    listener: Option<Listener>,
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    /// Starts that are under way.
    starting: usize,
    /// Children that have not been reaped. A number may be in it twice where the kernel reaps by
    /// itself.
    children: Vec<u32>,
    /// At most one of each process: the latest.
    accepted: Vec<Accepted>,
}

/// A start that is under way.
#[derive(Debug)]
pub(crate) struct Starting<'a>(&'a LateResults);

impl LateResults {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            listener: made_or_forbidden(Listener::new())?,
            connections: Mutex::default(),
        })
    }

    /// Where a child connects; empty if there is no listener.
    pub(crate) fn listener_name(&self) -> &[u8] {
        self.listener.as_ref().map_or(&[], Listener::name)
    }

    /// Counts a start that begins. Closes what other processes than children have connected, so
    /// that it fills neither this process nor the kernel's queue, in which children wait.
    pub(crate) fn starting(&self) -> Starting<'_> {
        let mut connections = self.locked();
        // Without descriptors the start itself fails, or what waits is accepted later.
        drop(self.accept_all(&mut connections));
        connections.starting += 1;
        Starting(self)
    }

    /// The outcome that the child `pid`, which has ended, left here; `None` if it left none.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE` if connections wait that cannot be accepted: one of them may be this
    /// child's.
    pub(crate) fn outcome_of(&self, pid: u32) -> io::Result<Option<Outcome>> {
        let mut connections = self.locked();
        let accepted = self.accept_all(&mut connections);
        let mut waiting = connections.accepted.iter();
        if let Some(place) = waiting.position(|one| one.pid == Some(pid)) {
            let found = connections.accepted.swap_remove(place);
            return Ok(Outcome::receive(found.socket.as_fd()));
        }
        accepted.map(|()| None)
    }

    /// Forgets a child that is reaped next, and closes its connection.
    pub(crate) fn forget(&self, pid: u32) {
        let mut connections = self.locked();
        let place = connections.children.iter().position(|child| *child == pid);
        if let Some(place) = place {
            connections.children.swap_remove(place);
        }
        connections.close_strangers();
    }

    /// Accepts what waits. The connection of a child that has ended is among these, as no more can
    /// wait.
    fn accept_all(&self, connections: &mut Connections) -> io::Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        for _ in 0..=BACKLOG {
            match listener.accept()? {
                Some(next) => connections.keep(next),
                None => break,
            }
        }
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Starting<'_> {
    /// Notes the child that was started.
    pub(crate) fn started(self, pid: u32) {
        self.0.locked().children.push(pid);
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        let mut connections = self.0.locked();
        connections.starting -= 1;
        connections.close_strangers();
    }
}

impl Connections {
    /// Keeps a connection that can be a child's, and closes every other.
    fn keep(&mut self, next: Accepted) {
        let Some(pid) = next.pid else { return };
        let is_child = self.children.contains(&pid);
        if !is_child && self.starting == 0 {
            return;
        }
        // A number comes again only after its last bearer was reaped.
        self.accepted.retain(|one| one.pid != next.pid);
        if !is_child {
            self.close_oldest_unknown();
        }
        self.accepted.push(next);
    }

    /// Makes room for one more connection of a process that is not known.
    fn close_oldest_unknown(&mut self) {
        let unknown = |one: &Accepted| !is_of(one, &self.children);
        if self.accepted.iter().filter(|one| unknown(one)).count() >= UNKNOWN_MAX
            && let Some(oldest) = self.accepted.iter().position(unknown)
        {
            self.accepted.remove(oldest);
        }
    }

    /// Closes the connections of processes that are no children, once that is known of all.
    fn close_strangers(&mut self) {
        if self.starting == 0 {
            let children = &self.children;
            self.accepted.retain(|one| is_of(one, children));
        }
    }
}

fn is_of(connection: &Accepted, children: &[u32]) -> bool {
    connection.pid.is_some_and(|pid| children.contains(&pid))
}

/// Without descriptors nothing else can be started either; what else fails is forbidden here.
fn made_or_forbidden(made: io::Result<Listener>) -> io::Result<Option<Listener>> {
    match made {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            Err(error)
        }
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use mp_os::clock::Deadline;
    use mp_os::{listener, socket};
    use mp_testkit::Forked;

    use super::*;

    /// Connections of processes of their own, which have ended and sent nothing.
    fn connect_silently(late: &LateResults, count: usize) {
        let me = std::process::id();
        let connect = || {
            let socket = listener::connect(late.listener_name(), me, Deadline::PASSED);
            socket.is_ok()
        };
        let clients: Vec<_> = (0..count).map(|_| Forked::new(connect)).collect();
        assert!(clients.iter().all(Forked::succeeds));
    }

    fn kept(late: &LateResults) -> usize {
        late.locked().accepted.len()
    }

    #[test]
    fn silent_connections_of_strangers_do_not_stay_open() {
        let late = LateResults::new().unwrap();
        connect_silently(&late, 200);
        let me = std::process::id();
        let own = listener::connect(late.listener_name(), me, Deadline::PASSED).unwrap();
        assert!(late.outcome_of(1).unwrap().is_none());
        assert_eq!(kept(&late), 0);
        let closed = socket::recv_deadline(&own, &mut [0; 8], Deadline::PASSED).unwrap();
        assert_eq!(closed.len, 0);
        connect_silently(&late, 1);
        drop(late.starting());
        assert_eq!(kept(&late), 0, "the next start closes them as well");
    }

    #[test]
    fn silent_connections_during_a_start_are_bounded_and_closed_after_it() {
        let late = LateResults::new().unwrap();
        let start = late.starting();
        connect_silently(&late, 200);
        assert!(late.outcome_of(1).unwrap().is_none());
        assert_eq!(kept(&late), UNKNOWN_MAX);
        start.started(1);
        assert_eq!(kept(&late), 0);
    }

    #[test]
    fn a_child_that_connects_before_its_start_is_over_is_heard() {
        let late = LateResults::new().unwrap();
        let (start, other) = (late.starting(), late.starting());
        let me = std::process::id();
        let child = Forked::new(|| {
            let socket = listener::connect(late.listener_name(), me, Deadline::PASSED).unwrap();
            Outcome::returned(&7_u8, Vec::new())
                .send(socket.as_fd())
                .is_ok()
        });
        assert!(child.succeeds());
        assert!(late.outcome_of(1).unwrap().is_none());
        other.started(1);
        assert_eq!(kept(&late), 1, "another start is under way");
        start.started(child.pid());
        assert_eq!(kept(&late), 1);
        let outcome = late.outcome_of(child.pid()).unwrap().expect("it was sent");
        assert_eq!(outcome.decode::<u8>("w").unwrap(), 7);
        late.forget(child.pid());
        assert_eq!(late.locked().children, [1]);
    }
}
