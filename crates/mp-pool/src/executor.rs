//! The pool behind the interface of Python's `concurrent.futures`.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use mp_layout::Result;
use mp_os::clock::Deadline;
use mp_process::{Argument, Arguments, Returned, Stateless, Task};

use crate::Pool;
use crate::async_result::MapResult;
use crate::builder::Builder;
use crate::error::{Cause, TaskError};
use crate::imap::Imap;
use crate::job::{Job, Read};
use crate::map_options::MapOptions;
use crate::shared::Shared;

/// Worker processes that run what is submitted to them: a [`Pool`] with [`Future`]s, whose drop
/// waits.
///
/// # If a process dies
///
/// As with [`Pool`]: a worker that dies fails the one future that it ran. The executor goes on.
///
/// # Examples
///
/// ```
/// use mp_pool::ProcessPoolExecutor;
///
/// let executor = ProcessPoolExecutor::with_workers(2)?;
/// let power = executor.submit(u64::pow, (2, 10));
/// let squares: Result<Vec<u64>, _> = executor.map(|n: u64| n * n, 1..=3).collect();
/// assert_eq!(power.result()?, 1024);
/// assert_eq!(squares?, [1, 4, 9]);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
pub struct ProcessPoolExecutor {
    pool: Pool,
}

impl ProcessPoolExecutor {
    /// Makes an executor with as many workers as this process may use processors.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build`](crate::Builder::build).
    pub fn new() -> Result<Self> {
        Pool::builder().build().map(Self::from)
    }

    /// Makes an executor of `workers` processes; [`builder`](Self::builder) has other options.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build`](crate::Builder::build).
    pub fn with_workers(workers: usize) -> Result<Self> {
        Pool::new(workers).map(Self::from)
    }

    /// The options of its pool; end with [`Builder::build_executor`].
    pub fn builder() -> Builder {
        Pool::builder()
    }

    /// Calls `task` in a worker, once it is its turn.
    ///
    /// What cannot be submitted is an error of the future.
    pub fn submit<F, A, W>(&self, task: F, arguments: A) -> Future<F::Output>
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        let MapResult { job, read, .. } = self.pool.apply_async(task, arguments).into_results();
        Future {
            number: FutureNumber::next(),
            job,
            read,
            pool: Arc::downgrade(self.pool.shared()),
            was_polled: false,
        }
    }

    /// Calls `task` with each item, all of which are submitted here, and iterates over the results
    /// in order. If the iterator is dropped after a result and before its end, tasks that no worker
    /// has taken are cancelled.
    ///
    /// [`map_options`](Self::map_options) has a time limit, the size of packets, and how many tasks
    /// may be submitted ahead of the results; [`Pool::imap`] takes items as results are asked for.
    pub fn map<F, I, W>(&self, task: F, items: I) -> Imap<'_, I::IntoIter, F::Output>
    where
        I: IntoIterator<Item: Argument>,
        F: Task<(I::Item,)> + Stateless,
        F::Output: Returned<W>,
    {
        self.map_options().map(task, items)
    }

    /// As [`map`](Self::map), of items that are tuples of arguments: Python's `map(pow, a, b)` is
    /// `starmap(u64::pow, a.zip(b))`.
    pub fn starmap<F, I, W>(&self, task: F, items: I) -> Imap<'_, I::IntoIter, F::Output>
    where
        I: IntoIterator<Item: Arguments>,
        F: Task<I::Item> + Stateless,
        F::Output: Returned<W>,
    {
        self.map_options().starmap(task, items)
    }

    /// The options of one [`map`](Self::map) or [`starmap`](Self::starmap): `timeout`, `chunk_size`
    /// and `buffer_size`.
    pub fn map_options(&self) -> MapOptions<'_> {
        MapOptions::new(&self.pool)
    }

    /// The pool, for what Python's executor has no word for.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Takes no more tasks, and waits until all are done. A drop does the same.
    pub fn shutdown(&self) {
        self.close();
        // It is closed, so there is an end to wait for.
        drop(self.pool.join());
    }

    /// As [`shutdown`](Self::shutdown); tasks that no worker has taken are
    /// [cancelled](Future::cancel).
    pub fn shutdown_and_cancel(&self) {
        self.close_and_cancel();
        self.shutdown();
    }

    /// Takes no more tasks, and does not wait: Python's `shutdown(wait=False)`. Those that were
    /// submitted are run; a drop waits for them.
    pub fn close(&self) {
        self.pool.close();
    }

    /// As [`close`](Self::close); tasks that no worker has taken are [cancelled](Future::cancel).
    ///
    /// ```
    /// use mp_object::Event;
    /// use mp_pool::{Future, ProcessPoolExecutor};
    ///
    /// fn wait_for(go: Event) {
    ///     go.wait();
    /// }
    ///
    /// let (executor, go) = (ProcessPoolExecutor::with_workers(1)?, Event::new()?);
    /// let tasks = [(); 3].map(|()| executor.submit(wait_for, (go.clone(),)));
    /// executor.close_and_cancel();
    /// assert!(tasks.iter().filter(|task| task.cancelled()).count() >= 2);
    /// go.set();
    /// executor.shutdown();
    /// assert!(tasks.iter().all(Future::done));
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn close_and_cancel(&self) {
        // First, so that no task is submitted after those that are cancelled.
        self.close();
        self.pool.shared().cancel_all();
    }

    /// Kills the workers. Futures without a result fail.
    pub fn kill_workers(&self) {
        self.pool.terminate();
    }
}

