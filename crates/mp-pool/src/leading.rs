//! A thread of the program that waits for a result takes what the workers push itself, so that a
//! result reaches it without a switch to another thread.
//!
//! One thread leads at a time; the others sleep until it, or the collector, has delivered what they
//! wait for. A leader looks for a while and then sleeps on the descriptor that workers ring, which
//! the collector does not wait for meanwhile. The collector finds the dead at all times.

use std::os::fd::AsFd;

use mp_layout::Error;
use mp_os::clock::Deadline;
use mp_os::wakeup;

use crate::look::look_for_a_while;
use crate::shared::Shared;
use crate::state::Leader;

/// The calling thread waits for what others deliver, until this is dropped.
pub(crate) struct Following<'a>(&'a Shared);

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.0.locked().followers -= 1;
    }
}

/// The calling thread leads, until this is dropped.
pub(crate) struct Leading<'a>(&'a Shared);

impl<'a> Leading<'a> {
    /// An error, which is to be kept as long as the caller waits, if another thread leads.
    pub(crate) fn begin(pool: &'a Shared) -> Result<Self, Following<'a>> {
        let mut state = pool.locked();
        if state.leader != Leader::None {
            state.followers += 1;
            return Err(Following(pool));
        }
        state.leader = Leader::Awake;
        let awake = pool.board.wakes();
        pool.end_if_failed(&mut state, awake);
        Ok(Self(pool))
    }

    /// Delivers what workers push until `test` gives something; `None` if the deadline passed
    /// before.
    pub(crate) fn collect_until<R>(
        &self,
        deadline: Deadline,
        mut test: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        loop {
            let mut look = || self.0.board.has_news().then_some(());
            let has_news = look_for_a_while(&mut look, || true).is_some();
            self.0.take();
            let result = test();
            if result.is_some() || deadline.is_expired() {
                return result;
            }
            if has_news {
                continue;
            }
            match self.sleep(deadline, &mut test) {
                Ok(None) => {}
                Ok(result) => return result,
                // Every task has failed now, and `test` sees it.
                Err(error) => self.0.end_if_failed(&mut self.0.locked(), Err(error)),
            }
        }
    }

    /// Sleeps until a worker pushes, another thread delivers, or the deadline passes.
    fn sleep<R>(
        &self,
        deadline: Deadline,
        test: &mut impl FnMut() -> Option<R>,
    ) -> mp_layout::Result<Option<R>> {
        let pool = self.0;
        let failed = |source| Error::os("wait for", "the workers of a pool", source);
        let mut state = pool.locked();
        state.leader = Leader::Asleep;
        if std::mem::take(&mut state.collector_watches) {
            pool.wake_collector();
        }
        let number = state.next_sleep();
        let may_sleep = pool.board.may_sleep(number, true)?;
        drop(state);
        // What was delivered before other threads saw that this one sleeps.
        let result = test();
        if result.is_none() && may_sleep {
            wakeup::wait_any(&[pool.wakeup.as_fd()], deadline).map_err(failed)?;
        }
        let mut state = pool.locked();
        state.leader = Leader::Awake;
        pool.board.wakes()?;
        // Before the next look, so that what is rung after it is seen.
        pool.wakeup.clear().map_err(failed)?;
        Ok(result)
    }
}

impl Drop for Leading<'_> {
    /// Leaves to the collector what is under way.
    fn drop(&mut self) {
        let pool = self.0;
        let mut state = pool.locked();
        state.leader = Leader::None;
        if !state.collector_watches {
            // It did so for a leader that slept. Without tasks there is nothing to watch.
            if state.has_tasks() {
                pool.wake_collector();
            }
            return;
        }
        let (number, each) = (state.next_sleep(), state.followers > 0);
        if !matches!(pool.board.may_sleep(number, each), Ok(true)) {
            pool.wake_collector();
        }
    }
}
