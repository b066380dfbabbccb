//! How much a worker has done.

use std::time::Duration;

/// A worker of a pool, from [`Pool::worker_stats`](crate::Pool::worker_stats).
///
/// ```
/// let pool = mp_pool::Pool::new(2)?;
/// pool.map(|n: u64| (0..n).sum::<u64>(), vec![100_000; 100])?;
/// for worker in pool.worker_stats()? {
///     let share = worker.cpu_time.as_secs_f64() / worker.age.as_secs_f64();
///     println!("worker {}: {:.0} % of a processor", worker.pid, 100.0 * share);
/// }
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its pid.
    pub pid: u32,
    /// How long ago it was started.
    pub age: Duration,
    /// How long it has run on a processor, with all its threads. A task that sleeps or waits takes
    /// none.
    pub cpu_time: Duration,
}
