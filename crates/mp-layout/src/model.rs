//! The model checker under `--cfg loom`: its threads, locks and cells, and how a model is explored.
//!
//! It is loom, or shuttle where `--cfg shuttle` is given as well. Loom tries all interleavings of
//! few threads with few involuntary switches, and every stale value that the orderings let a thread
//! load. Shuttle tries random interleavings of more threads. Its atomics are sequentially
//! consistent and fences do nothing, so it says nothing about orderings.

#[cfg(not(shuttle))]
pub use loom::{cell, lazy_static, sync, thread, thread_local};
#[cfg(shuttle)]
pub use shuttle::{lazy_static, sync, thread, thread_local};

/// Runs `model` in every interleaving with at most so many involuntary switches.
#[cfg(not(shuttle))]
pub fn explore(switches: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(model);
}

/// Runs `model` in random interleavings: one half by a scheduler that may switch anywhere, the
/// other by one that makes at most so many involuntary switches (probabilistic concurrency testing,
/// Burckhardt and others 2010), which finds what needs few of them at certain places.
///
/// A failure prints the schedule, by which `shuttle::replay` repeats it.
#[cfg(shuttle)]
pub fn explore(switches: usize, model: impl Fn() + Send + Sync + 'static) {
    use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
    use std::sync::Arc;

    /// Of each half. Fixed seeds: a run on another day is the same run.
    const SCHEDULES: usize = 2500;
    const SEED: u64 = 8;
    // Of depth d it makes d - 1 switches.
    let depth = switches + 1;
    let model = Arc::new(model);
    let schedulers: [Box<dyn Scheduler + Send>; 2] = [
        Box::new(RandomScheduler::new_from_seed(SEED, SCHEDULES)),
        Box::new(PctScheduler::new_from_seed(SEED, depth, SCHEDULES)),
    ];
    for scheduler in schedulers {
        let mut config = shuttle::Config::new();
        // What reads /proc has buffers on the stack.
        config.stack_size = 256 << 10;
        // That orderings and fences do nothing is said above.
        config.silence_warnings = true;
        let model = Arc::clone(&model);
        shuttle::Runner::new(scheduler, config).run(move || model());
    }
}

/// Shuttle has no cells. These tell whether two accesses overlap of which one writes.
#[cfg(shuttle)]
pub mod cell {
    use std::sync::atomic::Ordering;

    use super::sync::atomic::AtomicI64;

    /// A value that threads access in turns, as the caller sees to it.
    #[derive(Debug)]
    pub struct UnsafeCell<T> {
        /// How many read it now, or less than 0: one writes.
        users: AtomicI64,
        value: std::cell::UnsafeCell<T>,
    }

    /// Far more than read at a time.
    const WRITER: i64 = i64::MIN / 2;

    impl<T> UnsafeCell<T> {
        pub fn new(value: T) -> Self {
            Self {
                users: AtomicI64::new(0),
                value: std::cell::UnsafeCell::new(value),
            }
        }

        /// Lends it to be read.
        #[track_caller]
        pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            let users = self.users.fetch_add(1, Ordering::SeqCst);
            assert!(users >= 0, "a cell is read while it is written");
            let result = read(self.value.get());
            self.users.fetch_sub(1, Ordering::SeqCst);
            result
        }

        /// Lends it to be written.
        #[track_caller]
        pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            let users = self.users.fetch_add(WRITER, Ordering::SeqCst);
            assert!(users == 0, "a cell is written while it is used");
            let result = write(self.value.get());
            self.users.fetch_sub(WRITER, Ordering::SeqCst);
            result
        }
    }
}
