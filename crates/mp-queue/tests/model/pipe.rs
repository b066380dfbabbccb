//! Random operations on both sides of a pipe against two `VecDeque`s and the numbers of
//! connections.

use std::collections::VecDeque;
use std::time::Duration;

use mp_layout::ErrorKind;
use mp_object::transfer;
use mp_queue::{Connection, GetError, PutError, pipe, pipe_bounded};
use mp_testkit::Watchdog;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::length;

const LIMIT: Duration = Duration::from_secs(300);

/// How long an operation waits for what does not come.
const BRIEFLY: Duration = Duration::from_millis(1);

type End = Connection<Vec<u8>>;

/// Which form of an operation: that which tries, waits up to a timeout, or blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Try,
    Timed,
    Blocking,
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize, Form),
    SendBytes(usize, Form),
    Recv(Form),
    RecvBytes(Form),
    /// Into a buffer of so many bytes.
    RecvBytesInto(usize, Form),
    Poll(Duration),
    Clone,
    /// A connection travels, as to another process.
    Travel,
    Drop,
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![
        3 => Just(Form::Try),
        1 => Just(Form::Timed),
        3 => Just(Form::Blocking),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (length(), form()).prop_map(|(len, form)| Step::Send(len, form)),
        8 => (length(), form()).prop_map(|(len, form)| Step::SendBytes(len, form)),
        6 => form().prop_map(Step::Recv),
        6 => form().prop_map(Step::RecvBytes),
        6 => (length(), form()).prop_map(|(len, form)| Step::RecvBytesInto(len, form)),
        3 => prop_oneof![Just(Duration::ZERO), Just(BRIEFLY)].prop_map(Step::Poll),
        1 => Just(Step::Clone),
        1 => Just(Step::Travel),
        1 => Just(Step::Drop),
    ]
}

/// What was sent, and the bytes by which it travels.
#[derive(Clone)]
struct Sent {
    bytes: Vec<u8>,
    /// `None` of bytes, which are no message.
    message: Option<Vec<u8>>,
}

impl Sent {
    fn message(message: Vec<u8>) -> Self {
        Self {
            bytes: postcard::to_stdvec(&message).expect("bytes"),
            message: Some(message),
        }
    }

    /// No serde reads a message from them: they begin with a length that does not end.
    fn bytes(mut bytes: Vec<u8>) -> Self {
        bytes.iter_mut().take(10).for_each(|byte| *byte = 0xff);
        Self {
            bytes,
            message: None,
        }
    }
}

struct Side {
    connections: Vec<End>,
    /// What the other side has not received.
    sent: VecDeque<Sent>,
}

struct Model {
    sides: [Side; 2],
    bound: usize,
    number: u64,
}

impl Model {
    fn new((left, right): (End, End), bound: usize) -> Self {
        let sides = [left, right].map(|end| Side {
            connections: vec![end],
            sent: VecDeque::new(),
        });
        Self {
            sides,
            bound,
            number: 0,
        }
    }

    fn is_gone(&self, side: usize) -> bool {
        self.sides[side].connections.is_empty()
    }

    /// Tells each message from every other one of its length, but for the shortest.
    fn next(&mut self, len: usize) -> Vec<u8> {
        self.number += 1;
        super::message(self.number, len)
    }

    /// Does it with one of the side's connections, if it has any.
    fn carry_out(&mut self, side: usize, which: usize, step: Step) -> TestCaseResult {
        let count = self.sides[side].connections.len();
        if count == 0 {
            return Ok(());
        }
        let which = which % count;
        let connections = &mut self.sides[side].connections;
        match step {
            Step::Clone => {
                let clone = connections[which].clone();
                connections.push(clone);
            }
            Step::Travel => connections[which] = arrived(&connections[which]),
            Step::Drop => drop(connections.swap_remove(which)),
            Step::Send(len, form) => {
                let sent = Sent::message(self.next(len));
                self.send(side, which, sent, form)?;
            }
            Step::SendBytes(len, form) => {
                let sent = Sent::bytes(self.next(len));
                self.send(side, which, sent, form)?;
            }
            Step::Recv(form) => {
                let take = |sent: &Sent| sent.message.clone().ok_or(ErrorKind::Decode);
                self.receive(side, which, form, recv, take)?;
            }
            Step::RecvBytes(form) => {
                self.receive(side, which, form, recv_bytes, |sent| Ok(sent.bytes.clone()))?;
            }
            Step::RecvBytesInto(len, form) => {
                let recv = |end: &End, form| recv_bytes_into(end, form, len);
                let take = |sent: &Sent| match sent.bytes.len() {
                    needed if needed > len => Err(ErrorKind::WrongSize),
                    _ => Ok(sent.bytes.clone()),
                };
                self.receive(side, which, form, recv, take)?;
            }
            Step::Poll(timeout) => {
                let is_ready = !self.sides[1 - side].sent.is_empty() || self.is_gone(1 - side);
                let end = &self.sides[side].connections[which];
                prop_assert_eq!(end.poll(timeout).expect("both ways"), is_ready);
            }
        }
        self.agrees()
    }

