//! Arbitrary bytes from a client without the key: it is never a connection, and the listener goes
//! on.
#![no_main]

use std::io::Write;
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use mp_net::{Address, Listener};
use mp_os::clock::Deadline;

static LISTENER: LazyLock<Mutex<Listener>> =
    LazyLock::new(|| Mutex::new(Listener::new(b"the key").expect("a listener")));

fuzz_target!(|bytes: &[u8]| {
    let mut listener = LISTENER.lock().expect("one thread");
    let Address::Abstract(name) = listener.address() else {
        panic!("{listener:?}");
    };
    let address = SocketAddr::from_abstract_name(name).expect("its name");
    let mut client = UnixStream::connect_addr(&address).expect("it listens");
    // As messages of up to 63 bytes, so that the fuzzer need not guess lengths, or as they are.
    let message = match bytes {
        [first, rest @ ..] if first % 2 == 0 => rest
            .chunks(usize::from(first / 4) + 1)
            .flat_map(|part| [&(part.len() as u32).to_be_bytes(), part].concat())
            .collect(),
        bytes => bytes.to_vec(),
    };
    // The listener may have dropped it already.
    drop(client.write_all(&message));
    drop(client.shutdown(Shutdown::Write));
    let refused = listener.refused();
    while listener.refused() == refused {
        assert!(listener.accept_timeout(Deadline::PASSED).is_err());
    }
});
