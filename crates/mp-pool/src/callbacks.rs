//! The thread of a pool that runs callbacks, so that one that takes long holds up no results.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, ThreadId};

/// What is called when the tasks of a job have ended.
pub(crate) type Callback = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub(crate) struct Callbacks {
    sender: Sender<Callback>,
    thread: ThreadId,
}

impl Callbacks {
    /// Starts the thread, which ends when no pool and no result can send to it.
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, receiver) = channel();
        let thread = thread::Builder::new()
            .name("mp-pool-calls".to_owned())
            .spawn(move || run(&receiver))?;
        Ok(Self {
            sender,
            thread: thread.thread().id(),
        })
    }

    pub(crate) fn sender(&self) -> Sender<Callback> {
        self.sender.clone()
    }

    /// Waits until what was sent has been run. In a callback it returns immediately.
    pub(crate) fn flush(&self) {
        if thread::current().id() == self.thread {
            return;
        }
        let (done, is_done) = channel::<()>();
        let last = Box::new(move || drop(done));
        if self.sender.send(last).is_ok() {
            // An error, which is what a dropped sender gives: it has been run.
            let _is_run = is_done.recv();
        }
    }
}

fn run(receiver: &Receiver<Callback>) {
    for callback in receiver {
        // The hook has said what there is to say of a panic.
        drop(catch_unwind(AssertUnwindSafe(callback)));
    }
}
