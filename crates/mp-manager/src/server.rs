//! The server: one thread that gets requests and answers them in their order, but for the calls of
//! methods, which the threads of their objects answer.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::thread;
use std::time::Duration;

use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::Deadline;
use mp_os::descriptor;
use mp_os::socket::MAX_FDS;
use mp_queue::{Connection, GetError, Nothing, PutError, Queue};

use crate::object_thread::Caller;
use crate::request::{Answer, Operation, Receipt, Reply, Request, Sender};
use crate::reserve::Reserve;
use crate::staging::Staging;
use crate::store::{Lent, Store, Swept};
use crate::token::Token;

/// The longest time between two looks for clients that have died and objects that no process has
/// any more.
const SWEEP: Duration = Duration::from_millis(250);

/// After such a time a sweep that has more to free leaves it to the next, and requests are served
/// for as long.
const SWEEP_SHARE: Duration = Duration::from_millis(25);

/// So many descriptors the server keeps free, or in its reserve: those of the longest message, and
/// some to work with. What would use them up is refused, so that the next request can always be
/// received.
const FREE_DESCRIPTORS: u64 = 300;

/// How often the server tries again to get a request that the system refuses: another program may
/// give back what is short.
pub(crate) const ATTEMPTS: u32 = 100;

/// The pause before the server tries again to get a request that the system refused.
const PAUSE: Duration = Duration::from_millis(10);

/// Gets requests until the queue is closed.
///
/// # Errors
///
/// What keeps the server from getting requests. It ends then, and its clients see that.
pub(crate) fn run(requests: Queue<Request>) -> Result<()> {
    // Where it is forbidden, there are fewer.
    let limit = descriptor::raise_limit().unwrap_or_else(|_| descriptor::limit());
    let mut server = Server::new(limit);
    server.reserve.fill();
    let mut next_sweep = Deadline::after(SWEEP);
    let mut failures = 0;
    loop {
        match requests.get_timeout(next_sweep) {
            Ok(request) => {
                server.serve(request);
                failures = 0;
                server.reserve.fill();
            }
            Err(GetError::Empty) => {}
            Err(GetError::Closed) => {
                // A method that waits for this server hears that it has ended.
                drop(server.clients);
                #[cfg(feature = "net")]
                drop(server.gateways);
                server.store.end();
                return Ok(());
            }
            Err(GetError::Decode(error)) => server.refuse_unreadable(error),
            // The message stays; the sweep may find descriptors to close. What a method has open it
            // may close, too.
            Err(GetError::Failed(error))
                if is_passing(&error) && (failures < ATTEMPTS || server.store.has_threads()) =>
            {
                if server.sweep().freed == 0 && !server.reserve.give_up() {
                    failures += 1;
                    thread::sleep(PAUSE);
                }
            }
            Err(error) => return Err(error.into()),
        }
        if next_sweep.is_expired() {
            let is_done = server.sweep().is_done;
            next_sweep = Deadline::after(if is_done { SWEEP } else { SWEEP_SHARE });
        }
    }
}

/// Whether what failed may succeed later.
pub(crate) fn is_passing(error: &Error) -> bool {
    use ErrorKind::{NotEnoughMemory, Os, TooManyDescriptors};
    matches!(error.kind(), TooManyDescriptors | NotEnoughMemory | Os)
}

struct Server {
    store: Store,
    clients: HashMap<u64, Client>,
    /// So many descriptors it may have.
    limit: u64,
    reserve: Reserve,
    /// Where it listens.
    #[cfg(feature = "net")]
    gateways: Vec<crate::remote::Gateway>,
}

/// A thread of a process, which has one request under way at most.
struct Client {
    replies: Connection<Reply, Nothing>,
    /// What it gets with the last reply. It comes back if the client dies before it receives that.
    lent: Option<Lent>,
    /// The next page of what it asked for last.
    next_page: Option<Answer>,
    receipt: Receipt,
    staging: Option<Staging>,
}

impl Client {
    /// Whether it has the last reply.
    fn has_received(&self) -> bool {
        match self.receipt {
            Receipt::Seen => self.replies.unreceived() == 0,
            Receipt::Told => false,
        }
    }
}