impl From<Pool> for ProcessPoolExecutor {
    fn from(pool: Pool) -> Self {
        Self { pool }
    }
}

impl Drop for ProcessPoolExecutor {
    /// Waits until all tasks are done. A copy in a forked process does not.
    fn drop(&mut self) {
        if !self.pool.is_copy() {
            self.shutdown();
        }
    }
}

/// What was submitted to a [`ProcessPoolExecutor`]. Clones are the same task; it outlives the
/// executor. It may be awaited, in any async runtime.
///
/// ```
/// use mp_pool::ProcessPoolExecutor;
/// use std::time::Duration;
///
/// let executor = ProcessPoolExecutor::with_workers(1)?;
/// let blocks = executor.submit(|| std::thread::sleep(Duration::MAX), ());
/// let waits = executor.submit(|| 7, ());
/// assert!(waits.cancel() && waits.done());
/// assert!(waits.result().is_err());
/// assert!(!blocks.done());
/// executor.kill_workers();
/// assert!(blocks.exception().is_some());
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct Future<R> {
    number: FutureNumber,
    job: Arc<Job>,
    read: Read<R>,
    pool: Weak<Shared>,
    /// Whether the job may have a waker of this one.
    was_polled: bool,
}

impl<R> Future<R> {
    /// Waits for the task, and returns its value; each call returns an equal one.
    ///
    /// # Errors
    ///
    /// [`Cause::Panicked`], [`Cause::Died`] with how its worker ended, [`Cause::Cancelled`], or
    /// [`Cause::Failed`] if the task was not run (the executor is shut down or gave up) or if
    /// arguments or value could not be written or read.
    pub fn result(&self) -> Result<R, TaskError> {
        self.result_timeout(Deadline::NEVER)
    }

    /// Waits for the task up to a [`Duration`](std::time::Duration), an
    /// [`Instant`](std::time::Instant) or a [`Deadline`], and returns its value. A timeout
    /// leaves the task where it is.
    ///
    /// # Errors
    ///
    /// As for [`result`](Self::result), and [`Cause::TimedOut`].
    pub fn result_timeout(&self, timeout: impl Into<Deadline>) -> Result<R, TaskError> {
        self.job.value(timeout.into(), self.read)
    }

    /// Waits for the task, and returns why it has no value; `None` if it has one, which is read
    /// for that.
    pub fn exception(&self) -> Option<TaskError> {
        self.result().err()
    }

    /// Whether the task has failed; the value of one that has not may not be readable.
    fn has_failed(&self) -> bool {
        matches!(self.job.locked().outcomes.get(0), Some(Err(_)))
    }

    /// Whether the task has ended, or was cancelled.
    pub fn done(&self) -> bool {
        self.job.wait_all(Deadline::PASSED)
    }

