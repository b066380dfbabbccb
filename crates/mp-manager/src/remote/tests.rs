//! Peers that have the key and say what no client says.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use mp_layout::{ErrorKind, Result};
use mp_net::{Client, Connection, Listener};
use mp_object::transfer::{self, Way};
use mp_object::{Lock, message};
use mp_queue::Queue;
use mp_testkit::{Forked, PATIENCE, UniqueName, Watchdog, stay};

use super::session::{Session, Table};
use super::wire::{self, Hello, MOST_ELEMENTS, MOST_RELEASES, ToServer, Welcome};
use super::{RemoteManager, references};
use crate::parcel::{Key, Parcel};
use crate::request::{
    Answer, Call, DictOperation, Kind, ListOperation, Listen, Operation, Request,
};
use crate::{List, Manager};

const KEY: &[u8] = b"the key";

/// How long a client may take to take its answer: a test waits for it.
pub(super) const UNTAKEN: Duration = Duration::from_secs(3);

/// A client that writes its frames itself.
struct Peer {
    connection: Connection,
    session: Arc<Session>,
}

impl Peer {
    fn connect(manager: &Manager) -> Self {
        // It asks by its lifeline: whoever sees that the session has ended knows of the connection.
        let (connection, welcome) = join(manager, None);
        let number = welcome.unwrap().session;
        let (second, joined) = join(manager, Some(number));
        assert_eq!(number, joined.unwrap().session);
        let session = Session::new(number, second);
        Self {
            connection,
            session,
        }
    }

    fn send(&mut self, frame: &ToServer) {
        let frame = references::in_frame_of(&self.session, || wire::write(frame)).unwrap();
        self.connection.send_bytes(&frame).unwrap();
    }

    fn answer(&mut self) -> Answer {
        let bytes = self.connection.recv_bytes_timeout(PATIENCE).unwrap();
        references::in_frame_of(&self.session, || wire::read(&bytes)).unwrap()
    }

    fn ask(&mut self, object: u64, operation: Operation) -> Answer {
        self.send(&ToServer::Ask(object, operation));
        self.answer()
    }

    /// The error that bytes are answered with.
    fn ask_bytes(&mut self, bytes: &[u8]) -> mp_layout::Error {
        self.connection.send_bytes(bytes).unwrap();
        match self.answer() {
            Answer::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn assert_dropped(&mut self) {
        let end = self.connection.recv_bytes_timeout(PATIENCE).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::Closed, "{end}");
    }
}

/// Begins a session, or joins one.
fn join(manager: &Manager, session: Option<u128>) -> (Connection, Result<Welcome>) {
    let mut connection = Client::connect(manager.address().unwrap(), KEY).unwrap();
    let hello = wire::write(&Hello::new(session)).unwrap();
    connection.send_bytes(&hello).unwrap();
    let welcome = wire::read(&connection.recv_bytes_timeout(PATIENCE).unwrap()).unwrap();
    (connection, welcome)
}

fn bound() -> (Manager, List<u32>, u64, Watchdog) {
    let watchdog = Watchdog::new(PATIENCE * 3);
    let manager = Manager::bind(([127, 0, 0, 1], 0), KEY).unwrap();
    let list = manager.list().unwrap();
    list.extend([1, 2, 3]).unwrap();
    let number = list.number();
    (manager, list, number, watchdog)
}

fn take() -> Operation {
    Operation::List(ListOperation::Take(Some(1)))
}

#[test]
fn what_a_client_took_comes_back_if_it_did_not_say_that_it_has_it() {
    let (manager, list, number, _watchdog) = bound();
    let mut peer = Peer::connect(&manager);
    assert!(matches!(peer.ask(number, take()), Answer::Value(Some(_))));
    assert_eq!(list.to_vec().unwrap(), [1, 3]);
    drop(peer);
    while list.len().unwrap() != 3 {
        thread::yield_now();
    }
    assert_eq!(list.to_vec().unwrap(), [1, 2, 3], "in its old place");
}

#[test]
fn what_a_killed_client_took_comes_back() {
    let (manager, list, number, _watchdog) = bound();
    let client = Forked::arriving(|arrival| {
        let mut peer = Peer::connect(&manager);
        assert!(matches!(peer.ask(number, take()), Answer::Value(Some(_))));
        arrival.arrive();
        stay()
    });
    assert_eq!(list.to_vec().unwrap(), [1, 3]);
    client.kill_and_reap();
    while list.len().unwrap() != 3 {
        thread::yield_now();
    }
    assert_eq!(list.to_vec().unwrap(), [1, 2, 3], "in its old place");
}

#[test]
fn a_client_that_does_not_take_its_answer_is_dropped_and_its_item_comes_back() {
    let (manager, list, _, _watchdog) = bound();
    let texts = manager.list::<String>().unwrap();
    texts.append("a".repeat(16 << 20)).unwrap();
    let mut peer = Peer::connect(&manager);
    let take = Operation::List(ListOperation::Take(None));
    peer.send(&ToServer::Ask(texts.number(), take));
    // For 3 s it is out, and others are served.
    while !texts.is_empty().unwrap() {
        thread::yield_now();
    }
    while texts.is_empty().unwrap() {
        assert_eq!(list.len().unwrap(), 3);
        thread::yield_now();
    }
    let end = peer.connection.recv_bytes_timeout(PATIENCE).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::Truncated, "{end}");
    assert_eq!(texts.get(0).unwrap().map(|text| text.len()), Some(16 << 20));
}

