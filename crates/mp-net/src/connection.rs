//! Two sides that send and receive messages.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};
use mp_object::{Waitable, Watch};
use mp_os::clock::Deadline;
use rustix::net::{AddressFamily, SocketType, sockopt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Receiver, Sender, socket};

/// Bytes of the longest message, unless [`Connection::with_longest`] says otherwise.
const LONGEST: usize = 1 << 30;

/// One side of a connection by a socket, to a process of this machine or of another.
///
/// A message is of any type that serde can write and read with all its fields, in postcard's
/// format; each message may be of another type, and the receiver must ask for the one that was
/// sent. Shared objects stay on their machine: a message with one is refused. Instead of messages,
/// bytes may be sent, also to and from Python (`send_bytes`, `recv_bytes`).
///
/// What a peer sends is checked: it gets an error, or a message. A message may have 1 GiB, and
/// memory is taken as its bytes come. A value may have 500 levels, as in a queue, because
/// one that is deep enough would exhaust the stack.
///
/// # If a process dies
///
/// The kernel closes its side. The other receives what was sent before, then
/// [`Closed`](ErrorKind::Closed), or [`Truncated`](ErrorKind::Truncated) if it died in the middle
/// of a send: half a message is never received. If it died with bytes unread, TCP may lose
/// what it sent last. A machine that is gone says nothing. Its TCP connections end within a minute
/// if all that was sent had arrived; else after about 15 minutes (`net.ipv4.tcp_retries2`), so use
/// the timeouts.
///
/// # Examples
///
/// ```
/// use mp_net::{Client, Listener};
/// use mp_layout::ErrorKind;
///
/// let mut listener = Listener::new(b"a secret")?;
/// let address = listener.address().clone();
/// let client = std::thread::spawn(move || -> mp_layout::Result<u64> {
///     let mut connection = Client::connect(address, b"a secret")?;
///     connection.send(&("sum".to_owned(), vec![1_u64, 2, 3]))?;
///     connection.recv()
/// });
/// let mut connection = listener.accept()?;
/// let (name, numbers): (String, Vec<u64>) = connection.recv()?;
/// assert_eq!(name, "sum");
/// connection.send(&numbers.iter().sum::<u64>())?;
/// assert_eq!(client.join().expect("no panic")?, 6);
/// assert_eq!(connection.recv_bytes().unwrap_err().kind(), ErrorKind::Closed);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    sender: Sender,
    receiver: Receiver,
}

