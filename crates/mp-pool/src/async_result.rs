//! Results that are waited for later.

use std::fmt;
use std::sync::Arc;

use mp_os::clock::Deadline;

use crate::error::{Cause, TaskError};
use crate::job::{Job, Progress, Read, value};

/// The result of one task, from [`Pool::apply_async`](crate::Pool::apply_async).
///
/// It may be waited for again, and by several threads; it outlives the pool.
///
/// ```
/// use mp_pool::Pool;
/// use std::time::Duration;
///
/// let pool = Pool::new(1)?;
/// let result = pool.apply_async(|a: i32, b: i32| a + b, (40, 2));
/// assert!(result.wait_timeout(Duration::from_secs(20)));
/// assert!(result.ready() && result.successful());
/// assert_eq!(result.get()?, 42);
/// assert_eq!(result.get()?, 42);
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct AsyncResult<R> {
    /// Of the only task.
    results: MapResult<R>,
}

impl<R> AsyncResult<R> {
    pub(crate) fn new(results: MapResult<R>) -> Self {
        Self { results }
    }

    pub(crate) fn into_results(self) -> MapResult<R> {
        self.results
    }

    /// Waits for the task, and returns its value.
    ///
    /// # Errors
    ///
    /// [`Cause::Panicked`], [`Cause::Died`] with how its worker ended, or [`Cause::Failed`] if the
    /// task was not run (the pool is closed, terminated, or gave up) or if arguments or value
    /// could not be written or read.
    pub fn get(&self) -> Result<R, TaskError> {
        self.get_timeout(Deadline::NEVER)
    }

    /// Waits for the task up to a [`Duration`](std::time::Duration), an
    /// [`Instant`](std::time::Instant) or a [`Deadline`], and returns its value. A timeout
    /// leaves the task where it is.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get), and [`Cause::TimedOut`].
    pub fn get_timeout(&self, timeout: impl Into<Deadline>) -> Result<R, TaskError> {
        self.results.job.value(timeout.into(), self.results.read)
    }

    /// Has `callback` run with the value of the task when it has one, which may be now.
    ///
    /// Callbacks of a pool run in a thread of this process, one after the other;
    /// [`Pool::join`](crate::Pool::join) waits for them.
    ///
    /// ```
    /// use mp_pool::Pool;
    /// use std::sync::mpsc::channel;
    ///
    /// let (sender, receiver) = channel();
    /// let pool = Pool::new(2)?;
    /// for n in [4_i32, 0] {
    ///     let (values, errors) = (sender.clone(), sender.clone());
    ///     pool.apply_async(|n: i32| 100 / n, (n,))
    ///         .callback(move |value| values.send(value.to_string()).unwrap())
    ///         .error_callback(move |error| errors.send(error.to_string()).unwrap());
    /// }
    /// pool.close();
    /// pool.join()?;
    /// drop(sender);
    /// let mut texts: Vec<String> = receiver.iter().collect();
    /// texts.sort();
    /// assert_eq!(texts[0], "25");
    /// assert!(texts[1].contains("divide by zero"));
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    pub fn callback(self, callback: impl FnOnce(R) + Send + 'static) -> Self
    where
        R: 'static,
    {
        self.when_done(|result| drop(result.map(callback)))
    }

    /// Has `callback` run with the error of the task when it has one; see
    /// [`callback`](Self::callback).
    pub fn error_callback(self, callback: impl FnOnce(TaskError) + Send + 'static) -> Self
    where
        R: 'static,
    {
        self.when_done(|result| drop(result.map_err(callback)))
    }

    fn when_done(self, callback: impl FnOnce(Result<R, TaskError>) + Send + 'static) -> Self
    where
        R: 'static,
    {
        let results = self.results.same();
        self.results.job.when_done(Box::new(move || {
            callback(Self::new(results).get());
        }));
        self
    }

    /// Waits for the task. How it ended is no error here.
    pub fn wait(&self) {
        self.results.wait();
    }

    /// Waits for the task up to a [`Duration`](std::time::Duration), an
    /// [`Instant`](std::time::Instant) or a [`Deadline`]; returns whether it has ended.
    pub fn wait_timeout(&self, timeout: impl Into<Deadline>) -> bool {
        self.results.wait_timeout(timeout)
    }

    /// Whether the task has ended.
    pub fn ready(&self) -> bool {
        self.results.ready()
    }

    /// Whether the task has returned; false also while it has not ended. What it returned may not
    /// be readable.
    pub fn successful(&self) -> bool {
        self.results.successful()
    }
}

impl<R> fmt::Debug for AsyncResult<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AsyncResult")
            .field("ready", &self.ready())
            .finish_non_exhaustive()
    }
}

/// The results of the tasks of one call, from [`Pool::map_async`](crate::Pool::map_async).
///
/// It may be waited for again, and by several threads; it outlives the pool.
///
/// ```
/// use mp_pool::Pool;
///
/// let pool = Pool::new(2)?;
/// let results = pool.map_async(|n: u64| n * n, 1..=4);
/// assert_eq!(results.len(), 4);
/// assert_eq!(results.get()?, [1, 4, 9, 16]);
/// assert_eq!(results.completed(), 4);
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct MapResult<R> {
    pub(crate) job: Arc<Job>,
    len: usize,
    pub(crate) read: Read<R>,
}

impl<R> MapResult<R> {
    pub(crate) fn new(job: Arc<Job>, len: usize, read: Read<R>) -> Self {
        Self { job, len, read }
    }