#[test]
fn what_a_client_took_is_gone_with_it_when_it_has_said_that_it_has_it() {
    let (manager, list, number, _watchdog) = bound();
    for frame in [
        ToServer::Ask(0, Operation::Received),
        ToServer::Ask(number, Operation::Len),
    ] {
        let mut peer = Peer::connect(&manager);
        let kept = peer.ask(0, Operation::Create(Kind::List));
        peer.ask(number, Operation::List(ListOperation::Take(None)));
        peer.send(&frame);
        drop(peer);
        while manager.number_of_objects().unwrap() != 1 {
            thread::yield_now();
        }
        // A look after the one that saw the end of the session.
        manager.number_of_objects().unwrap();
        drop(kept);
    }
    assert_eq!(list.to_vec().unwrap(), [1]);
}

#[test]
fn a_session_ends_with_its_lifeline_though_other_connections_of_it_are_there() {
    let (manager, list, number, _watchdog) = bound();
    let Peer {
        connection: lifeline,
        session,
    } = Peer::connect(&manager);
    let (connection, welcome) = join(&manager, Some(session.number));
    assert_eq!(welcome.unwrap().session, session.number);
    let mut sibling = Peer {
        connection,
        session,
    };
    let answer = sibling.ask(0, Operation::Create(Kind::List));
    assert!(matches!(answer, Answer::Created(..)));
    assert_eq!(manager.number_of_objects().unwrap(), 2);
    drop(lifeline);
    while manager.number_of_objects().unwrap() != 1 {
        thread::yield_now();
    }
    sibling.send(&ToServer::Ask(number, Operation::Len));
    sibling.assert_dropped();
    // The session's other connection is there still.
    let (_, refused) = join(&manager, Some(sibling.session.number));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(list.len().unwrap(), 3);
}

#[test]
fn an_item_that_waits_for_its_receipt_stays_out() {
    let (manager, list, number, _watchdog) = bound();
    let mut peer = Peer::connect(&manager);
    peer.ask(number, take());
    for _ in 0..3 {
        // Each is after a look.
        manager.number_of_objects().unwrap();
        assert_eq!(list.len().unwrap(), 2);
    }
}

