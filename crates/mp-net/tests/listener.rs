//! Who becomes a connection, and who is dropped.

use std::fs::File;
use std::io::{ErrorKind as IoKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_net::{Address, Client, Listener};
use mp_os::clock::Deadline;
use mp_testkit::{Forked, PATIENCE, Watchdog, leave_descriptors};

const KEY: &[u8] = b"the key";

/// A directory of a test's own, which goes with it.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mp-net-{test}-{}", std::process::id()));
        // An aborted run may have left one, and this process its number.
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A listener that drops no client because this machine is busy.
fn patient(address: impl Into<Address>) -> Listener {
    Listener::bind(address, KEY)
        .unwrap()
        .with_patience(PATIENCE)
}

/// One with an address that the kernel chose.
fn listener() -> Listener {
    Listener::new(KEY).unwrap().with_patience(PATIENCE)
}

/// Held by tests that have hundreds of descriptors open.
static MANY: Mutex<()> = Mutex::new(());

/// Clients that say nothing. Some are accepted meanwhile, should the queue for that be short.
fn silent(listener: &mut Listener, count: usize) -> Vec<UnixStream> {
    let mut silent = Vec::new();
    while silent.len() < count {
        let more = (count - silent.len()).min(50);
        silent.extend((0..more).map(|_| raw(listener)));
        let accepted = listener.accept_timeout(Deadline::PASSED);
        assert_eq!(accepted.unwrap_err().kind(), ErrorKind::TimedOut);
    }
    silent
}

/// A socket that is connected to the listener, and says what the test writes.
fn raw(listener: &Listener) -> UnixStream {
    let Address::Abstract(name) = listener.address() else {
        panic!("{listener:?}");
    };
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
}

/// What a dropped client has read: all that came before the end.
fn rest_of(mut stream: UnixStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Err(error) if error.kind() != IoKind::ConnectionReset => panic!("not dropped: {error}"),
        _ => rest,
    }
}

/// A client of another thread sends a number, and the listener accepts it whatever else it has.
fn serves(listener: &mut Listener) {
    let address = listener.address().clone();
    let client = thread::spawn(move || Client::connect(address, KEY)?.send(&7));
    assert_eq!(listener.accept().unwrap().recv::<i32>().unwrap(), 7);
    client.join().unwrap().unwrap();
}

/// Accepts until so many clients were refused.
fn accept_until_refused(listener: &mut Listener, count: u64) {
    while listener.refused() < count {
        let accepted = listener.accept_timeout(Duration::from_millis(20));
        assert_eq!(accepted.unwrap_err().kind(), ErrorKind::TimedOut);
    }
    assert_eq!(listener.refused(), count);
}

#[test]
fn all_kinds_of_addresses_are_served() {
    let _watchdog = Watchdog::new(PATIENCE);
    let directory = Directory::new("addresses");
    let path = directory.0.join("socket");
    let named = format!("\0mp-net-{}", std::process::id());
    serves(&mut patient(&path));
    assert!(!path.exists(), "it goes with its listener");
    serves(&mut patient(named));
    serves(&mut listener());
    let mut tcp = patient((Ipv4Addr::LOCALHOST, 0));
    assert_eq!(tcp.last_accepted(), None);
    serves(&mut tcp);
    let Some(Address::Tcp(client)) = tcp.last_accepted() else {
        panic!("{tcp:?}");
    };
    assert!(client.ip().is_loopback());
}

#[test]
fn a_client_with_another_key_does_not_keep_the_next_out() {
    let _watchdog = Watchdog::new(PATIENCE);
    let mut listener = listener();
    let address = listener.address().clone();
    let wrong = thread::spawn(move || Client::connect(address, b"another"));
    accept_until_refused(&mut listener, 1);
    let error = wrong.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    serves(&mut listener);
}

/// What clients say that are none; the last one's message never ends.
const WORDS: [&[u8]; 6] = [
    b"GET / HTTP/1.1\r\n\r\n",
    &[0xff; 64],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0; 4],
    b"\0\0\0\x09#WELCOME#",
    b"\0\0\x01\0half",
];

fn clients_with_other_words(listener: &Listener) -> Vec<UnixStream> {
    let say = |words: &[u8]| {
        let mut stream = raw(listener);
        stream.write_all(words).unwrap();
        stream
    };
    WORDS.into_iter().map(say).collect()
}

#[test]
fn silent_clients_and_those_with_other_words_keep_no_other_out() {
    let _many = MANY.lock().unwrap_or_else(PoisonError::into_inner);
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let mut listener = listener();
    let _silent = silent(&mut listener, 200);
    let _others = clients_with_other_words(&listener);
    serves(&mut listener);
    accept_until_refused(&mut listener, 5);
    serves(&mut listener);
}

