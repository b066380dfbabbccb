//! One call of a pool: the outcomes of its tasks, and who waits for them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use mp_os::clock::Deadline;
use mp_process::call::Outcome;

use crate::callbacks::{Callback, Callbacks};
use crate::error::{Cause, TaskError};
use crate::executor::{FutureNumber, Watcher};
use crate::leading::Leading;
use crate::outcomes::Outcomes;
use crate::progress::{self, Hook};
use crate::shared::{Shared, of_a_copy};
use crate::stats::Ended;

/// What came of a task.
pub(crate) type Delivered = Result<Outcome, Cause>;

/// What came of the task of an index.
pub(crate) type Arrived = (usize, Delivered);

/// How a value is read from an outcome: [`Outcome::value`] of its type.
pub(crate) type Read<R> = fn(&Outcome, &str) -> mp_layout::Result<R>;

/// The tasks of one call, of which some are under way.
#[derive(Debug)]
pub(crate) struct Job {
    progress: Mutex<Progress>,
    changed: Condvar,
    callbacks: Arc<Callbacks>,
    pool: Weak<Shared>,
    counts: Arc<Ended>,
    /// Told how far it is, of as many tasks as are known.
    hook: Option<(Hook, Option<usize>)>,
    /// Held by the thread that tells it, so that it is told in order.
    telling: Mutex<()>,
}

/// What is known of a job's tasks.
#[derive(Default)]
pub(crate) struct Progress {
    /// By index, until they are taken.
    pub(crate) outcomes: Outcomes,
    /// Instead, as they come, if they are taken so: between two of them any number was taken.
    pub(crate) arrived: Option<VecDeque<Arrived>>,
    /// Tasks that were submitted and have no outcome.
    pub(crate) outstanding: usize,
    /// Tasks that have one, and how many of these have no value.
    ended: usize,
    failed: usize,
    /// Whether the hook is about to be told: then what comes meanwhile is told with it.
    is_to_tell: bool,
    /// Run when no task is outstanding.
    callbacks: Vec<Callback>,
    /// Woken then, too: one for each future that was polled.
    wakers: BTreeMap<FutureNumber, Waker>,
    /// Told when no task is outstanding, each with the number that it has for this job.
    watchers: Vec<(Weak<Watcher>, usize)>,
    waiters: usize,
    /// A waiter looks again when no more than so many are outstanding.
    wakes_at: usize,
}

impl Job {
    /// A job whose hook, if it has one, is told how far it is, and how many tasks are known.
    pub(crate) fn new(pool: &Arc<Shared>, hook: Option<(Hook, Option<usize>)>) -> Arc<Self> {
        Arc::new(Self {
            progress: Mutex::default(),
            changed: Condvar::new(),
            callbacks: Arc::clone(&pool.callbacks),
            pool: Arc::downgrade(pool),
            counts: Arc::clone(&pool.counts),
            hook,
            telling: Mutex::default(),
        })
    }

    pub(crate) fn has_hook(&self) -> bool {
        self.hook.is_some()
    }

    /// Counts tasks that are submitted next.
    pub(crate) fn expect(&self, tasks: usize) {
        self.locked().outstanding += tasks;
    }

    /// Stores what came of a task that was expected.
    pub(crate) fn deliver(self: &Arc<Self>, index: usize, delivered: Delivered) {
        self.deliver_all(&mut vec![(index, delivered)]);
    }

