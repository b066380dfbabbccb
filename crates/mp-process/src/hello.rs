//! What a parent tells its child before the child exists.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use mp_layout::{Error, ErrorKind, Result};
use mp_os::{descriptor, socket};

use crate::build::Build;
use crate::entry::Address;
use crate::parcel::{self, HELLO, OPENING_SIZE, Parcel};

/// Who the child is and what it runs. Behind it on the wire come its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) entry: Address,
    pub(crate) depth: u32,
    pub(crate) name: String,
    /// Which child of which child this is, as in `Process-1:2`.
    pub(crate) identity: Vec<u32>,
    pub(crate) daemon: bool,
    pub(crate) parent_pid: u32,
    pub(crate) parent_name: String,
    /// The name of the parent's [`Listener`](mp_os::listener::Listener); empty if it has none.
    pub(crate) listener: Vec<u8>,
    /// The numbers that the passed descriptors get.
    pub(crate) passed: Vec<RawFd>,
}

type WireAddress = (Vec<u8>, u64, u64);
type Wire = (
    WireAddress,
    u32,
    String,
    Vec<u32>,
    bool,
    u32,
    String,
    Vec<u8>,
    Vec<RawFd>,
);

/// What came with a hello.
pub(crate) struct Greeted {
    pub(crate) hello: Hello,
    pub(crate) life: OwnedFd,
    pub(crate) stdin: Option<OwnedFd>,
    /// With the numbers that they get.
    pub(crate) passed: Vec<(RawFd, OwnedFd)>,
    pub(crate) arguments: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Hello {
    /// The bytes before the arguments; `has_stdin` says that the second descriptor is one.
    pub(crate) fn to_bytes(&self, has_stdin: bool) -> Result<Vec<u8>> {
        let Address {
            build,
            offset,
            type_hash,
        } = &self.entry;
        let wire = (
            has_stdin,
            (build.as_bytes(), offset, type_hash),
            self.depth,
            &self.name,
            &self.identity,
            self.daemon,
            self.parent_pid,
            &self.parent_name,
            &self.listener,
            &self.passed,
        );
        postcard::to_stdvec(&wire).map_err(|error| {
            Error::new(ErrorKind::Encode, "start", "").with_detail(error.to_string())
        })
    }

    /// Receives the hello that [`is_waiting`] found.
    pub(crate) fn receive(socket: BorrowedFd<'_>) -> Result<Greeted> {
        let parcel = parcel::receive(socket, HELLO)
            .map_err(|source| Error::os("receive", "what to run", source))?;
        let Some(Parcel { bytes, descriptors }) = parcel else {
            return Err(Error::new(ErrorKind::Closed, "receive", "what to run"));
        };
        let malformed = || {
            Error::new(ErrorKind::Decode, "receive", "what to run")
                .with_detail("the parent's message does not decode")
        };
        let ((has_stdin, wire), arguments) =
            postcard::take_from_bytes::<(bool, Wire)>(&bytes).map_err(|_| malformed())?;
        let arguments = arguments.to_vec();
        let mut descriptors = descriptors.into_iter();
        let hello = Self::from_wire(wire);
        let life = descriptors.next().ok_or_else(malformed)?;
        let stdin = if has_stdin { descriptors.next() } else { None };
        let passed: Vec<_> = hello.passed.iter().copied().zip(&mut descriptors).collect();
        if passed.len() < hello.passed.len() {
            return Err(malformed());
        }
        Ok(Greeted {
            hello,
            life,
            stdin,
            passed,
            arguments,
            descriptors: descriptors.collect(),
        })
    }

    fn from_wire(wire: Wire) -> Self {
        let (entry, depth, name, identity, daemon, parent_pid, parent_name, listener, passed) =
            wire;
        let (build, offset, type_hash) = entry;
        let build = Build::from_bytes(build);
        Self {
            entry: Address {
                build,
                offset,
                type_hash,
            },
            depth,
            name,
            identity,
            daemon,
            parent_pid,
            parent_name,
            listener,
            passed,
        }
    }
}

impl Greeted {
    /// Moves every descriptor off the numbers that the passed ones get.
    pub(crate) fn make_room(self) -> io::Result<Self> {
        let numbers = &self.hello.passed;
        let move_off = |fd| descriptor::move_off(fd, numbers);
        let passed = self.passed.into_iter();
        Ok(Self {
            life: move_off(self.life)?,
            stdin: self.stdin.map(move_off).transpose()?,
            passed: passed
                .map(|(number, fd)| Ok((number, move_off(fd)?)))
                .collect::<io::Result<_>>()?,
            descriptors: self
                .descriptors
                .into_iter()
                .map(move_off)
                .collect::<io::Result<_>>()?,
            hello: self.hello,
            arguments: self.arguments,
        })
    }
}

/// Whether `descriptor` is a socket on which a process of the same user has said hello. Nothing is
/// taken from it, and any other descriptor costs one system call.
pub(crate) fn is_waiting(descriptor: BorrowedFd<'_>) -> bool {
    let mut opening = [0; OPENING_SIZE];
    socket::is_seqpacket(descriptor)
        // A shorter message leaves zeros, which open nothing.
        && socket::peek_start(descriptor, &mut opening).is_ok()
        && opening == HELLO.opening()
        && socket::peer_is_same_user(descriptor)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn some_hello() -> Hello {
        Hello {
            entry: Address {
                build: Build::from_bytes(vec![7; 20]),
                offset: 0x1234,
                type_hash: 99,
            },
            depth: 3,
            name: "w".into(),
            identity: vec![1, 2],
            daemon: true,
            parent_pid: 17,
            parent_name: "MainProcess".into(),
            listener: b"00042".to_vec(),
            passed: vec![70],
        }
    }

    #[test]
    fn is_received_as_it_was_sent() {
        let (left, right) = socket::pair().unwrap();
        let mut bytes = some_hello().to_bytes(false).unwrap();
        bytes.extend_from_slice(b"the arguments");
        parcel::send(left.as_fd(), HELLO, &bytes, &[left.as_fd(); 2]).unwrap();
        assert!(is_waiting(right.as_fd()));
        assert!(is_waiting(right.as_fd()), "looking takes nothing");
        let greeted = Hello::receive(right.as_fd()).unwrap();
        assert_eq!(greeted.hello, some_hello());
        assert_eq!(greeted.arguments, b"the arguments");
        assert!(greeted.stdin.is_none() && greeted.descriptors.is_empty());
        assert_eq!(greeted.passed[0].0, 70);
    }

    #[test]
    fn nothing_else_is_taken_for_it() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_waiting(null.as_fd()));
        let (left, right) = socket::pair().unwrap();
        assert!(!is_waiting(right.as_fd()), "an empty socket");
        socket::send(&left, b"mp hello", &[]).unwrap();
        assert!(!is_waiting(right.as_fd()), "a message that stops too early");
        let mut buffer = [0; 64];
        let message = socket::recv(&right, &mut buffer).unwrap();
        assert_eq!(
            &buffer[..message.len],
            b"mp hello",
            "it was left where it is"
        );
    }
}
