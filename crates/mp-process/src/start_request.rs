//! What a parent sends its child before the child exists.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use mp_layout::{Error, ErrorKind, Result};
use mp_os::{descriptor, socket};

use crate::attributes::{self, Attributes};
use crate::build::Build;
use crate::entry::Address;
use crate::frame::{self, Frame, OPENING_SIZE, START};

/// What the child is and what it runs. On the wire its arguments follow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StartRequest {
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
    pub(crate) attributes: Attributes,
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
    attributes::Wire,
);

/// What came with a request.
pub(crate) struct Received {
    pub(crate) request: StartRequest,
    /// The pipe that hangs up when the parent dies.
    pub(crate) parent: OwnedFd,
    pub(crate) stdin: Option<OwnedFd>,
    /// With the numbers that they get.
    pub(crate) passed: Vec<(RawFd, OwnedFd)>,
    pub(crate) arguments: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl StartRequest {
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
            self.attributes.to_wire(),
        );
        postcard::to_stdvec(&wire).map_err(|error| {
            Error::new(ErrorKind::Encode, "start", "").with_detail(error.to_string())
        })
    }

    /// Receives the request that [`is_waiting`] found.
    pub(crate) fn receive(socket: BorrowedFd<'_>) -> Result<Received> {
        let frame = frame::receive(socket, START)
            .map_err(|source| Error::os("receive", "what to run", source))?;
        let Some(Frame { bytes, descriptors }) = frame else {
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
        let request = Self::from_wire(wire).ok_or_else(malformed)?;
        let parent = descriptors.next().ok_or_else(malformed)?;
        let stdin = if has_stdin { descriptors.next() } else { None };
        let passed: Vec<_> = request
            .passed
            .iter()
            .copied()
            .zip(&mut descriptors)
            .collect();
        if passed.len() < request.passed.len() {
            return Err(malformed());
        }
        Ok(Received {
            request,
            parent,
            stdin,
            passed,
            arguments,
            descriptors: descriptors.collect(),
        })
    }

    fn from_wire(wire: Wire) -> Option<Self> {
        let (
            entry,
            depth,
            name,
            identity,
            daemon,
            parent_pid,
            parent_name,
            listener,
            passed,
            attributes,
        ) = wire;
        let (build, offset, type_hash) = entry;
        let build = Build::from_bytes(build);
        Some(Self {
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
            attributes: Attributes::from_wire(attributes)?,
        })
    }
}

impl Received {
    /// Moves every descriptor off the numbers that the passed ones get.
    pub(crate) fn make_room(self) -> io::Result<Self> {
        let numbers = &self.request.passed;
        let move_off = |fd| descriptor::move_off(fd, numbers);
        let passed = self.passed.into_iter();
        Ok(Self {
            parent: move_off(self.parent)?,
            stdin: self.stdin.map(move_off).transpose()?,
            passed: passed
                .map(|(number, fd)| Ok((number, move_off(fd)?)))
                .collect::<io::Result<_>>()?,
            descriptors: self
                .descriptors
                .into_iter()
                .map(move_off)
                .collect::<io::Result<_>>()?,
            request: self.request,
            arguments: self.arguments,
        })
    }
}

/// Whether `descriptor` is a socket on which a process of the same user has sent a start request.
/// Nothing is taken from it, and any other descriptor costs one system call.
pub(crate) fn is_waiting(descriptor: BorrowedFd<'_>) -> bool {
    let mut opening = [0; OPENING_SIZE];
    socket::is_seqpacket(descriptor)
        // A shorter message leaves zeros, which open nothing.
        && socket::peek_start(descriptor, &mut opening).is_ok()
        && opening == START.opening()
        && socket::peer_is_same_user(descriptor)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use mp_os::resource::Resource;

    use super::*;
    use crate::attributes::SignalAction;

    fn some_request() -> StartRequest {
        StartRequest {
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
            attributes: some_attributes(),
        }
    }

    fn some_attributes() -> Attributes {
        let mut attributes = Attributes {
            niceness: Some(-3),
            cpus: Some(vec![0, 7]),
            ..Attributes::default()
        };
        attributes.set_soft(Resource::OpenFiles, 100);
        attributes.set_hard(Resource::OpenFiles, u64::MAX);
        attributes.set_soft(Resource::RealtimePriority, 0);
        attributes.set_signal(2, SignalAction::Block);
        attributes.set_signal(2, SignalAction::Ignore);
        attributes
    }

    #[test]
    fn is_received_as_it_was_sent() {
        let (left, right) = socket::pair().unwrap();
        let mut bytes = some_request().to_bytes(false).unwrap();
        bytes.extend_from_slice(b"the arguments");
        frame::send(left.as_fd(), START, &bytes, &[left.as_fd(); 2]).unwrap();
        assert!(is_waiting(right.as_fd()));
        assert!(is_waiting(right.as_fd()), "looking takes nothing");
        let received = StartRequest::receive(right.as_fd()).unwrap();
        assert_eq!(received.request, some_request());
        assert_eq!(received.arguments, b"the arguments");
        assert!(received.stdin.is_none() && received.descriptors.is_empty());
        assert_eq!(received.passed[0].0, 70);
    }

    #[test]
    fn nothing_else_is_taken_for_it() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_waiting(null.as_fd()));
        let (left, right) = socket::pair().unwrap();
        assert!(!is_waiting(right.as_fd()), "an empty socket");
        socket::send(&left, b"mp start", &[]).unwrap();
        assert!(!is_waiting(right.as_fd()), "a message that stops too early");
        let mut buffer = [0; 64];
        let message = socket::recv(&right, &mut buffer).unwrap();
        assert_eq!(
            &buffer[..message.len],
            b"mp start",
            "it was left where it is"
        );
    }
}
