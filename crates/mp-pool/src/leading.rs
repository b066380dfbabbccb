//! A thread of the program that waits for a result takes what the workers push itself, so that a
//! result reaches it without a switch to another thread.
//!
//! One thread leads at a time; the others sleep until it, or the collector, has delivered what they
//! wait for. A leader that needs few outcomes looks for a while and then sleeps on the descriptor
//! that workers ring, which the collector does not wait for meanwhile. One that needs many sleeps
//! at once, until a worker has its share of them, so that it is woken seldom and never too late.
//! The collector finds the dead, whichever thread leads.

use std::os::fd::AsFd;

use mp_layout::Error;
use mp_os::clock::Deadline;
use mp_os::wakeup;

use crate::look::look_for_a_while;
use crate::shared::Shared;
use crate::state::{Leader, State};

/// A leader that needs more outcomes does not look for them: it would take its time from those
/// that run the tasks.
const LOOKS_FOR: usize = 64;

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
            if state.leader_share > 1 {
                // It sleeps for what itself needs.
                pool.wake_leader(&state);
            }
            return Err(Following(pool));
        }
        Ok(Self::of(pool, &mut state))
    }

    /// `None` if another thread leads; its caller does not wait yet.
    pub(crate) fn begin_if_free(pool: &'a Shared) -> Option<Self> {
        let mut state = pool.locked();
        (state.leader == Leader::None).then(|| Self::of(pool, &mut state))
    }

    fn of(pool: &'a Shared, state: &mut State) -> Self {
        state.leader = Leader::Awake;
        let awake = pool.board.wakes();
        pool.end_if_failed(state, awake);
        Self(pool)
    }

    /// Delivers what workers push until `test` gives something, or else how many outcomes it needs
    /// at least; `None` if the deadline passed before.
    pub(crate) fn collect_until<R>(
        &self,
        deadline: Deadline,
        mut test: impl FnMut() -> Result<R, usize>,
    ) -> Option<R> {
        let mut tested = test();
        loop {
            let needed = match tested {
                Ok(result) => return Some(result),
                Err(_) if deadline.is_expired() => return None,
                Err(needed) => needed,
            };
            let mut look = || self.0.board.has_news(1).then_some(());
            if needed <= LOOKS_FOR && look_for_a_while(&mut look, || true).is_some() {
                self.0.take();
            } else {
                match self.sleep(deadline, &mut test) {
                    Ok(None) => {}
                    Ok(result) => return result,
                    // Every task has failed now, and `test` sees it.
                    Err(error) => {
                        let mut state = self.0.locked();
                        (state.leader, state.leader_share) = (Leader::Awake, 0);
                        self.0.end_if_failed(&mut state, Err(error));
                    }
                }
            }
            tested = test();
        }
    }

    /// Sleeps until a worker has its share of what `test` needs, another thread delivers, or the
    /// deadline passes. Takes what there is, before and after.
    fn sleep<R>(
        &self,
        deadline: Deadline,
        test: &mut impl FnMut() -> Result<R, usize>,
    ) -> mp_layout::Result<Option<R>> {
        let pool = self.0;
        let failed = |source| Error::os("wait for", "the workers of a pool", source);
        let mut state = pool.locked();
        state.leader = Leader::Asleep;
        if std::mem::take(&mut state.collector_watches) {
            pool.wake_collector();
        }
        let number = state.next_sleep();
        pool.board.announce_sleep(number)?;
        pool.take_and_fill(&mut state, &[]);
        let result = match test() {
            Ok(result) => Some(result),
            Err(needed) => {
                // While each worker has less than its share, not all of it is there.
                let share = needed.div_ceil(pool.config.workers);
                state.leader_share = share.min(state.least_to_go_on());
                let number = state.next_sleep();
                if pool.board.may_sleep(number, state.leader_share)? {
                    drop(state);
                    wakeup::wait_any(&[pool.wakeup.as_fd()], deadline).map_err(failed)?;
                    state = pool.locked();
                }
                None
            }
        };
        (state.leader, state.leader_share) = (Leader::Awake, 0);
        pool.board.wakes()?;
        // Before the next look, so that what is rung after it is seen.
        pool.wakeup.clear().map_err(failed)?;
        if result.is_none() {
            pool.take_and_fill(&mut state, &[]);
        }
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
        if state.has_tasks() {
            let number = state.next_sleep();
            let announced = pool.board.announce_sleep(number);
            pool.end_if_failed(&mut state, announced);
            pool.take_and_fill(&mut state, &[]);
        }
        let (number, least) = (state.next_sleep(), state.least_to_go_on());
        if !matches!(pool.board.may_sleep(number, least), Ok(true)) {
            pool.wake_collector();
        }
    }
}
