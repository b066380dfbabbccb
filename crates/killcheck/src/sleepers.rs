//! The processes that are there after a kill, watched together.

use std::time::Duration;

use crate::child::Child;
use crate::report::Failure;
use crate::{Error, clock};

/// What is stuck is watched so long all the same: nothing has to happen in that time, since the
/// kernel does what a death does before the dead process can be reaped.
pub(crate) const STUCK_FOR: Duration = Duration::from_millis(20);

/// And so long where timeouts pass next and none of them is a finding.
pub(crate) const STUCK_IN_A_GAP: Duration = Duration::from_millis(1);

/// How the watch over some processes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// What was waited for has come about.
    Reached,
    /// All that live sleep without a timeout, so none of them will wake another.
    Stuck,
    /// The bound has passed.
    Late,
}

/// Watches all processes there are, at most for `bound`, until `reached`, or until they have been
/// stuck for so long.
///
/// A process without timeouts stops when it leaves a system call. So one that sleeps at two looks,
/// and was not let go on between them, slept all the time; and if all did, there was a moment in
/// which none ran that could wake another.
pub(crate) fn watch(
    all: &[&Child<'_>],
    bound: Duration,
    stuck_for: Duration,
    reached: impl Fn() -> bool,
) -> Result<Watch, Error> {
    let end = clock::now() + clock::nanos(bound);
    let mut stuck_since = None;
    for looks in 0.. {
        let mut went_on = false;
        for one in all {
            went_on |= one.attend()?;
        }
        if reached() {
            return Ok(Watch::Reached);
        }
        let now = clock::now();
        if went_on || !all.iter().all(|one| one.has_ended() || one.must_be_woken()) {
            stuck_since = None;
        } else if now - *stuck_since.get_or_insert(now) > clock::nanos(stuck_for) {
            return Ok(Watch::Stuck);
        }
        if now > end {
            break;
        }
        clock::pause(looks);
    }
    Ok(Watch::Late)
}

/// The sleepers, and what is known of them at the kill.
pub(crate) struct Sleepers<'s> {
    all: Vec<Child<'s>>,
    /// Those that the victim itself had woken.
    woke_before: Vec<bool>,
}

impl<'s> Sleepers<'s> {
    pub(crate) fn new() -> Self {
        Self {
            all: Vec::new(),
            woke_before: Vec::new(),
        }
    }

    /// Adds one that is to fall asleep within the `bound`. An error says why it has not.
    pub(crate) fn admit(
        &mut self,
        sleeper: Child<'s>,
        bound: Duration,
    ) -> Result<Result<(), String>, Error> {
        self.all.push(sleeper);
        let newest = self.all.len() - 1;
        let came = watch(&self.all(), bound, STUCK_FOR, || {
            self.all[newest].has_ended() || self.all.iter().all(Child::rests)
        })?;
        let newest = &mut self.all[newest];
        if newest.has_ended() {
            return Ok(Err(match newest.take_end() {
                None => "the sleeper returned instead of falling asleep".to_owned(),
                Some(failure) => format!("the sleeper did not fall asleep: {failure}"),
            }));
        }
        Ok(match came {
            Watch::Reached | Watch::Stuck => Ok(()),
            Watch::Late => Err(format!("the sleeper did not fall asleep within {bound:?}")),
        })
    }

    /// Notes who has woken; the victim stands before its kill.
    pub(crate) fn note_the_woken(&mut self) {
        self.woke_before = self.all.iter().map(Child::has_woken).collect();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn ended(&self) -> usize {
        self.all.iter().filter(|one| one.has_ended()).count()
    }

    /// Waits at most `bound` until so many have ended; all of them if that is more than there are.
    pub(crate) fn end_within(
        &self,
        bound: Duration,
        stuck_for: Duration,
        count: usize,
    ) -> Result<Watch, Error> {
        let count = count.min(self.all.len());
        watch(&self.all(), bound, stuck_for, || self.ended() >= count)
    }

    /// Waits at most `bound` until each has ended or sleeps.
    pub(crate) fn come_to_rest_within(&self, bound: Duration) -> Result<Watch, Error> {
        watch(&self.all(), bound, STUCK_FOR, || {
            let rests = |one: &Child<'_>| one.has_ended() || one.rests();
            self.all.iter().all(rests)
        })
    }

    /// Lets the timeouts of all waits pass once.
    pub(crate) fn pass_timeouts(&self) -> Result<(), Error> {
        self.all.iter().try_for_each(Child::pass_timeout)
    }

    /// Waits at most `bound` for the end of `one`, while the sleepers go on if they are woken.
    pub(crate) fn wait_beside(
        &self,
        one: &Child<'_>,
        bound: Duration,
        stuck_for: Duration,
    ) -> Result<Watch, Error> {
        if self.is_empty() && !one.is_timeless() {
            return Ok(match one.ends_within(bound) {
                true => Watch::Reached,
                false => Watch::Late,
            });
        }
        let mut all = self.all();
        all.push(one);
        watch(&all, bound, stuck_for, || one.has_ended())
    }

    /// Returns of each that is done when it was, in nanoseconds after the kill; `None` if it had
    /// woken before.
    pub(crate) fn wakes(&self, killed_at: u64) -> impl Iterator<Item = Option<u64>> {
        let done = self.all.iter().zip(&self.woke_before);
        done.filter_map(move |(one, woke_before)| {
            let after = one.done_at()?.checked_sub(killed_at);
            Some(after.filter(|_| !woke_before))
        })
    }

    /// Returns the longest timeout that was taken from a wait of theirs.
    pub(crate) fn longest_timeout(&self) -> Option<Duration> {
        let timeouts = self.all.iter().map(Child::longest_timeout);
        timeouts.max().flatten()
    }

    /// Reaps those that have ended and returns the first failure of one of them.
    pub(crate) fn take_ends(&mut self) -> Option<Failure> {
        let ended = self.all.iter_mut().filter(|one| one.has_ended());
        ended.filter_map(Child::take_end).next()
    }

    fn all(&self) -> Vec<&Child<'s>> {
        self.all.iter().collect()
    }
}