impl Server {
    fn new(limit: u64) -> Self {
        Self {
            store: Store::default(),
            clients: HashMap::new(),
            limit,
            reserve: Reserve::default(),
            #[cfg(feature = "net")]
            gateways: Vec::new(),
        }
    }

    fn serve(&mut self, request: Request) {
        // This one was read: the next that is not may be of a sender who is not known.
        Sender::take_last();
        let Request {
            sender,
            object,
            operation,
        } = request;
        match operation {
            Operation::Connect(replies, receipt) => self.connect(sender, replies, receipt),
            operation => self.answer(sender, object, operation),
        }
    }

    fn connect(&mut self, sender: Sender, replies: Connection<Reply, Nothing>, receipt: Receipt) {
        let client = Client {
            replies,
            lent: None,
            next_page: None,
            receipt,
            staging: None,
        };
        match self.check_descriptor(next_descriptor()) {
            Ok(()) => drop(self.clients.insert(sender.connection, client)),
            Err(error) => {
                let answer = Answer::Failed(error);
                // Where it fails the client is gone, or notices that its connection is.
                drop(client.replies.send(Reply { number: 0, answer }));
            }
        }
    }

    fn answer(&mut self, sender: Sender, object: u64, mut operation: Operation) {
        // A client that was refused has its answer already.
        let Some(client) = self.clients.get_mut(&sender.connection) else {
            return;
        };
        // It sends the next request when it has the reply to the last one.
        client.lent = None;
        let next_page = client.next_page.take();
        let value = operation.value_mut();
        let staging = client.staging.as_ref();
        if let Some(Err(error)) = value.map(|value| value.unstage(staging, Vec::new())) {
            return self.reply(sender, Answer::Failed(error), None);
        }
        if matches!(operation, Operation::CountObjects) {
            self.sweep();
        }
        let descriptor = match operation {
            Operation::Create(_) | Operation::Make(_) | Operation::Names | Operation::Stage(_) => {
                next_descriptor()
            }
            _ => None,
        };
        let descriptor = descriptor.max(operation.highest_descriptor());
        if let Err(error) = self.check_descriptor(descriptor) {
            return self.reply(sender, Answer::Failed(error), None);
        }
        match operation {
            Operation::Stage(staging) => self.stage(sender, staging),
            Operation::Received => self.reply(sender, Answer::Done, None),
            Operation::Make(call) => self.delegate(sender, |store, to| store.make(call, to)),
            Operation::Call(call) => {
                self.delegate(sender, |store, to| store.call(object, call, to));
            }
            Operation::NextPage => {
                let answer = next_page.unwrap_or_else(|| Answer::Failed(no_next_page()));
                self.reply(sender, answer, None);
            }
            #[cfg(feature = "net")]
            Operation::Listen(listen) => {
                let answer = self.listen(listen).unwrap_or_else(Answer::Failed);
                self.reply(sender, answer, None);
            }
            operation => {
                let (answer, lent) = self.store.run(object, operation);
                self.reply(sender, answer, lent);
            }
        }
    }

    /// Takes the memory by which a client's large values come and go, when the client is told so.
    /// If it cannot be told, both keep what they have.
    fn stage(&mut self, sender: Sender, staging: Staging) {
        let Some(client) = self.clients.get_mut(&sender.connection) else {
            return;
        };
        let (number, answer) = (sender.number, Answer::Done);
        match client.replies.send(Reply { number, answer }) {
            Ok(()) => client.staging = Some(staging),
            Err(error) => self.reply_unsent(sender, error),
        }
    }

    #[cfg(feature = "net")]
    fn listen(&mut self, listen: crate::request::Listen) -> Result<Answer> {
        let most = self.limit.saturating_sub(FREE_DESCRIPTORS);
        let (gateway, address) = crate::remote::Gateway::listen(listen, most)?;
        self.gateways.push(gateway);
        Ok(Answer::Listening(address))
    }

