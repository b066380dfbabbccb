use std::collections::VecDeque;

use mp_layout::ErrorKind;
use proptest::prelude::*;
use rustix::io::Errno;

use super::{FrameReader, Header, Progress};
use crate::socket::Got;

/// A stream that gives its bytes in pieces of these sizes, with nothing between two of them.
struct Pieces {
    bytes: VecDeque<u8>,
    sizes: Vec<usize>,
    turn: usize,
}

impl Pieces {
    fn new(bytes: Vec<u8>, sizes: Vec<usize>) -> Self {
        Self {
            bytes: bytes.into(),
            sizes,
            turn: 0,
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> rustix::io::Result<Got> {
        self.turn += 1;
        let Some(size) = self.sizes.get(self.turn % self.sizes.len().max(1)) else {
            return Ok(Got::End);
        };
        if *size == 0 && !self.bytes.is_empty() {
            return Ok(Got::Nothing);
        }
        let len = buffer.len().min((*size).max(1)).min(self.bytes.len());
        for (place, byte) in buffer.iter_mut().zip(self.bytes.drain(..len)) {
            *place = byte;
        }
        Ok(if len == 0 { Got::End } else { Got::Bytes(len) })
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [Header::of(message.len()).bytes(), message].concat()
}

proptest! {
    #[test]
    fn messages_come_whole_however_their_bytes_are_cut(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        mut sizes in prop::collection::vec(0_usize..40, 1..8),
    ) {
        sizes.push(1);
        let stream = messages.iter().flat_map(|message| framed(message)).collect();
        let mut pieces = Pieces::new(stream, sizes);
        let mut reader = FrameReader::default();
        let mut received = Vec::new();
        loop {
            match reader.advance(300, |buffer| pieces.receive(buffer)).unwrap() {
                Progress::Whole => received.push(reader.take()),
                Progress::Waiting => {}
                Progress::End => break,
            }
        }
        prop_assert_eq!(received, messages);
    }
}

#[test]
fn a_length_of_eight_bytes_is_read() {
    let stream = [&(-1_i32).to_be_bytes()[..], &3_u64.to_be_bytes(), b"abc"].concat();
    let mut pieces = Pieces::new(stream, vec![5]);
    let mut reader = FrameReader::default();
    let progress = reader.advance(3, |buffer| pieces.receive(buffer));
    assert_eq!(progress.unwrap(), Progress::Whole);
    assert_eq!(reader.take(), b"abc");
}

#[test]
fn a_long_message_has_a_long_header() {
    let len = 1_usize << 31;
    assert_eq!(Header::of(len - 1).bytes(), [0x7f, 0xff, 0xff, 0xff]);
    let long = Header::of(len);
    assert_eq!(long.bytes()[..4], [0xff; 4]);
    assert_eq!(long.bytes()[4..], (len as u64).to_be_bytes());
}

#[test]
fn lengths_that_are_none_or_too_long_are_refused_before_memory_is_taken() {
    let huge = [&(-1_i32).to_be_bytes()[..], &u64::MAX.to_be_bytes()].concat();
    for (stream, kind) in [
        ((-2_i32).to_be_bytes().to_vec(), ErrorKind::Corrupt),
        (i32::MIN.to_be_bytes().to_vec(), ErrorKind::Corrupt),
        (1001_i32.to_be_bytes().to_vec(), ErrorKind::WrongSize),
        (huge, ErrorKind::WrongSize),
    ] {
        let mut pieces = Pieces::new(stream, vec![7]);
        let mut reader = FrameReader::default();
        let error = reader.advance(1000, |buffer| pieces.receive(buffer));
        assert_eq!(error.unwrap_err().kind(), kind);
        assert_eq!(reader.body.capacity(), 0);
    }
}

#[test]
fn memory_grows_with_what_has_come() {
    let stream = [&(1_i32 << 30).to_be_bytes()[..], &[7; 100]].concat();
    let mut pieces = Pieces::new(stream, vec![1000]);
    let mut reader = FrameReader::default();
    let error = reader
        .advance(1 << 30, |buffer| pieces.receive(buffer))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated);
    assert!(error.to_string().contains("100 of its 1073741824 bytes"));
    assert!(reader.body.capacity() <= 2 * super::STEP);
}

#[test]
fn room_for_a_message_is_zeroed_once_however_small_its_pieces_are() {
    let mut reader = FrameReader {
        begun: 4,
        len: Some(3 * super::STEP),
        ..FrameReader::default()
    };
    let (mut turn, mut zeroed) = (0_usize, 0);
    // Each look marks the end of the room. The next one finds the mark, unless there is new room.
    let mut look = |buffer: &mut [u8]| {
        let end = buffer.len() - 1;
        zeroed += usize::from(buffer[end] == 0);
        buffer[end] = 1;
        turn += 1;
        Ok(match turn % 2 {
            0 => Got::Nothing,
            _ => Got::Bytes(buffer.len().min(100)),
        })
    };
    while reader.advance(3 * super::STEP, &mut look).unwrap() == Progress::Waiting {}
    assert_eq!(zeroed, 3);
}

#[test]
fn a_machine_that_is_lost_is_the_end_and_no_timeout() {
    for errno in [Errno::TIMEDOUT, Errno::HOSTUNREACH, Errno::NETUNREACH] {
        for (begun, kind) in [(0, ErrorKind::Closed), (3, ErrorKind::Truncated)] {
            let mut reader = FrameReader {
                begun,
                ..FrameReader::default()
            };
            let error = reader.advance(100, |_| Err(errno)).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains("was lost"), "{error}");
        }
    }
}
