//! Socket pairs that keep messages whole and carry descriptors.
//!
//! All calls work on blocking and non-blocking sockets alike: they never block in the kernel
//! except in `poll`, up to the deadline.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv as recv_raw, recvmsg, sendmsg, socketpair, sockopt,
};

use crate::clock::Deadline;
use crate::ready;

/// The most descriptors one message carries (the kernel's `SCM_MAX_FD`).
pub const MAX_FDS: usize = 253;

const CONTROL_SIZE: usize = rustix::cmsg_space!(ScmRights(MAX_FDS));

/// A message as it came.
#[derive(Debug)]
pub struct Received {
    /// The bytes of the message, at the start of the buffer; 0 means that the other end closed.
    pub len: usize,
    /// Its descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// A message that was looked at, and is still there.
#[derive(Debug)]
pub struct Peeked {
    /// Its bytes, at the start of the buffer, as far as they fit; 0 means that the other end
    /// closed.
    pub len: usize,
    /// Duplicates of its descriptors, close-on-exec; the message keeps its own.
    pub fds: Vec<OwnedFd>,
    /// Whether it has more descriptors, for which this process has no room (`ulimit -n`).
    pub is_cut: bool,
}

/// Two connected `SOCK_SEQPACKET` sockets, close-on-exec: each message arrives whole and alone.
///
/// # Errors
///
/// `EMFILE` or `ENFILE` without free descriptors.
///
/// # Examples
///
/// ```no_run
/// use mp_os::socket;
/// use std::os::fd::AsFd;
///
/// let (left, right) = socket::pair()?;
/// socket::send(&left, b"take this", &[left.as_fd()])?;
/// let mut buffer = [0; 64];
/// let message = socket::recv(&right, &mut buffer)?;
/// assert_eq!((&buffer[..message.len], message.fds.len()), (&b"take this"[..], 1));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one message with descriptors. Blocks until there is room.
///
/// # Errors
///
/// As for [`send_deadline`], which lists them, without `TimedOut`.
pub fn send(fd: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_deadline(fd, bytes, fds, Deadline::NEVER)
}

/// Sends one message with descriptors. All of it or nothing is sent.
///
/// # Errors
///
/// `InvalidInput` for an empty message or more than [`MAX_FDS`] descriptors, `TimedOut` if there
/// was no room by the deadline, `EPIPE` (no signal) if the other end closed, `EMSGSIZE` if the
/// message is larger than the socket's buffer.
pub fn send_deadline(
    fd: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> io::Result<()> {
    check(bytes, fds)?;
    let fd = fd.as_fd();
    loop {
        match send_now(fd, bytes, fds) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(fd, PollFlags::OUT, deadline, "no room for a message")?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends one message with descriptors if there is room for it now.
///
/// # Errors
///
/// `WouldBlock` if there is no room, `ETOOMANYREFS` if this user's messages on their way hold as
/// many descriptors as this process may have open (the kernel asks it of processes without
/// `CAP_SYS_RESOURCE`), and those of [`send_deadline`] without `TimedOut`.
///
/// # Examples
///
/// ```
/// use mp_os::socket;
///
/// # if cfg!(miri) { return Ok(()) }
/// let (left, _right) = socket::pair()?;
/// let full = loop {
///     if let Err(error) = socket::try_send(&left, b"no one reads", &[]) {
///         break error;
///     }
/// };
/// assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn try_send(fd: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    check(bytes, fds)?;
    loop {
        match send_now(fd.as_fd(), bytes, fds) {
            Err(Errno::INTR) => {}
            sent => return Ok(sent?),
        }
    }
}

/// Whether this is the error of [`try_send`] for a user who has too many descriptors on their way.
#[must_use]
pub fn is_over_the_users_limit(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ETOOMANYREFS)
}

fn check(bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if bytes.is_empty() {
        return invalid("an empty message would look like a closed socket".into());
    }
    if fds.len() > MAX_FDS {
        return invalid(format!(
            "a message carries at most {MAX_FDS} descriptors, not {}; send several",
            fds.len()
        ));
    }
    Ok(())
}

fn send_now(fd: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); CONTROL_SIZE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOMANYREFS);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(fd, &[IoSlice::new(bytes)], &mut control, flags).map(drop)
}

