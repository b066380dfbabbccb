//! Arbitrary bytes from a peer with the key: each call gives a message within the limit or an
//! error, and there is an end.
#![no_main]

use std::io::Write;
use std::os::unix::net::UnixStream;

use libfuzzer_sys::fuzz_target;
use mp_layout::ErrorKind;
use mp_net::Connection;
use mp_os::clock::Deadline;

const LONGEST: usize = 1000;

fuzz_target!(|bytes: &[u8]| {
    let (one, mut other) = UnixStream::pair().expect("two sockets");
    let mut connection = Connection::without_key(one).expect("a socket").with_longest(LONGEST);
    for part in bytes.chunks(100) {
        // The connection may be over already.
        drop(other.write_all(part));
        if let Ok(message) = connection.recv_bytes_timeout(Deadline::PASSED) {
            assert!(message.len() <= LONGEST);
        }
    }
    drop(other);
    loop {
        match connection.recv::<Vec<(u64, String)>>() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Decode => {}
            Err(_) => break,
        }
    }
    assert_eq!(connection.recv_bytes().expect_err("over").kind(), ErrorKind::Closed);
});