    /// Has another thread answer a request.
    fn delegate(&mut self, sender: Sender, run: impl FnOnce(&mut Store, Caller) -> Result<()>) {
        let Some(client) = self.clients.get(&sender.connection) else {
            return;
        };
        let caller = Caller {
            replies: client.replies.clone(),
            number: sender.number,
        };
        if let Err(error) = run(&mut self.store, caller) {
            self.reply(sender, Answer::Failed(error), None);
        }
    }

    /// Sends a reply. If that cannot be sent, what is in it comes back.
    fn reply(&mut self, sender: Sender, mut answer: Answer, lent: Option<Lent>) {
        let Some(client) = self.clients.get_mut(&sender.connection) else {
            return;
        };
        let number = sender.number;
        let next_page = answer.split();
        if let (Some(value), Some(staging)) = (answer.value_mut(), &client.staging)
            && value.is_large()
        {
            value.stage(staging);
        }
        let Err(error) = client.replies.send(Reply { number, answer }) else {
            client.lent = lent;
            client.next_page = next_page;
            return;
        };
        if let Some(lent) = lent {
            self.store.give_back(lent);
        }
        self.reply_unsent(sender, error);
    }

    /// Answers a client whose answer could not be sent. One that gets none at all is dropped.
    fn reply_unsent(&mut self, sender: Sender, error: PutError<Reply>) {
        let Some(client) = self.clients.get_mut(&sender.connection) else {
            return;
        };
        let number = sender.number;
        let is_gone = matches!(error, PutError::Closed(_));
        let answer = Answer::Failed(unsendable(error));
        if is_gone || client.replies.send(Reply { number, answer }).is_err() {
            self.clients.remove(&sender.connection);
        }
    }

    /// Answers the sender of a request that could not be read.
    fn refuse_unreadable(&mut self, error: Error) {
        if let Some(sender) = Sender::take_last() {
            self.reply(sender, Answer::Failed(error), None);
        }
    }

    fn check_descriptor(&self, number: Option<RawFd>) -> Result<()> {
        let number = number.and_then(|number| u64::try_from(number).ok());
        let reserved = self.reserve.len() as u64;
        let most = self.limit.saturating_sub(FREE_DESCRIPTORS) + reserved;
        let is_short = self.reserve.is_given_up();
        if number.is_none_or(|number| number < most && !is_short) {
            return Ok(());
        }
        let (objects, threads) = (self.store.len(), self.clients.len());
        let error = Error::new(ErrorKind::TooManyDescriptors, "ask", "a manager");
        Err(error.with_detail(format!(
            "its server may have {} descriptors and keeps {FREE_DESCRIPTORS} free; its {objects} objects take one \
             each, the {threads} threads that asked two each, three after large values, shared objects in values and what methods have open the \
             others; drop some, or raise ulimit -Hn before its owner starts",
            self.limit
        )))
    }

    /// Frees what belonged to processes that are gone, and what was received.
    fn sweep(&mut self) -> Swept {
        let Self { store, clients, .. } = self;
        let mut freed = 0;
        clients.retain(|_, client| {
            let is_gone = client.replies.is_closed();
            // Asked after that: a client that is gone receives nothing more.
            let is_received = client.has_received();
            match client.lent.take() {
                Some(lent) if is_gone && !is_received => store.give_back(lent),
                // It may die before it receives it.
                Some(lent) if !is_received => client.lent = Some(lent),
                lent => freed += usize::from(lent.is_some()),
            }
            freed += usize::from(is_gone);
            !is_gone
        });
        // What they took by their arguments and connections may be what is short.
        freed += store.drop_dead_calls();
        // Where the system refuses to look, the next sweep does.
        let swept = store.sweep(Deadline::after(SWEEP_SHARE));
        let mut swept = swept.unwrap_or_default();
        swept.freed += freed;
        swept
    }
}