#[test]
fn silent_clients_are_dropped_after_their_time() {
    let _many = MANY.lock().unwrap_or_else(PoisonError::into_inner);
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let mut listener = listener().with_patience(Duration::from_millis(100));
    let silent = silent(&mut listener, 200);
    let others = clients_with_other_words(&listener);
    drop(raw(&listener));
    accept_until_refused(&mut listener, 207);
    for stream in silent {
        let challenge = rest_of(stream);
        assert!(challenge[4..].starts_with(b"#CHALLENGE#{sha256}"));
        assert_eq!(challenge.len(), 4 + 11 + 8 + 40);
    }
    others.into_iter().for_each(|stream| drop(rest_of(stream)));
    serves(&mut listener.with_patience(PATIENCE));
}

#[test]
fn no_more_clients_than_256_wait_without_a_key() {
    let _many = MANY.lock().unwrap_or_else(PoisonError::into_inner);
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let mut listener = listener().with_patience(Duration::MAX);
    let mut silent = silent(&mut listener, 300);
    accept_until_refused(&mut listener, 44);
    silent.drain(..44).for_each(|stream| drop(rest_of(stream)));
    serves(&mut listener);
    assert_eq!(
        listener.refused(),
        45,
        "the client that is served takes the oldest one's place"
    );
}

#[test]
fn a_client_that_takes_the_last_descriptor_is_accepted() {
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let mut listener = listener();
    let address = listener.address().clone();
    let server = Forked::new(|| {
        leave_descriptors(1);
        let accepted = listener.accept_timeout(PATIENCE);
        accepted.is_ok() && listener.refused() == 0
    });
    let connected = Client::connect_timeout(address, KEY, PATIENCE);
    assert!(server.succeeds(), "{connected:?}");
    connected.unwrap();
}

#[test]
fn a_client_stays_while_there_is_no_descriptor_for_it() {
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let mut listener = listener();
    let address = listener.address().clone();
    let server = Forked::new(|| {
        leave_descriptors(1);
        let last = File::open("/dev/null");
        let error = listener.accept_timeout(PATIENCE).expect_err("no room");
        assert_eq!(error.kind(), ErrorKind::TooManyDescriptors, "{error}");
        drop(last);
        let accepted = listener.accept_timeout(PATIENCE);
        accepted.is_ok() && listener.refused() == 0
    });
    let connected = Client::connect_timeout(address, KEY, PATIENCE);
    assert!(server.succeeds(), "{connected:?}");
    connected.unwrap();
}

#[test]
fn a_tcp_client_that_resets_is_dropped() {
    let _watchdog = Watchdog::new(PATIENCE);
    let mut listener = patient((Ipv4Addr::LOCALHOST, 0));
    let Address::Tcp(address) = *listener.address() else {
        panic!("{listener:?}");
    };
    // It closes with the challenge unread, or before that.
    drop(TcpStream::connect(address).unwrap());
    accept_until_refused(&mut listener, 1);
    serves(&mut listener);
}

#[test]
fn a_path_that_is_taken_says_by_what() {
    let _watchdog = Watchdog::new(PATIENCE);
    let directory = Directory::new("taken");
    let path = directory.0.join("socket");
    let listener = Listener::bind(&path, KEY).unwrap();
    let error = Listener::bind(&path, KEY).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(
        error.to_string().contains("a process listens there"),
        "{error}"
    );
    drop(listener);
    // What a listener that was killed leaves.
    drop(UnixListener::bind(&path).unwrap());
    let error = Listener::bind(&path, KEY).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("remove it"), "{error}");
    let error = Client::connect(&path, KEY).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn rebind_replaces_the_socket_of_a_dead_listener_and_nothing_else() {
    let _watchdog = Watchdog::new(PATIENCE);
    let directory = Directory::new("rebind");
    let path = directory.0.join("socket");
    let refused = || Listener::rebind(&path, KEY).unwrap_err().kind();
    drop(UnixListener::bind(&path).unwrap());
    let listener = Listener::rebind(&path, KEY).unwrap();
    assert_eq!(refused(), ErrorKind::AlreadyExists, "it lives");
    assert!(path.exists());
    drop(listener);
    std::fs::write(&path, "a text").unwrap();
    assert_eq!(refused(), ErrorKind::AlreadyExists, "it is no socket");
    assert_eq!(std::fs::read(&path).unwrap(), b"a text");
    std::fs::remove_file(&path).unwrap();
    let datagrams = UnixDatagram::bind(&path).unwrap();
    assert_eq!(refused(), ErrorKind::AlreadyExists, "it is another's");
    drop(datagrams);
}

#[test]
fn of_several_that_rebind_one_has_the_path() {
    let _watchdog = Watchdog::new(PATIENCE);
    let directory = Directory::new("turns");
    let path = directory.0.join("socket");
    for _ in 0..20 {
        drop(UnixListener::bind(&path).unwrap());
        let listeners = thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| Listener::rebind(&path, KEY)));
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(listeners.iter().filter(|bound| bound.is_ok()).count(), 1);
        assert!(path.exists());
    }
}

