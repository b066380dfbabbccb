//! Messages and descriptors over a socket pair.
#![cfg(not(miri))]

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mp_os::clock::Deadline;
use mp_os::socket::{self, MAX_FDS};
use mp_os::wakeup::wait_any;
use mp_testkit::{Forked, PATIENCE, leave_descriptors};

fn open(path: &str) -> OwnedFd {
    File::open(path).expect("readable").into()
}

/// Closes an end and waits until the other one shows it: processes that other tests fork have
/// copies for a moment.
fn close(end: OwnedFd, other: &OwnedFd) {
    drop(end);
    let shown = wait_any(&[other.as_fd()], Deadline::after(PATIENCE)).expect("one descriptor");
    assert_eq!(shown, [0], "the end is still open");
}

#[test]
fn messages_stay_apart() {
    let (left, right) = socket::pair().expect("two descriptors");
    socket::send(&left, b"one", &[]).expect("room");
    socket::send(&left, b"three", &[]).expect("room");
    let mut buffer = [0; 16];
    assert_eq!(socket::peek(&right).expect("open"), Some(3));
    assert_eq!(socket::recv(&right, &mut buffer).expect("sent").len, 3);
    assert_eq!(socket::peek(&right).expect("open"), Some(5));
    assert_eq!(socket::recv(&right, &mut buffer).expect("sent").len, 5);
    assert_eq!(socket::peek(&right).expect("open"), None);
    close(left, &right);
    assert_eq!(socket::peek(&right).expect("open"), Some(0));
    assert_eq!(socket::recv(&right, &mut buffer).expect("closed").len, 0);
}

#[test]
fn carries_as_many_descriptors_as_the_kernel_allows() {
    let (left, right) = socket::pair().expect("two descriptors");
    let null = open("/dev/null");
    let fds: Vec<BorrowedFd<'_>> = vec![null.as_fd(); MAX_FDS];
    socket::send(&left, b"x", &fds).expect("the most");
    let received = socket::recv(&right, &mut [0; 1]).expect("sent");
    assert_eq!(received.fds.len(), MAX_FDS);
    for fd in &received.fds {
        assert!(
            rustix::io::fcntl_getfd(fd)
                .expect("open")
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
    }
    let many: Vec<BorrowedFd<'_>> = vec![null.as_fd(); MAX_FDS + 1];
    let error = socket::send(&left, b"x", &many).expect_err("one too many");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error
            .to_string()
            .contains("at most 253 descriptors, not 254"),
        "{error}"
    );
}

#[test]
fn descriptors_outlive_their_sender() {
    let (left, right) = socket::pair().expect("two descriptors");
    let child = Forked::new(|| {
        let (read, write) = rustix::pipe::pipe().expect("two descriptors");
        rustix::io::write(&write, b"from the dead").expect("room");
        socket::send(&left, b"x", &[read.as_fd()]).is_ok()
    });
    assert_eq!(child.exit(), mp_os::pidfd::Exit::Code(0));
    let mut received = socket::recv(&right, &mut [0; 1]).expect("sent");
    let mut text = String::new();
    File::from(received.fds.remove(0))
        .read_to_string(&mut text)
        .expect("a pipe");
    assert_eq!(text, "from the dead");
}

#[test]
fn too_small_a_buffer_is_an_error_and_closes_the_descriptors() {
    let (left, right) = socket::pair().expect("two descriptors");
    let (read, write) = rustix::pipe::pipe().expect("two descriptors");
    socket::send(&left, b"four", &[write.as_fd()]).expect("room");
    drop(write);
    let error = socket::recv(&right, &mut [0; 3]).expect_err("it does not fit");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    let mut none = [0; 1];
    assert_eq!(
        rustix::io::read(&read, &mut none).expect("a pipe"),
        0,
        "the write end is gone"
    );
}

#[test]
fn no_room_for_descriptors_is_an_error() {
    let (left, right) = socket::pair().expect("two descriptors");
    let null = open("/dev/null");
    socket::send(&left, b"x", &[null.as_fd(); 9]).expect("room");
    let child = Forked::new(|| {
        leave_descriptors(4);
        let error = socket::recv(&right, &mut [0; 1]).expect_err("only four fit");
        error.kind() == ErrorKind::InvalidData && error.to_string().contains("ulimit -n")
    });
    assert_eq!(child.exit(), mp_os::pidfd::Exit::Code(0));
}

