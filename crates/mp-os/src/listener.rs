//! A socket that other processes of this user reach by its name, without any descriptor of ours.
//!
//! The kernel chooses the name, in the abstract namespace of sockets, and frees it with the descriptor.
//!
//! # If a process dies
//!
//! What a process that connected had sent stays to be read after its end. A listener that dies refuses later connections.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, getsockname, listen,
    socket_with,
};

use crate::clock::Deadline;
use crate::{ready, socket};

/// As many connections as the kernel lets wait (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A listening `SOCK_SEQPACKET` socket, close-on-exec and non-blocking.
///
/// # Examples
///
/// ```no_run
/// use mp_os::listener::{self, Listener};
/// use mp_os::socket;
///
/// let listener = Listener::new()?;
/// let connected = listener::connect(listener.name(), std::process::id())?;
/// socket::send(&connected, b"hello", &[])?;
/// drop(connected);
/// let accepted = listener.accept()?.expect("a connection waits");
/// assert_eq!(accepted.pid, std::process::id());
/// let mut buffer = [0; 8];
/// assert_eq!(socket::recv(&accepted.socket, &mut buffer)?.len, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    name: Vec<u8>,
}

/// A connection of a process of this user.
#[derive(Debug)]
pub struct Accepted {
    /// The number of the process that connected.
    pub pid: u32,
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

    /// The next connection that waits; `None` if there is none. Connections of other users, and of
    /// processes outside this process's PID namespace, are dropped.
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
                    if let Some(pid) = peer.pid.filter(|_| peer.is_same_user()) {
                        return Ok(Some(Accepted { pid, socket }));
                    }
                }
                Err(Errno::AGAIN) => return Ok(None),
                // A connection that ended before it was accepted is followed by others.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Connects to the listener `name` of the process that has the number `pid`, without waiting.
///
/// # Errors
///
/// `ECONNREFUSED` if there is none such, `EAGAIN` if 4096 connections wait already, `PermissionDenied` if the name is
/// another process's.
pub fn connect(name: &[u8], pid: u32) -> io::Result<OwnedFd> {
    let socket = open()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(name)?)?;
    if socket::peer(&socket)?.pid != Some(pid) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("the listener is not that of process {pid}"),
        ));
    }
    Ok(socket)
}

fn open() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}