    /// Waits for all tasks, and returns their values in order.
    ///
    /// # Errors
    ///
    /// The error of the first task that has one, see [`AsyncResult::get`]. The others have been run
    /// all the same: [`get_each`](Self::get_each) has their values.
    pub fn get(&self) -> Result<Vec<R>, TaskError> {
        self.get_timeout(Deadline::NEVER)
    }

    /// Waits for all tasks up to a [`Duration`](std::time::Duration), an
    /// [`Instant`](std::time::Instant) or a [`Deadline`], and returns their values in order. A
    /// timeout leaves the tasks where they are.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get), and [`Cause::TimedOut`] with the index of the first task that has
    /// not ended.
    pub fn get_timeout(&self, timeout: impl Into<Deadline>) -> Result<Vec<R>, TaskError> {
        if !self.wait_timeout(timeout) {
            let progress = self.job.locked();
            let is_missing = |index: &usize| progress.outcomes.get(*index).is_none();
            let first = (0..self.len).find(is_missing).unwrap_or(0);
            return Err(TaskError::new(first, Cause::TimedOut));
        }
        let progress = self.job.locked();
        let mut values = Vec::with_capacity(self.len);
        for index in 0..self.len {
            values.push(self.read_one(&progress, index)?);
        }
        Ok(values)
    }

    /// Waits for all tasks, and returns the value or the error of each, in order.
    pub fn get_each(&self) -> Vec<Result<R, TaskError>> {
        self.wait();
        self.read_all()
    }

    /// Has `callback` run with the values when all tasks have one, which may be now; see
    /// [`AsyncResult::callback`].
    pub fn callback(self, callback: impl FnOnce(Vec<R>) + Send + 'static) -> Self
    where
        R: 'static,
    {
        self.when_done(|result| drop(result.map(callback)))
    }

    /// Has `callback` run with the error of the first task that has one, when all have ended; see
    /// [`AsyncResult::callback`].
    pub fn error_callback(self, callback: impl FnOnce(TaskError) + Send + 'static) -> Self
    where
        R: 'static,
    {
        self.when_done(|result| drop(result.map_err(callback)))
    }

    fn when_done(self, callback: impl FnOnce(Result<Vec<R>, TaskError>) + Send + 'static) -> Self
    where
        R: 'static,
    {
        let results = self.same();
        self.job
            .when_done(Box::new(move || callback(results.get())));
        self
    }

    /// The same results, for a callback.
    fn same(&self) -> Self {
        Self::new(Arc::clone(&self.job), self.len, self.read)
    }

    fn read_all(&self) -> Vec<Result<R, TaskError>> {
        let progress = self.job.locked();
        let one = |index| self.read_one(&progress, index);
        (0..self.len).map(one).collect()
    }

    fn read_one(&self, progress: &Progress, index: usize) -> Result<R, TaskError> {
        match progress.outcomes.get(index) {
            Some(delivered) => value(index, delivered, self.read),
            None => Err(TaskError::new(index, self.job.why_missing())),
        }
    }

    /// Waits for all tasks. How they ended is no error here.
    pub fn wait(&self) {
        self.wait_timeout(Deadline::NEVER);
    }

    /// Waits for all tasks up to a [`Duration`](std::time::Duration), an
    /// [`Instant`](std::time::Instant) or a [`Deadline`]; returns whether they have ended.
    pub fn wait_timeout(&self, timeout: impl Into<Deadline>) -> bool {
        self.job.wait_all(timeout.into())
    }

    /// Whether all tasks have ended.
    pub fn ready(&self) -> bool {
        self.wait_timeout(Deadline::PASSED)
    }

    /// Whether all tasks have returned; false also while one has not ended.
    pub fn successful(&self) -> bool {
        self.job.take();
        let progress = self.job.locked();
        progress.outcomes.len() == self.len && progress.outcomes.iter().all(|(_, one)| one.is_ok())
    }

    /// How many tasks have ended.
    pub fn completed(&self) -> usize {
        self.job.take();
        self.job.locked().outcomes.len()
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no task.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<R> fmt::Debug for MapResult<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MapResult")
            .field("len", &self.len)
            .field("completed", &self.completed())
            .finish_non_exhaustive()
    }
}
