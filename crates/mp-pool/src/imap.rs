//! Results one after the other, of items that are taken as results are asked for.

use std::collections::VecDeque;
use std::fmt;

use mp_os::clock::Deadline;

use crate::error::{Cause, TaskError};
use crate::feeder::Feeder;
use crate::job::{Delivered, Progress, value};

/// The results of [`Pool::imap`](crate::Pool::imap) and
/// [`Pool::imap_unordered`](crate::Pool::imap_unordered).
///
/// It takes items from its iterator when the result that is asked for is not there yet, and is
/// ahead of the results by four packets of tasks for each worker at most: so the iterator may be
/// endless. Dropped early, it leaves the tasks that were submitted to run; that of an executor's
/// `map` takes back what no worker has taken, if it gave a result before, as Python's does. It
/// knows its length if the iterator does, which is what progress bars ask for; a timeout of
/// [`MapOptions`](crate::MapOptions) ends it before that.
///
/// ```
/// use mp_pool::Pool;
///
/// let pool = Pool::new(2)?;
/// let mut squares = pool.imap(|n: u64| n * n, 1..);
/// assert_eq!(squares.next().unwrap()?, 1);
/// assert_eq!(squares.next().unwrap()?, 4);
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct Imap<'p, I: Iterator, R> {
    feeder: Feeder<'p, I, R>,
    /// Results that were given.
    given: usize,
    /// How many tasks more than that may have been submitted.
    ahead: usize,
    has_more: bool,
    /// Until when `next` waits, and takes items.
    deadline: Deadline,
    /// Whether a drop takes back what no worker has taken.
    cancels: bool,
}

impl<'p, I: Iterator, R> Imap<'p, I, R> {
    pub(crate) fn new(feeder: Feeder<'p, I, R>, is_ordered: bool, ahead: usize) -> Self {
        let mut imap = Self {
            feeder,
            given: 0,
            ahead,
            has_more: true,
            deadline: Deadline::NEVER,
            cancels: false,
        };
        if !is_ordered {
            imap.feeder.job.locked().arrived = Some(VecDeque::new());
        }
        imap.feed();
        imap
    }

    /// The same, ended by the first [`next`](Iterator::next) that has no result at `deadline`, or
    /// by a drop.
    pub(crate) fn of_executor(mut self, deadline: Deadline) -> Self {
        (self.deadline, self.cancels) = (deadline, true);
        self
    }

    /// The next result, waiting for it up to a [`Duration`](std::time::Duration), an
    /// [`Instant`](std::time::Instant) or a [`Deadline`]; `None` after the last.
    ///
    /// A timeout is [`Cause::TimedOut`], and takes no result: the next call waits for the same.
    pub fn next_timeout(&mut self, timeout: impl Into<Deadline>) -> Option<Result<R, TaskError>> {
        let given = self.given;
        let take = |progress: &mut Progress| -> Option<(usize, Delivered)> {
            if let Some(arrived) = &mut progress.arrived {
                return arrived.pop_front();
            }
            let delivered = progress.outcomes.remove(given)?;
            Some((given, delivered))
        };
        // What is there is given before the iterator, which may take its time, is asked for more.
        let ready = take(&mut self.feeder.job.locked());
        let taken = if ready.is_some() {
            ready
        } else {
            self.feed();
            if self.given == self.feeder.submitted {
                // There are more, and no time to run them.
                let late = || Err(TaskError::new(given, Cause::TimedOut));
                return self.has_more.then(late);
            }
            let taken = self.feeder.job.wait(usize::MAX, timeout.into(), take);
            // What a worker has pushed is there, also if no thread has taken it.
            taken.or_else(|| {
                self.feeder.job.take();
                take(&mut self.feeder.job.locked())
            })
        };
        let Some((index, delivered)) = taken else {
            let cause = self.feeder.job.why_missing();
            if !matches!(cause, Cause::TimedOut) {
                self.given += 1;
            }
            return Some(Err(TaskError::new(given, cause)));
        };
        self.given += 1;
        Some(value(index, &delivered, self.feeder.read))
    }

    /// Takes back what no worker has taken, and gives nothing more.
    fn end(&mut self) {
        self.has_more = false;
        self.given = self.feeder.submitted;
        self.feeder.cancel();
    }

    fn feed(&mut self) {
        while self.has_more && self.feeder.submitted - self.given < self.ahead {
            if self.deadline.is_expired() {
                // An iterator that is asked may take its time.
                self.has_more = self.feeder.left().1 != Some(0);
                return;
            }
            self.has_more = self.feeder.feed();
        }
    }
}

impl<I: Iterator, R> Iterator for Imap<'_, I, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_timeout(self.deadline);
        let has_none = |error: &TaskError| matches!(error.cause(), Cause::TimedOut);
        // A hook may have ended the wait before.
        if self.deadline.is_expired() && matches!(&next, Some(Err(error)) if has_none(error)) {
            self.end();
        }
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let submitted = self.feeder.submitted - self.given;
        let (least, most) = if self.has_more {
            self.feeder.left()
        } else {
            (0, Some(0))
        };
        let most = most.and_then(|most| most.checked_add(submitted));
        (least.saturating_add(submitted), most)
    }
}

impl<I: Iterator, R> Drop for Imap<'_, I, R> {
    /// Takes back what no worker has taken, if an executor's `map` made it, and a result was given:
    /// who never asks for one wants the tasks to run.
    fn drop(&mut self) {
        if self.cancels && (1..self.feeder.submitted).contains(&self.given) {
            self.feeder.cancel();
        }
    }
}

impl<I: ExactSizeIterator, R> ExactSizeIterator for Imap<'_, I, R> {}

impl<I: Iterator, R> fmt::Debug for Imap<'_, I, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Imap")
            .field("submitted", &self.feeder.submitted)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mp_os::clock::Deadline;

    use crate::Pool;
    use crate::chunked::Chunked;
    use crate::error::Cause;
    use crate::shared::{Config, Shared};

    /// A pool without a collector: the outcome is in its worker's ring, and no thread takes it.
    #[test]
    fn what_a_worker_has_pushed_is_given_after_the_time() {
        let config = Config {
            workers: 1,
            ..Config::default()
        };
        let pool = Arc::new(Shared::new(config).unwrap());
        let mut results = Chunked::new(&pool, Some(1)).imap(|n: u32| n + 1, [6]);
        // That it is ready, and the outcome.
        while !pool.board.has_news(2) {
            std::thread::yield_now();
        }
        let next = results.next_timeout(Deadline::PASSED);
        assert_eq!(next.expect("there is one").unwrap(), 7);
        pool.terminate();
    }

    #[test]
    fn a_result_that_comes_late_takes_no_room_for_those_that_were_taken() {
        let pool = Pool::new(1).unwrap();
        let mut results = pool.imap_unordered(|n: u32| n, 0..3);
        results.by_ref().for_each(drop);
        let job = &results.feeder.job;
        for index in [10_000_000, 10_000_001, 0] {
            job.deliver(index, Err(Cause::Cancelled));
        }
        let progress = job.locked();
        let arrived = progress.arrived.as_ref().unwrap();
        let indices: Vec<_> = arrived.iter().map(|one| one.0).collect();
        assert_eq!(indices, [10_000_000, 10_000_001, 0]);
        assert!(arrived.capacity() < 100, "{}", arrived.capacity());
        assert_eq!(progress.outcomes.len(), 0);
    }
}
