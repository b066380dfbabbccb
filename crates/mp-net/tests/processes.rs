//! What a killed process leaves to the other side.

use mp_layout::ErrorKind;
use mp_net::{Client, Connection, Listener};
use mp_os::clock::Deadline;
use mp_testkit::{Forked, PATIENCE, Watchdog};

const KEY: &[u8] = b"the key";

/// A process that connects and then does this, and the connection to it.
fn client_that(work: impl FnOnce(Connection) -> bool) -> (Forked, Connection) {
    let mut listener = Listener::new(KEY).unwrap().with_patience(PATIENCE);
    let address = listener.address().clone();
    let child = Forked::new(|| work(Client::connect(address, KEY).expect("it connects")));
    (child, listener.accept().unwrap())
}

#[test]
fn what_a_killed_process_sent_is_received_then_the_end() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let (child, mut connection) = client_that(|mut connection| {
        connection.send(&5).expect("it is sent");
        mp_testkit::stay()
    });
    assert!(connection.poll(Deadline::NEVER).unwrap());
    child.kill_and_reap();
    assert_eq!(connection.recv::<i32>().unwrap(), 5);
    assert_eq!(
        connection.recv::<i32>().unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(connection.send(&5).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_process_that_is_killed_in_a_send_leaves_no_half_message() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let (child, mut connection) = client_that(|mut connection| {
        // No socket holds so much, so it does not return.
        connection.send_bytes(&vec![0; 256 << 20]).is_ok()
    });
    assert!(mp_os::poll::wait_readable(&connection, Deadline::NEVER).unwrap());
    child.kill_and_reap();
    let error = connection.recv_bytes().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
}

#[test]
fn a_killed_listener_is_an_error_at_its_clients() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let address = format!("\0mp-net-killed-{}", std::process::id());
    let server = Forked::arriving(|arrival| {
        let mut listener = Listener::bind(address.as_str(), KEY)
            .expect("a free name")
            .with_patience(PATIENCE);
        arrival.arrive();
        let _first = listener.accept().expect("a client");
        // The second one is in its handshake.
        mp_testkit::stay()
    });
    let mut first = Client::connect(address.as_str(), KEY).unwrap();
    let second = std::thread::scope(|scope| {
        let second = scope.spawn(|| Client::connect(address.as_str(), KEY));
        let waiting = scope.spawn(move || first.recv_bytes());
        server.kill_and_reap();
        assert_eq!(
            waiting.join().unwrap().unwrap_err().kind(),
            ErrorKind::Closed
        );
        second.join().unwrap()
    });
    // Before it connected, or after that.
    let kind = second.unwrap_err().kind();
    assert!(
        [ErrorKind::Closed, ErrorKind::NotFound].contains(&kind),
        "{kind:?}"
    );
    assert_eq!(
        Client::connect(address, KEY).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_forked_copy_of_a_listener_does_not_remove_its_socket() {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let path = std::env::temp_dir().join(format!("mp-net-fork-{}", std::process::id()));
    // An aborted run may have left one, and this process its number.
    drop(std::fs::remove_file(&path));
    let listener = Listener::bind(&path, KEY).unwrap();
    let mut copy = Some(listener);
    assert!(
        Forked::new(|| {
            drop(copy.take());
            true
        })
        .succeeds()
    );
    assert!(path.exists());
    drop(copy);
    assert!(!path.exists());
}