/// Receives one message with its descriptors. Blocks until one comes.
///
/// # Errors
///
/// As for [`recv_deadline`], which lists them, without `TimedOut`.
pub fn recv(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    recv_deadline(fd, buffer, Deadline::NEVER)
}

/// Receives one message with its descriptors; a length of 0 means that the other end closed.
///
/// # Errors
///
/// `TimedOut` if nothing came by the deadline; `InvalidData` if the message did not fit the buffer
/// or its descriptors did not fit this process's limit (`ulimit -n`): the message and all its
/// descriptors are gone then.
pub fn recv_deadline(fd: impl AsFd, buffer: &mut [u8], deadline: Deadline) -> io::Result<Received> {
    let fd = fd.as_fd();
    loop {
        match recv_now(fd, buffer, RecvFlags::empty()) {
            Ok((received, flags)) => return whole(received, flags, buffer.len()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(fd, PollFlags::IN, deadline, "no message came")?,
            // What the end of a socket pair answers whose other end closed with bytes unread.
            Err(Errno::CONNRESET) => {
                return Ok(Received {
                    len: 0,
                    fds: Vec::new(),
                });
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn recv_now(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> Result<(Received, ReturnFlags), Errno> {
    let mut space = [MaybeUninit::uninit(); CONTROL_SIZE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(fd, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    Ok((
        Received {
            len: message.bytes,
            fds,
        },
        message.flags,
    ))
}

fn whole(received: Received, flags: ReturnFlags, room: usize) -> io::Result<Received> {
    let lost = |text: String| Err(io::Error::new(io::ErrorKind::InvalidData, text));
    if flags.contains(ReturnFlags::TRUNC) {
        return lost(format!(
            "the message is larger than the buffer of {room} bytes"
        ));
    }
    if flags.contains(ReturnFlags::CTRUNC) {
        return lost(format!(
            "only {} of the message's descriptors fit this process; raise ulimit -n",
            received.fds.len()
        ));
    }
    Ok(received)
}

/// The length of the next message, left where it is; `None` if there is none yet, 0 if the other
/// end closed.
///
/// # Errors
///
/// What `recv` reports.
pub fn peek(fd: impl AsFd) -> io::Result<Option<usize>> {
    let flags = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
    let mut none = [0u8; 0];
    loop {
        match recv_raw(fd.as_fd(), &mut none[..], flags) {
            Ok((_, len)) => return Ok(Some(len)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::CONNRESET) => return Ok(Some(0)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Copies the start of the next message into `start` and leaves the message where it is; how many
/// bytes it was. 0 if the other end closed.
///
/// # Errors
///
/// `EAGAIN` if there is no message yet.
pub fn peek_start(fd: impl AsFd, start: &mut [u8]) -> io::Result<usize> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    loop {
        match recv_raw(fd.as_fd(), &mut *start, flags) {
            Ok((len, _)) => return Ok(len),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Copies the start of the next message into `start`, duplicates its descriptors, and leaves the
/// message whole where it is; `None` if there is none yet.
///
/// # Errors
///
/// What `recvmsg` reports.
///
/// # Examples
///
/// ```
/// use mp_os::socket;
/// use std::os::fd::AsFd;
///
/// # if cfg!(miri) { return Ok(()) }
/// let (left, right) = socket::pair()?;
/// socket::try_send(&left, b"look", &[left.as_fd()])?;
/// for _ in 0..2 {
///     let peeked = socket::peek_message(&right, &mut [0; 4])?.expect("a message");
///     assert_eq!((peeked.len, peeked.fds.len()), (4, 1));
/// }
/// assert!(socket::discard(&right)?);
/// assert!(socket::peek_message(&right, &mut [0; 4])?.is_none());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn peek_message(fd: impl AsFd, start: &mut [u8]) -> io::Result<Option<Peeked>> {
    loop {
        match recv_now(fd.as_fd(), start, RecvFlags::PEEK) {
            Ok((Received { len, fds }, flags)) => {
                let is_cut = flags.contains(ReturnFlags::CTRUNC);
                return Ok(Some(Peeked { len, fds, is_cut }));
            }
            Err(Errno::AGAIN) => return Ok(None),
            // Said once by an end whose other end closed with messages unread.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes the next message and closes its descriptors, which this process never gets; whether
/// there was one.
///
/// # Errors
///
/// What `recv` reports.
pub fn discard(fd: impl AsFd) -> io::Result<bool> {
    discard_reading(fd, &mut [])
}

/// Does what [`discard`] does, and reads the start of the message; `start` stays as it is after a
/// shorter message's end.
///
/// # Errors
///
/// What `recv` reports.
pub fn discard_reading(fd: impl AsFd, start: &mut [u8]) -> io::Result<bool> {
    loop {
        // The length of the whole message: 0 only if the other end closed.
        match recv_raw(
            fd.as_fd(),
            &mut *start,
            RecvFlags::TRUNC | RecvFlags::DONTWAIT,
        ) {
            Ok((_, len)) => return Ok(len != 0),
            Err(Errno::AGAIN) => return Ok(false),
            // Said once by an end whose other end closed with messages unread.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Lets the socket hold as many messages on their way as the system allows (`net.core.wmem_max`).
///
/// # Errors
///
/// What `setsockopt` reports.
pub fn hold_the_most(fd: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_socket_send_buffer_size(fd, i32::MAX as usize)?)
}

/// How many messages of a few bytes the socket holds on their way. Their descriptors do not count.
///
/// It is the socket's buffer divided by what the kernel says one message takes, which is measured
/// with one.
///
/// # Errors
///
/// Those of [`pair`], and what the kernel reports of the socket.
///
/// # Examples
///
/// ```
/// use mp_os::socket;
///
/// # if cfg!(miri) { return Ok(()) }
/// let (left, _right) = socket::pair()?;
/// let most = socket::message_capacity(&left)?;
/// let sent = (0..).take_while(|_| socket::try_send(&left, &[0; 8], &[]).is_ok());
/// assert_eq!(sent.count(), most);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn message_capacity(fd: impl AsFd) -> io::Result<usize> {
    let (one, _other) = pair()?;
    try_send(&one, &[0; 8], &[])?;
    let size = size_on_the_way(&one)?.max(1);
    // A message is taken while less than the whole buffer is in use.
    Ok(sockopt::socket_send_buffer_size(fd)?.div_ceil(size))
}

/// Bytes of the socket's buffer that are taken by messages which it sent and which were not
/// received yet.
///
/// # Errors
///
/// What the kernel reports of the socket.
pub fn size_on_the_way(fd: impl AsFd) -> io::Result<usize> {
    let fd = fd.as_fd().as_raw_fd();
    let mut size: libc::c_int = 0;
    // SAFETY: the kernel writes one int to `size`.
    let asked = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut size) };
    if asked != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(size).unwrap_or(0))
}

/// Whether the process that made the other end of a pair was of this process's user then.
///
/// That process may be outside this process's PID namespace, as the parent of the first process
/// inside is.
#[must_use]
pub fn peer_is_same_user(fd: impl AsFd) -> bool {
    peer(fd).is_ok_and(|peer| peer.is_same_user())
}

/// The process at the other end, as it was when the two were connected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// `None` if it is outside this process's PID namespace, where the kernel says 0.
    pub(crate) pid: Option<u32>,
    uid: libc::uid_t,
}

impl Peer {
    pub(crate) fn is_same_user(self) -> bool {
        self.uid == rustix::process::geteuid().as_raw()
    }
}

/// Asks the kernel itself: rustix's answer holds a number that is not 0, which this one can be.
pub(crate) fn peer(fd: impl AsFd) -> io::Result<Peer> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    let place = (&raw mut credentials).cast();
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `size` bytes to `place`, which has them, and any bytes are
    // credentials.
    let got = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            place,
            &raw mut size,
        )
    };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Peer {
        pid: u32::try_from(credentials.pid).ok().filter(|pid| *pid != 0),
        uid: credentials.uid,
    })
}

/// Device and inode of an open file: another file that gets the number of a closed descriptor has
/// others.
///
/// # Errors
///
/// `EBADF` if the descriptor is closed.
pub fn device_and_inode(fd: impl AsFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Whether the descriptor is a UNIX `SOCK_SEQPACKET` socket.
#[must_use]
pub fn is_seqpacket(fd: impl AsFd) -> bool {
    let fd = fd.as_fd();
    sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
}

fn wait(
    fd: BorrowedFd<'_>,
    wanted: PollFlags,
    deadline: Deadline,
    late: &'static str,
) -> io::Result<()> {
    if ready::wait(fd, wanted, deadline)?.is_empty() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, late));
    }
    Ok(())
}
