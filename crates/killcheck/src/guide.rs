//! Bringing a victim to a kill point along its route.

use std::time::Duration;

use crate::route::Route;
use crate::trace::Trace;
use crate::tracee::{Progress, Tracee};
use crate::{Error, arch};

/// A victim on its way. Every question answers false where the victim took another way than in the
/// trace, which may happen to operations with chance or time in them.
pub(crate) struct Guide<'v> {
    pub(crate) victim: &'v Tracee,
    pub(crate) trace: &'v Trace,
    pub(crate) limit: Duration,
    /// The traced one slept on the ways that are followed here, or the check says so.
    pub(crate) may_sleep: bool,
    /// The sleep at a way's end is one without.
    pub(crate) without_timeouts: bool,
}

impl Guide<'_> {
    /// Lets the victim execute a system call in which it must fall asleep.
    pub(crate) fn sleep(&self) -> Result<bool, Error> {
        if self.without_timeouts {
            self.victim.step_without_timeout()?;
        } else {
            self.victim.step()?;
        }
        Ok(self.victim.wait_for_sleep(self.limit)? == Progress::Asleep)
    }

    /// Brings the victim to the end of a route. False: it took another way.
    pub(crate) fn follow(&self, route: &Route) -> Result<bool, Error> {
        if let Some((address, executions)) = route.breakpoint
            && !self.run_into(address, executions)?
        {
            return Ok(false);
        }
        for _ in 0..route.steps {
            if !self.step()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A victim that sleeps where the traced one never slept need not be waited for.
    fn wait(&self) -> Result<Progress, Error> {
        if self.may_sleep {
            self.victim.wait_through_sleep(self.limit)
        } else {
            self.victim.wait(self.limit)
        }
    }

    /// Executes one instruction. False: there was none left.
    fn step(&self) -> Result<bool, Error> {
        let address = self.victim.address()?;
        if address == self.victim.end() {
            return Ok(false);
        }
        self.victim.step()?;
        // Waiting without a bound is much cheaper, and safe where no system call can be in the way.
        let progress = match self.trace.enters_kernel(address) {
            Some(false) => self.victim.wait_for_trap()?,
            _ => self.wait()?,
        };
        Ok(progress == Progress::Stopped)
    }

    /// Brings the victim to the given execution of the instruction at `address`, not executed.
    fn run_into(&self, address: u64, executions: usize) -> Result<bool, Error> {
        let mut seen = 0;
        loop {
            if !self.run_to(address)? {
                return Ok(false);
            }
            seen += 1;
            // A repeated string instruction stays where it is: each iteration is an execution.
            while seen < executions {
                if !self.step()? {
                    return Ok(false);
                }
                if self.victim.address()? != address {
                    break;
                }
                seen += 1;
            }
            if seen == executions {
                return Ok(true);
            }
        }
    }

    /// Runs up to the instruction at `address`, behind a breakpoint that is lifted again.
    fn run_to(&self, address: u64) -> Result<bool, Error> {
        let plant = if address == self.victim.end() {
            None
        } else {
            Some(self.victim.plant(address)?)
        };
        self.victim.resume()?;
        if self.wait()? != Progress::Stopped {
            return Ok(false);
        }
        if self.victim.address()? != address + arch::BREAKPOINT_LEN {
            return Ok(false);
        }
        self.victim.set_address(address)?;
        if let Some(plant) = plant {
            self.victim.lift(plant)?;
        }
        Ok(true)
    }
}