/// Why the answer cannot be sent, for the client who asked.
#[cold]
pub(crate) fn unsendable(error: PutError<Reply>) -> Error {
    let kind = error.kind();
    let detail = match error {
        PutError::TooLarge { value, len, max } => {
            let way_out = match value.answer {
                Answer::Returned(_) => "return it in parts",
                _ => "keep it in smaller parts",
            };
            format!("the answer has {len} bytes, and {max} are the most; {way_out}")
        }
        // Containers are answered in pages: it is the result of a method.
        PutError::Encode(_, why) => format!(
            "the result cannot be sent, often because its shared objects and proxies take more \
             descriptors than the {MAX_FDS} that a message carries: return it in parts; {why}"
        ),
        error => return error.into(),
    };
    Error::new(kind, "read", "a managed object").with_detail(detail)
}

/// A client that asks so is none of this crate's.
#[cold]
fn no_next_page() -> Error {
    Error::new(ErrorKind::InvalidState, "read", "a managed object")
        .with_detail("the last answer was the last page")
}

/// A number that the next descriptor could have; the highest there is if there can be none.
fn next_descriptor() -> Option<RawFd> {
    let probe = Token::new();
    probe.map_or(Some(RawFd::MAX), |(_, token)| token.descriptor())
}

#[cfg(all(fuzzing, feature = "net"))]
pub(crate) mod fuzzing;

#[cfg(test)]
mod tests {
    use mp_object::ProcessIdentity;
    use mp_queue::pipe_one_way;

    use super::*;
    use crate::link::Link;
    use crate::parcel::{Key, Parcel};
    use crate::request::{DictOperation, Kind, ListOperation, When};

    type Replies = Connection<Nothing, Reply>;

    fn server() -> Server {
        Server::new(u64::MAX)
    }

    fn connect(server: &mut Server, connection: u64) -> Replies {
        let (replies, theirs) = pipe_one_way().unwrap();
        ask(
            server,
            connection,
            0,
            Operation::Connect(theirs, Receipt::Seen),
        );
        replies
    }

    fn ask(server: &mut Server, connection: u64, object: u64, operation: Operation) {
        let number = 1;
        let sender = Sender { connection, number };
        server.serve(Request {
            sender,
            object,
            operation,
        });
    }

    fn create(server: &mut Server, replies: &Replies, kind: Kind) -> (u64, Token) {
        ask(server, 1, 0, Operation::Create(kind));
        match replies.recv().unwrap().answer {
            Answer::Created(object, token) => (object, token),
            other => panic!("{other:?}"),
        }
    }

    fn parcel(number: u32) -> Parcel {
        Parcel::of(&number).unwrap()
    }

    fn len(server: &mut Server, object: u64) -> u64 {
        match server.store.run(object, Operation::Len).0 {
            Answer::Number(number) => number,
            other => panic!("{other:?}"),
        }
    }

    fn get(index: u64) -> Operation {
        Operation::List(ListOperation::Get(index))
    }

    #[test]
    fn a_large_value_goes_and_comes_beside_the_messages() {
        let staging_of = |text: &String| Staging::new(2 * text.len()).unwrap();
        let mut server = server();
        let mine = connect(&mut server, 1);
        let (list, _list) = create(&mut server, &mine, Kind::List);
        let text = "x".repeat(1 << 20);
        let staged = |staging: &Staging| {
            let mut value = Parcel::of(&text).unwrap();
            value.stage(staging);
            assert!(value.is_staged());
            Operation::List(ListOperation::Insert(0, value))
        };
        let staging = Staging::new(1 << 20).unwrap();
        // Its bytes are nowhere for this server, or fewer than it says.
        ask(
            &mut server,
            1,
            list,
            staged(&Staging::new(2 << 20).unwrap()),
        );
        assert!(matches!(mine.recv().unwrap().answer, Answer::Failed(_)));
        ask(&mut server, 1, 0, Operation::Stage(staging.clone()));
        assert!(matches!(mine.recv().unwrap().answer, Answer::Done));
        let large = Staging::new(2 << 20).unwrap();
        ask(&mut server, 1, list, staged(&large));
        assert!(matches!(mine.recv().unwrap().answer, Answer::Failed(_)));
        assert_eq!(len(&mut server, list), 0);
        // Several are never staged: that is not kept, of which nothing came.
        let mut values = vec![Parcel::of(&text).unwrap(), parcel(5)];
        values[0].stage(&staging_of(&text));
        let extend = ListOperation::Extend(values);
        ask(&mut server, 1, list, Operation::List(extend));
        assert!(matches!(mine.recv().unwrap().answer, Answer::Done));
        let stored = server.store.run(list, get(0)).0;
        assert!(matches!(stored, Answer::Value(Some((_, value))) if value.len() == 0));
        server.store.run(list, Operation::Clear);

        ask(&mut server, 1, 0, Operation::Stage(large.clone()));
        mine.recv().unwrap();
        ask(&mut server, 1, list, staged(&large));
        assert!(matches!(mine.recv().unwrap().answer, Answer::Done));
        large.write(&[0; 100]).unwrap();
        for operation in [ListOperation::Get(0), ListOperation::Take(None)] {
            ask(&mut server, 1, list, Operation::List(operation));
            let mut answer = mine.recv().unwrap().answer;
            let value = answer.value_mut().expect("it is there");
            assert!(value.is_staged());
            value.unstage(Some(&large), Vec::new()).unwrap();
            assert!(value.clone().open::<String>().unwrap() == text);
        }
        drop(mine);
        server.sweep();
        assert_eq!(len(&mut server, list), 0, "it was received");
    }

