//! Bytes with descriptors, as they cross the socket between a process and its child.
//!
//! # Layout
//!
//! ```text
//! first message: kind u64 | version u32 | in_memory u32 | length u64 | descriptors u32 | 0 u32
//!                the bytes, unless they are in a memory file; with that file and 250 descriptors
//! each further:  one byte; with up to 250 more descriptors
//! ```
//!
//! # Progress
//!
//! At the start and the end of a process neither side waits for the other. A sender fills an empty
//! socket, and what would not fit goes into a sealed memory file; a receiver is called when
//! everything has been sent. In between, with processes that both run, each side waits up to a
//! deadline.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use mp_os::clock::Deadline;
use mp_os::memfd::{self, Commit};
use mp_os::{socket, wakeup};

/// The kind of a frame, with which it begins on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameKind(u64);

/// From parent to child: what to run.
pub(crate) const START: FrameKind = FrameKind(u64::from_le_bytes(*b"mp start"));
/// From child to parent: its attributes are in force, and its task begins.
pub(crate) const SET_UP: FrameKind = FrameKind(u64::from_le_bytes(*b"mp setup"));
/// From child to parent: how it went.
pub(crate) const OUTCOME: FrameKind = FrameKind(u64::from_le_bytes(*b"mp ended"));

/// Either way, between processes that run: a call, or objects of its outcome.
pub(crate) const CALL: FrameKind = FrameKind(u64::from_le_bytes(*b"mp calls"));

const VERSION: u32 = 1;
/// FrameKind and version.
pub(crate) const OPENING_SIZE: usize = 12;
const HEAD_SIZE: usize = 32;

/// Bytes up to here travel in the message; they fit the smallest usual socket buffer three times.
const INLINE_MAX: usize = 64 << 10;

/// Below the kernel's 253, with room for the memory file.
const DESCRIPTORS_PER_MESSAGE: usize = 250;

/// A frame that was received.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

struct Head {
    in_memory: bool,
    length: u64,
    descriptors: usize,
}

impl FrameKind {
    /// The first bytes of a frame of this kind and of this version.
    pub(crate) fn opening(self) -> [u8; OPENING_SIZE] {
        let mut opening = [0; OPENING_SIZE];
        opening[..8].copy_from_slice(&self.0.to_le_bytes());
        opening[8..].copy_from_slice(&VERSION.to_le_bytes());
        opening
    }
}

/// Sends a frame; never waits.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    kind: FrameKind,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    send_by(socket, kind, bytes, descriptors, Deadline::PASSED)
}