    fn send(&mut self, side: usize, which: usize, sent: Sent, form: Form) -> TestCaseResult {
        let expected = if self.is_gone(1 - side) {
            Err(ErrorKind::Closed)
        } else if self.sides[side].sent.len() == self.bound {
            Err(ErrorKind::Full)
        } else {
            Ok(())
        };
        let form = match (form, expected) {
            (Form::Blocking, Err(ErrorKind::Full)) => Form::Timed,
            _ => form,
        };
        let Side {
            connections,
            sent: queue,
        } = &mut self.sides[side];
        let end = &connections[which];
        let result = match &sent.message {
            Some(message) => send(end, message.clone(), form).map_err(|error| {
                let kind = error.kind();
                assert!(error.into_inner() == *message, "it comes back");
                kind
            }),
            None => send_bytes(end, &sent.bytes, form).map_err(|error| error.kind()),
        };
        prop_assert_eq!(result, expected);
        if result.is_ok() {
            queue.push_back(sent);
        }
        Ok(())
    }

    /// Receives by `recv`, which makes of the oldest message what `take` says, and leaves it only
    /// where it does not fit.
    fn receive(
        &mut self,
        side: usize,
        which: usize,
        form: Form,
        recv: impl Fn(&End, Form) -> Result<Vec<u8>, GetError>,
        take: impl Fn(&Sent) -> Result<Vec<u8>, ErrorKind>,
    ) -> TestCaseResult {
        let is_gone = self.is_gone(1 - side);
        let expected = match self.sides[1 - side].sent.front() {
            Some(sent) => take(sent),
            None if is_gone => Err(ErrorKind::Closed),
            None => Err(ErrorKind::Empty),
        };
        let form = match (form, &expected) {
            (Form::Blocking, Err(ErrorKind::Empty)) => Form::Timed,
            _ => form,
        };
        let received = recv(&self.sides[side].connections[which], form);
        let received = received.map_err(|error| error.kind());
        if expected != Err(ErrorKind::WrongSize) {
            self.sides[1 - side].sent.pop_front();
        }
        prop_assert!(
            received == expected,
            "{:?} for {:?}",
            received.map(|bytes| bytes.len()),
            expected.map(|bytes| bytes.len())
        );
        Ok(())
    }

    /// What all connections say without waiting.
    fn agrees(&self) -> TestCaseResult {
        for (side, other) in [(0, 1), (1, 0)] {
            let (waiting, unreceived) = (self.sides[other].sent.len(), self.sides[side].sent.len());
            for end in &self.sides[side].connections {
                prop_assert_eq!(end.is_closed(), self.is_gone(other));
                prop_assert_eq!((end.len(), end.is_empty()), (waiting, waiting == 0));
                prop_assert_eq!(end.unreceived(), unreceived);
            }
        }
        Ok(())
    }
}

/// The connection as another process would receive it.
fn arrived(end: &End) -> End {
    let (bytes, descriptors) = transfer::outgoing(|| postcard::to_stdvec(end));
    let bytes = bytes.expect("a connection");
    transfer::incoming(descriptors, || postcard::from_bytes(&bytes)).expect("a connection")
}

fn send(end: &End, message: Vec<u8>, form: Form) -> Result<(), PutError<Vec<u8>>> {
    match form {
        Form::Try => end.try_send(message),
        Form::Timed => end.send_timeout(message, BRIEFLY),
        Form::Blocking => end.send(message),
    }
}

fn send_bytes(end: &End, bytes: &[u8], form: Form) -> Result<(), PutError<()>> {
    match form {
        Form::Try => end.try_send_bytes(bytes),
        Form::Timed => end.send_bytes_timeout(bytes, BRIEFLY),
        Form::Blocking => end.send_bytes(bytes),
    }
}

fn recv(end: &End, form: Form) -> Result<Vec<u8>, GetError> {
    match form {
        Form::Try => end.try_recv(),
        Form::Timed => end.recv_timeout(BRIEFLY),
        Form::Blocking => end.recv(),
    }
}

fn recv_bytes(end: &End, form: Form) -> Result<Vec<u8>, GetError> {
    match form {
        Form::Try => end.try_recv_bytes(),
        Form::Timed => end.recv_bytes_timeout(BRIEFLY),
        Form::Blocking => end.recv_bytes(),
    }
}

fn recv_bytes_into(end: &End, form: Form, len: usize) -> Result<Vec<u8>, GetError> {
    let mut buffer = vec![0; len];
    let received = match form {
        Form::Try => end.try_recv_bytes_into(&mut buffer),
        Form::Timed => end.recv_bytes_into_timeout(&mut buffer, BRIEFLY),
        Form::Blocking => end.recv_bytes_into(&mut buffer),
    };
    buffer.truncate(received?);
    Ok(buffer)
}

fn steps() -> impl Strategy<Value = Vec<(usize, usize, Step)>> {
    prop::collection::vec((0_usize..2, 0_usize..4, step()), 1..150)
}

fn check(ends: (End, End), bound: usize, steps: Vec<(usize, usize, Step)>) -> TestCaseResult {
    let _watchdog = Watchdog::new(LIMIT);
    let mut model = Model::new(ends, bound);
    steps
        .into_iter()
        .try_for_each(|(side, which, step)| model.carry_out(side, which, step))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pipe_is_two_deques(steps in steps()) {
        check(pipe().expect("a pipe"), usize::MAX, steps)?;
    }

    #[test]
    fn a_bounded_pipe_is_two_bounded_deques(bound in 1_usize..6, steps in steps()) {
        check(pipe_bounded(bound).expect("a pipe"), bound, steps)?;
    }
}
