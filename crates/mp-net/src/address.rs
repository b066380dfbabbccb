//! Where a listener is found.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mp_layout::{Error, ErrorKind, Result};
use rustix::net::SocketAddrUnix;
use serde::{Deserialize, Serialize};

/// Bytes of the longest name of a UNIX socket: `sun_path` has 108, of which one ends a path or
/// begins an abstract name.
const LONGEST_NAME: usize = 107;

/// Where a [`Listener`](crate::Listener) is found.
///
/// A string is the path of a UNIX socket, or an abstract name if it begins with a NUL, as in
/// Python. Pairs of an IP address and a port, and [`SocketAddr`], are TCP addresses. A host's name
/// is looked up by [`resolve`](Self::resolve).
///
/// ```
/// use mp_net::Address;
///
/// assert_eq!(Address::from("/tmp/jobs").to_string(), "/tmp/jobs");
/// assert_eq!(Address::from("\0jobs"), Address::Abstract(b"jobs".to_vec()));
/// assert_eq!(Address::from(([127, 0, 0, 1], 6000)).to_string(), "127.0.0.1:6000");
/// assert_eq!(Address::resolve(("127.0.0.1", 6000))?.port(), Some(6000));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Address {
    /// A UNIX socket with a file. A process reaches it that may enter its directory and may write
    /// the file; that is its owner's alone, if the umask at `bind` is the usual one.
    Path(PathBuf),
    /// A UNIX socket with a name alone, which goes with the listener. Every user of the machine's
    /// network namespace reaches it.
    Abstract(Vec<u8>),
    /// A TCP socket. Port 0 lets the kernel choose one;
    /// [`Listener::address`](crate::Listener::address) says which.
    Tcp(SocketAddr),
}

impl Address {
    /// Looks up a host's name, and takes the first of its addresses. How long that takes is the
    /// resolver's decision.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if the name has no address, and what the resolver reports.
    pub fn resolve(host: impl ToSocketAddrs) -> Result<Self> {
        let mut found = host
            .to_socket_addrs()
            .map_err(|source| Error::os("look up", "a host's name", source))?;
        let first = found.next().map(Self::Tcp);
        first.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "look up", "a host's name")
                .with_detail("it has no address")
        })
    }

    /// The port of a TCP address.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            _ => None,
        }
    }

    /// The address of a UNIX socket as the kernel takes it; `None` for TCP.
    pub(crate) fn to_unix(&self, operation: &'static str) -> Result<Option<SocketAddrUnix>> {
        let refuse = |why: String| {
            Error::new(ErrorKind::InvalidName, operation, self.to_string()).with_detail(why)
        };
        let (bytes, address) = match self {
            Self::Path(path) => {
                let bytes = path.as_os_str().as_bytes();
                if bytes.contains(&0) {
                    return Err(refuse("the path has a NUL in it".to_owned()));
                }
                (bytes, SocketAddrUnix::new(bytes))
            }
            Self::Abstract(name) => (name.as_slice(), SocketAddrUnix::new_abstract_name(name)),
            Self::Tcp(_) => return Ok(None),
        };
        if bytes.is_empty() {
            return Err(refuse("the name of the socket is empty".to_owned()));
        }
        if bytes.len() > LONGEST_NAME {
            return Err(refuse(format!(
                "the name of the socket has {} bytes, {LONGEST_NAME} are the most; use a shorter directory or an \
                 abstract name",
                bytes.len()
            )));
        }
        address
            .map(Some)
            .map_err(|error| Error::os(operation, self.to_string(), error.into()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(formatter),
            Self::Abstract(name) => write!(formatter, "@{}", name.escape_ascii()),
            Self::Tcp(address) => address.fmt(formatter),
        }
    }
}

impl From<&Self> for Address {
    fn from(address: &Self) -> Self {
        address.clone()
    }
}

impl From<&str> for Address {
    fn from(name: &str) -> Self {
        match name.strip_prefix('\0') {
            Some(name) => Self::Abstract(name.into()),
            None => Self::Path(name.into()),
        }
    }
}

impl From<String> for Address {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&PathBuf> for Address {
    fn from(path: &PathBuf) -> Self {
        Self::Path(path.clone())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

macro_rules! from_ip {
    ($($ip:ty),*) => {$(
        impl From<($ip, u16)> for Address {
            fn from(address: ($ip, u16)) -> Self {
                Self::Tcp(address.into())
            }
        }
    )*};
}

from_ip!(IpAddr, Ipv4Addr, Ipv6Addr, [u8; 4]);
