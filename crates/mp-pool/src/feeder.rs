//! Where a job's tasks come from: an iterator, taken from in packets as far as the job may be
//! ahead.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use mp_layout::{Error, ErrorKind, Result};
use mp_os::clock::Deadline;
use mp_process::call::{self, Function, Outcome};
use mp_process::{Argument, Arguments, Returned, Stateless, Task};

use crate::async_result::MapResult;
use crate::board::{LINE, MAX_ITEMS};
use crate::chunked::Chunked;
use crate::context::Context;
use crate::error::{Cause, TaskError};
use crate::job::{Job, Progress, Read};
use crate::leading::Leading;
use crate::packet::{Attention, MAX_ARGUMENTS, Packet, begin};
use crate::shared::Shared;

/// Arguments in bytes, with the descriptors of the objects among them.
pub(crate) type Written = (Vec<u8>, Vec<OwnedFd>);

/// What the packets of a call have in common: the name of the function, and the context.
type Call = (Arc<[u8]>, Option<Arc<Context>>);

/// The most tasks of a packet whose size was not given.
const CHUNK_MAX: usize = 256;

/// Packets for each worker, where there are as many tasks: so that none waits long for the last.
const PACKETS_PER_WORKER: usize = 4;

/// Tasks that a call may have submitted beyond those that have ended while it waits for all,
/// whatever its packets.
const RUN_AHEAD: usize = 1024;

/// The most outcomes that memory is reserved for before they come.
const OUTCOMES_RESERVED: usize = 1 << 16;

/// Writes an item that is the only argument of its task, into memory that is used again.
pub(crate) fn write_one<T: Argument>(item: T, memory: Vec<u8>) -> Result<Written> {
    write(&(item,), memory)
}

/// Writes an item that is the tuple of its task's arguments.
pub(crate) fn write_all<A: Arguments>(item: A, memory: Vec<u8>) -> Result<Written> {
    write(&item, memory)
}

/// Writes arguments, unless they are too many to travel.
pub(crate) fn write<A: Arguments>(arguments: &A, memory: Vec<u8>) -> Result<Written> {
    let written = call::append_arguments(arguments, memory)?;
    let size = written.0.len();
    if size > MAX_ARGUMENTS {
        let error = Error::new(ErrorKind::InvalidInput, "send", "the arguments");
        return Err(error.with_detail(format!(
            "{size} bytes, at most {MAX_ARGUMENTS} can be; share them by an Array or by SharedMemory"
        )));
    }
    Ok(written)
}

/// The tasks of one call: takes items from an iterator and submits them.
pub(crate) struct Feeder<'p, I: Iterator, R> {
    shared: &'p Arc<Shared>,
    pub(crate) job: Arc<Job>,
    call: Result<Call, Arc<Error>>,
    items: I,
    write: fn(I::Item, Vec<u8>) -> Result<Written>,
    /// Memory for the next item.
    memory: Vec<u8>,
    /// How values are read from outcomes.
    pub(crate) read: Read<R>,
    /// Tasks of a packet.
    chunk: usize,
    /// Tasks that were submitted.
    pub(crate) submitted: usize,
    /// Was taken from the iterator, and did not go with what came before it.
    held: Option<Written>,
    is_at_end: bool,
    /// How the outcomes are waited for.
    attention: Attention,
    /// For a task that is waited for now, no worker has to be told of the wait.
    leading: Option<Leading<'p>>,
}

impl<'p, I: Iterator, R> Feeder<'p, I, R> {
    /// Calls of `task` with the arguments `A`, which `write` makes of each item, and with `context`
    /// if there is one.
    pub(crate) fn new<F, A, W>(
        chunked: Chunked<'p>,
        context: Result<Option<Context>>,
        task: F,
        items: I,
        write: fn(I::Item, Vec<u8>) -> Result<Written>,
    ) -> Self
    where
        F: Task<A, Output = R> + Stateless,
        R: Returned<W>,
        A: Arguments,
    {
        let Chunked { shared, size, hook } = chunked;
        let call = Function::name_of::<F, A, W>(task)
            .and_then(|function| Ok((function, context?.map(Arc::new))));
        let chunk = size.unwrap_or_else(|| {
            let packets = PACKETS_PER_WORKER * shared.config.workers;
            items.size_hint().0.div_ceil(packets).min(CHUNK_MAX)
        });
        let (least, most) = items.size_hint();
        let total = most.filter(|most| *most == least);
        Self {
            shared,
            job: Job::new(shared, hook.map(|hook| (hook, total))),
            call: call.map_err(Arc::new),
            items,
            write,
            memory: Vec::new(),
            read: Outcome::value::<R, W>,
            chunk: chunk.clamp(1, MAX_ITEMS),
            submitted: 0,
            held: None,
            is_at_end: false,
            attention: Attention::Each,
            leading: None,
        }
    }

