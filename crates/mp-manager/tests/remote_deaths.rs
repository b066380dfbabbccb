//! What is left when remote clients or the server are killed, and peers without manners.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use mp_layout::{ErrorKind, Result};
use mp_manager::{List, Manager, RemoteManager};
use mp_net::{Address, Client};
use mp_object::ProcessIdentity;
use mp_testkit::{Forked, PATIENCE, Watchdog};

const KEY: &[u8] = b"the key";

fn watchdog() -> Watchdog {
    Watchdog::new(PATIENCE * 3)
}

/// A path for a socket, removed when the test ends.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(label: &str) -> Self {
        let name = format!("mp-manager-{label}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // An aborted run may have left one, and this process its number.
        drop(fs::remove_file(&path));
        Self(path)
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn loopback() -> Address {
    ([127, 0, 0, 1], 0).into()
}

fn kill_and_wait(manager: &Manager) {
    let server = ProcessIdentity::of(manager.pid())
        .unwrap()
        .expect("it runs");
    let pid = libc::pid_t::try_from(manager.pid()).unwrap();
    // SAFETY: a system call without pointers, on a child that the test started.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    assert!(server.wait_end(PATIENCE).unwrap(), "it does not end");
}

#[test]
fn a_killed_client_leaves_no_object() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::bind(loopback(), KEY)?;
    let address = manager.address().unwrap().clone();
    let client = Forked::arriving(|arrival| {
        let remote = RemoteManager::connect(&address, KEY).expect("it connects");
        let list = remote.list::<List<u8>>().expect("a list");
        list.append(remote.list().expect("another")).expect("room");
        arrival.stay()
    });
    assert_eq!(manager.number_of_objects()?, 2);
    client.kill_and_reap();
    while manager.number_of_objects()? != 0 {
        thread::yield_now();
    }
    Ok(())
}

#[test]
fn a_killed_server_is_an_error_at_its_remote_clients_and_another_has_its_address() -> Result<()> {
    let _watchdog = watchdog();
    let path = SocketPath::new("again");
    // Not a port: another test may have it as soon as it is free.
    let name = format!("\0mp-manager-again-{}", std::process::id());
    for address in [Address::from(&path.0), Address::from(name)] {
        let manager = Manager::bind(&address, KEY)?;
        let address = manager.address().unwrap().clone();
        let remote = RemoteManager::connect(&address, KEY)?;
        let list = remote.list::<u32>()?;
        thread::scope(|scope| {
            let clients = [(); 2].map(|()| {
                scope.spawn(|| {
                    loop {
                        let begun = Instant::now();
                        if let Err(error) = list.append(1) {
                            return (error, begun.elapsed());
                        }
                    }
                })
            });
            while list.len().unwrap() < 10 {}
            kill_and_wait(&manager);
            for client in clients {
                let (error, waited) = client.join().unwrap();
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                // The goal is a second; a busy machine is not to fail here.
                assert!(waited < Duration::from_secs(10));
            }
        });
        assert_eq!(list.len().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(
            remote.dict::<u8, u8>().unwrap_err().kind(),
            ErrorKind::Closed
        );

        let next = Manager::bind(&address, KEY)?;
        assert_eq!(next.address(), Some(&address));
        let error = list.append(1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "of the old one: {error}");
        assert_eq!(RemoteManager::connect(&address, KEY)?.pid(), next.pid());
    }
    assert!(!path.0.exists(), "a manager that ends removes its file");
    Ok(())
}

#[test]
fn a_shut_down_is_an_error_of_remote_clients() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::bind(loopback(), KEY)?;
    let list = RemoteManager::connect(manager.address().unwrap(), KEY)?.list::<u32>()?;
    list.append(1)?;
    manager.shutdown()?;
    assert_eq!(list.append(1).unwrap_err().kind(), ErrorKind::Closed);
    Ok(())
}

#[test]
fn an_address_that_is_taken_or_none_is_an_error() -> Result<()> {
    let _watchdog = watchdog();
    let path = SocketPath::new("taken");
    let kind = |address: Address| Manager::bind(address, KEY).unwrap_err().kind();
    let first = Manager::bind(&path.0, KEY)?;
    assert_eq!(kind(Address::from(&path.0)), ErrorKind::AlreadyExists);
    assert_eq!(RemoteManager::connect(&path.0, KEY)?.pid(), first.pid());
    drop(first);
    fs::write(&path.0, "a text")?;
    assert_eq!(kind(Address::from(&path.0)), ErrorKind::AlreadyExists);
    assert_eq!(
        fs::read(&path.0)?,
        b"a text",
        "no file is removed but a dead socket"
    );
    assert_eq!(
        kind(Address::from("/tmp/".to_owned() + &"x".repeat(200))),
        ErrorKind::InvalidName
    );
    assert_eq!(
        kind(Address::from("/no/such/directory/socket")),
        ErrorKind::NotFound
    );
    Ok(())
}

