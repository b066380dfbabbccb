//! The two sides of a pipe: sending, receiving, polling, closing, and the death of a side's last
//! process.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use killcheck::Check;
use mp_layout::{Kind, Region, TypeTag, bytes_of, value_of};
use mp_object::{Object, Plan, transfer};
use mp_os::socket;
use mp_queue::{Connection, Deadline, GetError, PutError, Wait, pipe, pipe_bounded};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};

use super::{
    ONE_SLOT, WHICH_PROCESSOR, begin, begin_alone, contents_at, copy, expect_one_of, is_unheard,
    number,
};

/// Large enough to be torn.
pub(super) type Message = [u64; 4];
pub(super) type Ends = (Connection<Message>, Connection<Message>);

pub(super) fn unbounded() -> Ends {
    let (left, right) = pipe().expect("a pipe");
    (left.with_wait(Wait::Sleep), right.with_wait(Wait::Sleep))
}

fn bounded(messages: usize) -> Ends {
    let (left, right) = pipe_bounded(messages).expect("a pipe");
    (left.with_wait(Wait::Sleep), right.with_wait(Wait::Sleep))
}

/// Sends without serde, whose memory for messages comes from libc's allocator, which goes one way
/// or the other.
fn send_from(left: &Connection<Message>, n: u64) -> Result<(), PutError<()>> {
    left.send_bytes(bytes_of(&number(n)))
}

/// Receives what [`send_from`] sent, into memory of its own.
fn recv_at(right: &Connection<Message>, deadline: Deadline) -> Result<u64, GetError> {
    let mut bytes = [0; size_of::<Message>()];
    right.recv_bytes_into_timeout(&mut bytes, deadline)?;
    let message: Message = value_of(&bytes).expect("as long as a message");
    assert_eq!(message, number(message[0]), "torn");
    Ok(message[0])
}

/// Empties the way from left to right and sends `start` by it, whoever died before.
fn restart((left, right): &Ends, start: &[u64]) {
    while recv_at(right, Deadline::PASSED).is_ok() {}
    for &n in start {
        send_from(left, n).expect("room");
    }
}

