//! Memory by which a client and its server pass large values, next to the requests and replies.
//!
//! # Layout
//!
//! ```text
//!  client   value --serde--> kept buffer --copy--> staging                    request: "staged, len bytes"
//!  server                                          staging --copy--> value that is kept
//!
//!  server                    value that is kept --copy--> staging             reply: "staged, len bytes"
//!  client                                                 staging --copy--> kept buffer --serde--> value
//! ```
//!
//! # Invariants
//!
//! - I1: a staging belongs to one connection, of which one request at most is under way. Its client
//!   writes and reads it while none is; the server from the request to the reply. So no byte is
//!   written and read at the same time, unless a peer breaks the protocol: then its own value is a
//!   mixture.
//! - I2: both sides have the same staging while a value is under way. The server takes another one
//!   when it has sent `Done`, the client when it has received that. Otherwise both keep the last.
//! - I3: a length that a peer names is checked before it is used, against the memory's and against
//!   [`MOST`]: the memory may be the same peer's.
//!
//! # If a process dies
//!
//! What is staged belongs to its request or its reply, and is nothing without it. A client that
//! dies while it writes has not asked. The memory is freed with its last user.

use std::cell::Cell;

use mp_layout::{Error, ErrorKind, Result};
use mp_value::RawArray;
use serde::{Deserialize, Serialize};

/// From so many bytes on, a value is staged: of fewer, the copies in the message cost less than the
/// page faults of another buffer.
const LEAST: usize = 64 << 10;

/// Longer values travel in their messages: so much memory each thread keeps that has sent or
/// received large values, shared with the server.
const MOST: usize = 4 << 20;

/// Bytes that are copied through the stack.
const PIECE: usize = 4 << 10;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// The memory of one connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Staging(RawArray<u64>);

impl Staging {
    /// Whether values of so many bytes are staged.
    pub(crate) fn is_for(len: usize) -> bool {
        (LEAST..=MOST).contains(&len)
    }

    /// Memory for `len` bytes, which are no more than are staged.
    pub(crate) fn new(len: usize) -> Result<Self> {
        let words = len.next_power_of_two().min(MOST) / WORD;
        RawArray::new(words).map(Self)
    }

    /// Whether `len` bytes have room.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        len <= MOST && len.div_ceil(WORD) <= self.0.len()
    }

    /// Copies bytes in, if they have room.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        self.check(bytes.len())?;
        let (words, rest) = bytes.as_chunks::<WORD>();
        let cells = self.0.cells();
        for (place, word) in words.iter().enumerate() {
            cells.set(place, u64::from_ne_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; WORD];
            last[..rest.len()].copy_from_slice(rest);
            cells.set(words.len(), u64::from_ne_bytes(last));
        }
        Ok(())
    }

    /// Appends a copy of `len` bytes to `bytes`.
    pub(crate) fn read(&self, len: usize, bytes: &mut Vec<u8>) -> Result<()> {
        self.check(len)?;
        bytes.reserve_exact(len);
        let cells = self.0.cells();
        let mut piece = [0; PIECE];
        for start in (0..len).step_by(PIECE) {
            let here = PIECE.min(len - start);
            let first = start / WORD;
            let words = cells.slice(first..first + here.div_ceil(WORD));
            let (chunks, _) = piece.as_chunks_mut::<WORD>();
            for (chunk, word) in chunks.iter_mut().zip(words.iter()) {
                *chunk = word.to_ne_bytes();
            }
            bytes.extend_from_slice(&piece[..here]);
        }
        Ok(())
    }

    fn check(&self, len: usize) -> Result<()> {
        if self.has_room(len) {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Decode, "receive", "a large value of a manager");
        Err(error.with_detail(format!(
            "{len} bytes are said to be in a memory of {}, of which {MOST} are used at most",
            self.0.len() * WORD
        )))
    }
}

/// Why a value that is said to be staged is not there.
#[cold]
pub(crate) fn no_staging() -> Error {
    Error::new(ErrorKind::Decode, "receive", "a large value of a manager")
        .with_detail("no memory came for it")
}

thread_local! {
    /// The buffer in which this thread last wrote or read a large value. A new one would cost more
    /// than the copies: each of its pages is a page fault, and the allocator gives it back.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An empty buffer, with memory if this thread has some.
pub(crate) fn buffer() -> Vec<u8> {
    SPARE.try_with(Cell::take).unwrap_or_default()
}

/// Keeps the memory of a buffer for the next large value.
pub(crate) fn keep(mut buffer: Vec<u8>) {
    let capacity = buffer.capacity();
    buffer.clear();
    // Fails while the thread ends: then the memory is freed.
    let _ended = SPARE.try_with(|spare| {
        let there = spare.take();
        let is_better = capacity <= 2 * MOST && capacity > there.capacity();
        spare.set(if is_better { buffer } else { there });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_at_every_length() {
        let staging = Staging::new(LEAST).unwrap();
        let bytes: Vec<u8> = (0..LEAST).map(|place| (place % 251) as u8).collect();
        for len in [0, 1, 7, 8, 9, 4095, 4096, 4097, LEAST - 1, LEAST] {
            staging.write(&bytes[..len]).unwrap();
            let mut read = vec![9];
            staging.read(len, &mut read).unwrap();
            assert!(read[0] == 9 && read[1..] == bytes[..len], "{len}");
        }
    }

    #[test]
    fn a_length_that_is_a_lie_is_refused() {
        let staging = Staging::new(LEAST).unwrap();
        for len in [LEAST + 1, usize::MAX] {
            let error = staging.read(len, &mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode);
        }
        assert!(staging.write(&vec![0; LEAST + 1]).is_err());
    }

    #[test]
    fn a_memory_that_is_too_large_gives_no_more_than_is_staged() {
        let staging = Staging(RawArray::new(2 * MOST / WORD).unwrap());
        let mut bytes = Vec::new();
        let error = staging.read(MOST + 1, &mut bytes).unwrap_err();
        assert_eq!((error.kind(), bytes.capacity()), (ErrorKind::Decode, 0));
        staging.read(MOST, &mut bytes).unwrap();
        assert_eq!(bytes.len(), MOST);
    }
}