    /// Stores what came of tasks that were expected, and leaves the memory.
    pub(crate) fn deliver_all(self: &Arc<Self>, arrived: &mut Vec<Arrived>) {
        let count = arrived.len();
        let done = arrived.iter().filter(|(_, one)| one.is_ok()).count();
        self.counts.count(done, count - done);
        let mut progress = self.locked();
        if let Some(waiting) = &mut progress.arrived {
            waiting.extend(arrived.drain(..));
        } else {
            for (index, delivered) in arrived.drain(..) {
                progress.outcomes.insert(index, delivered);
            }
        }
        progress.outstanding = progress.outstanding.saturating_sub(count);
        progress.ended += count;
        progress.failed += count - done;
        if self.has_hook() && !std::mem::replace(&mut progress.is_to_tell, true) {
            let job = Arc::clone(self);
            self.callbacks.call(Box::new(move || job.tell()));
        }
        if progress.outstanding == 0 {
            let callbacks = progress.callbacks.drain(..);
            callbacks.for_each(|one| self.callbacks.call(one));
            // Not woken here, under the locks of the pool: what a waker does is not known.
            let wakers = std::mem::take(&mut progress.wakers).into_values();
            wakers.for_each(|waker| self.callbacks.wake(waker));
        }
        if progress.outstanding == 0 {
            for (watcher, number) in progress.watchers.drain(..) {
                tell_watcher(&watcher, number);
            }
        }
        if progress.waiters > 0 && progress.outstanding <= progress.wakes_at {
            self.changed.notify_all();
        }
    }

    /// Tells the hook how far it is, unless it was told of all that has come.
    fn tell(&self) {
        let Some((hook, total)) = &self.hook else {
            return;
        };
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let mut progress = self.locked();
        // What comes from now on is told again.
        if !std::mem::take(&mut progress.is_to_tell) {
            return;
        }
        let told = progress::Progress {
            ended: progress.ended,
            failed: progress.failed,
            total: *total,
        };
        drop(progress);
        hook.tell(told);
    }

    /// Returns when the hook, if there is one, has been told of what has come. This thread tells it
    /// what is left, since the thread of callbacks may run another call's callback for long.
    pub(crate) fn finish_telling(&self) {
        // In a copy another thread may have had the lock.
        if self.has_hook() && !self.is_of_a_copy() {
            // The panic hook has said what there is to say; the values are there all the same.
            drop(catch_unwind(AssertUnwindSafe(|| self.tell())));
        }
    }

    /// Has `callback` run when no task is outstanding, which may be now.
    pub(crate) fn when_done(&self, callback: Callback) {
        let mut progress = self.locked();
        if progress.outstanding == 0 {
            self.callbacks.call(callback);
        } else {
            progress.callbacks.push(callback);
        }
    }

    /// Whether no task is outstanding; if one is, `waker` is woken when none is, instead of the
    /// last one of this future.
    pub(crate) fn is_done_or_wakes(&self, future: FutureNumber, waker: &Waker) -> bool {
        self.callbacks.prepare_wakes();
        let waker = waker.clone();
        let is_of_a_copy = self.is_of_a_copy();
        let mut progress = self.locked();
        if progress.outstanding == 0 || is_of_a_copy {
            return true;
        }
        let last = progress.wakers.insert(future, waker);
        drop(progress);
        // Not dropped under the lock: what that does is not known either.
        drop(last);
        false
    }

    /// Forgets the waker of a future.
    pub(crate) fn forget_waker(&self, future: FutureNumber) {
        let waker = self.locked().wakers.remove(&future);
        // Without the lock, as above.
        drop(waker);
    }

    /// Tells `watcher` the `number` when no task is outstanding, which may be now.
    pub(crate) fn watch(&self, watcher: &Arc<Watcher>, number: usize) {
        let mut progress = self.locked();
        if progress.outstanding == 0 {
            watcher.tell(number);
            return;
        }
        progress.watchers.retain(|(one, _)| one.strong_count() > 0);
        progress.watchers.push((Arc::downgrade(watcher), number));
    }