/// What is on its way from left to right, whole.
fn drain((_, right): &Ends) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    loop {
        match recv_at(right, Deadline::PASSED) {
            Ok(n) => numbers.push(n),
            Err(GetError::Empty) => return Ok(numbers),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn send((left, _): &Ends, n: u64) -> Result<(), String> {
    send_from(left, n).map_err(|error| error.to_string())
}

fn recv((_, right): &Ends) -> u64 {
    recv_at(right, Deadline::NEVER).expect("a message")
}

/// Whether something is on its way from left to right.
fn has_message((_, right): &Ends) -> bool {
    !right.is_empty()
}

/// What a thread does once in its life, it does the other way round.
fn warm_up((left, right): &Ends) {
    send_from(right, 0).expect("room");
    assert_eq!(recv_at(left, Deadline::NEVER).expect("a message"), 0);
}

#[track_caller]
fn assert_safe(check: Check<'_, Ends>, ends: &Ends) {
    let view = View::of(&ends.1);
    check
        .warm_up(warm_up)
        .shares_only(move |_| view.contents())
        .allow_missed(0.02, WHICH_PROCESSOR)
        .assert_safe(ends);
}

#[test]
fn a_send_through_a_pipe() {
    let _watchdog = begin();
    let check = Check::new("send")
        .setup(|ends: &Ends| restart(ends, &[1]))
        .victim(|ends| send(ends, 2).expect("room"))
        .survivor(|ends| {
            send(ends, 3)?;
            expect_one_of(drain(ends)?, &[&[1, 3], &[1, 2, 3]])
        })
        .without_timeouts();
    assert_safe(check, &unbounded());
}

#[test]
fn a_recv_from_a_pipe() {
    let _watchdog = begin();
    let check = Check::new("recv")
        .setup(|ends: &Ends| restart(ends, &[1, 2]))
        .victim(|ends| assert_eq!(recv(ends), 1))
        .survivor(|ends| {
            send(ends, 3)?;
            expect_one_of(drain(ends)?, &[&[1, 2, 3], &[2, 3]])
        })
        .without_timeouts();
    assert_safe(check, &bounded(8));
}

#[test]
fn a_refused_recv_leaves_the_message() {
    let _watchdog = begin();
    let check = Check::new("recv_bytes_into, the buffer too short")
        .setup(|ends: &Ends| restart(ends, &[1, 2]))
        .victim(|(_, right)| {
            let refused = right.recv_bytes_into(&mut [0; 3]);
            assert!(matches!(refused, Err(GetError::TooLong { .. })));
        })
        .survivor(|ends| expect_one_of(drain(ends)?, &[&[1, 2]]))
        .without_timeouts();
    assert_safe(check, &unbounded());
}

#[test]
fn a_send_while_receivers_sleep() {
    let _watchdog = begin();
    for sleepers in [1, 2] {
        let check = Check::new(format!("send, {sleepers} receivers asleep"))
            .setup(|ends: &Ends| restart(ends, &[]))
            .victim(|ends| send(ends, 2).expect("room"))
            .sleepers(sleepers, |ends| assert!([2, 3, 4].contains(&recv(ends))))
            .must_wake_count(|ends| usize::from(has_message(ends)))
            .survivor(|ends| send(ends, 3).and_then(|()| send(ends, 4)))
            .without_timeouts();
        assert_safe(check, &unbounded());
    }
}

#[test]
fn a_recv_while_senders_sleep() {
    let _watchdog = begin();
    for sleepers in [1, 2] {
        let check = Check::new(format!("recv, {sleepers} senders asleep"))
            .setup(|ends: &Ends| restart(ends, &[1, 2]))
            .victim(|ends| assert_eq!(recv(ends), 1))
            .sleepers(sleepers, |ends| send(ends, 5).expect("a receiver"))
            .must_wake_count(|(_, right)| 2 - right.len())
            .survivor(|ends| {
                recv(ends);
                recv(ends);
                Ok(())
            })
            .without_timeouts();
        assert_safe(check, &bounded(2));
    }
}

/// The known gap of the eventcount, as for the queue.
#[test]
fn a_woken_receiver_while_another_sleeps() {
    let _watchdog = begin();
    let ends = unbounded();
    let bell = View::of(&ends.1).at(QUEUE + NOT_EMPTY);
    let check = Check::new("recv, woken, another receiver asleep")
        .setup(|ends: &Ends| restart(ends, &[]))
        .victim(|ends| assert_eq!(recv(ends), 2))
        .sleeper(|ends| assert!([2, 3].contains(&recv(ends))))
        .waker(|ends| send(ends, 2).expect("room"))
        .must_wake(has_message)
        .survivor(|ends| send(ends, 3))
        .allow_rescues_if(|_, pending| is_unheard(bell, pending), ONE_SLOT);
    assert_safe(check, &ends);
}

/// A poll takes nothing: dead or alive, it passes its wake-up on.
#[test]
fn a_woken_poll_while_a_receiver_sleeps() {
    let _watchdog = begin();
    let check = Check::new("poll, woken, a receiver asleep")
        .setup(|ends: &Ends| restart(ends, &[]))
        .victim(|(_, right)| assert!(right.poll(Deadline::NEVER).expect("this way")))
        .sleeper(|ends| assert!([2, 3].contains(&recv(ends))))
        .waker(|ends| send(ends, 2).expect("room"))
        .must_wake(has_message)
        .survivor(|ends| send(ends, 3))
        .without_timeouts();
    assert_safe(check, &unbounded());
}

/// A connection as it is on its way to a process.
struct Parcel {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Parcel {
    fn of(connection: &Connection<Message>) -> Self {
        let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(connection));
        Self {
            bytes: bytes.expect("a connection"),
            descriptors,
        }
    }

    fn open<E: DeserializeOwned>(self) -> E {
        transfer::incoming(self.descriptors, || postcard::from_bytes(&self.bytes)).expect("an end")
    }
}

/// The object of a pipe, without a side.
#[derive(serde::Deserialize)]
struct View((u8, Option<u32>, Memory));

struct Memory(Object);

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tag = TypeTag::of_message::<(Message, Message)>();
        let plan = Plan::new(Kind::Pipe, tag, 4096);
        Object::deserialize(deserializer, plan.expected()).map(Memory)
    }
}

/// Where the number of the left side's closed connections is in the payload.
const LEFT_CLOSINGS: usize = 128;

/// Where the first queue starts, by which the left side sends, and where in it the cursors of tail
/// and head, the receivers' bell and the senders' are.
const QUEUE: usize = 4096;
const TAIL: usize = 128;
const HEAD: usize = 256;
const NOT_EMPTY: usize = 640;
const NOT_FULL: usize = 768;

impl View {
    fn of(connection: &Connection<Message>) -> Self {
        Parcel::of(connection).open()
    }