    /// Whether a worker has taken the task, and it has not ended.
    pub fn running(&self) -> bool {
        let pool = self.pool.upgrade();
        pool.is_some_and(|pool| pool.is_running(&self.job))
    }

    /// Takes the task back, unless a worker has taken it; returns whether it is cancelled.
    pub fn cancel(&self) -> bool {
        if let Some(pool) = self.pool.upgrade() {
            pool.cancel(&self.job);
        }
        self.cancelled()
    }

    /// Has `callback` run with this future when it is done, which may be now.
    ///
    /// Callbacks of an executor run in a thread of this process, one after the other;
    /// [`shutdown`](ProcessPoolExecutor::shutdown) waits for them.
    pub fn add_done_callback(&self, callback: impl FnOnce(Self) + Send + 'static)
    where
        R: 'static,
    {
        let future = self.clone();
        self.job.when_done(Box::new(move || callback(future)));
    }

    /// Whether it was cancelled.
    pub fn cancelled(&self) -> bool {
        matches!(
            self.job.locked().outcomes.get(0),
            Some(Err(Cause::Cancelled))
        )
    }
}

/// Ready with what [`result`](Future::result) returns.
///
/// Wakers are woken in a thread of the pool, next to that of callbacks, so that a callback may wait
/// for what is awaited. A drop leaves the task where it is.
impl<R> std::future::Future for Future<R> {
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.was_polled = true;
        if self.job.is_done_or_wakes(self.number, context.waker()) {
            Poll::Ready(self.result())
        } else {
            Poll::Pending
        }
    }
}

impl<R> Drop for Future<R> {
    /// Forgets its waker, whose task may never end otherwise.
    fn drop(&mut self) {
        if self.was_polled {
            self.job.forget_waker(self.number);
        }
    }
}

impl<R> Clone for Future<R> {
    fn clone(&self) -> Self {
        Self {
            number: FutureNumber::next(),
            job: Arc::clone(&self.job),
            read: self.read,
            pool: Weak::clone(&self.pool),
            was_polled: false,
        }
    }
}

impl<R> fmt::Debug for Future<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Future")
            .field("done", &self.done())
            .finish_non_exhaustive()
    }
}

/// Tells the futures of a task apart, each of which is polled by another waker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FutureNumber(u64);

impl FutureNumber {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What several futures tell when one of them ends: its number among them.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    ended: Mutex<VecDeque<usize>>,
    changed: Condvar,
}

impl Watcher {
    /// Watches these futures.
    fn of<R>(futures: &[Future<R>]) -> Arc<Self> {
        let watcher = Arc::<Self>::default();
        for (number, future) in futures.iter().enumerate() {
            future.job.watch(&watcher, number);
        }
        watcher
    }

    pub(crate) fn tell(&self, number: usize) {
        self.locked().push_back(number);
        self.changed.notify_all();
    }

    /// The next one that has ended and was not given.
    fn next(&self) -> Option<usize> {
        self.locked().pop_front()
    }