#[test]
fn a_path_in_use_is_not_to_be_removed() {
    let _watchdog = Watchdog::new(PATIENCE);
    let directory = Directory::new("in-use");
    let path = directory.0.join("socket");
    let datagrams = UnixDatagram::bind(&path).unwrap();
    let error = Listener::bind(&path, KEY).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let says = error.to_string();
    assert!(says.contains("another type"), "{says}");
    assert!(!says.contains("remove it"), "{says}");
    drop(datagrams);
    std::fs::remove_file(&path).unwrap();
    let _listener = Listener::bind(&path, KEY).unwrap();
    // One descriptor is for the socket; none is left to ask whether a process listens.
    let bound = Forked::new(|| {
        leave_descriptors(1);
        let error = Listener::bind(&path, KEY).expect_err("it is taken");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        let says = error.to_string();
        says.contains("could not be found out") && !says.contains("remove it")
    });
    assert!(bound.succeeds());
}

#[test]
fn a_file_that_replaced_the_socket_stays() {
    let _watchdog = Watchdog::new(PATIENCE);
    let directory = Directory::new("replaced");
    let path = directory.0.join("socket");
    let first = Listener::bind(&path, KEY).unwrap();
    std::fs::rename(&path, directory.0.join("elsewhere")).unwrap();
    let _second = Listener::bind(&path, KEY).unwrap();
    drop(first);
    assert!(path.exists());
}

#[test]
fn names_that_do_not_fit_say_how_long_they_may_be() {
    for name in ["/".repeat(108), format!("\0{}", "n".repeat(108))] {
        let name = name.as_str();
        for error in [
            Listener::bind(name, KEY).unwrap_err(),
            Client::connect(name, KEY).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidName);
            assert!(
                error
                    .to_string()
                    .contains("has 108 bytes, 107 are the most"),
                "{error}"
            );
        }
    }
    for name in ["", "\0", "/tmp/a\0b"] {
        let error = Listener::bind(name, KEY).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName, "{error}");
    }
}

#[test]
fn keys_that_are_none_are_refused() {
    let listener = Listener::new(vec![1; 4096]).unwrap();
    for (key, says) in [(vec![], "empty"), (vec![1; 4097], "4097 bytes")] {
        for error in [
            Listener::new(&key).unwrap_err(),
            Client::connect(listener.address(), &key).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}

#[test]
fn no_client_in_time_is_timed_out() {
    let _watchdog = Watchdog::new(PATIENCE);
    let mut listener = Listener::new(KEY).unwrap();
    for timeout in [Deadline::PASSED, Deadline::after(Duration::from_millis(5))] {
        let error = listener.accept_timeout(timeout).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}

#[test]
fn wait_sees_a_client() {
    let _watchdog = Watchdog::new(PATIENCE);
    let mut listener = Listener::new(KEY).unwrap();
    assert!(
        mp_object::wait(&[&listener], Duration::ZERO)
            .unwrap()
            .is_empty()
    );
    let address = listener.address().clone();
    let client = thread::spawn(move || Client::connect(address, KEY)?.send(&7));
    let mut connection = loop {
        assert_eq!(mp_object::wait(&[&listener], Duration::MAX).unwrap(), [0]);
        match listener.accept_timeout(Duration::ZERO) {
            Ok(connection) => break connection,
            Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
        }
    };
    assert_eq!(connection.recv::<i32>().unwrap(), 7);
    client.join().unwrap().unwrap();
}

/// Passes one message on.
fn pass(mut from: &UnixStream, mut to: &UnixStream) {
    let mut header = [0; 4];
    from.read_exact(&mut header).unwrap();
    let mut message = vec![0; usize::try_from(u32::from_be_bytes(header)).unwrap()];
    from.read_exact(&mut message).unwrap();
    to.write_all(&header).unwrap();
    to.write_all(&message).unwrap();
}

#[test]
fn a_client_that_has_proved_its_key_outlasts_a_flood_of_strangers() {
    let _many = MANY.lock().unwrap_or_else(PoisonError::into_inner);
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let directory = Directory::new("flood");
    let path = directory.0.join("between");
    let mut listener = listener();
    let go_on = |listener: &mut Listener| {
        let accepted = listener.accept_timeout(Deadline::PASSED);
        assert_eq!(accepted.unwrap_err().kind(), ErrorKind::TimedOut);
    };
    let between = UnixListener::bind(&path).unwrap();
    let client = thread::spawn(move || Client::connect(path, KEY));
    let (client_side, _) = between.accept().unwrap();
    let listener_side = raw(&listener);
    go_on(&mut listener);
    // The challenge, its answer, and the welcome.
    pass(&listener_side, &client_side);
    pass(&client_side, &listener_side);
    go_on(&mut listener);
    pass(&listener_side, &client_side);
    let strangers = silent(&mut listener, 300);
    // The client's challenge, its answer, and the welcome.
    pass(&client_side, &listener_side);
    go_on(&mut listener);
    pass(&listener_side, &client_side);
    pass(&client_side, &listener_side);
    listener.accept_timeout(PATIENCE).unwrap();
    client.join().unwrap().unwrap();
    drop(strangers);
}
