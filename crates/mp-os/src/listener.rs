//! A socket that other processes of this user reach by its name, without any descriptor of ours.
//!
//! The kernel chooses the name, in the abstract namespace of sockets, and frees it with the
//! descriptor.
//!
//! # If a process dies
//!
//! What a process that connected had sent stays to be read after its end. A listener that dies
//! refuses later connections.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, getsockname, listen,
    socket_with, sockopt,
};

use crate::clock::Deadline;
use crate::{ready, socket};

/// How many connections wait to be accepted at most, or fewer as `net.core.somaxconn` says (4096
/// since Linux 5.4).
pub const BACKLOG: i32 = 4096;

/// What is left of a deadline between two looks at the clock; none would be no limit.
const SHORTEST_WAIT: Duration = Duration::from_micros(1);

/// A listening `SOCK_SEQPACKET` socket, close-on-exec and non-blocking.
///
/// # Examples
///
/// ```no_run
/// use mp_os::clock::Deadline;
/// use mp_os::listener::{self, Listener};
/// use mp_os::socket;
///
/// let listener = Listener::new()?;
/// let connected = listener::connect(listener.name(), std::process::id(), Deadline::PASSED)?;
/// socket::send(&connected, b"hello", &[])?;
/// drop(connected);
/// let accepted = listener.accept()?.expect("a connection waits");
/// assert_eq!(accepted.pid, Some(std::process::id()));
/// let mut buffer = [0; 8];
/// assert_eq!(socket::recv(&accepted.socket, &mut buffer)?.len, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    name: Vec<u8>,
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The number of the process that connected; `None` for a process of another user or outside
    /// this process's PID namespace.
    pub pid: Option<u32>,
    /// This end of the connection.
    pub socket: OwnedFd,
}

impl Listener {
    /// Listens under a name that no other socket has.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE` without free descriptors; what a sandbox answers that forbids sockets.
    pub fn new() -> io::Result<Self> {
        let socket = open()?;
        bind(&socket, &SocketAddrUnix::new_unnamed())?;
        listen(&socket, BACKLOG)?;
        let address = SocketAddrUnix::try_from(getsockname(&socket)?)?;
        let name = address.abstract_name().unwrap_or_default().to_vec();
        Ok(Self { socket, name })
    }

    /// The name, for [`connect`].
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The next connection that waits; `None` if there is none.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE` if one waits and there is no free descriptor.
    pub fn accept(&self) -> io::Result<Option<Accepted>> {
        loop {
            // Without a free descriptor `accept` fails even if nothing waits.
            if ready::wait(self.socket.as_fd(), PollFlags::IN, Deadline::PASSED)?.is_empty() {
                return Ok(None);
            }
            match accept_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    let peer = socket::peer(&socket)?;
                    let pid = peer.pid.filter(|_| peer.is_same_user());
                    return Ok(Some(Accepted { pid, socket }));
                }
                Err(Errno::AGAIN) => return Ok(None),
                // A connection that ended before it was accepted is followed by others.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Connects to the listener `name` of the process that has the number `pid`. Where [`BACKLOG`]
/// connections wait there, it waits until one is accepted.
///
/// # Errors
///
/// `ECONNREFUSED` if there is no such listener, `TimedOut` if it had no room by the deadline,
/// `PermissionDenied` if the name is another process's.
pub fn connect(name: &[u8], pid: u32, deadline: Deadline) -> io::Result<OwnedFd> {
    let socket = open()?;
    connect_socket(&socket, &SocketAddrUnix::new_abstract_name(name)?, deadline)?;
    if socket::peer(&socket)?.pid != Some(pid) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("the listener is not that of process {pid}"),
        ));
    }
    Ok(socket)
}

/// Connects a UNIX socket. Where as many connections wait at the listener as it has room for, it
/// waits until one is accepted. The socket may be left blocking.
///
/// # Errors
///
/// `TimedOut` if the listener had no room by the deadline, and what `connect` reports.
pub fn connect_socket(
    socket: impl AsFd,
    address: &SocketAddrUnix,
    deadline: Deadline,
) -> io::Result<()> {
    let socket = socket.as_fd();
    loop {
        // The kernel waits for room on blocking sockets only, up to the time limit of sending.
        let is_last = deadline.is_expired();
        rustix::io::ioctl_fionbio(socket, is_last)?;
        if !is_last {
            let left = deadline.of_one_call().remaining();
            let left = left.map(|left| left.max(SHORTEST_WAIT));
            sockopt::set_socket_timeout(socket, sockopt::Timeout::Send, left)?;
        }
        match rustix::net::connect(socket, address) {
            Ok(()) => return Ok(()),
            Err(Errno::AGAIN) if is_last => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "as many connections wait at the listener as it has room for",
                ));
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn open() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}