impl Connection {
    /// Takes a non-blocking socket.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        let socket = Arc::new(socket);
        Self {
            sender: Sender::new(Arc::clone(&socket), LONGEST),
            receiver: Receiver::new(socket, LONGEST),
        }
    }

    /// Takes a stream socket that is connected, without a key: one of a pair, an inherited one, or
    /// one whose other end is known by other means.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for what is not a stream socket.
    ///
    /// ```
    /// use mp_net::Connection;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (one, other) = UnixStream::pair().expect("two sockets");
    /// let (mut one, mut other) = (Connection::without_key(one)?, Connection::without_key(other)?);
    /// one.send_bytes(b"hello")?;
    /// assert_eq!(other.recv_bytes()?, b"hello");
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn without_key(socket: impl Into<OwnedFd>) -> Result<Self> {
        let socket = socket.into();
        if sockopt::socket_type(&socket) != Ok(SocketType::STREAM) {
            return Err(
                Error::new(ErrorKind::InvalidInput, "connect by", "a descriptor")
                    .with_detail("it is not a stream socket"),
            );
        }
        if sockopt::socket_domain(&socket) != Ok(AddressFamily::UNIX) {
            socket::prepare_tcp(&socket)
                .map_err(|error| Error::os("connect by", "a socket", error.into()))?;
        }
        rustix::io::ioctl_fionbio(&socket, true)
            .map_err(|error| Error::os("connect by", "a socket", error.into()))?;
        Ok(Self::new(socket))
    }

    /// The same connection with another limit to the length of a message, in bytes: of those that
    /// it sends, and of those that it receives.
    ///
    /// Choose it by the type that is received: what is read may be larger than its message. A
    /// byte makes an empty `String` of 24 bytes, and a list of values without content has any
    /// length.
    #[must_use]
    pub fn with_longest(mut self, longest: usize) -> Self {
        self.sender.longest = longest;
        self.receiver.longest = longest;
        self
    }

    /// The two directions, for two threads.
    ///
    /// ```
    /// # use mp_net::Connection;
    /// # use std::os::unix::net::UnixStream;
    /// # let (one, other) = UnixStream::pair().expect("two sockets");
    /// # let (one, mut other) = (Connection::without_key(one)?, Connection::without_key(other)?);
    /// let (mut sender, mut receiver) = one.into_split();
    /// let reading = std::thread::spawn(move || receiver.recv::<u32>());
    /// sender.send(&5_u32)?;
    /// let five: u32 = other.recv()?;
    /// other.send(&(five + 1))?;
    /// assert_eq!(reading.join().expect("no panic")?, 6);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn into_split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// Sends a message: [`Sender::send`], which lists the errors.
    pub fn send<T: Serialize + DeserializeOwned>(&mut self, message: &T) -> Result<()> {
        self.sender.send(message)
    }

    /// Sends a message: [`Sender::send_timeout`], which lists the errors.
    pub fn send_timeout<T: Serialize + DeserializeOwned>(
        &mut self,
        message: &T,
        timeout: impl Into<Deadline>,
    ) -> Result<()> {
        self.sender.send_timeout(message, timeout)
    }

    /// Sends bytes as they are: [`Sender::send_bytes`], which lists the errors.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.sender.send_bytes(bytes)
    }

    /// Sends bytes as they are: [`Sender::send_bytes_timeout`], which lists the errors.
    pub fn send_bytes_timeout(&mut self, bytes: &[u8], timeout: impl Into<Deadline>) -> Result<()> {
        self.sender.send_bytes_timeout(bytes, timeout)
    }

    /// Receives a message: [`Receiver::recv`], which lists the errors.
    pub fn recv<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.receiver.recv()
    }

    /// Receives a message: [`Receiver::recv_timeout`], which lists the errors.
    pub fn recv_timeout<T: DeserializeOwned>(&mut self, timeout: impl Into<Deadline>) -> Result<T> {
        self.receiver.recv_timeout(timeout)
    }

    /// Receives a message as bytes: [`Receiver::recv_bytes`], which lists the errors.
    pub fn recv_bytes(&mut self) -> Result<Vec<u8>> {
        self.receiver.recv_bytes()
    }

    /// Receives a message as bytes: [`Receiver::recv_bytes_timeout`], which lists the errors.
    pub fn recv_bytes_timeout(&mut self, timeout: impl Into<Deadline>) -> Result<Vec<u8>> {
        self.receiver.recv_bytes_timeout(timeout)
    }

    /// Receives a message as bytes: [`Receiver::recv_bytes_into_timeout`], which lists the errors.
    pub fn recv_bytes_into_timeout(
        &mut self,
        buffer: &mut [u8],
        timeout: impl Into<Deadline>,
    ) -> Result<usize> {
        self.receiver.recv_bytes_into_timeout(buffer, timeout)
    }

    /// Waits for a message: [`Receiver::poll`], which lists the errors.
    pub fn poll(&mut self, timeout: impl Into<Deadline>) -> Result<bool> {
        self.receiver.poll(timeout)
    }
}

/// The socket, which is readable when bytes of a message have come, and not for a message that
/// [`poll`](Connection::poll) has received already. [`wait`](mp_object::wait) knows both.
impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

/// Ready when bytes of a message have come, or the end. After the wait, use a `recv` with a
/// timeout: the rest of the message may be on its way.
impl Waitable for Connection {
    fn watch(&self) -> Result<Watch<'_>> {
        self.receiver.watch()
    }
}
