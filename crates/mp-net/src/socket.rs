//! Stream sockets that never block in the kernel, except while they connect.

use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::Deadline;
use mp_os::listener::{BACKLOG, connect_socket};
use mp_os::poll;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType, acceptfrom_with, bind, connect, getsockname, listen, recv, sendmsg,
    shutdown, socket_with, sockopt,
};

use crate::Address;

/// After so long without a byte the kernel asks whether the machine at the other end is there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// The time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// So many that are not answered end the connection.
const KEEPALIVE_COUNT: u32 = 3;

/// Listens at an address.
pub(crate) fn listen_at(address: &Address) -> Result<OwnedFd> {
    let os = |error: Errno| Error::os("listen at", address.to_string(), error.into());
    let socket = open(address).map_err(os)?;
    let bound = match (address, address.to_unix("listen at")?) {
        (Address::Tcp(address), _) => {
            // Or the port of a listener that has ended stays taken for a minute.
            sockopt::set_socket_reuseaddr(&socket, true).and_then(|()| bind(&socket, address))
        }
        (_, Some(address)) => bind(&socket, &address),
        _ => Err(Errno::AFNOSUPPORT),
    };
    match bound.and_then(|()| listen(&socket, BACKLOG)) {
        Ok(()) => Ok(socket),
        Err(Errno::ADDRINUSE) => Err(taken(address)),
        Err(error) => Err(os(error)),
    }
}

/// Listens at an abstract name that the kernel chooses.
pub(crate) fn listen_anywhere() -> Result<OwnedFd> {
    let listening = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&socket, &SocketAddrUnix::new_unnamed())?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    listening().map_err(|error: Errno| Error::os("listen at", "a new address", error.into()))
}

/// Says what is there. Only a file that no process listens at may be removed.
#[cold]
fn taken(address: &Address) -> Error {
    let why = match (address, connect_to(address, Deadline::PASSED)) {
        (_, Ok(_)) => "a process listens there already".into(),
        // Its queue is full.
        (_, Err(error)) if error.kind() == ErrorKind::TimedOut => {
            "a process listens there already".into()
        }
        (Address::Path(_), Err(error)) if error.kind() == ErrorKind::NotFound => {
            "the file exists and no process listens at it: a listener was killed, or it is another file; remove it".into()
        }
        (Address::Path(_), Err(error)) if is_of_another_type(&error) => {
            "another process has a socket of another type there".into()
        }
        (Address::Path(_), Err(error)) => {
            format!("the file exists; whether a process listens at it could not be found out: {error}")
        }
        _ => "the address is taken".to_owned(),
    };
    Error::new(ErrorKind::AlreadyExists, "listen at", address.to_string()).with_detail(why)
}