    #[test]
    fn a_staging_that_is_refused_leaves_the_last_one_in_use() {
        let _watchdog = mp_testkit::Watchdog::new(mp_testkit::PATIENCE);
        let requests = Queue::new().unwrap();
        let link = Link::new(requests.clone(), ProcessIdentity::current().unwrap());
        let large = |len| Parcel::of(&"x".repeat(len)).unwrap();
        let insert = |len| Operation::List(ListOperation::Insert(0, large(len)));
        let taken = thread::scope(|scope| {
            let served = scope.spawn(|| {
                let mut server = server();
                let mut stagings = 0;
                while let Ok(request) = requests.get() {
                    stagings += usize::from(matches!(request.operation, Operation::Stage(_)));
                    server.limit = if stagings < 2 { u64::MAX } else { 0 };
                    server.serve(request);
                }
                stagings
            });
            let taken = (|| {
                let answer = link.call(0, Operation::Create(Kind::List))?;
                let Answer::Created(list, _token) = answer else {
                    panic!("{answer:?}")
                };
                link.call(list, insert(1 << 20))?;
                link.call(list, insert(3 << 20))?;
                let take = Operation::List(ListOperation::Take(Some(1)));
                link.call(list, take)
            })();
            requests.close().unwrap();
            assert_eq!(served.join().unwrap(), 2, "one staging for each length");
            taken
        });
        let Answer::Value(Some((_, value))) = taken.unwrap() else {
            panic!("no value")
        };
        assert_eq!(value.open::<String>().unwrap().len(), 1 << 20);
    }

    #[cfg(feature = "net")]
    #[test]
    fn a_receipt_brings_no_staging() {
        let _watchdog = mp_testkit::Watchdog::new(mp_testkit::PATIENCE);
        let requests = Queue::new().unwrap();
        let link = Link::new(requests.clone(), ProcessIdentity::current().unwrap());
        let link = link.local().expect("it is of this machine");
        let stagings = thread::scope(|scope| {
            let served = scope.spawn(|| {
                let mut server = server();
                // Which of the requests brought one.
                let mut stagings = Vec::new();
                while let Ok(request) = requests.get() {
                    stagings.push(matches!(request.operation, Operation::Stage(_)));
                    server.serve(request);
                }
                stagings
            });
            let asked = (|| {
                let mut connection = link.connect(Receipt::Told)?;
                let create = Operation::Create(Kind::List);
                let Answer::Created(list, _token) = link.ask(&mut connection, 0, create)? else {
                    panic!("no list")
                };
                // Two values in one message are not staged.
                let text = Parcel::of(&"x".repeat(1 << 20)).unwrap();
                let extend = ListOperation::Extend(vec![text.clone(), text]);
                link.ask(&mut connection, list, Operation::List(extend))?;
                let take = Operation::List(ListOperation::Take(None));
                link.ask(&mut connection, list, take)?;
                link.confirm(&mut connection)
            })();
            requests.close().unwrap();
            asked.unwrap();
            served.join().unwrap()
        });
        assert_eq!(stagings, [false; 5]);
    }

