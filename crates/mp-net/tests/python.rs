//! The same frames and the same handshake as Python's `multiprocessing.connection`.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_net::{Address, Client, Connection, Listener};
use mp_testkit::{PATIENCE, Watchdog};

const KEY: &[u8] = b"the key";

/// Lengths at which Python's frames differ: from 16 KiB on it sends the header alone.
const LENGTHS: [usize; 6] = [0, 1, 255, 16_384, 16_385, 300_000];

/// Sends back the lengths that it was told, as bytes of that many letters, and then the same.
const ECHO: &str = "
for _ in range(6):
    c.send_bytes(c.recv_bytes())
c.close()
";

/// The first Python that is of version 3.12 or later, or is older, as asked; `None`, said loudly,
/// where there is none.
#[track_caller]
fn python(is_new: bool) -> Option<PathBuf> {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    let installed = std::fs::read_dir(home.join(".pyenv/versions"))
        .into_iter()
        .flatten()
        .flatten();
    let mut candidates: Vec<_> = installed
        .map(|version| version.path().join("bin/python3"))
        .collect();
    candidates.sort();
    let names = (8..20).map(|minor| PathBuf::from(format!("python3.{minor}")));
    candidates.extend(names.chain([PathBuf::from("python3")]));
    let asked = format!(
        "import sys, multiprocessing.connection; sys.exit((sys.version_info >= (3, 12)) != {})",
        if is_new { "True" } else { "False" }
    );
    let found = candidates.into_iter().rev().find(|python| {
        let run = Command::new(python)
            .args(["-c", &asked])
            .stderr(Stdio::null())
            .status();
        run.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        mp_testkit::not_checked(if is_new {
            "Listener and Client with Python's (no python3 of version 3.12 or later)"
        } else {
            "that HMAC-MD5 is refused (no python3 before version 3.12)"
        });
    }
    found
}

/// A Python that runs a program, and is killed with the test.
struct Running(Child);

impl Running {
    fn new(python: &PathBuf, program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(python);
        command
            .args(["-c", program])
            .args(arguments)
            .stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        line.trim().to_owned()
    }

    #[track_caller]
    fn succeeds(mut self) {
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where the test passed.
        drop(self.0.kill());
        self.0.wait().unwrap();
    }
}

#[track_caller]
fn is_echoed(connection: &mut Connection) {
    for len in LENGTHS {
        let bytes: Vec<u8> = (0..len).map(|n| (n % 253) as u8).collect();
        connection.send_bytes(&bytes).unwrap();
        assert!(
            connection.recv_bytes_timeout(PATIENCE).unwrap() == bytes,
            "{len} bytes"
        );
    }
    assert_eq!(
        connection.recv_bytes_timeout(PATIENCE).unwrap_err().kind(),
        ErrorKind::Closed
    );
}

/// Where a test's socket is.
fn socket_path(test: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("mp-net-{test}-{}", std::process::id()));
    // An aborted run may have left one, and this process its number.
    drop(std::fs::remove_file(&path));
    path
}

/// An address as Python writes it.
fn python_address(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!("('{}', {})", address.ip(), address.port()),
        Address::Abstract(name) => format!("'\\x00{}'", name.escape_ascii()),
        other => format!("'{other}'"),
    }
}

#[test]
fn python_connects_to_a_listener() {
    let Some(python) = python(true) else { return };
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let path = socket_path("python");
    for address in [
        Address::from(([127, 0, 0, 1], 0)),
        Address::from(format!("\0mp-net-python-{}", std::process::id())),
        Address::from(path),
    ] {
        let mut listener = Listener::bind(address, KEY)
            .unwrap()
            .with_patience(PATIENCE);
        let address = python_address(listener.address());
        let program = format!(
            "
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
try:
    Client({address}, authkey=b'another')
    raise SystemExit('another key was taken')
except AuthenticationError:
    pass
c = Client({address}, authkey=b'the key')
{ECHO}"
        );
        let client = Running::new(&python, &program, &[]);
        let mut connection = listener.accept_timeout(PATIENCE).unwrap();
        assert_eq!(listener.refused(), 1);
        is_echoed(&mut connection);
        client.succeeds();
    }
}

#[test]
fn a_client_connects_to_python() {
    let Some(python) = python(true) else { return };
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let path = socket_path("to-python");
    for unix in [None, Some(&path)] {
        let address = unix.map_or("('127.0.0.1', 0)".to_owned(), |path| {
            format!("'{}'", path.display())
        });
        let program = format!(
            "
from multiprocessing import AuthenticationError
from multiprocessing.connection import Listener
listener = Listener({address}, authkey=b'the key')
print(listener.address[1] if isinstance(listener.address, tuple) else 0, flush=True)
try:
    listener.accept()
    raise SystemExit('another key was taken')
except AuthenticationError:
    pass
c = listener.accept()
{ECHO}"
        );
        let mut server = Running::new(&python, &program, &[]);
        let port = server.line().parse().unwrap();
        let address = unix.map_or(Address::from(([127, 0, 0, 1], port)), Address::from);
        let error = Client::connect_timeout(&address, b"another", PATIENCE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        let mut connection = Client::connect_timeout(&address, KEY, PATIENCE).unwrap();
        is_echoed(&mut connection);
        server.succeeds();
    }
}

#[test]
fn python_with_md5_is_refused_by_both_sides() {
    let Some(python) = python(false) else { return };
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let mut listener = Listener::new(KEY).unwrap().with_patience(PATIENCE);
    let program = format!(
        "
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
try:
    Client({}, authkey=b'the key')
    raise SystemExit('MD5 was taken')
except AuthenticationError:
    pass
",
        python_address(listener.address())
    );
    let client = Running::new(&python, &program, &[]);
    while listener.refused() == 0 {
        let accepted = listener.accept_timeout(Duration::from_millis(20));
        assert_eq!(accepted.unwrap_err().kind(), ErrorKind::TimedOut);
    }
    client.succeeds();
    let program = "
from multiprocessing.connection import Listener
listener = Listener(('127.0.0.1', 0), authkey=b'the key')
print(listener.address[1], flush=True)
try:
    listener.accept()
except EOFError:
    pass
";
    let mut server = Running::new(&python, program, &[]);
    let port = server.line().parse().unwrap();
    let error = Client::connect_timeout(([127, 0, 0, 1], port), KEY, PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("HMAC-MD5"), "{error}");
    server.succeeds();
}
