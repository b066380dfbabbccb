//! The side that connects.

use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::Deadline;
use mp_os::poll;

use crate::auth_key::AuthKey;
use crate::greeting::Greeting;
use crate::handshake::Side;
use crate::{Address, Connection, socket};

/// Connects to a [`Listener`](crate::Listener): Python's `multiprocessing.connection.Client`.
///
/// ```
/// use mp_layout::ErrorKind;
/// use mp_net::{Client, Listener};
/// use std::time::Duration;
///
/// let error = Client::connect("/no/such/socket", b"key").unwrap_err();
/// assert_eq!(error.to_string(), "connect to /no/such/socket: no process listens there");
///
/// let listener = Listener::new(b"key")?;
/// let late = Client::connect_timeout(listener.address(), b"key", Duration::from_millis(5));
/// assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut); // no thread accepts
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
pub enum Client {}

impl Client {
    /// Connects, and proves to the listener that this process has the key, as the listener does to
    /// this one. Blocks until the listener accepts.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::NotFound`] if no process listens at the address.
    /// - [`ErrorKind::PermissionDenied`] if the listener has another key, or its file is not
    ///   accessible.
    /// - [`ErrorKind::Closed`] if the listener closes the connection before it is one: it, too, may
    ///   have found another key.
    /// - [`ErrorKind::Unsupported`] for a Python before 3.12, whose digests are MD5, and
    ///   [`ErrorKind::Corrupt`] for what does not speak this protocol.
    /// - [`ErrorKind::InvalidInput`] for a key that is empty or has more than 4096 bytes,
    ///   [`ErrorKind::InvalidName`] for a name that is empty or too long for a UNIX socket.
    /// - [`ErrorKind::TimedOut`] if the machine does not answer; the kernel then waits for some
    ///   minutes.
    /// - [`ErrorKind::Os`] for what else the network reports.
    pub fn connect(address: impl Into<Address>, authkey: impl AsRef<[u8]>) -> Result<Connection> {
        Self::connect_timeout(address, authkey, Deadline::NEVER)
    }

    /// Connects as [`connect`](Self::connect) does; waits up to `timeout`.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect), with [`ErrorKind::TimedOut`] after `timeout`.
    pub fn connect_timeout(
        address: impl Into<Address>,
        authkey: impl AsRef<[u8]>,
        timeout: impl Into<Deadline>,
    ) -> Result<Connection> {
        let (address, deadline) = (address.into(), timeout.into());
        let key = AuthKey::new(authkey.as_ref(), "connect to", &address.to_string())?;
        let socket = socket::connect_to(&address, deadline)?;
        let mut greeting = Greeting::begin(socket, Side::Client)?;
        while !greeting.advance(&key)? {
            let has_come = poll::wait_readable(&greeting, deadline)
                .map_err(|source| Error::os("connect to", address.to_string(), source))?;
            if !has_come {
                return Err(
                    Error::new(ErrorKind::TimedOut, "connect to", address.to_string())
                        .with_detail("the listener did not accept in time"),
                );
            }
        }
        Ok(Connection::new(greeting.into_socket()))
    }
}