/// Sends a frame; waits for room up to the deadline.
pub(crate) fn send_by(
    socket: BorrowedFd<'_>,
    kind: FrameKind,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> io::Result<()> {
    if bytes.len() <= INLINE_MAX {
        let mut message = head(kind, false, bytes.len(), descriptors.len());
        message.extend_from_slice(bytes);
        match send_messages(socket, &message, None, descriptors, deadline) {
            // A system with tiny socket buffers.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {}
            sent => return sent,
        }
    }
    Body::in_memory(bytes)?.send_by(socket, kind, descriptors, deadline)
}

/// The bytes of frames that are sent any number of times.
#[derive(Debug)]
pub(crate) enum Body {
    Inline(Vec<u8>),
    /// Written once, and changed by no process.
    InMemory {
        file: File,
        length: usize,
    },
}

impl Body {
    /// Writes what does not fit a message into a memory file.
    pub(crate) fn new(bytes: Vec<u8>) -> io::Result<Self> {
        if bytes.len() <= INLINE_MAX {
            Ok(Self::Inline(bytes))
        } else {
            Self::in_memory(&bytes)
        }
    }

    fn in_memory(bytes: &[u8]) -> io::Result<Self> {
        let length = bytes.len();
        let file = memfd::create_sealable("mp frame", length as u64, Commit::Now)?;
        let file = File::from(file);
        file.write_all_at(bytes, 0)?;
        // A receiver reads what it is given, also where the kernel has no such seal.
        memfd::seal_writes(&file)?;
        Ok(Self::InMemory { file, length })
    }

    /// Sends a frame with these bytes; waits for room up to the deadline.
    pub(crate) fn send_by(
        &self,
        socket: BorrowedFd<'_>,
        kind: FrameKind,
        descriptors: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> io::Result<()> {
        match self {
            Self::Inline(bytes) => send_by(socket, kind, bytes, descriptors, deadline),
            Self::InMemory { file, length } => {
                let message = head(kind, true, *length, descriptors.len());
                send_messages(socket, &message, Some(file.as_fd()), descriptors, deadline)
            }
        }
    }
}

/// Receives the frame that waits; `None` if the socket is empty or closed.
pub(crate) fn receive(socket: BorrowedFd<'_>, kind: FrameKind) -> io::Result<Option<Frame>> {
    receive_by(socket, kind, Deadline::PASSED)
}

/// Whether the next frame is of this kind; `None` if there is none.
pub(crate) fn next_is(socket: BorrowedFd<'_>, kind: FrameKind) -> io::Result<Option<bool>> {
    if matches!(socket::peek(socket)?, None | Some(0)) {
        return Ok(None);
    }
    let mut opening = [0; OPENING_SIZE];
    // A shorter message leaves zeros, which open nothing.
    socket::peek_start(socket, &mut opening)?;
    Ok(Some(opening == kind.opening()))
}

/// Receives the next frame; `None` if none came until the deadline, or if the socket is closed.
pub(crate) fn receive_by(
    socket: BorrowedFd<'_>,
    kind: FrameKind,
    deadline: Deadline,
) -> io::Result<Option<Frame>> {
    let length = match await_message(socket, deadline)? {
        None | Some(0) => return Ok(None),
        Some(length) => length,
    };
    let mut bytes = vec![0; length];
    let first = socket::recv_deadline(socket, &mut bytes, Deadline::PASSED)?;
    let head = Head::read(&bytes, kind)?;
    bytes.drain(..HEAD_SIZE);
    let mut descriptors = first.fds;
    let expected = head.descriptors + usize::from(head.in_memory);
    while descriptors.len() < expected {
        let more = socket::recv_deadline(socket, &mut [0; 1], deadline)?;
        if more.fds.is_empty() {
            return Err(corrupt("descriptors are missing"));
        }
        descriptors.extend(more.fds);
    }
    if head.in_memory {
        bytes = read_memory(descriptors.remove(0), head.length)?;
    }
    if bytes.len() as u64 != head.length || descriptors.len() != head.descriptors {
        return Err(corrupt("its lengths contradict each other"));
    }
    Ok(Some(Frame { bytes, descriptors }))
}

/// The length of the next message, which stays where it is; as [`socket::peek`].
fn await_message(socket: BorrowedFd<'_>, deadline: Deadline) -> io::Result<Option<usize>> {
    loop {
        let length = socket::peek(socket)?;
        if length.is_some() || wakeup::wait_any(&[socket], deadline)?.is_empty() {
            return Ok(length);
        }
    }
}

fn head(kind: FrameKind, in_memory: bool, length: usize, descriptors: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_SIZE + if in_memory { 0 } else { length });
    head.extend_from_slice(&kind.opening());
    head.extend_from_slice(&u32::from(in_memory).to_le_bytes());
    head.extend_from_slice(&(length as u64).to_le_bytes());
    // A process cannot have 2^32 descriptors.
    head.extend_from_slice(&(descriptors as u32).to_le_bytes());
    head.extend_from_slice(&[0; 4]);
    head
}

impl Head {
    fn read(message: &[u8], kind: FrameKind) -> io::Result<Self> {
        let (Some(head), true) = (
            message.get(..HEAD_SIZE),
            message.starts_with(&kind.opening()),
        ) else {
            return Err(corrupt("it is of another kind or version"));
        };
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        Ok(Self {
            in_memory: word(12) == 1,
            length: u64::from(word(16)) | u64::from(word(20)) << 32,
            descriptors: word(24) as usize,
        })
    }
}

fn send_messages(
    socket: BorrowedFd<'_>,
    message: &[u8],
    memory: Option<BorrowedFd<'_>>,
    descriptors: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> io::Result<()> {
    let (with_first, rest) = descriptors.split_at(descriptors.len().min(DESCRIPTORS_PER_MESSAGE));
    let with_first: Vec<_> = memory
        .into_iter()
        .chain(with_first.iter().copied())
        .collect();
    send_one(socket, message, &with_first, deadline)?;
    rest.chunks(DESCRIPTORS_PER_MESSAGE)
        .try_for_each(|some| send_one(socket, b"+", some, deadline))
}

fn send_one(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> io::Result<()> {
    socket::send_deadline(socket, bytes, fds, deadline).map_err(|error| {
        if error.kind() == io::ErrorKind::TimedOut && deadline == Deadline::PASSED {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "more descriptors than a socket holds; share fewer objects in one start",
            )
        } else {
            error
        }
    })
}

/// Reads instead of mapping, so that a short file is an error and not a SIGBUS.
fn read_memory(memory: OwnedFd, length: u64) -> io::Result<Vec<u8>> {
    let size = memfd::size_of_file(memory.as_fd())?;
    let Some(length) = usize::try_from(length).ok().filter(|_| size == length) else {
        return Err(corrupt("its memory file has another size"));
    };
    let mut bytes = vec![0; length];
    File::from(memory).read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn corrupt(why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the message between parent and child is not understood: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossed(bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<Option<Frame>> {
        let (left, right) = socket::pair()?;
        send(left.as_fd(), START, bytes, descriptors)?;
        receive(right.as_fd(), START)
    }

    #[test]
    fn arrives_whole_at_every_size() {
        for size in [0, 1, INLINE_MAX, INLINE_MAX + 1, 5 << 20] {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let frame = crossed(&bytes, &[]).unwrap().expect("it was sent");
            assert!(frame.bytes == bytes, "{size} bytes differ");
            assert!(frame.descriptors.is_empty());
        }
    }

    #[test]
    fn keeps_the_order_of_many_descriptors() {
        let files: Vec<OwnedFd> = (0..600_u64)
            .map(|at| memfd::create("n", at + 1, Commit::Sparse).unwrap())
            .collect();
        let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        for bytes in [vec![7; 10], vec![7; INLINE_MAX + 1]] {
            let frame = crossed(&bytes, &borrowed).unwrap().expect("it was sent");
            let sizes: Vec<u64> = frame
                .descriptors
                .iter()
                .map(|fd| memfd::size_of_file(fd.as_fd()).unwrap())
                .collect();
            assert_eq!(sizes, (1..=600).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_body_that_is_sent_twice_is_written_once_and_cannot_be_changed() {
        let bytes = vec![7; INLINE_MAX + 1];
        let body = Body::new(bytes.clone()).unwrap();
        let files = [0, 1].map(|_| {
            let (left, right) = socket::pair().unwrap();
            for _ in 0..2 {
                body.send_by(left.as_fd(), CALL, &[], Deadline::PASSED)
                    .unwrap();
            }
            let frame = receive(right.as_fd(), CALL).unwrap().expect("it was sent");
            assert!(frame.bytes == bytes);
            let mut head = [0; HEAD_SIZE];
            socket::recv(&right, &mut head).unwrap().fds.remove(0)
        });
        assert!(memfd::is_same_file(files[0].as_fd(), files[1].as_fd()));
        assert!(memfd::is_read_only_for_ever(&files[0]).unwrap());
        let small = Body::new(vec![7; INLINE_MAX]).unwrap();
        assert!(matches!(small, Body::Inline(_)));
    }

    #[test]
    fn an_empty_socket_gives_nothing() {
        let (left, right) = socket::pair().unwrap();
        assert!(receive(right.as_fd(), START).unwrap().is_none());
        drop(left);
        assert!(receive(right.as_fd(), START).unwrap().is_none());
    }

    #[test]
    fn a_foreign_message_is_an_error() {
        let (left, right) = socket::pair().unwrap();
        socket::send(&left, b"something else entirely, of good length", &[]).unwrap();
        let error = receive(right.as_fd(), START).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        send(left.as_fd(), OUTCOME, b"", &[]).unwrap();
        let error = receive(right.as_fd(), START).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
