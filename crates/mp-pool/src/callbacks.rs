//! The threads of a pool that run callbacks and wakers, so that one that takes long holds up no
//! results. Wakers have a thread of their own: a callback may wait for what is awaited.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Waker;
use std::thread::{self, ThreadId};

/// What is called when the tasks of a job have ended.
pub(crate) type Callback = Box<dyn FnOnce() + Send>;

/// Shared by a pool and its jobs; the threads end with it.
#[derive(Debug)]
pub(crate) struct Callbacks {
    calls: Runner,
    /// Started for the first future that is polled.
    wakes: OnceLock<Runner>,
}

/// A thread that runs what is sent to it, and ends with this.
#[derive(Debug)]
struct Runner {
    sender: Sender<Callback>,
    thread: ThreadId,
}

impl Callbacks {
    /// Starts the thread of callbacks.
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Self {
            calls: Runner::start("mp-pool-calls")?,
            wakes: OnceLock::new(),
        })
    }

    /// Has the thread of callbacks run this.
    pub(crate) fn call(&self, callback: Callback) {
        self.calls.run(callback);
    }

    /// Starts the thread of wakers, if there is none. Where the system refuses one, the thread of
    /// callbacks wakes.
    pub(crate) fn prepare_wakes(&self) {
        if self.wakes.get().is_none()
            && let Ok(runner) = Runner::start("mp-pool-wakes")
        {
            // One that another thread started meanwhile is as good; this one ends.
            drop(self.wakes.set(runner));
        }
    }

    /// Has the thread of wakers wake this.
    pub(crate) fn wake(&self, waker: Waker) {
        let runner = self.wakes.get().unwrap_or(&self.calls);
        runner.run(Box::new(|| waker.wake()));
    }

    /// Waits until what was sent has been run. In a callback or a waker it returns immediately.
    pub(crate) fn flush(&self) {
        let runners = [Some(&self.calls), self.wakes.get()];
        let runners = || runners.iter().flatten();
        let current = thread::current().id();
        if runners().all(|runner| runner.thread != current) {
            runners().for_each(|runner| runner.flush());
        }
    }
}

impl Runner {
    fn start(name: &str) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&receiver))?;
        Ok(Self {
            sender,
            thread: thread.thread().id(),
        })
    }

    fn run(&self, callback: Callback) {
        // The thread lives as long as this sender.
        drop(self.sender.send(callback));
    }

    fn flush(&self) {
        let (done, is_done) = channel::<()>();
        self.run(Box::new(move || drop(done)));
        // An error, which is what a dropped sender gives: it has been run.
        let _is_run = is_done.recv();
    }
}

fn run(receiver: &Receiver<Callback>) {
    for callback in receiver {
        // The hook has said what there is to say of a panic.
        drop(catch_unwind(AssertUnwindSafe(callback)));
    }
}