    /// Waits until `test` gives something, which it can only when no more than `most` tasks are
    /// outstanding; `None` if the deadline passed before, or in a copy of the pool.
    ///
    /// The caller takes what workers push itself, unless another thread does.
    pub(crate) fn wait<R>(
        &self,
        most: usize,
        deadline: Deadline,
        mut test: impl FnMut(&mut Progress) -> Option<R>,
    ) -> Option<R> {
        loop {
            let result = test(&mut self.locked());
            // The hook of a deadline may use the pool itself: no lock is held, and no other thread
            // waits for this one.
            if result.is_some() || deadline.is_expired() {
                return result;
            }
            let pool = self.pool.upgrade();
            if pool.as_ref().is_some_and(|pool| pool.is_copy()) {
                return None;
            }
            let turn = deadline.of_one_call().uninterruptible();
            let result = match pool.as_ref().map(|pool| Leading::begin(pool)) {
                Some(Ok(leading)) => leading.collect_until(turn, || {
                    let mut progress = self.locked();
                    test(&mut progress).ok_or_else(|| progress.outstanding.saturating_sub(most))
                }),
                Some(Err(_following)) => self.sleep(most, turn, &mut test),
                // All has been delivered.
                None => self.sleep(most, turn, &mut test),
            };
            if result.is_some() {
                return result;
            }
        }
    }

    /// Sleeps until another thread has delivered what `test` needs, or the deadline passes.
    fn sleep<R>(
        &self,
        most: usize,
        deadline: Deadline,
        test: &mut impl FnMut(&mut Progress) -> Option<R>,
    ) -> Option<R> {
        let mut progress = self.locked();
        loop {
            let result = test(&mut progress);
            if result.is_some() || deadline.is_expired() {
                return result;
            }
            let others = if progress.waiters > 0 {
                progress.wakes_at
            } else {
                0
            };
            progress.wakes_at = others.max(most);
            progress.waiters += 1;
            progress = match deadline.remaining() {
                None => {
                    let woken = self.changed.wait(progress);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
                Some(left) => {
                    let woken = self.changed.wait_timeout(progress, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            progress.waiters -= 1;
        }
    }

    /// Takes what workers have pushed, and were not to tell before they have more.
    pub(crate) fn take(&self) {
        let is_outstanding = self.locked().outstanding > 0;
        if let Some(pool) = self.pool.upgrade().filter(|_| is_outstanding) {
            pool.take_unasked();
        }
    }

    /// Waits until no task is outstanding; false if the deadline passed before.
    pub(crate) fn wait_all(&self, deadline: Deadline) -> bool {
        let all = |progress: &mut Progress| (progress.outstanding == 0).then_some(());
        self.wait(0, deadline, all).is_some() || self.is_of_a_copy()
    }

    /// Whether its pool is a copy in a forked process, where nothing is delivered any more: tasks
    /// without an outcome have failed.
    pub(crate) fn is_of_a_copy(&self) -> bool {
        self.pool.upgrade().is_some_and(|pool| pool.is_copy())
    }

    /// Why a task has no outcome after a wait.
    pub(crate) fn why_missing(&self) -> Cause {
        if self.is_of_a_copy() {
            of_a_copy()
        } else {
            Cause::TimedOut
        }
    }

    /// The value of the only task, waited for.
    pub(crate) fn value<R>(&self, deadline: Deadline, read: Read<R>) -> Result<R, TaskError> {
        self.wait_all(deadline);
        match self.locked().outcomes.get(0) {
            Some(delivered) => value(0, delivered, read),
            None => Err(TaskError::new(0, self.why_missing())),
        }
    }

    pub(crate) fn locked(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell_watcher(watcher: &Weak<Watcher>, number: usize) {
    if let Some(watcher) = watcher.upgrade() {
        watcher.tell(number);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Progress")
            .field("outstanding", &self.outstanding)
            .finish_non_exhaustive()
    }
}

/// The value of a task, or why there is none.
pub(crate) fn value<R>(index: usize, delivered: &Delivered, read: Read<R>) -> Result<R, TaskError> {
    match delivered {
        // The name is for errors: it is made when there is one.
        Ok(outcome) => read(outcome, "a task")
            .or_else(|_| read(outcome, &format!("task {index}")))
            .map_err(|error| TaskError::new(index, Cause::Failed(Arc::new(error)))),
        Err(cause) => Err(TaskError::new(index, cause.clone())),
    }
}
