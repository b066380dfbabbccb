//! The two ends of a channel: sending, receiving, ending and passing on.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use killcheck::Check;
use mp_layout::{Kind, TypeTag};
use mp_object::{Object, Plan, ProcessIdentity, transfer};
use mp_queue::{GetError, PutError, Receiver, Sender, Wait, channel};
use mp_ring::Ring;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};

use super::{announce_first_bell, begin, copy, is_unheard};

/// As small as the values that lie beside the ring's tail, and of two words, so that one of them
/// may be torn.
type Value = [u64; 2];

/// Offsets of words in the payload.
const SENDER_ENDED: usize = 8;
const RECEIVER_ENDED: usize = 24;
const NOT_EMPTY: usize = 128;
const NOT_FULL: usize = 256;
const RING: usize = 384;
const SENDER: usize = RING + 16;
const RECEIVER: usize = RING + 24;
const TAIL: usize = RING + 128;
const HEAD: usize = RING + 256;

fn value(n: u64) -> Value {
    [n, !n]
}

/// An end on its way to another process.
struct Parcel {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Parcel {
    fn of(end: &impl serde::Serialize) -> Self {
        let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(end));
        Self {
            bytes: bytes.expect("an end"),
            descriptors,
        }
    }

    fn open<E: DeserializeOwned>(&self) -> E {
        let clones = self.descriptors.iter().map(OwnedFd::try_clone);
        let clones = clones.collect::<Result<_, _>>().expect("descriptors");
        transfer::incoming(clones, || postcard::from_bytes(&self.bytes)).expect("an end")
    }
}

/// A channel's object, without an end.
struct View(Object);

impl<'de> Deserialize<'de> for View {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plan = Plan::new(Kind::Channel, TypeTag::of::<Value>(), 2 * RING);
        Object::deserialize(deserializer, plan.expected()).map(View)
    }
}

/// A channel whose ends nobody has yet.
struct Stage {
    sender: Parcel,
    receiver: Parcel,
    view: View,
}

/// What the processes of a check share, and the end that each has taken for itself.
#[derive(Default)]
struct Scene {
    stage: RefCell<Option<Stage>>,
    sender: RefCell<Option<Sender<Value>>>,
    receiver: RefCell<Option<Receiver<Value>>>,
}

impl Scene {
    /// A new channel, with these values on their way.
    fn set(&self, capacity: usize, values: &[u64]) {
        let (mut sender, receiver) = channel::<Value>(capacity).expect("a channel");
        for &n in values {
            sender.send(value(n)).expect("room");
        }
        let (sender, receiver) = (Parcel::of(&sender), Parcel::of(&receiver));
        let view = sender.open();
        let stage = Stage {
            sender,
            receiver,
            view,
        };
        self.stage.replace(Some(stage));
    }

    fn with_stage<R>(&self, with: impl FnOnce(&Stage) -> R) -> R {
        with(self.stage.borrow().as_ref().expect("the set-up ran"))
    }

    fn word(&self, offset: usize) -> u64 {
        self.with_word(offset, |word| word.load(Ordering::SeqCst))
    }

    /// Where a word lies in this process's mapping.
    fn at(&self, offset: usize) -> usize {
        self.with_word(offset, |word| word.as_ptr().addr())
    }

    fn with_word<R>(&self, offset: usize, with: impl FnOnce(&AtomicU64) -> R) -> R {
        self.with_stage(|stage| {
            // SAFETY: bare words, reached by nobody with a reference to more.
            let payload = unsafe { stage.view.0.payload() };
            with(payload.place(offset).expect("a word"))
        })
    }

    /// A copy of what the processes of the channel share.
    fn contents(&self) -> Vec<u64> {
        self.with_stage(|stage| {
            // SAFETY: as above.
            let payload = unsafe { stage.view.0.payload() };
            copy(payload, 0, payload.len())
        })
    }

    fn take_sender(&self) {
        let sender: Sender<Value> = self.with_stage(|stage| stage.sender.open());
        self.sender.replace(Some(sender.with_wait(Wait::Sleep)));
        announce_first_bell();
    }

    fn take_receiver(&self) {
        let receiver: Receiver<Value> = self.with_stage(|stage| stage.receiver.open());
        self.receiver.replace(Some(receiver.with_wait(Wait::Sleep)));
        announce_first_bell();
    }

    /// Sends with the end that was taken.
    fn send(&self, n: u64) -> Result<(), PutError<Value>> {
        let mut sender = self.sender.borrow_mut();
        sender.as_mut().expect("taken").send(value(n))
    }

    fn recv(&self) -> Result<Value, GetError> {
        self.receiver.borrow_mut().as_mut().expect("taken").recv()
    }

