//! The calls that wait for the thread of an object.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::object_thread::Caller;
use crate::request::Call;

/// A call, and who waits for its answer.
pub(crate) type Called = (Call, Caller);

/// The server's side. When it is dropped, the thread gets the calls that wait and no more.
#[derive(Debug)]
pub(crate) struct Calls(Arc<Shared>);

/// The side of the object's thread. When it is dropped, no call can be put.
#[derive(Debug)]
pub(crate) struct ReceivedCalls(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when a call is put, or the last one was.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Called>,
    is_closed: bool,
}

/// Both sides of a new queue.
pub(crate) fn call_queue() -> (Calls, ReceivedCalls) {
    let shared = Arc::new(Shared::default());
    (Calls(Arc::clone(&shared)), ReceivedCalls(shared))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.is_closed = true;
        self.changed.notify_one();
        state
    }
}

impl Calls {
    /// Puts a call; gives it back if the thread has ended.
    pub(crate) fn put(&self, called: Called) -> Result<(), Called> {
        let mut state = self.0.lock();
        if state.is_closed {
            return Err(called);
        }
        state.waiting.push_back(called);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Says that no further call will be put.
    pub(crate) fn close(&self) {
        drop(self.0.close());
    }

    /// Drops the calls whose callers are gone; how many these were.
    pub(crate) fn drop_dead(&self) -> usize {
        let mut state = self.0.lock();
        let waiting = std::mem::take(&mut state.waiting).into_iter();
        let (dead, alive): (VecDeque<_>, VecDeque<_>) =
            waiting.partition(|(_, caller)| caller.is_gone());
        state.waiting = alive;
        drop(state);
        dead.len()
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.close();
    }
}

impl ReceivedCalls {
    /// The next call of a caller who lives; blocks until there is one. `None` after the last.
    pub(crate) fn next(&self) -> Option<Called> {
        let mut state = self.0.lock();
        loop {
            match state.waiting.pop_front() {
                Some((_, caller)) if caller.is_gone() => {}
                Some(called) => return Some(called),
                None if state.is_closed => return None,
                None => {
                    let waited = self.0.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl Drop for ReceivedCalls {
    fn drop(&mut self) {
        let waiting = std::mem::take(&mut self.0.close().waiting);
        // After the last call there are none: the thread panics.
        for (_, caller) in waiting {
            caller.answer_that_its_thread_has_ended();
        }
    }
}

#[cfg(test)]
mod tests {
    use mp_queue::{Connection, Nothing, pipe_one_way};

    use super::*;
    use crate::parcel::Parcel;
    use crate::request::{Answer, Reply};

    fn called() -> (Connection<Nothing, Reply>, Called) {
        let (client, replies) = pipe_one_way().unwrap();
        let call = Call {
            function: Vec::new(),
            arguments: Parcel::empty(),
        };
        (client, (call, Caller { replies, number: 1 }))
    }

    #[test]
    fn calls_of_the_dead_are_passed_over_and_dropped() {
        let (calls, received) = call_queue();
        let mut clients = Vec::new();
        for _ in 0..4 {
            let (client, called) = called();
            calls.put(called).unwrap();
            clients.push(client);
        }
        clients.truncate(3);
        clients.remove(1);
        assert_eq!(calls.drop_dead(), 2);
        drop(clients.remove(0));
        assert!(received.next().is_some(), "the third's");
        calls.close();
        assert!(received.next().is_none());
        assert!(calls.put(called().1).is_err());
    }

    #[test]
    fn callers_of_a_thread_that_panics_are_answered() {
        let (calls, received) = call_queue();
        let (client, called) = called();
        calls.put(called).unwrap();
        drop(received);
        assert!(matches!(client.recv().unwrap().answer, Answer::Failed(_)));
    }
}
