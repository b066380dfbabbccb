//! The options of a pool.

use mp_layout::Result;
use mp_process::{Arguments, Returned, Setup, Stateless, Task, cpu_count};

use crate::context::preparation;
use crate::feeder::Written;
use crate::shared::Config;
use crate::{Pool, ProcessPoolExecutor};

/// The options of a [`Pool`], from [`Pool::builder`].
///
/// ```
/// use mp_object::Semaphore;
/// use mp_pool::Pool;
///
/// fn prepare(started: Semaphore) {
///     started.release().unwrap();
/// }
///
/// let started = Semaphore::new(0)?;
/// let pool = Pool::builder()
///     .workers(2)
///     .initializer(prepare, (started.clone(),))
///     .max_tasks_per_child(100)
///     .build()?;
/// started.acquire();
/// started.acquire();
/// assert_eq!(pool.workers(), 2);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder makes no pool before `build`"]
pub struct Builder {
    workers: usize,
    most_tasks: u64,
    setup: Setup,
    initializer: Result<Written>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            workers: cpu_count(),
            most_tasks: 0,
            setup: Setup::new(),
            initializer: Ok(Default::default()),
        }
    }

    /// How many workers there are; by default [`cpu_count`].
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// What each worker calls first, also one that replaces another. Its arguments are a tuple, and
    /// may be shared objects.
    ///
    /// A panic or an `Err` ends the worker. After three in a row the pool gives up, and all its
    /// tasks fail.
    pub fn initializer<F, A, W>(mut self, task: F, arguments: A) -> Self
    where
        F: Task<A> + Stateless,
        F::Output: Returned<W>,
        A: Arguments,
    {
        self.initializer = preparation::<F, A, W>(task, &arguments);
        self
    }

    /// After how many tasks a worker is replaced by a new one; 0, the default, for never. It
    /// finishes the packet that it runs, so it may run more when packets have several tasks
    /// (see [`Pool::chunk_size`]).
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.most_tasks = tasks;
        self
    }

    /// What each worker has that differs from this process: directory, streams, limits and so on.
    /// All workers block SIGINT.
    ///
    /// A setup can hang, as one whose directory is on a file server that does not answer. Then
    /// [`build`](Self::build) does. A worker that is started later leaves its place empty
    /// meanwhile, and those of workers that are to be started together with it and after it; the
    /// others go on. The pool's end waits five seconds for it, and if it starts after that, it is
    /// killed.
    pub fn setup(mut self, setup: Setup) -> Self {
        self.setup = setup;
        self
    }

    /// Makes the pool and starts its workers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for no worker or more than 4096; [`ErrorKind::NotEnoughMemory`]
    /// and [`ErrorKind::TooManyDescriptors`], of which each worker takes two;
    /// [`ErrorKind::Encode`] if an argument of the initializer does not serialise; those of
    /// [`Process::start`](mp_process::Process::start).
    ///
    /// [`ErrorKind::InvalidInput`]: mp_layout::ErrorKind::InvalidInput
    /// [`ErrorKind::NotEnoughMemory`]: mp_layout::ErrorKind::NotEnoughMemory
    /// [`ErrorKind::TooManyDescriptors`]: mp_layout::ErrorKind::TooManyDescriptors
    /// [`ErrorKind::Encode`]: mp_layout::ErrorKind::Encode
    pub fn build(self) -> Result<Pool> {
        Pool::with(Config {
            workers: self.workers,
            most_tasks: self.most_tasks,
            setup: self.setup,
            initializer: self.initializer?,
        })
    }

    /// Makes the pool and an executor of it.
    ///
    /// ```
    /// let executor = mp_pool::ProcessPoolExecutor::builder()
    ///     .workers(2)
    ///     .max_tasks_per_child(10)
    ///     .build_executor()?;
    /// assert_eq!(executor.submit(|| 7, ()).result()?, 7);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`build`](Self::build).
    pub fn build_executor(self) -> Result<ProcessPoolExecutor> {
        self.build().map(ProcessPoolExecutor::from)
    }
}