#[test]
fn unknown_objects_and_wrong_kinds_are_errors() {
    let (manager, list, number, _watchdog) = bound();
    let mut peer = Peer::connect(&manager);
    let kind = |answer| match answer {
        Answer::Failed(error) => error.kind(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        kind(peer.ask(u64::MAX, Operation::Len)),
        ErrorKind::NotFound
    );
    let get = Operation::Dict(DictOperation::Get(Key::of(&1).unwrap()));
    assert_eq!(kind(peer.ask(number, get)), ErrorKind::WrongKind);
    let call = || Call {
        function: vec![7; 40],
        arguments: Parcel::empty(),
    };
    for operation in [Operation::Call(call()), Operation::Make(call())] {
        assert_eq!(kind(peer.ask(number, operation)), ErrorKind::Unsupported);
    }
    assert!(matches!(
        peer.ask(number, Operation::Len),
        Answer::Number(3)
    ));
    assert_eq!(list.len().unwrap(), 3);
}

#[test]
fn a_request_of_more_values_than_memory_is_meant_for_is_refused() {
    let (manager, list, _, _watchdog) = bound();
    let mut peer = Peer::connect(&manager);
    // Each has no bytes and no references: two bytes here, ninety when it was read.
    let values = (0..=MOST_ELEMENTS).map(|_| Parcel::empty()).collect();
    let operation = Operation::List(ListOperation::Extend(values));
    let Answer::Failed(error) = peer.ask(list.number(), operation) else {
        panic!("it was accepted")
    };
    assert_eq!(error.kind(), ErrorKind::WrongSize, "{error}");
    assert!(error.to_string().contains("send them in parts"), "{error}");
    peer.assert_dropped();
    let remote = RemoteManager::connect(manager.address().unwrap(), KEY).unwrap();
    let theirs = remote.list::<()>().unwrap();
    let error = theirs.extend(vec![(); MOST_ELEMENTS + 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize, "{error}");
    assert!(theirs.is_empty().unwrap(), "the connection is as it was");

    let mut peer = Peer::connect(&manager);
    let release = wire::write(&(1_u8, vec![1_u64; MOST_RELEASES + 1])).unwrap();
    assert_eq!(peer.ask_bytes(&release).kind(), ErrorKind::Decode);
    peer.assert_dropped();
    let value = wire::write(&(Vec::<u8>::new(), vec![1_u64; 254])).unwrap();
    let read: Result<Parcel> = references::in_frame_of(&peer.session, || wire::read(&value));
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn a_reference_that_the_client_does_not_have_is_refused() {
    let (manager, list, number, _watchdog) = bound();
    let mut peer = Peer::connect(&manager);
    // No bytes, and one reference.
    let value: Parcel = references::in_frame_of(&peer.session, || wire::read(&[0, 1, 77])).unwrap();
    let extend = Operation::List(ListOperation::Extend(vec![value]));
    let Answer::Failed(error) = peer.ask(number, extend) else {
        panic!("it was accepted")
    };
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("no reference 77"), "{error}");
    peer.assert_dropped();
    assert_eq!(list.len().unwrap(), 3);
}

#[test]
fn what_is_no_frame_is_answered_and_its_sender_dropped() {
    let (manager, list, _, _watchdog) = bound();
    // No operation, no length, a length that no memory holds, and too much.
    let frames: [&[u8]; 5] = [
        &[],
        &[9],
        &[0, 1, 99],
        &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        &[1, 0, 0],
    ];
    for frame in frames {
        let mut peer = Peer::connect(&manager);
        assert_eq!(peer.ask_bytes(frame).kind(), ErrorKind::Decode, "{frame:?}");
        peer.assert_dropped();
    }
    assert_eq!(list.len().unwrap(), 3);
}

#[test]
fn another_protocol_and_an_unknown_session_are_refused() {
    let (manager, list, _, _watchdog) = bound();
    let other = wire::write(&(1_u64, None::<u128>)).unwrap();
    let unknown = wire::write(&Hello::new(Some(5))).unwrap();
    for (hello, kind) in [
        (other, ErrorKind::WrongVersion),
        (unknown, ErrorKind::Closed),
        (vec![200; 100], ErrorKind::Decode),
    ] {
        let mut connection = Client::connect(manager.address().unwrap(), KEY).unwrap();
        connection.send_bytes(&hello).unwrap();
        let answer = connection.recv_bytes_timeout(PATIENCE).unwrap();
        let answer: Result<Welcome> = wire::read(&answer).unwrap();
        assert_eq!(answer.unwrap_err().kind(), kind);
        let end = connection.recv_bytes_timeout(PATIENCE).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::Closed);
    }
    assert_eq!(list.len().unwrap(), 3);
}

/// A value that contains itself.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Node(Option<Box<Node>>);

#[test]
fn a_value_of_ten_thousand_levels_overflows_no_stack() {
    let (manager, _, _, _watchdog) = bound();
    let nodes = manager.list::<Node>().unwrap();
    manager.publish("nodes", nodes.clone()).unwrap();
    let remote = RemoteManager::connect(manager.address().unwrap(), KEY).unwrap();
    let theirs: List<Node> = remote.published("nodes").unwrap();
    let mut deep = Node(None);
    for _ in 0..400 {
        deep = Node(Some(Box::new(deep)));
    }
    let refused = theirs.append(deep).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Encode, "{refused}");
    let made_up = Parcel::received([vec![1; 10_000], vec![0]].concat(), Vec::new());
    let extend = Operation::List(ListOperation::Extend(vec![made_up]));
    let mut peer = Peer::connect(&manager);
    assert!(matches!(peer.ask(nodes.number(), extend), Answer::Done));
    for list in [&nodes, &theirs] {
        let error = list.get(0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(
            error.to_string().contains("more than 500 levels"),
            "{error}"
        );
    }
    theirs.append(Node(None)).unwrap();
    assert_eq!(theirs.len().unwrap(), 2);
}

#[test]
fn made_up_bytes_open_no_memory_of_the_server_or_of_a_reader_by_its_name() {
    let (manager, _, _, _watchdog) = bound();
    let mut peer = Peer::connect(&manager);
    let by_name = |write: &dyn Fn() -> Vec<u8>| transfer::message(Way::Names, write).0;

    let lock_name = UniqueName::new("by-name");
    let lock = Lock::create_named(&lock_name).unwrap();
    let locks = manager.list::<Lock>().unwrap();
    manager.publish("locks", locks.clone()).unwrap();
    let made_up = Parcel::received(by_name(&|| message::write(&lock).unwrap()), Vec::new());
    let extend = Operation::List(ListOperation::Extend(vec![made_up]));
    assert!(matches!(peer.ask(locks.number(), extend), Answer::Done));
    let remote = RemoteManager::connect(manager.address().unwrap(), KEY).unwrap();
    for list in [locks, remote.published("locks").unwrap()] {
        let error = list.get(0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().contains("by a name"), "{error}");
    }

    // Refused before the gateway sees which operation it is.
    let queue_name = UniqueName::new("by-name-queue");
    let queue = Queue::<Request>::create_named(&queue_name).unwrap();
    let link = by_name(&|| message::write(&(&queue, 1_u64)).unwrap());
    let listen = Listen {
        link: message::read(&link).unwrap(),
        address: manager.address().unwrap().clone(),
        key: KEY.to_vec(),
    };
    let ask = ToServer::Ask(0, Operation::Listen(listen));
    let error = peer.ask_bytes(&by_name(&|| message::write(&ask).unwrap()));
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("by a name"), "{error}");
    peer.assert_dropped();
}