    #[test]
    fn what_a_dead_client_did_not_receive_comes_back() {
        let mut server = server();
        let mine = connect(&mut server, 1);
        let (list, _list) = create(&mut server, &mine, Kind::List);
        let (dict, _dict) = create(&mut server, &mine, Kind::Dict);
        let values = (0..3).map(parcel).collect();
        ask(
            &mut server,
            1,
            list,
            Operation::List(ListOperation::Extend(values)),
        );
        let put = DictOperation::Put(Key::of("key").unwrap(), parcel(7), When::Always);
        ask(&mut server, 1, dict, Operation::Dict(put));

        let takes = [
            (list, || Operation::List(ListOperation::Take(None))),
            (list, || Operation::List(ListOperation::Take(Some(0)))),
            (dict, || Operation::Dict(DictOperation::TakeLast)),
            (dict, || {
                Operation::Dict(DictOperation::Take(Key::of("key").unwrap()))
            }),
        ] as [(u64, fn() -> Operation); 4];
        for (object, take) in takes {
            let before = len(&mut server, object);
            let theirs = connect(&mut server, 2);
            ask(&mut server, 2, object, take());
            assert_eq!(len(&mut server, object), before - 1);
            drop(theirs);
            server.sweep();
            assert_eq!(len(&mut server, object), before);
        }
        let Answer::Values(page) = server
            .store
            .run(list, Operation::List(ListOperation::Slice(0, 9)))
            .0
        else {
            panic!("no values")
        };
        let values: Vec<u32> = page
            .items
            .into_iter()
            .map(|value| value.open().unwrap())
            .collect();
        assert_eq!(values, [0, 1, 2], "in their old places");
    }

    #[test]
    fn the_next_page_is_of_the_same_state() {
        let mut server = server();
        let mine = connect(&mut server, 1);
        let (dict, _dict) = create(&mut server, &mine, Kind::Dict);
        let lock = mp_object::Lock::new().unwrap();
        for key in 0..300_u32 {
            let value = Parcel::of(&lock).unwrap();
            let put = DictOperation::Put(Key::of(&key).unwrap(), value, When::Always);
            ask(&mut server, 1, dict, Operation::Dict(put));
            drop(mine.recv().unwrap());
        }
        let items = |server: &mut Server, operation| {
            ask(server, 1, dict, operation);
            match mine.recv().unwrap().answer {
                Answer::Items(page) => Ok((page.items.len(), page.is_last)),
                Answer::Failed(error) => Err(error.kind()),
                other => panic!("{other:?}"),
            }
        };
        let read = || Operation::Dict(DictOperation::Items);
        assert_eq!(items(&mut server, read()), Ok((MAX_FDS, false)));
        let clear = server.store.run(dict, Operation::Clear).0;
        assert!(matches!(clear, Answer::Done));
        let next = items(&mut server, Operation::NextPage);
        assert_eq!(next, Ok((300 - MAX_FDS, true)));
        let next = items(&mut server, Operation::NextPage);
        assert_eq!(next, Err(ErrorKind::InvalidState));
        assert_eq!(items(&mut server, read()), Ok((0, true)));
    }

    #[test]
    fn another_request_ends_the_pages() {
        let mut server = server();
        let mine = connect(&mut server, 1);
        let (list, _list) = create(&mut server, &mine, Kind::List);
        let lock = Parcel::of(&mp_object::Lock::new().unwrap()).unwrap();
        for _ in 0..2 {
            let extend = ListOperation::Extend(vec![lock.clone(); MAX_FDS]);
            ask(&mut server, 1, list, Operation::List(extend));
        }
        let read = Operation::List(ListOperation::Slice(0, u64::MAX));
        ask(&mut server, 1, list, read);
        assert!(server.clients[&1].next_page.is_some());
        ask(&mut server, 1, list, Operation::Len);
        assert!(server.clients[&1].next_page.is_none());
    }

