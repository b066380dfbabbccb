//! Workers that run tasks.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

use mp_layout::{Error, PlainSlice, Result};
use mp_process::{Argument, Arguments, Returned, Stateless, Task};
use mp_value::{Chunk, Chunks};

use crate::async_result::{AsyncResult, MapResult};
use crate::builder::Builder;
use crate::chunked::Chunked;
use crate::error::TaskError;
use crate::feeder::Feeder;
use crate::imap::Imap;
use crate::progress::Progress;
use crate::shared::{Config, Shared};
use crate::stats::Stats;
use crate::worker_stats::WorkerStats;

/// Worker processes that run tasks: functions of this program, with arguments that travel.
///
/// A task is a function or a closure without captures, as for [`Process`](mp_process::Process). Any
/// thread may submit. Dropping the pool [terminates](Self::terminate) it.
///
/// # If a process dies
///
/// A worker that dies fails the one task that it ran, with its index, pid, and exit code or signal.
/// Tasks that it had taken and not begun move to another worker, its results that came before
/// count, and a new worker takes its place. A packet of tasks that four workers took and died
/// before they began one fails, since its arguments may be what kills. If workers end over and over
/// before they run anything, there are pauses between the starts, and then the pool gives up: every
/// task fails with the last reason. When this process dies, the kernel kills the workers.
///
/// A copy in a process that was forked runs no task and ends no worker: what is submitted to it, or
/// waited for, fails with [`ErrorKind::InvalidState`](mp_layout::ErrorKind::InvalidState).
///
/// # Examples
///
/// ```
/// use mp_pool::Pool;
///
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// let pool = Pool::new(2)?;
/// assert_eq!(pool.map(square, 1..=5)?, [1, 4, 9, 16, 25]);
/// assert_eq!(pool.starmap(|a: u64, b: u64| a - b, [(5, 1), (7, 2)])?, [4, 5]);
/// assert_eq!(pool.apply(u64::pow, (2, 10))?, 1024);
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// What captures does not compile:
///
/// ```compile_fail
/// let factor = 3;
/// let pool = mp_pool::Pool::new(2)?;
/// pool.map(|n: u64| n * factor, 1..=5)?;
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct Pool {
    shared: Arc<Shared>,
    collector: Option<JoinHandle<()>>,
}

impl Pool {
    /// Makes a pool of `workers` processes.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build`].
    pub fn new(workers: usize) -> Result<Self> {
        Self::builder().workers(workers).build()
    }