#[test]
fn deadlines_end_waits_on_both_sides() {
    let (left, right) = socket::pair().expect("two descriptors");
    let soon = Deadline::after(Duration::from_millis(5));
    let error = socket::recv_deadline(&right, &mut [0; 1], soon).expect_err("nothing was sent");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let error = loop {
        if let Err(error) = socket::send_deadline(&left, &[0; 1024], &[], Deadline::PASSED) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn closed_end_is_an_error_and_no_signal() {
    let (left, right) = socket::pair().expect("two descriptors");
    close(right, &left);
    let error = socket::send(&left, b"x", &[]).expect_err("nobody there");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn empty_messages_are_refused() {
    let (left, _right) = socket::pair().expect("two descriptors");
    let error = socket::send(&left, b"", &[]).expect_err("it would look like the end");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn knows_its_own_kind() {
    let (left, _right) = socket::pair().expect("two descriptors");
    assert!(socket::is_seqpacket(&left));
    assert!(!socket::is_seqpacket(open("/dev/null")));
    let (stream, _other) = std::os::unix::net::UnixStream::pair().expect("two descriptors");
    assert!(!socket::is_seqpacket(&stream));
}

#[test]
fn looking_at_a_start_takes_nothing() {
    let (left, right) = socket::pair().expect("two descriptors");
    let mut start = [0; 3];
    let error = socket::peek_start(&right, &mut start).expect_err("nothing was sent");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    socket::send(&left, b"hello", &[]).expect("room");
    for _ in 0..2 {
        assert_eq!(socket::peek_start(&right, &mut start).expect("sent"), 3);
        assert_eq!(&start, b"hel");
    }
    assert_eq!(socket::peek(&right).expect("sent"), Some(5));
    assert!(socket::peer_is_same_user(&right));
    let null = File::open("/dev/null").expect("exists");
    assert!(!socket::peer_is_same_user(&null), "no socket at all");
}

#[test]
fn looking_at_a_message_leaves_it_its_descriptors() {
    let (left, right) = socket::pair().expect("two descriptors");
    let (read, write) = rustix::pipe::pipe().expect("two descriptors");
    socket::try_send(&left, b"x", &[write.as_fd()]).expect("room");
    drop(write);
    let mut none = [0; 1];
    for _ in 0..2 {
        let peeked = socket::peek_message(&right, &mut none)
            .expect("open")
            .expect("sent");
        assert_eq!((peeked.len, peeked.fds.len(), peeked.is_cut), (1, 1, false));
        rustix::io::write(&peeked.fds[0], b"p").expect("a pipe");
        assert_eq!(rustix::io::read(&read, &mut none).expect("a pipe"), 1);
    }
    assert!(socket::discard(&right).expect("open"));
    assert_eq!(
        rustix::io::read(&read, &mut none).expect("a pipe"),
        0,
        "closed"
    );
    assert!(!socket::discard(&right).expect("open"), "none is left");
    assert!(
        socket::peek_message(&right, &mut none)
            .expect("open")
            .is_none()
    );
    close(left, &right);
    assert!(!socket::discard(&right).expect("closed"));
    assert_eq!(
        socket::peek_message(&right, &mut none)
            .expect("closed")
            .map(|peeked| peeked.len),
        Some(0)
    );
}

#[test]
fn looking_at_a_message_without_room_for_its_descriptors_loses_none() {
    let (left, right) = socket::pair().expect("two descriptors");
    let null = open("/dev/null");
    socket::try_send(&left, b"x", &[null.as_fd(); 9]).expect("room");
    let child = Forked::new(|| {
        leave_descriptors(4);
        let peeked = socket::peek_message(&right, &mut [0; 1])
            .expect("open")
            .expect("sent");
        assert_eq!((peeked.fds.len(), peeked.is_cut), (4, true));
        drop(peeked);
        leave_descriptors(9);
        let received = socket::recv(&right, &mut [0; 1]).expect("sent");
        received.fds.len() == 9
    });
    assert_eq!(child.exit(), mp_os::pidfd::Exit::Code(0));
}