    /// Takes the receiver and receives `n`, or hears that the sender is gone.
    fn receive_or_hear(&self, n: u64) {
        self.take_receiver();
        match self.recv() {
            Ok(got) => assert_eq!(got, value(n)),
            Err(error) => assert!(matches!(error, GetError::Closed), "{error}"),
        }
    }

    /// Takes the sender and sends, or hears that the receiver is gone.
    fn send_or_hear(&self, n: u64) {
        self.take_sender();
        if let Err(error) = self.send(n) {
            assert!(matches!(error, PutError::Closed(_)), "{error}");
        }
    }

    /// Goes on below the channel, where an end has a successor: one more value passes, after one of
    /// these sequences.
    fn go_on(&self, possible: &[&[u64]]) -> Result<(), String> {
        self.with_stage(|stage| {
            // SAFETY: reached as a ring by all.
            let payload = unsafe { stage.view.0.payload() };
            let part = payload.subregion(RING, payload.len() - RING);
            // SAFETY: the header says that this is a ring of such values.
            let ring = unsafe { Ring::<Value>::attach(part.map_err(text)?) }.map_err(text)?;
            let is_dead = |owner: std::num::NonZeroU64| {
                ProcessIdentity::from_word(owner.get())
                    .is_some_and(|process| process.is_dead().unwrap_or(false))
            };
            // SAFETY: the dead never run again.
            unsafe { ring.sweep(is_dead) };
            let (mut producer, mut consumer) = ring.split().map_err(text)?;
            let mut got = Vec::new();
            for last in [false, true] {
                if last {
                    producer.push(value(99)).map_err(text)?;
                }
                while let Ok([n, check]) = consumer.pop() {
                    if check != !n {
                        return Err(format!("torn: {n:x} {check:x}"));
                    }
                    got.push(n);
                }
            }
            match got.split_last() {
                Some((99, before)) if possible.contains(&before) => Ok(()),
                _ => Err(format!("{got:?} is none of {possible:?}, and 99")),
            }
        })
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[track_caller]
fn assert_safe(check: Check<'_, Scene>) {
    check
        .shares_only(Scene::contents)
        .assert_safe(&Scene::default());
}

/// So many points of what is too long to try them all.
const POINTS: usize = 200;

/// Why the other end needs its recheck to hear of a death. Outside, nothing is announced.
const OUTSIDE: &str = "a death outside the bell is noticed by the recheck";

/// Asks whether a death rings no bell of those that sleep at `bell`.
fn is_outside(bell: usize) -> impl Fn(&Scene, usize) -> bool {
    move |scene, pending| pending == 0 || is_unheard(scene.at(bell), pending)
}

fn dying_send() -> Check<'static, Scene> {
    Check::new("send, the receiver asleep")
        .setup(|scene: &Scene| scene.set(4, &[]))
        .warm_up(Scene::take_sender)
        .victim(|scene| scene.send(2).expect("a receiver"))
        .sleeper(|scene| scene.receive_or_hear(2))
}

#[test]
fn a_send_while_the_receiver_sleeps() {
    let _watchdog = begin();
    assert_safe(
        dying_send()
            .must_wake(|scene| scene.word(TAIL) != 0)
            .without_timeouts(),
    );
    assert_safe(
        dying_send()
            .must_wake(|_| true)
            .allow_rescues_if(is_outside(NOT_EMPTY), OUTSIDE),
    );
}

fn dying_recv() -> Check<'static, Scene> {
    Check::new("recv, the sender asleep")
        .setup(|scene: &Scene| scene.set(2, &[1, 2]))
        .warm_up(Scene::take_receiver)
        .victim(|scene| assert_eq!(scene.recv().expect("a value"), value(1)))
        .sleeper(|scene| scene.send_or_hear(3))
}

#[test]
fn a_recv_while_the_sender_sleeps() {
    let _watchdog = begin();
    assert_safe(
        dying_recv()
            .must_wake(|scene| scene.word(HEAD) != 0)
            .without_timeouts(),
    );
    assert_safe(
        dying_recv()
            .must_wake(|_| true)
            .allow_rescues_if(is_outside(NOT_FULL), OUTSIDE),
    );
}

/// The value lies beside the ring's tail, and the receiver has waited for it.
#[test]
fn a_woken_receiver_takes_its_value_or_leaves_it() {
    let _watchdog = begin();
    assert_safe(
        Check::new("recv, woken")
            .setup(|scene: &Scene| scene.set(2, &[]))
            .warm_up(Scene::take_receiver)
            .victim(|scene| assert_eq!(scene.recv().expect("a value"), value(7)))
            .waker(|scene| {
                scene.take_sender();
                scene.send(7).expect("a receiver");
            })
            .survivor(|scene| scene.go_on(&[&[7], &[]]))
            .without_timeouts(),
    );
}