    /// A pool with options.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn with(config: Config) -> Result<Self> {
        let shared = Arc::new(Shared::new(config)?);
        let collects = Arc::clone(&shared);
        let collector = std::thread::Builder::new()
            .name("mp-pool".to_owned())
            .spawn(move || collects.collect());
        match collector {
            Ok(collector) => Ok(Self {
                shared,
                collector: Some(collector),
            }),
            Err(source) => {
                shared.terminate();
                Err(Error::os("start", "the thread of a pool", source))
            }
        }
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.shared.config.workers
    }

    /// What it has done and has to do.
    ///
    /// ```
    /// let pool = mp_pool::Pool::new(2)?;
    /// pool.map(|n: u32| n + 1, 0..10)?;
    /// let stats = pool.stats();
    /// assert_eq!((stats.done, stats.failed), (10, 0));
    /// assert_eq!((stats.queued, stats.running, stats.replaced), (0, 0, 0));
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// How much each of its workers has worked. The kernel counts that, so it costs the tasks
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`](mp_layout::ErrorKind::Os) if the system does not tell.
    pub fn worker_stats(&self) -> Result<Vec<WorkerStats>> {
        self.shared.worker_stats()
    }

    /// The pids of its workers. Another may have taken the place of one meanwhile.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.shared.pids()
    }

    /// Calls `task` with each item, in the workers, and returns the values in order.
    ///
    /// All tasks are run, also after an error. Items are taken from the iterator while earlier ones
    /// run, and travel in packets of as many as give each worker four packets, at most 256; an
    /// iterator that does not know its length gets packets of one.
    /// [`chunk_size`](Self::chunk_size) sets their size.
    ///
    /// # Errors
    ///
    /// The error of the first task that has one, see [`AsyncResult::get`];
    /// [`try_map`](Self::try_map) returns the values of the others as well.
    pub fn map<F, T, W>(
        &self,
        task: F,
        items: impl IntoIterator<Item = T>,
    ) -> Result<Vec<F::Output>, TaskError>
    where
        F: Task<(T,)> + Stateless,
        F::Output: Returned<W>,
        T: Argument,
    {
        self.in_chunks(None).map(task, items)
    }

    /// As [`map`](Self::map), and returns the value or the error of each task, in order.
    pub fn try_map<F, T, W>(
        &self,
        task: F,
        items: impl IntoIterator<Item = T>,
    ) -> Vec<Result<F::Output, TaskError>>
    where
        F: Task<(T,)> + Stateless,
        F::Output: Returned<W>,
        T: Argument,
    {
        self.in_chunks(None).try_map(task, items)
    }

    /// As [`map`](Self::map), of items that are tuples of arguments.
    ///
    /// # Errors
    ///
    /// As for [`map`](Self::map).
    pub fn starmap<F, A, W>(
        &self,
        task: F,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<F::Output>, TaskError>
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        self.in_chunks(None).starmap(task, items)
    }

    /// As [`starmap`](Self::starmap), and returns the value or the error of each task, in order.
    pub fn try_starmap<F, A, W>(
        &self,
        task: F,
        items: impl IntoIterator<Item = A>,
    ) -> Vec<Result<F::Output, TaskError>>
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        self.in_chunks(None).try_starmap(task, items)
    }

    /// As [`map`](Self::map), and gives each task a reference to `context` as well, which travels
    /// to each worker once, however many tasks there are. It may be or have shared objects.
    ///
    /// A worker keeps the context until it runs a task with another one: tasks of two calls that
    /// run side by side may make it travel again.
    ///
    /// ```
    /// let pool = mp_pool::Pool::new(2)?;
    /// let words = vec!["shared", "memory"];
    /// let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    /// let letters = pool.map_with(words, |words, n: usize| words[n].len(), [1, 0, 1])?;
    /// assert_eq!(letters, [6, 6, 6]);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`map`](Self::map). If the context cannot be written, sent or read, each task that
    /// needs it fails.
    pub fn map_with<C, F, T, R, W>(
        &self,
        context: C,
        task: F,
        items: impl IntoIterator<Item = T>,
    ) -> Result<Vec<R>, TaskError>
    where
        C: Argument,
        F: Fn(&C, T) -> R + Stateless,
        R: Returned<W>,
        T: Argument,
    {
        self.in_chunks(None).map_with(context, task, items)
    }

    /// As [`map_with`](Self::map_with), and returns the value or the error of each task, in order.
    pub fn try_map_with<C, F, T, R, W>(
        &self,
        context: C,
        task: F,
        items: impl IntoIterator<Item = T>,
    ) -> Vec<Result<R, TaskError>>
    where
        C: Argument,
        F: Fn(&C, T) -> R + Stateless,
        R: Returned<W>,
        T: Argument,
    {
        self.in_chunks(None).try_map_with(context, task, items)
    }

    /// Calls `task` with each chunk of a shared array, in the workers, which write it where it is.
    ///
    /// Nothing is copied: a worker opens the array once, and claims each chunk that it is given.
    /// [`NdArray::blocks`](mp_value::NdArray::blocks) are chunks, too. A
    /// [`RawArray`](mp_value::RawArray) has none; [`map_with`](Self::map_with) gives out ranges of
    /// it.
    ///
    /// ```
    /// use mp_pool::Pool;
    /// use mp_value::Array;
    ///
    /// let squares = Array::<u64>::new(1000)?;
    /// let pool = Pool::new(2)?;
    /// pool.for_each(squares.chunks(100)?, |mut chunk| {
    ///     for (n, square) in chunk.range().zip(chunk.iter_mut()) {
    ///         *square = (n * n) as u64;
    ///     }
    /// })?;
    /// assert_eq!(squares.get(30)?, 900);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`map`](Self::map), where the index is that of the chunk; those of
    /// [`Chunks::claim`], and [`ErrorKind::Claimed`](mp_layout::ErrorKind::Claimed) if a process
    /// has a chunk already.
    ///
    /// # If a process dies
    ///
    /// The chunk of a dead worker fails, and its elements may be half written. It stays marked:
    /// [`Chunks::sweep`] names it, and who claims it next learns of the death by
    /// [`Chunk::abandoned_by`]. Until then a lock of the whole array says so.
    pub fn for_each<T, F>(&self, chunks: Chunks<T>, task: F) -> Result<(), TaskError>
    where
        T: PlainSlice,
        F: Fn(Chunk<T>) + Stateless,
    {
        self.in_chunks(None).for_each(chunks, task)
    }

    /// As [`for_each`](Self::for_each), and returns the error of each chunk that has one, in order.
    pub fn try_for_each<T, F>(&self, chunks: Chunks<T>, task: F) -> Vec<Result<(), TaskError>>
    where
        T: PlainSlice,
        F: Fn(Chunk<T>) + Stateless,
    {
        self.in_chunks(None).try_for_each(chunks, task)
    }

    /// As [`map`](Self::map), without waiting: takes all items, and returns what to wait for.
    pub fn map_async<F, T, W>(
        &self,
        task: F,
        items: impl IntoIterator<Item = T>,
    ) -> MapResult<F::Output>
    where
        F: Task<(T,)> + Stateless,
        F::Output: Returned<W>,
        T: Argument,
    {
        self.in_chunks(None).map_async(task, items)
    }

    /// As [`starmap`](Self::starmap), without waiting: takes all items, and returns what to wait
    /// for.
    pub fn starmap_async<F, A, W>(
        &self,
        task: F,
        items: impl IntoIterator<Item = A>,
    ) -> MapResult<F::Output>
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        self.in_chunks(None).starmap_async(task, items)
    }

    /// Calls `task` with each item, in the workers, and iterates over the results in order.
    ///
    /// Items are taken as results are asked for, see [`Imap`]; packets have one task.
    pub fn imap<F, I, W>(&self, task: F, items: I) -> Imap<'_, I::IntoIter, F::Output>
    where
        I: IntoIterator<Item: Argument>,
        F: Task<(I::Item,)> + Stateless,
        F::Output: Returned<W>,
    {
        self.in_chunks(Some(1)).imap(task, items)
    }

    /// As [`imap`](Self::imap), with the results as they come. The error of a task has its index.
    pub fn imap_unordered<F, I, W>(&self, task: F, items: I) -> Imap<'_, I::IntoIter, F::Output>
    where
        I: IntoIterator<Item: Argument>,
        F: Task<(I::Item,)> + Stateless,
        F::Output: Returned<W>,
    {
        self.in_chunks(Some(1)).imap_unordered(task, items)
    }

    /// Calls `task` once, in a worker, and returns its value.
    ///
    /// # Errors
    ///
    /// As for [`AsyncResult::get`].
    pub fn apply<F, A, W>(&self, task: F, arguments: A) -> Result<F::Output, TaskError>
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        self.one_task(task, arguments).apply()
    }

    /// As [`apply`](Self::apply), without waiting: returns what to wait for.
    pub fn apply_async<F, A, W>(&self, task: F, arguments: A) -> AsyncResult<F::Output>
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        AsyncResult::new(self.one_task(task, arguments).submit_all())
    }

    fn one_task<F, A, W>(
        &self,
        task: F,
        arguments: A,
    ) -> Feeder<'_, std::option::IntoIter<A>, F::Output>
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        self.in_chunks(None).star(task, Some(arguments))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The same pool, for one call whose packets have `tasks` tasks each (1 to 4096).
    ///
    /// A packet is taken by one worker and its tasks run one after the other: many short tasks cost
    /// less in large packets, long ones are spread better in small ones. A worker's death fails
    /// the task that it ran, however large the packet.
    ///
    /// ```
    /// let pool = mp_pool::Pool::new(2)?;
    /// assert_eq!(pool.chunk_size(16).map(|n: u32| n + 1, 0..100)?[99], 100);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn chunk_size(&self, tasks: usize) -> Chunked<'_> {
        self.in_chunks(Some(tasks))
    }

    /// The same calls, which tell `hook` how far they are: after each packet, in the thread of
    /// callbacks. It is told of what came while it ran together. A call that waits for all its
    /// tasks returns after the last time: it waits for the hook that runs, and tells it itself
    /// what is left. [`MapOptions`](crate::MapOptions) has it for executors.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    ///
    /// let pool = mp_pool::Pool::new(2)?;
    /// let ended = Arc::new(AtomicUsize::new(0));
    /// let told = Arc::clone(&ended);
    /// let squares = pool
    ///     .on_progress(move |progress| {
    ///         assert_eq!((progress.failed, progress.total), (0, Some(100)));
    ///         let before = told.swap(progress.ended, Ordering::Relaxed);
    ///         assert!(before < progress.ended);
    ///     })
    ///     .map(|n: u64| n * n, 0..100)?;
    /// assert_eq!((squares.len(), ended.load(Ordering::Relaxed)), (100, 100));
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn on_progress(&self, hook: impl Fn(Progress) + Send + Sync + 'static) -> Chunked<'_> {
        self.in_chunks(None).on_progress(hook)
    }

    fn in_chunks(&self, size: Option<usize>) -> Chunked<'_> {
        Chunked::new(&self.shared, size)
    }

    /// Whether this is a copy in a process that was forked: workers and threads are another's.
    pub(crate) fn is_copy(&self) -> bool {
        self.shared.is_copy()
    }

    /// Takes no more tasks. Those that were submitted are run, then the workers end;
    /// [`join`](Self::join) waits for that.
    ///
    /// Tasks that are submitted later fail with
    /// [`ErrorKind::Closed`](mp_layout::ErrorKind::Closed): also those that an [`Imap`], or a
    /// [`map`](Self::map) of another thread, has not submitted yet.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Kills the workers, and waits for their end. Tasks without a result fail with
    /// [`ErrorKind::Closed`](mp_layout::ErrorKind::Closed).
    pub fn terminate(&self) {
        self.shared.terminate();
    }

    /// Waits until all workers have ended and all callbacks have been run, after
    /// [`close`](Self::close) or [`terminate`](Self::terminate).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidState`](mp_layout::ErrorKind::InvalidState) if the pool is open.
    pub fn join(&self) -> Result<()> {
        self.shared.join()
    }
}

impl Drop for Pool {
    /// Terminates the pool. A copy in a forked process does nothing to it.
    fn drop(&mut self) {
        if self.is_copy() {
            // There is no such thread here: it can be neither joined nor detached.
            std::mem::forget(self.collector.take());
            return;
        }
        self.shared.terminate();
        if let Some(collector) = self.collector.take() {
            // It does not panic; if it did, it said so.
            drop(collector.join());
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Pool")
            .field("workers", &self.workers())
            .finish_non_exhaustive()
    }
}