    #[test]
    fn what_was_cleared_does_not_come_back() {
        let mut server = server();
        let mine = connect(&mut server, 1);
        let (list, _list) = create(&mut server, &mine, Kind::List);
        let (dict, _dict) = create(&mut server, &mine, Kind::Dict);
        let put = DictOperation::Put(Key::of("key").unwrap(), parcel(7), When::Always);
        let fill = [
            (
                list,
                Operation::List(ListOperation::Extend(vec![parcel(7)])),
            ),
            (dict, Operation::Dict(put)),
        ];
        for (object, fill) in fill {
            ask(&mut server, 1, object, fill);
        }
        let takes = [
            (list, Operation::List(ListOperation::Take(None))),
            (dict, Operation::Dict(DictOperation::TakeLast)),
        ];
        for (object, take) in takes {
            let theirs = connect(&mut server, 2);
            ask(&mut server, 2, object, take);
            ask(&mut server, 1, object, Operation::Clear);
            drop(theirs);
            server.sweep();
            assert_eq!(len(&mut server, object), 0);
        }
    }

    /// Takes the only element of a list for a second client, which receives it.
    fn receive_one(server: &mut Server) -> (u64, Token, Replies) {
        let mine = connect(server, 1);
        let (list, token) = create(server, &mine, Kind::List);
        let extend = ListOperation::Extend(vec![parcel(7)]);
        ask(server, 1, list, Operation::List(extend));
        let theirs = connect(server, 2);
        let take = Operation::List(ListOperation::Take(None));
        ask(server, 2, list, take);
        let answer = theirs.recv().unwrap().answer;
        assert!(matches!(answer, Answer::Value(Some(_))));
        (list, token, theirs)
    }

    #[test]
    fn what_a_dead_client_had_received_is_gone_with_it() {
        let mut server = server();
        let (list, _token, theirs) = receive_one(&mut server);
        drop(theirs);
        server.sweep();
        assert_eq!(len(&mut server, list), 0);
    }

    #[test]
    fn what_was_received_is_not_kept() {
        let mut server = server();
        let (list, _token, _theirs) = receive_one(&mut server);
        let swept = server.sweep();
        assert_eq!(
            swept.freed, 2,
            "the item, and the first client, who is gone"
        );
        assert!(server.clients[&2].lent.is_none());
        assert_eq!(len(&mut server, list), 0);
    }

    #[test]
    fn a_request_of_a_client_that_is_gone_takes_nothing() {
        let mut server = server();
        let mine = connect(&mut server, 1);
        let (list, _list) = create(&mut server, &mine, Kind::List);
        ask(
            &mut server,
            1,
            list,
            Operation::List(ListOperation::Extend(vec![parcel(7)])),
        );
        drop(connect(&mut server, 2));
        ask(
            &mut server,
            2,
            list,
            Operation::List(ListOperation::Take(None)),
        );
        server.sweep();
        assert_eq!(len(&mut server, list), 1);
        assert_eq!(server.clients.len(), 1);
    }

    #[test]
    fn descriptors_are_refused_before_they_run_out() {
        let mut server = server();
        let replies = connect(&mut server, 1);
        let (list, _list) = create(&mut server, &replies, Kind::List);
        server.limit = 0;
        let value = Parcel::of(&mp_object::Lock::new().unwrap()).unwrap();
        let extend = ListOperation::Extend(vec![value]);
        for (object, operation) in [
            (0, Operation::Create(Kind::Dict)),
            (list, Operation::List(extend)),
        ] {
            ask(&mut server, 1, object, operation);
            let Answer::Failed(error) = replies.recv().unwrap().answer else {
                panic!("it was accepted")
            };
            assert_eq!(error.kind(), ErrorKind::TooManyDescriptors);
        }
        let refused = connect(&mut server, 2);
        assert!(matches!(refused.recv().unwrap().answer, Answer::Failed(_)));
        ask(
            &mut server,
            1,
            list,
            Operation::List(ListOperation::Extend(vec![parcel(7)])),
        );
        assert!(matches!(replies.recv().unwrap().answer, Answer::Done));
    }