#[test]
fn a_woken_sender_sends_its_value_or_does_not() {
    let _watchdog = begin();
    assert_safe(
        Check::new("send, woken")
            .setup(|scene: &Scene| scene.set(1, &[1]))
            .warm_up(Scene::take_sender)
            .victim(|scene| scene.send(2).expect("a receiver"))
            .waker(|scene| {
                scene.take_receiver();
                assert_eq!(scene.recv().expect("a value"), value(1));
            })
            .survivor(|scene| scene.go_on(&[&[2], &[]]))
            .without_timeouts(),
    );
}

#[test]
fn a_sender_that_ends_while_the_receiver_sleeps() {
    let _watchdog = begin();
    assert_safe(
        Check::new("drop of the sender, the receiver asleep")
            .setup(|scene: &Scene| scene.set(4, &[]))
            .warm_up(Scene::take_sender)
            .victim(|scene| drop(scene.sender.take()))
            .sleeper(|scene| {
                scene.take_receiver();
                assert!(matches!(scene.recv(), Err(GetError::Closed)));
            })
            .must_wake(|scene| scene.word(SENDER_ENDED) as u32 != 0)
            .without_timeouts(),
    );
}

#[test]
fn a_receiver_that_ends_while_the_sender_sleeps() {
    let _watchdog = begin();
    assert_safe(
        Check::new("drop of the receiver, the sender asleep")
            .setup(|scene: &Scene| scene.set(1, &[1]))
            .warm_up(Scene::take_receiver)
            .victim(|scene| drop(scene.receiver.take()))
            .sleeper(|scene| {
                scene.take_sender();
                assert!(matches!(scene.send(2), Err(PutError::Closed(_))));
            })
            .must_wake(|scene| scene.word(RECEIVER_ENDED) as u32 != 0)
            .without_timeouts(),
    );
}

/// From the first instruction to the last there is a process that answers for the end: the one that
/// passes it on.
#[test]
fn an_end_that_is_passed_on_is_never_without_a_keeper() {
    let _watchdog = begin();
    let name = "passing the sender on, the receiver asleep";
    assert_safe(
        Check::new(name)
            .setup(|scene: &Scene| scene.set(4, &[]))
            .warm_up(Scene::take_sender)
            .victim(|scene| {
                let sender = scene.sender.borrow();
                drop(Parcel::of(sender.as_ref().expect("taken")));
            })
            .sleeper(|scene| scene.receive_or_hear(0))
            .must_wake(|_| true)
            .allow_rescues_if(is_outside(NOT_EMPTY), OUTSIDE)
            .allow_missed(0.1, "libc does not always go the same way")
            .max_points(POINTS),
    );
    let name = "passing the receiver on, the sender asleep";
    assert_safe(
        Check::new(name)
            .setup(|scene: &Scene| scene.set(1, &[1]))
            .warm_up(Scene::take_receiver)
            .victim(|scene| {
                let receiver = scene.receiver.borrow();
                drop(Parcel::of(receiver.as_ref().expect("taken")));
            })
            .sleeper(|scene| scene.send_or_hear(2))
            .must_wake(|_| true)
            .allow_rescues_if(is_outside(NOT_FULL), OUTSIDE)
            .allow_missed(0.1, "libc does not always go the same way")
            .max_points(POINTS),
    );
}

/// Before it has the end, another process can take it; after that its death is told.
#[test]
fn an_end_that_is_taken_belongs_to_the_dead_or_to_nobody() {
    let _watchdog = begin();
    assert_safe(
        Check::new("taking the sender, the receiver asleep")
            .setup(|scene: &Scene| scene.set(4, &[]))
            .victim(Scene::take_sender)
            .sleeper(|scene| scene.receive_or_hear(5))
            .must_wake(|scene| scene.word(SENDER) != 0)
            .survivor(|scene| {
                if scene.word(SENDER) == 0 {
                    scene.take_sender();
                    scene.send(5).map_err(text)?;
                }
                Ok(())
            })
            .allow_rescues_if(is_outside(NOT_EMPTY), OUTSIDE)
            .allow_missed(0.1, "libc does not always go the same way")
            .max_points(POINTS),
    );
    assert_safe(
        Check::new("taking the receiver, the sender asleep")
            .setup(|scene: &Scene| scene.set(1, &[1]))
            .victim(Scene::take_receiver)
            .sleeper(|scene| scene.send_or_hear(2))
            .must_wake(|scene| scene.word(RECEIVER) != 0)
            .survivor(|scene| {
                if scene.word(RECEIVER) == 0 {
                    scene.take_receiver();
                    scene.recv().map_err(text)?;
                }
                Ok(())
            })
            .allow_rescues_if(is_outside(NOT_FULL), OUTSIDE)
            .allow_missed(0.1, "libc does not always go the same way")
            .max_points(POINTS),
    );
}
