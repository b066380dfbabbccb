//! Pipes and sockets.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::pipe::fcntl_setpipe_size;

use crate::{Pair, Placement, Sample};

/// One direction of bytes through the kernel, whose ends block.
#[derive(Debug)]
pub struct Stream {
    writer: File,
    reader: File,
}

/// The most that the kernel gives a pipe without privileges, in bytes.
const PIPE_SIZE: usize = 1 << 20;

impl Stream {
    /// A pipe, as large as the kernel allows.
    ///
    /// # Panics
    ///
    /// If the system refuses.
    pub fn pipe() -> Self {
        let (reader, writer) = std::io::pipe().expect("two descriptors");
        // Refused where the user has too much in pipes already; then it has the usual 64 KiB.
        let _size = fcntl_setpipe_size(&writer, PIPE_SIZE);
        Self {
            writer: OwnedFd::from(writer).into(),
            reader: OwnedFd::from(reader).into(),
        }
    }

    /// A pair of UNIX stream sockets, used in one direction.
    ///
    /// # Panics
    ///
    /// If the system refuses.
    pub fn socket() -> Self {
        let (reader, writer) = UnixStream::pair().expect("two descriptors");
        Self {
            writer: OwnedFd::from(writer).into(),
            reader: OwnedFd::from(reader).into(),
        }
    }

    /// About `count` round trips of 8 bytes over two that `new` makes.
    pub fn round_trips(new: fn() -> Self, placement: Placement, count: usize) -> Sample {
        let (there, back) = (new(), new());
        Pair::processes(placement).round_trips(
            count,
            |trip| {
                assert_eq!(there.receive_number(), trip);
                back.send_number(trip);
            },
            |trip| {
                there.send_number(trip);
                assert_eq!(back.receive_number(), trip);
            },
        )
    }

    /// Sends all of `bytes`.
    ///
    /// # Panics
    ///
    /// If the other end is gone.
    pub fn send(&self, bytes: &[u8]) {
        (&self.writer)
            .write_all(bytes)
            .expect("the other end is open");
    }

    /// Waits until `bytes` are full.
    ///
    /// # Panics
    ///
    /// If the other end is gone.
    pub fn receive(&self, bytes: &mut [u8]) {
        (&self.reader)
            .read_exact(bytes)
            .expect("the other end is open");
    }

    /// Sends 8 bytes.
    pub fn send_number(&self, number: u64) {
        self.send(&number.to_ne_bytes());
    }

    /// Waits for 8 bytes.
    pub fn receive_number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.receive(&mut bytes);
        u64::from_ne_bytes(bytes)
    }
}