    #[test]
    fn objects_with_methods_are_refused_before_threads_run_out() {
        let mut server = server();
        let mine = connect(&mut server, 1);
        server.store.set_most_threads(2);
        let mut make = || {
            let make = crate::object::making(|| 7_u32, (), Ok).unwrap();
            ask(&mut server, 1, 0, make);
            let answer = mine.recv().unwrap().answer;
            // What was freed since may be made again.
            server.sweep();
            match answer {
                Answer::Created(_, token) => Ok(token),
                Answer::Failed(error) => Err(error),
                other => panic!("{other:?}"),
            }
        };
        let _watchdog = mp_testkit::Watchdog::new(mp_testkit::PATIENCE);
        let (first, _second) = (make().unwrap(), make().unwrap());
        let error = make().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        assert!(error.to_string().contains("2 objects"), "{error}");
        drop(first);
        while make().is_err() {
            thread::yield_now();
        }
    }

    #[test]
    fn the_sender_of_an_unreadable_request_is_told() {
        let mut server = server();
        let replies = connect(&mut server, 1);
        let bytes = mp_object::message::write(&((1_u64, 9_u64), 0_u64, 200_u8)).unwrap();
        let why = mp_object::message::read::<Request>(&bytes).unwrap_err();
        let error =
            Error::new(ErrorKind::Decode, "get from", "a queue").with_detail(why.to_string());
        server.refuse_unreadable(error);
        let reply = replies.recv().unwrap();
        assert_eq!(reply.number, 9);
        assert!(matches!(reply.answer, Answer::Failed(error) if error.kind() == ErrorKind::Decode));
    }

    #[test]
    fn an_unreadable_request_of_an_unknown_sender_is_answered_to_no_other() {
        let mut server = server();
        let replies = connect(&mut server, 1);
        let (list, _list) = create(&mut server, &replies, Kind::List);
        let bytes = mp_object::message::write(&((1_u64, 9_u64), list, Operation::Len)).unwrap();
        server.serve(mp_object::message::read(&bytes).unwrap());
        assert_eq!(replies.recv().unwrap().number, 9);
        mp_object::message::read::<Request>(&[]).unwrap_err();
        server.refuse_unreadable(Error::new(ErrorKind::Decode, "get from", "a queue"));
        assert!(replies.try_recv().is_err());
    }

    #[test]
    fn random_requests_end_nothing() {
        let _watchdog = mp_testkit::Watchdog::new(mp_testkit::PATIENCE * 2);
        let mut server = server();
        let replies = connect(&mut server, 1);
        let _objects = [Kind::List, Kind::Dict].map(|kind| create(&mut server, &replies, kind).1);
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let operations = if cfg!(feature = "net") { 14 } else { 13 };
        let (mut served, mut carried_out) = (0, [0; 2]);
        for _ in 0..20_000 {
            let mut bytes = vec![1, 1];
            for _ in 0..12 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.push((state >> 32) as u8 % operations);
            }
            for len in 3..bytes.len() {
                let Ok(request) = mp_object::message::read::<Request>(&bytes[..len]) else {
                    continue;
                };
                let place = match request.operation {
                    Operation::Dict(_) => Some(0),
                    Operation::List(_) => Some(1),
                    _ => None,
                };
                server.serve(request);
                served += 1;
                while let Ok(reply) = replies.try_recv() {
                    let is_done = !matches!(reply.answer, Answer::Failed(_));
                    if let Some(place) = place.filter(|_| is_done) {
                        carried_out[place] += 1;
                    }
                }
            }
        }
        assert!(served > 1000, "only {served} were readable");
        assert!(
            carried_out.iter().all(|&count| count > 10),
            "only {carried_out:?} of the dictionary and the list were carried out"
        );
        // A thread that was to make an object has its token until it has answered.
        while server.store.len() != 2 {
            server.sweep();
            thread::yield_now();
        }
    }
}