/// Whether a path is a socket at which no process listens.
pub(crate) fn is_abandoned(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    is_socket
        && connect_to(&Address::Path(path.to_owned()), Deadline::PASSED)
            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Whether the socket at an address is one of datagrams or packets.
fn is_of_another_type(error: &Error) -> bool {
    let source = core::error::Error::source(error);
    let source = source.and_then(|source| source.downcast_ref::<io::Error>());
    source.and_then(io::Error::raw_os_error) == Some(Errno::PROTOTYPE.raw_os_error())
}

/// The address that a socket has.
pub(crate) fn address_of(socket: impl AsFd) -> Result<Address> {
    let os = |error: Errno| Error::os("ask for the address of", "a socket", error.into());
    let address = getsockname(socket).map_err(os)?;
    if let Ok(address) = address.clone().try_into() {
        return Ok(Address::Tcp(address));
    }
    let address = SocketAddrUnix::try_from(address).map_err(os)?;
    Ok(Address::Abstract(
        address.abstract_name().unwrap_or_default().to_vec(),
    ))
}

/// The next connection that waits, with its address if it has one; `None` if there is none.
pub(crate) fn accept(socket: impl AsFd) -> rustix::io::Result<Option<(OwnedFd, Option<Address>)>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        match acceptfrom_with(&socket, flags) {
            Ok((accepted, address)) => {
                let address = address.and_then(|address| address.try_into().ok());
                // A client that is gone already is followed by others.
                if address.is_some() && prepare_tcp(&accepted).is_err() {
                    continue;
                }
                return Ok(Some((accepted, address.map(Address::Tcp))));
            }
            Err(Errno::AGAIN) => return Ok(None),
            // Without a free descriptor it fails even if nothing waits.
            Err(Errno::MFILE | Errno::NFILE)
                if poll::wait_readable(&socket, Deadline::PASSED).is_ok_and(|waits| !waits) =>
            {
                return Ok(None);
            }
            // What became of one connection before it was accepted; accept(2) lists them.
            Err(
                Errno::INTR
                | Errno::CONNABORTED
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH,
            ) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Connects to a listener.
pub(crate) fn connect_to(address: &Address, deadline: Deadline) -> Result<OwnedFd> {
    let os = |source: io::Error| match source.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, "connect to", address.to_string())
                .with_detail("no process listens there")
        }
        _ => Error::os("connect to", address.to_string(), source),
    };
    let socket = open(address).map_err(|error| os(error.into()))?;
    match (address, address.to_unix("connect to")?) {
        (Address::Tcp(address), _) => {
            connect_tcp(&socket, address, deadline).map_err(os)?;
            prepare_tcp(&socket).map_err(|error| os(error.into()))?;
        }
        (_, Some(address)) => {
            connect_socket(&socket, &address, deadline).map_err(os)?;
            rustix::io::ioctl_fionbio(&socket, true).map_err(|error| os(error.into()))?;
        }
        _ => return Err(os(Errno::AFNOSUPPORT.into())),
    }
    Ok(socket)
}

fn connect_tcp(
    socket: &OwnedFd,
    address: &std::net::SocketAddr,
    deadline: Deadline,
) -> io::Result<()> {
    match connect(socket, address) {
        Ok(()) => return Ok(()),
        Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    if !poll::wait_writable(socket, deadline)? {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the machine does not answer",
        ));
    }
    Ok(sockopt::socket_error(socket)??)
}

/// Small messages go out immediately, and a machine that is gone is noticed within a minute; not
/// while what was sent to it is on its way, when no question is asked.
pub(crate) fn prepare_tcp(socket: impl AsFd) -> rustix::io::Result<()> {
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_COUNT)
}

fn open(address: &Address) -> rustix::io::Result<OwnedFd> {
    let family = match address {
        Address::Path(_) | Address::Abstract(_) => AddressFamily::UNIX,
        Address::Tcp(address) if address.is_ipv4() => AddressFamily::INET,
        Address::Tcp(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::STREAM, flags, None)
}

/// What one look at a socket gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The other end is closed, and everything was received.
    End,
}

/// Receives what is there into `buffer`, which is not empty.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> rustix::io::Result<Got> {
    loop {
        match recv(&socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(Got::End),
            Ok((len, _)) => return Ok(Got::Bytes(len)),
            Err(Errno::AGAIN) => return Ok(Got::Nothing),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends as much of the two parts as there is room for; 0 if there is none.
pub(crate) fn send(socket: impl AsFd, parts: [&[u8]; 2]) -> rustix::io::Result<usize> {
    let parts = parts.map(IoSlice::new);
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match sendmsg(&socket, &parts, &mut SendAncillaryBuffer::default(), flags) {
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            sent => return sent,
        }
    }
}

/// What an error says of which [`is_lost`] is true.
pub(crate) const LOST: &str = "the connection to the other machine was lost";

/// Whether the other machine, or the way to it, no longer answers. It is the kernel that has lost
/// its patience: the caller's timeout may have none.
pub(crate) fn is_lost(error: Errno) -> bool {
    [Errno::TIMEDOUT, Errno::HOSTUNREACH, Errno::NETUNREACH].contains(&error)
}

/// Tells the other end that nothing more comes, and takes nothing more from it.
pub(crate) fn hang_up(socket: impl AsFd) {
    // It fails only if the other end is gone already.
    let _gone = shutdown(socket, Shutdown::Both);
}