    fn payload(&self) -> Region<'_> {
        let Self((_, _, Memory(object))) = self;
        // SAFETY: bare words, reached by no other code with a reference to more.
        unsafe { object.payload() }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        self.payload().place(offset).expect("a word")
    }

    /// Where a word lies in this process's mapping.
    fn at(&self, offset: usize) -> usize {
        self.word(offset).as_ptr().addr()
    }

    /// Where the queue starts by which that side sends.
    fn queue(&self, side: usize) -> usize {
        // More than 4 GiB: the low half names another place.
        let size: &AtomicU64 = self.payload().place(0).expect("a word");
        QUEUE + side * size.load(Ordering::Relaxed) as usize
    }

    /// Whether a message of that side waits.
    fn has_message(&self, side: usize) -> bool {
        let queue = self.queue(side);
        let [tail, head] = [TAIL, HEAD].map(|cursor| self.word(queue + cursor));
        tail.load(Ordering::SeqCst) != head.load(Ordering::SeqCst)
    }

    /// A copy of what the processes of the pipe share: its own words and two queues.
    fn contents(&self) -> Vec<u64> {
        let payload = self.payload();
        let queues = [0, 1].map(|side| contents_at(payload, self.queue(side)));
        let own = copy(payload, 0, 384);
        own.into_iter().chain(queues.concat()).collect()
    }
}

/// A pipe of which no process has a side yet: both are on their way, in the kernel. So a process
/// that takes one is the only one that has it, although the others are forked from the same.
#[derive(Default)]
pub(super) struct Scene {
    stage: RefCell<Option<Stage>>,
    taken: RefCell<Option<Connection<Message>>>,
}

struct Stage {
    left: Carrier,
    right: Carrier,
    view: View,
}

/// Copies of a connection in a socket, of which each is received once.
struct Carrier {
    from: OwnedFd,
    _to: OwnedFd,
}

impl Carrier {
    fn of(connection: &Connection<Message>, copies: usize) -> Self {
        let parcel = Parcel::of(connection);
        let (to, from) = socket::pair().expect("a socket pair");
        let descriptors: Vec<_> = parcel.descriptors.iter().map(AsFd::as_fd).collect();
        for _ in 0..copies {
            socket::send(&to, &parcel.bytes, &descriptors).expect("room");
        }
        Self { from, _to: to }
    }

    fn take(&self) -> Connection<Message> {
        let mut bytes = vec![0; 4096];
        let came = socket::recv(&self.from, &mut bytes).expect("a connection");
        bytes.truncate(came.len);
        let parcel = Parcel {
            bytes,
            descriptors: came.fds,
        };
        parcel.open::<Connection<Message>>().with_wait(Wait::Sleep)
    }
}

impl Scene {
    /// A new pipe in which these messages go from left to right.
    pub(super) fn set(&self, (left, right): Ends, messages: &[u64]) {
        for &n in messages {
            send_from(&left, n).expect("room");
        }
        let stage = Stage {
            view: View::of(&right),
            left: Carrier::of(&left, 1),
            right: Carrier::of(&right, 2),
        };
        self.stage.replace(Some(stage));
    }

    fn with_stage<R>(&self, with: impl FnOnce(&Stage) -> R) -> R {
        with(self.stage.borrow().as_ref().expect("the set-up ran"))
    }

    pub(super) fn take_left(&self) {
        self.taken
            .replace(Some(self.with_stage(|stage| stage.left.take())));
        super::announce_first_bell();
    }

    fn with_taken<R>(&self, with: impl FnOnce(&Connection<Message>) -> R) -> R {
        with(self.taken.borrow().as_ref().expect("taken"))
    }

    /// Drops what was taken.
    pub(super) fn drop_left(&self) {
        drop(self.taken.take());
    }

    pub(super) fn take_right(&self) -> Connection<Message> {
        self.with_stage(|stage| stage.right.take())
    }

    /// Whether the left side has closed a connection after that of the set-up.
    pub(super) fn left_has_closed(&self) -> bool {
        self.with_stage(|stage| stage.view.word(LEFT_CLOSINGS).load(Ordering::SeqCst) > 1)
    }

    /// Whether a message has gone out of the left side, while none was received.
    fn left_has_sent(&self) -> bool {
        self.with_stage(|stage| stage.view.has_message(0))
    }

    /// Whether the message that went out of the right side was received.
    fn left_has_received(&self) -> bool {
        self.with_stage(|stage| !stage.view.has_message(1))
    }

    /// Whether the bell of the right side's senders stays silent when the left side dies.
    fn is_unheard_by_senders(&self, pending: usize) -> bool {
        self.with_stage(|stage| {
            let bell = stage.view.at(stage.view.queue(1) + NOT_FULL);
            is_unheard(bell, pending)
        })
    }