    /// Waits until one has ended that was not given, at most as long as one call may.
    fn wait(&self, deadline: Deadline) {
        // The caller asks the hook, without a lock.
        let deadline = deadline.of_one_call().uninterruptible();
        let mut ended = self.locked();
        while ended.is_empty() && !deadline.is_expired() {
            ended = match deadline.remaining() {
                None => {
                    let woken = self.changed.wait(ended);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
                Some(left) => {
                    let woken = self.changed.wait_timeout(ended, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<usize>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Iterates over futures as they end.
///
/// ```
/// use mp_pool::{ProcessPoolExecutor, as_completed};
///
/// let executor = ProcessPoolExecutor::with_workers(2)?;
/// let futures: Vec<_> = (1..=4).map(|n| executor.submit(|n: u64| n * n, (n,))).collect();
/// let mut squares = Vec::new();
/// for future in as_completed(futures) {
///     squares.push(future.result()?);
/// }
/// squares.sort_unstable();
/// assert_eq!(squares, [1, 4, 9, 16]);
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub fn as_completed<R>(futures: impl IntoIterator<Item = Future<R>>) -> AsCompleted<R> {
    let futures: Vec<_> = futures.into_iter().collect();
    AsCompleted {
        watcher: Watcher::of(&futures),
        pending: futures.len(),
        first: 0,
        futures: futures.into_iter().map(Some).collect(),
    }
}

/// The futures of [`as_completed`], each when it has ended.
#[derive(Debug)]
pub struct AsCompleted<R> {
    /// Those that were not given, none of which is before `first`.
    futures: Vec<Option<Future<R>>>,
    first: usize,
    pending: usize,
    watcher: Arc<Watcher>,
}

impl<R> AsCompleted<R> {
    /// The next future that has ended, waiting for it up to a [`Duration`](std::time::Duration), an
    /// [`Instant`](std::time::Instant) or a [`Deadline`]; `None` if there is none left, or none
    /// until then.
    pub fn next_timeout(&mut self, timeout: impl Into<Deadline>) -> Option<Future<R>> {
        let deadline = timeout.into();
        loop {
            if let Some(number) = self.watcher.next() {
                self.pending -= 1;
                return self.futures[number].take();
            }
            if self.pending == 0 || deadline.is_expired() {
                return None;
            }
            // In a copy of the process that submitted none is told, and each has failed.
            if let Some(left) = self.first_left()
                && left.as_ref().is_some_and(|one| one.job.is_of_a_copy())
            {
                let next = left.take();
                self.pending -= 1;
                return next;
            }
            self.watcher.wait(deadline);
        }
    }

    fn first_left(&mut self) -> Option<&mut Option<Future<R>>> {
        let is_given = |one: &Option<Future<R>>| one.is_none();
        while self.futures.get(self.first).is_some_and(is_given) {
            self.first += 1;
        }
        self.futures.get_mut(self.first)
    }
}

impl<R> Iterator for AsCompleted<R> {
    type Item = Future<R>;

    fn next(&mut self) -> Option<Future<R>> {
        self.next_timeout(Deadline::NEVER)
    }
}

/// For what [`wait`] waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReturnWhen {
    /// All futures have ended.
    #[default]
    AllCompleted,
    /// One has ended.
    FirstCompleted,
    /// One has failed, or all have ended. One that returned a value that cannot be read has not.
    FirstException,
}

/// Futures after a [`wait`].
#[derive(Debug)]
pub struct Waited<R> {
    /// Those that have ended.
    pub done: Vec<Future<R>>,
    /// The others.
    pub not_done: Vec<Future<R>>,
}

/// Waits for futures up to a [`Duration`](std::time::Duration), an [`Instant`](std::time::Instant)
/// or a [`Deadline`], and returns which have ended.
///
/// ```
/// use mp_pool::{Deadline, ProcessPoolExecutor, ReturnWhen, wait};
///
/// let executor = ProcessPoolExecutor::with_workers(2)?;
/// let futures: Vec<_> = (0..4).map(|n| executor.submit(|n: u64| n, (n,))).collect();
/// let waited = wait(futures, Deadline::NEVER, ReturnWhen::AllCompleted);
/// assert_eq!((waited.done.len(), waited.not_done.len()), (4, 0));
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub fn wait<R>(
    futures: impl IntoIterator<Item = Future<R>>,
    timeout: impl Into<Deadline>,
    return_when: ReturnWhen,
) -> Waited<R> {
    let deadline = timeout.into();
    let futures: Vec<_> = futures.into_iter().collect();
    let watcher = Watcher::of(&futures);
    let is_of_a_copy = futures.iter().any(|future| future.job.is_of_a_copy());
    let (mut ended, mut has_failed) = (0, false);
    loop {
        while let Some(number) = watcher.next() {
            ended += 1;
            has_failed |= futures[number].has_failed();
        }
        let is_enough = match return_when {
            _ if ended == futures.len() => true,
            ReturnWhen::AllCompleted => false,
            ReturnWhen::FirstCompleted => ended > 0,
            ReturnWhen::FirstException => has_failed,
        };
        if is_enough || is_of_a_copy || deadline.is_expired() {
            break;
        }
        watcher.wait(deadline);
    }
    let (done, not_done) = futures.into_iter().partition(Future::done);
    Waited { done, not_done }
}
