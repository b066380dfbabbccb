//! The thread of the server that has a value of the program's own type, and runs its methods.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use mp_layout::{Error, ErrorKind, Result};
use mp_process::call::{Function, Outcome};
use mp_queue::{Connection, Nothing, PutError};

use crate::call_queue::{Calls, ReceivedCalls, call_queue};
use crate::object::{drop_value, has_value};
use crate::parcel::Parcel;
use crate::request::{Answer, Call, Reply};
use crate::server::{ATTEMPTS, is_passing, unsendable};

/// The pause before a reply is sent again for which the system has no memory or descriptors.
const PAUSE: Duration = Duration::from_millis(10);

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) replies: Connection<Reply, Nothing>,
    pub(crate) number: u64,
}

/// The stack of each thread, which reads the arguments of methods: 500 levels of 16 KiB each, and
/// as much again for the methods. Only what is used takes memory.
const STACK: usize = 16 << 20;

/// A thread with its value. It ends, and drops the value, when it has carried out the calls that
/// were made before the end.
#[derive(Debug)]
pub(crate) struct ObjectThread {
    calls: Calls,
    thread: JoinHandle<()>,
}

impl ObjectThread {
    /// Starts a thread that makes its value, and then answers `created`.
    pub(crate) fn start(make: Call, caller: Caller, created: Answer) -> Result<Self> {
        let (calls, received) = call_queue();
        let thread = thread::Builder::new()
            .name("managed object".to_owned())
            .stack_size(STACK)
            .spawn(move || run(make, caller, created, &received))
            .map_err(|source| {
                Error::os("start", "the thread of a managed object", source).with_detail(
                    "its server has a thread for each object with methods; drop some, or raise \
                     ulimit -u or the pids.max of its cgroup",
                )
            })?;
        Ok(Self { calls, thread })
    }

    /// Has the value's thread carry out a call and answer it.
    pub(crate) fn call(&self, call: Call, caller: Caller) -> std::result::Result<(), Caller> {
        self.calls.put((call, caller)).map_err(|(_, caller)| caller)
    }

    /// Drops the calls that wait and whose callers are gone; how many these were.
    pub(crate) fn drop_dead_calls(&self) -> usize {
        self.calls.drop_dead()
    }

    /// Lets the thread end when all calls are carried out, and drop the value.
    pub(crate) fn end(&self) {
        self.calls.close();
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the thread has ended.
    pub(crate) fn join(self) {
        self.end();
        // It panics if the drop of its value does: the value is gone either way.
        drop(self.thread.join());
    }
}

fn run(make: Call, caller: Caller, created: Answer, calls: &ReceivedCalls) {
    let outcome = make.run();
    if !has_value() {
        return caller.answer(Answer::Returned(outcome));
    }
    caller.answer(created);
    while let Some((call, caller)) = calls.next() {
        caller.answer(Answer::Returned(call.run()));
    }
    drop_value();
}

impl Call {
    /// Runs the function; its value or its panic, or why it did not run.
    fn run(self) -> Parcel {
        let found = Function::from_bytes(&self.function).and_then(|function| function.find());
        let outcome = match (found, self.arguments.into_parts()) {
            (Ok(function), Ok((bytes, descriptors))) => function.call(&bytes, descriptors),
            (Err(error), _) | (_, Err(error)) => Outcome::refused(&error),
        };
        let (bytes, descriptors) = outcome.into_message();
        Parcel::received(bytes, descriptors)
    }
}

impl Caller {
    /// Whether it waits for no answer any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.replies.is_closed()
    }

    #[cold]
    pub(crate) fn answer_that_its_thread_has_ended(self) {
        let error = Error::new(ErrorKind::Panicked, "call", "a method of a managed object");
        self.answer(Answer::Failed(error.with_detail(
            "the thread of the object has ended by a panic outside of its methods",
        )));
    }

    /// Sends the answer, or why it cannot be sent. A caller that is gone gets none, nor one whose
    /// memory is damaged: others wait for this thread.
    fn answer(self, mut answer: Answer) {
        let Self { replies, number } = self;
        for _ in 0..ATTEMPTS {
            let Err(error) = replies.send(Reply { number, answer }) else {
                return;
            };
            answer = match error {
                PutError::Closed(_) => return,
                // The method has run: its own answer is worth the wait.
                PutError::Failed(reply, error) if is_passing(&error) => {
                    thread::sleep(PAUSE);
                    reply.answer
                }
                error => Answer::Failed(unsendable(error)),
            };
        }
    }
}