    /// Takes the right side and receives `n`, or hears that the left side is gone.
    fn receive_or_hear(&self, n: u64) {
        let right = self.take_right();
        match recv_at(&right, Deadline::NEVER) {
            Ok(got) => assert_eq!(got, n),
            Err(error) => assert!(matches!(error, GetError::Closed), "{error}"),
        }
    }

    /// Takes the right side and sends, or hears that the left side is gone.
    fn send_or_hear(&self, n: u64) {
        let right = self.take_right();
        match send_from(&right, n) {
            Ok(()) => {}
            Err(error) => assert!(matches!(error, PutError::Closed(_)), "{error}"),
        }
    }
}

/// Why the other side needs its recheck to hear of a death: the kernel rings the bell before it
/// closes the dead process's descriptors.
const RUNG_BEFORE_HUNG_UP: &str =
    "a death is heard of when the descriptors are closed, by the recheck";

/// So many points of what is too long to try them all.
const POINTS: usize = 200;

#[track_caller]
fn assert_safe_scene(check: Check<'_, Scene>) {
    check
        .shares_only(|scene: &Scene| scene.with_stage(|stage| stage.view.contents()))
        .allow_missed(0.1, "libc does not always go the same way")
        .max_points(POINTS)
        .assert_safe(&Scene::default());
}

/// Dead at any instruction: the message came, or the end.
#[test]
fn the_last_sender_dies_while_the_receiver_sleeps() {
    let _watchdog = begin_alone();
    assert_safe_scene(
        Check::new("send of the last process of a side, the receiver asleep")
            .setup(|scene: &Scene| scene.set(unbounded(), &[]))
            .warm_up(Scene::take_left)
            .victim(|scene| scene.with_taken(|left| send_from(left, 2).expect("a receiver")))
            .sleeper(|scene| scene.receive_or_hear(2))
            .must_wake(|_| true)
            .allow_rescues_if(|scene, _| !scene.left_has_sent(), RUNG_BEFORE_HUNG_UP),
    );
}

/// The other direction: the receiver dies, and what waits for room hears of it.
#[test]
fn the_last_receiver_dies_while_the_sender_sleeps() {
    let _watchdog = begin_alone();
    let full = || {
        let (left, right) = bounded(1);
        send_from(&right, 1).expect("room");
        (left, right)
    };
    assert_safe_scene(
        Check::new("recv of the last process of a side, the sender asleep")
            .setup(|scene: &Scene| scene.set(full(), &[]))
            .warm_up(Scene::take_left)
            .victim(|scene| {
                let got = scene.with_taken(|left| recv_at(left, Deadline::NEVER));
                assert_eq!(got.expect("a message"), 1);
            })
            .sleeper(|scene| scene.send_or_hear(2))
            .must_wake(|_| true)
            .allow_rescues_if(|scene, _| !scene.left_has_received(), RUNG_BEFORE_HUNG_UP),
    );
}

fn closing(name: &str, full: bool) -> Check<'static, Scene> {
    Check::new(name)
        .setup(move |scene: &Scene| {
            let (left, right) = bounded(1);
            if full {
                send_from(&right, 1).expect("room");
            }
            scene.set((left, right), &[]);
        })
        .warm_up(Scene::take_left)
        .victim(Scene::drop_left)
}

/// Once it is counted, the end is heard of without any timeout, whoever dies. Before, it is a death
/// like any other.
#[test]
fn a_side_is_closed_while_the_other_sleeps() {
    let _watchdog = begin_alone();
    for sleepers in [1, 2] {
        let name = format!("drop of the last connection, {sleepers} receivers asleep");
        let receivers_sleep =
            || closing(&name, false).sleepers(sleepers, |scene| scene.receive_or_hear(0));
        assert_safe_scene(
            receivers_sleep()
                .must_wake(Scene::left_has_closed)
                .without_timeouts(),
        );
        assert_safe_scene(
            receivers_sleep()
                .must_wake(|_| true)
                .allow_rescues_if(|scene, _| !scene.left_has_closed(), RUNG_BEFORE_HUNG_UP),
        );
    }
    assert_safe_scene(
        closing("drop of the last connection, the sender asleep", true)
            .sleeper(|scene| scene.send_or_hear(2))
            .must_wake(|_| true)
            .allow_rescues_if(
                |scene, pending| !scene.left_has_closed() || scene.is_unheard_by_senders(pending),
                RUNG_BEFORE_HUNG_UP,
            ),
    );
}