#[test]
fn random_frames_end_nothing() {
    let (manager, list, number, _watchdog) = bound();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8 % 12
    };
    let mut answered = 0;
    for _ in 0..150 {
        let mut peer = Peer::connect(&manager);
        for _ in 0..20 {
            let mut bytes = vec![0, number as u8 + random() % 2];
            bytes.extend((0..random()).map(|_| random()));
            peer.connection.send_bytes(&bytes).ok();
        }
        // It is dropped for this, if not before.
        peer.connection.send_bytes(&[9]).ok();
        while peer.connection.recv_bytes_timeout(PATIENCE).is_ok() {
            answered += 1;
        }
    }
    assert!(answered > 100, "only {answered} were answered");
    list.append(5).unwrap();
    let remote = RemoteManager::connect(manager.address().unwrap(), KEY).unwrap();
    assert_eq!(remote.pid(), manager.pid());
}

#[test]
fn a_connection_that_ends_before_its_request_is_made_again() {
    fn welcome(listener: &mut Listener) -> Connection {
        let mut connection = listener.accept().unwrap();
        connection.recv_bytes().unwrap();
        let welcome: Result<Welcome> = Ok(Welcome {
            session: 1,
            server: 2,
            pid: 3,
        });
        let frame = wire::write(&welcome).unwrap();
        connection.send_bytes(&frame).unwrap();
        connection
    }
    let _watchdog = Watchdog::new(PATIENCE * 3);
    let mut listener = Listener::new(KEY).unwrap();
    let address = listener.address().clone();
    let (dropped, is_dropped) = mpsc::channel();
    let server = thread::spawn(move || {
        let lifeline = welcome(&mut listener);
        // Before its welcome, as one that was ended to make room.
        drop(listener.accept().unwrap());
        for _ in 0..2 {
            let mut connection = welcome(&mut listener);
            connection.recv_bytes().unwrap();
            let frame = wire::write(&Answer::Number(7)).unwrap();
            connection.send_bytes(&frame).unwrap();
            drop(connection);
            dropped.send(()).unwrap();
        }
        drop(lifeline);
    });
    let remote = RemoteManager::connect(&address, KEY).unwrap();
    for _ in 0..2 {
        assert_eq!(remote.number_of_objects().unwrap(), 7);
        is_dropped.recv_timeout(PATIENCE).unwrap();
    }
    server.join().unwrap();
    let over = remote.number_of_objects().unwrap_err();
    assert_eq!(over.kind(), ErrorKind::Closed, "{over}");
}

#[test]
fn half_a_frame_has_a_deadline() {
    let (one, mut other) = UnixStream::pair().unwrap();
    let mut connection = Connection::without_key(one).unwrap();
    other.write_all(&[0, 0, 0, 9, 1]).unwrap();
    let late = wire::receive(&mut connection, Duration::from_millis(5)).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TimedOut);
}

#[test]
fn a_table_keeps_the_last_descriptors_free() {
    let file = || Arc::new(OwnedFd::from(UnixStream::pair().unwrap().0));
    let full = Table::new(3);
    let refused = full.insert(file()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooManyDescriptors);
    let table = Table::new(u64::MAX);
    let numbers = [(); 2].map(|()| table.insert(file()).unwrap());
    assert_ne!(numbers[0], numbers[1]);
    table.release(&numbers[..1]);
    assert_eq!(table.get(numbers[0]).unwrap_err().kind(), ErrorKind::Decode);
    assert!(table.get(numbers[1]).is_ok());
    table.end();
    let one = file();
    let few = Table::new(u64::try_from(one.as_raw_fd()).unwrap() + 40);
    let kept = (0..100).take_while(|_| few.insert(Arc::clone(&one)).is_ok());
    assert_eq!(kept.count(), 40, "as many as are left for others");
    let over = [
        table.get(numbers[1]).map(drop),
        table.insert(file()).map(drop),
    ];
    assert!(over.map(|over| over.unwrap_err().kind()) == [ErrorKind::Closed; 2]);
}
