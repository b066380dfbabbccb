//! Where a job's tasks come from: an iterator, taken from in packets as far as the job may be
//! ahead.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};
use mp_process::call::{self, Function};
use mp_process::{Argument, Arguments, Returned, Stateless, Task};

use crate::board::MAX_ITEMS;
use crate::error::Cause;
use crate::job::Job;
use crate::packet::{MAX_ARGUMENTS, Packet, room_for, room_in_line};
use crate::shared::Shared;

/// Arguments in bytes, with the descriptors of the objects among them.
type Written = (Vec<u8>, Vec<OwnedFd>);

/// A function in bytes.
pub(crate) type Named = Result<Arc<[u8]>>;

/// Names the function of a job.
pub(crate) fn name<F, A, W>(task: F) -> Named
where
    F: Task<A> + Stateless,
    F::Output: Returned<W>,
    A: Arguments,
{
    Function::of::<F, A, W>(task).map(|function| function.to_bytes().into())
}

/// Writes an item that is the only argument of its task.
pub(crate) fn write_one<T: Argument>(item: T) -> Result<Written> {
    write(&(item,))
}

/// Writes an item that is the tuple of its task's arguments.
pub(crate) fn write_all<A: Arguments>(item: A) -> Result<Written> {
    write(&item)
}

fn write<A: Arguments>(arguments: &A) -> Result<Written> {
    let written = call::write_arguments(arguments)?;
    let size = written.0.len();
    if size > MAX_ARGUMENTS {
        let error = Error::new(ErrorKind::InvalidInput, "send", "the arguments");
        return Err(error.with_detail(format!(
            "{size} bytes, at most {MAX_ARGUMENTS} can be; share them by an Array or by SharedMemory"
        )));
    }
    Ok(written)
}

/// Takes items from an iterator and submits them as tasks of one job.
pub(crate) struct Feeder<'p, I: Iterator> {
    shared: &'p Shared,
    pub(crate) job: Arc<Job>,
    function: Result<Arc<[u8]>, Arc<Error>>,
    items: I,
    write: fn(I::Item) -> Result<Written>,
    /// Tasks of a packet.
    chunk: usize,
    /// Tasks that were submitted.
    pub(crate) submitted: usize,
    /// Was taken from the iterator, and did not go with what came before it.
    held: Option<Written>,
    is_at_end: bool,
}

impl<'p, I: Iterator> Feeder<'p, I> {
    pub(crate) fn new(
        shared: &'p Shared,
        function: Named,
        items: I,
        write: fn(I::Item) -> Result<Written>,
        chunk: usize,
    ) -> Self {
        Self {
            shared,
            job: Job::new(shared.callbacks.sender()),
            function: function.map_err(Arc::new),
            items,
            write,
            chunk: chunk.clamp(1, MAX_ITEMS),
            submitted: 0,
            held: None,
            is_at_end: false,
        }
    }

    /// Submits the next packet; false at the end.
    pub(crate) fn feed(&mut self) -> bool {
        let function = match &self.function {
            Ok(function) => Arc::clone(function),
            Err(error) => {
                let error = Arc::clone(error);
                return self.refuse_next(error);
            }
        };
        let mut items = Vec::new();
        let mut descriptors = Vec::new();
        let mut room = room_in_line(&function);
        while items.len() < self.chunk && descriptors.is_empty() {
            let (item, objects) = match self.take() {
                None => break,
                Some(Ok(written)) => written,
                Some(Err(error)) => {
                    self.submit(&function, items, descriptors);
                    self.refuse(Arc::new(error));
                    return true;
                }
            };
            let needed = room_for(&item);
            // What has descriptors or does not fit into a line travels alone.
            if !items.is_empty() && (needed > room || !objects.is_empty()) {
                self.held = Some((item, objects));
                break;
            }
            room = room.saturating_sub(needed);
            items.push(item);
            descriptors = objects;
        }
        self.submit(&function, items, descriptors);
        !self.is_at_end
    }

    /// Submits all.
    pub(crate) fn feed_all(&mut self) {
        while self.feed() {}
    }

    fn take(&mut self) -> Option<Result<Written>> {
        if let Some(held) = self.held.take() {
            return Some(Ok(held));
        }
        if self.is_at_end {
            return None;
        }
        let item = self.items.next();
        self.is_at_end = item.is_none();
        item.map(self.write)
    }

    fn submit(&mut self, function: &Arc<[u8]>, items: Vec<Vec<u8>>, descriptors: Vec<OwnedFd>) {
        if items.is_empty() {
            return;
        }
        let first = self.submitted;
        self.submitted += items.len();
        self.job.expect(items.len());
        self.shared.submit(Packet {
            job: Arc::clone(&self.job),
            first,
            function: Arc::clone(function),
            items,
            descriptors,
            moves: 0,
        });
    }

    /// Takes an item whose task cannot be run.
    fn refuse_next(&mut self, error: Arc<Error>) -> bool {
        self.is_at_end = self.items.next().is_none();
        if !self.is_at_end {
            self.refuse(error);
        }
        !self.is_at_end
    }

    fn refuse(&mut self, error: Arc<Error>) {
        self.job.expect(1);
        self.job.deliver(self.submitted, Err(Cause::Failed(error)));
        self.submitted += 1;
    }
}
