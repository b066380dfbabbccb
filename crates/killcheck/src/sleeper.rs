//! The one who is asleep while the victim dies, and is watched for its wake.

use std::time::Duration;

use crate::bystander::{Bystander, Slip};
use crate::endless_waits::EndlessWaits;
use crate::report::Failure;
use crate::{Error, SharedArea, clock};

/// Nobody who lives would wake it: the victim has been reaped, so the kernel has done what a death
/// does, and the others have ended. So long it is watched all the same.
const ASLEEP_FOR_GOOD: Duration = Duration::from_millis(20);

/// What a sleeper is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ended,
    Asleep,
    Awake,
}

/// A process that sleeps, with timeouts or, traced, without.
pub(crate) struct Sleeper<'s> {
    process: Bystander<'s>,
    waits: Option<EndlessWaits>,
}

impl<'s> Sleeper<'s> {
    pub(crate) fn start(
        slip: &'s SharedArea<Slip>,
        without_timeouts: bool,
        work: &dyn Fn(),
    ) -> Result<Self, Error> {
        if !without_timeouts {
            let process = Bystander::start(slip, &|| {
                work();
                Ok(())
            })?;
            return Ok(Self {
                process,
                waits: None,
            });
        }
        let process = Bystander::start(slip, &|| {
            crate::endless_waits::accept_tracing();
            work();
            Ok(())
        })?;
        let waits = Some(EndlessWaits::attach(process.pid())?);
        Ok(Self { process, waits })
    }

    /// Waits until it is asleep in a system call. False: it has ended, or the bound has passed.
    pub(crate) fn falls_asleep_within(&self, bound: Duration) -> Result<bool, Error> {
        Ok(self.rests_within(bound)? == State::Asleep)
    }

    /// Tells whether it has woken, which is certain for one without timeouts: since nobody attends to
    /// it before the kill, it stands still or is on its way there.
    pub(crate) fn has_woken(&self) -> bool {
        match &self.waits {
            Some(_) => !self.process.is_asleep(),
            None => self.process.done_at().is_some(),
        }
    }

    /// Lets it go on, if it is one that stands still when nobody attends to it.
    pub(crate) fn attend(&self) -> Result<(), Error> {
        self.waits.as_ref().map_or(Ok(()), EndlessWaits::attend)
    }

    /// Waits at most `bound` for its end. One that has no timeouts is given up earlier, when it is
    /// seen to sleep where only others could wake it.
    pub(crate) fn ends_within(&self, bound: Duration) -> Result<bool, Error> {
        let Some(waits) = &self.waits else {
            return Ok(self.process.ends_within(bound));
        };
        let end = clock::now() + clock::nanos(bound);
        let mut asleep_since = None;
        for looks in 0.. {
            match self.state()? {
                State::Ended => return Ok(true),
                State::Asleep if waits.must_be_woken() => {
                    let since = *asleep_since.get_or_insert_with(clock::now);
                    if clock::now() - since > clock::nanos(ASLEEP_FOR_GOOD) {
                        return Ok(false);
                    }
                }
                State::Asleep | State::Awake => asleep_since = None,
            }
            if clock::now() > end {
                break;
            }
            clock::pause(looks);
        }
        Ok(false)
    }

    /// Waits until it has ended, which is true, or sleeps again.
    pub(crate) fn ends_rather_than_sleep(&self, bound: Duration) -> Result<bool, Error> {
        Ok(self.rests_within(bound)? == State::Ended)
    }

    /// Waits at most `bound` for its end and says what was wrong with it.
    pub(crate) fn finish(mut self, bound: Duration) -> Result<Option<Failure>, Error> {
        Ok(if self.ends_within(bound)? {
            self.process.take_end()
        } else {
            Some(Failure::Hang(bound))
        })
    }

    /// Lets the timeout of its wait pass once, if it has none.
    pub(crate) fn pass_timeout(&self) -> Result<(), Error> {
        self.waits
            .as_ref()
            .map_or(Ok(()), EndlessWaits::pass_timeout)
    }

    /// Returns when it was done, on the monotonic clock in nanoseconds.
    pub(crate) fn done_at(&self) -> Option<u64> {
        self.process.done_at()
    }

    fn rests_within(&self, bound: Duration) -> Result<State, Error> {
        let end = clock::now() + clock::nanos(bound);
        for looks in 0.. {
            let state = self.state()?;
            if state != State::Awake || clock::now() > end {
                return Ok(state);
            }
            clock::pause(looks);
        }
        Ok(State::Awake)
    }

    fn state(&self) -> Result<State, Error> {
        self.attend()?;
        if self.process.ends_within(Duration::ZERO) {
            return Ok(State::Ended);
        }
        Ok(if self.process.is_asleep() {
            State::Asleep
        } else {
            State::Awake
        })
    }
}