    /// Submits all tasks, not too many ahead, waits for them and reads their outcomes.
    pub(crate) fn run(self) -> Vec<Result<R, TaskError>> {
        let results = self.submit_and_wait();
        let each = results.get_each();
        results.job.finish_telling();
        each
    }

    /// As [`run`](Self::run), for values only, or the first error.
    pub(crate) fn values(self) -> Result<Vec<R>, TaskError> {
        let results = self.submit_and_wait();
        let values = results.get();
        results.job.finish_telling();
        values
    }

    fn submit_and_wait(mut self) -> MapResult<R> {
        // A hook is told of each packet.
        self.attention = if self.job.has_hook() {
            Attention::Together
        } else {
            Attention::All
        };
        // The iterator may promise what it does not keep.
        let count = self.items.size_hint().0.min(OUTCOMES_RESERVED);
        self.job.locked().outcomes.reserve(count);
        let ahead = (2 * self.tasks_ahead()).max(RUN_AHEAD);
        while self.feed() {
            let is_ahead = self.job.locked().outstanding >= ahead;
            if is_ahead {
                let room =
                    |progress: &mut Progress| (progress.outstanding <= ahead / 2).then_some(());
                self.job.wait(ahead / 2, Deadline::NEVER, room);
            }
        }
        self.into_results()
    }

    /// Submits the only task, waits for it and reads its value.
    pub(crate) fn apply(mut self) -> Result<R, TaskError> {
        self.attention = Attention::Now;
        while self.feed() {}
        if let Some(leading) = self.leading.take() {
            leading.collect_until(Deadline::NEVER, || match self.job.locked().outstanding {
                0 => Ok(()),
                needed => Err(needed),
            });
        }
        self.job.value(Deadline::NEVER, self.read)
    }

    /// How many tasks are still to be submitted, at least and at most.
    pub(crate) fn left(&self) -> (usize, Option<usize>) {
        let held = usize::from(self.held.is_some());
        let (least, most) = self.items.size_hint();
        let most = most.and_then(|most| most.checked_add(held));
        (least.saturating_add(held), most)
    }

    /// Submits all tasks.
    pub(crate) fn submit_all(mut self) -> MapResult<R> {
        if self.attention == Attention::Each {
            self.attention = Attention::Together;
        }
        while self.feed() {}
        self.into_results()
    }

    /// Takes back the tasks that no worker has taken.
    pub(crate) fn cancel(&self) {
        self.shared.cancel_all_of(&self.job);
    }

    fn into_results(self) -> MapResult<R> {
        MapResult::new(self.job, self.submitted, self.read)
    }

    /// How many tasks keep all workers busy while results are taken.
    pub(crate) fn tasks_ahead(&self) -> usize {
        PACKETS_PER_WORKER * self.shared.config.workers * self.chunk
    }

    /// Submits the next packet; false at the end.
    pub(crate) fn feed(&mut self) -> bool {
        let (function, context) = match &self.call {
            Ok(call) => call.clone(),
            Err(error) => {
                let error = Arc::clone(error);
                return self.refuse_next(error);
            }
        };
        let mut packet = Packet {
            job: Arc::clone(&self.job),
            first: self.submitted,
            bytes: begin(context.as_deref(), &function),
            context,
            items: 0,
            descriptors: Vec::new(),
            moves: 0,
            attention: self.attention,
        };
        while packet.items < self.chunk && packet.descriptors.is_empty() {
            let (item, objects) = match self.take() {
                None => break,
                Some(Ok(written)) => written,
                Some(Err(error)) => {
                    self.submit(packet);
                    self.refuse(Arc::new(error));
                    return true;
                }
            };
            // What has descriptors or does not fit into a line travels alone.
            if packet.items > 0 && (!packet.has_room_for(&item) || !objects.is_empty()) {
                self.held = Some((item, objects));
                break;
            }
            packet.push(&item);
            packet.descriptors = objects;
            if item.capacity() <= LINE {
                self.memory = item;
                self.memory.clear();
            }
        }
        self.submit(packet);
        !self.is_at_end
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
        item.map(|item| (self.write)(item, std::mem::take(&mut self.memory)))
    }

    fn submit(&mut self, packet: Packet) {
        if packet.items > 0 {
            self.submitted += packet.items;
            self.job.expect(packet.items);
            if self.attention == Attention::Now && !self.shared.is_copy() {
                // Before a worker can have it: so that it need not wake whom it finds awake.
                self.leading = Leading::begin_if_free(self.shared);
            }
            self.shared.submit(packet);
        }
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