#[test]
fn a_dead_socket_of_another_program_is_replaced() -> Result<()> {
    let _watchdog = watchdog();
    let path = SocketPath::new("dead");
    drop(UnixListener::bind(&path.0)?);
    let manager = Manager::bind(&path.0, KEY)?;
    assert_eq!(RemoteManager::connect(&path.0, KEY)?.pid(), manager.pid());
    Ok(())
}

#[test]
fn a_wrong_empty_or_huge_key_is_refused() -> Result<()> {
    let _watchdog = watchdog();
    let manager = Manager::bind(loopback(), KEY)?;
    let address = manager.address().unwrap();
    let kind = |key: &[u8]| RemoteManager::connect(address, key).unwrap_err().kind();
    assert_eq!(kind(b"another"), ErrorKind::PermissionDenied);
    assert_eq!(kind(b""), ErrorKind::InvalidInput);
    assert_eq!(kind(&[7; 5000]), ErrorKind::InvalidInput);
    for key in [&b""[..], &[7; 5000]] {
        let error = Manager::bind(loopback(), key).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(RemoteManager::connect(address, KEY)?.pid(), manager.pid());
    Ok(())
}

/// Kilobytes that a process has in memory.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn silent_and_lying_peers_keep_no_other_from_being_served() -> Result<()> {
    let _watchdog = watchdog();
    let path = SocketPath::new("silent");
    let manager = Manager::bind(&path.0, KEY)?;
    let list = RemoteManager::connect(&path.0, KEY)?.list::<u32>()?;
    let before = resident(manager.pid());
    let silent: Vec<_> = (0..200)
        .map(|_| UnixStream::connect(&path.0).unwrap())
        .collect();
    let sayings: [&[u8]; 4] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 40, b'#'],
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    let liars: Vec<_> = sayings
        .iter()
        .map(|saying| {
            let mut liar = UnixStream::connect(&path.0).unwrap();
            liar.write_all(saying).unwrap();
            liar
        })
        .collect();
    // With the key, and then nothing, or a length that is a lie.
    let mut keyed = [(); 10].map(|()| Client::connect(&path.0, KEY).unwrap());
    for connection in &mut keyed[5..] {
        let socket = connection.as_fd().try_clone_to_owned()?;
        fs::File::from(socket).write_all(&[0x02, 0, 0, 0, 1, 2, 3])?;
    }
    for number in 0..100 {
        list.append(number)?;
    }
    assert_eq!(RemoteManager::connect(&path.0, KEY)?.pid(), manager.pid());
    let grown = resident(manager.pid()).saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more");
    for mut connection in keyed {
        // Those that say nothing whole within 10 s are dropped.
        let end = loop {
            match connection.recv_bytes_timeout(PATIENCE) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(end.kind(), ErrorKind::Closed, "{end}");
    }
    assert_eq!(list.len()?, 100);
    for mut peer in silent.into_iter().chain(liars) {
        // The listener's greeting, and the end: a reset if it has not read all that was said.
        let end = peer.read_to_end(&mut Vec::new());
        let kind = end.err().map(|error| error.kind());
        assert!(
            matches!(kind, None | Some(io::ErrorKind::ConnectionReset)),
            "{kind:?}"
        );
    }
    Ok(())
}

#[test]
fn silent_peers_keep_no_client_from_a_server_of_few_descriptors() {
    let _watchdog = watchdog();
    let path = SocketPath::new("few");
    let child = Forked::new(|| {
        let limit = libc::rlimit {
            rlim_cur: 1024,
            rlim_max: 1024,
        };
        // SAFETY: the structure lives during the call.
        let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        assert_eq!(set, 0, "more than 1024 may be open by now");
        let manager = Manager::bind(&path.0, KEY).expect("it listens");
        let connect = || RemoteManager::connect_timeout(&path.0, KEY, PATIENCE);
        // Fewer than 256: no handshake is ended to make room.
        let silent: Vec<_> = (0..240)
            .map(|_| UnixStream::connect(&path.0).expect("it accepts"))
            .collect();
        assert_eq!(connect().expect("a place").pid(), manager.pid());
        drop(silent);
        connect().expect("a place").pid() == manager.pid()
    });
    assert!(child.succeeds());
}
