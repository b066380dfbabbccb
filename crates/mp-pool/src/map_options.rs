//! How an executor's `map` goes.

use mp_os::clock::Deadline;
use mp_process::{Argument, Arguments, Returned, Stateless, Task};

use crate::Pool;
use crate::board::MAX_ITEMS;
use crate::chunked::Chunked;
use crate::feeder::Feeder;
use crate::imap::Imap;
use crate::progress::{Hook, Progress};

/// The options of one [`map`](Self::map), from
/// [`ProcessPoolExecutor::map_options`](crate::ProcessPoolExecutor::map_options): those of Python's
/// `Executor.map`.
///
/// ```
/// use std::time::Duration;
///
/// use mp_pool::ProcessPoolExecutor;
///
/// let executor = ProcessPoolExecutor::with_workers(2)?;
/// // The items have no end: eight tasks are submitted ahead of the results.
/// let squares = executor
///     .map_options()
///     .timeout(Duration::from_secs(20))
///     .chunk_size(4)
///     .buffer_size(8)
///     .map(|n: u64| n * n, 1..);
/// let squares: Result<Vec<u64>, _> = squares.take(3).collect();
/// assert_eq!(squares?, [1, 4, 9]);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is for one call"]
pub struct MapOptions<'p> {
    pool: &'p Pool,
    chunk: usize,
    /// The most tasks that are submitted and whose results were not given.
    buffer: usize,
    deadline: Deadline,
    hook: Option<Hook>,
}

impl<'p> MapOptions<'p> {
    pub(crate) fn new(pool: &'p Pool) -> Self {
        Self {
            pool,
            chunk: 1,
            buffer: usize::MAX,
            deadline: Deadline::NEVER,
            hook: None,
        }
    }

    /// Tells `hook` how far the call is, see [`Pool::on_progress`](crate::Pool::on_progress).
    pub fn on_progress(self, hook: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        let hook = Some(Hook::new(hook));
        Self { hook, ..self }
    }

    /// Until when the results are waited for: a [`Duration`](std::time::Duration) from now, an
    /// [`Instant`](std::time::Instant) or a [`Deadline`]; by default there is no end.
    ///
    /// A result that is there is given also later. The first that is not is
    /// [`Cause::TimedOut`](crate::Cause::TimedOut), and the last that the iterator gives. Tasks
    /// that no worker has taken by then are cancelled; those that run go on.
    ///
    /// Later [`next`](Iterator::next) takes no item. [`map`](Self::map) itself takes as many as
    /// [`buffer_size`](Self::buffer_size) has room for, however long the iterator takes, as in
    /// Python: without a buffer size all of them.
    pub fn timeout(self, timeout: impl Into<Deadline>) -> Self {
        let deadline = timeout.into();
        Self { deadline, ..self }
    }

    /// How many tasks travel together, 1 to 4096; by default 1. See
    /// [`Pool::chunk_size`](crate::Pool::chunk_size).
    pub fn chunk_size(self, tasks: usize) -> Self {
        let chunk = tasks.clamp(1, MAX_ITEMS);
        Self { chunk, ..self }
    }

    /// How many tasks are submitted at most whose results were not given, at least 1; by default
    /// all. Items are taken as there is room for a packet, so that the iterator may be endless.
    ///
    /// Python counts packets here, this tasks. A packet has no more tasks than this.
    pub fn buffer_size(self, tasks: usize) -> Self {
        let buffer = tasks.max(1);
        Self { buffer, ..self }
    }

    /// Calls `task` with each item, and iterates over the results in order; see
    /// [`ProcessPoolExecutor::map`](crate::ProcessPoolExecutor::map).
    pub fn map<F, I, W>(self, task: F, items: I) -> Imap<'p, I::IntoIter, F::Output>
    where
        I: IntoIterator<Item: Argument>,
        F: Task<(I::Item,)> + Stateless,
        F::Output: Returned<W>,
    {
        let feeder = self.chunked().one(task, items);
        self.iterate(feeder)
    }

    /// As [`map`](Self::map), of items that are tuples of arguments.
    pub fn starmap<F, I, W>(self, task: F, items: I) -> Imap<'p, I::IntoIter, F::Output>
    where
        I: IntoIterator<Item: Arguments>,
        F: Task<I::Item> + Stateless,
        F::Output: Returned<W>,
    {
        let feeder = self.chunked().star(task, items);
        self.iterate(feeder)
    }

    /// Tasks of a packet.
    fn packet(&self) -> usize {
        self.chunk.min(self.buffer)
    }

    fn chunked(&self) -> Chunked<'p> {
        let hook = self.hook.clone();
        Chunked {
            hook,
            ..self.pool.chunk_size(self.packet())
        }
    }

    fn iterate<I: Iterator, R>(self, feeder: Feeder<'p, I, R>) -> Imap<'p, I, R> {
        // The next packet is submitted when there is room for all of it.
        let ahead = self.buffer - (self.packet() - 1);
        Imap::new(feeder, true, ahead).of_executor(self.deadline)
    }
}
