//! The list of instructions that one undisturbed run of the operation executes.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use crate::kill_point::{KillPoint, Moment};
use crate::remains::Remains;
use crate::tracee::{Progress, Tracee};
use crate::{Error, ErrorKind, arch};

/// How far a run is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    Returned,
    /// Its first sleep.
    Asleep,
    /// Its first sleep, which has no timeout.
    AsleepForGood,
}

/// What one run executed, up to its end mark or to a sleep that no other process ended.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Address of each executed instruction; then that of the end mark, if it was reached.
    pub(crate) addresses: Vec<u64>,
    /// The run reached its end.
    pub(crate) complete: bool,
    /// Indices of the system calls it slept in, in order.
    sleeps: Vec<usize>,
    /// Addresses at which a breakpoint was planted and lifted successfully.
    pub(crate) plantable: HashSet<u64>,
    /// Whether the instruction at an address is a system call.
    kernel_entries: HashMap<u64, bool>,
}

impl Trace {
    /// A new one, with what an earlier one of the same program has found out about its code.
    pub(crate) fn after(earlier: &Self) -> Self {
        Self {
            plantable: earlier.plantable.clone(),
            kernel_entries: earlier.kernel_entries.clone(),
            ..Self::default()
        }
    }

    /// Steps the victim until it has returned, has slept for `bound`, or has come to what `until`
    /// says; anything but a stop or a sleep is a disorderly end. One step may take `patience`.
    /// `remains` notes what the victim would leave behind.
    pub(crate) fn record(
        &mut self,
        victim: &Tracee,
        bound: Duration,
        patience: Duration,
        most: usize,
        until: Until,
        mut remains: Option<&mut Remains<'_>>,
    ) -> Result<Progress, Error> {
        loop {
            let address = victim.address()?;
            if let Some(remains) = remains.as_deref_mut() {
                let last = self.addresses.last();
                let was_a_call = last.and_then(|&last| self.enters_kernel(last));
                remains.note(victim, was_a_call != Some(false))?;
            }
            if address == victim.end() {
                self.addresses.push(address);
                self.complete = true;
                return Ok(Progress::Stopped);
            }
            if self.addresses.len() == most {
                return Err(Error::new(
                    ErrorKind::VictimTooLong,
                    format!(
                        "the operation has more than {most} instructions; make it smaller or \
                         raise max_instructions"
                    ),
                ));
            }
            let index = self.addresses.len();
            self.addresses.push(address);
            match self.step(victim, address, patience, until)? {
                Progress::Stopped => continue,
                Progress::Asleep => self.sleeps.push(index),
                disorderly => return Ok(disorderly),
            }
            if until != Until::Returned {
                return Ok(Progress::Asleep);
            }
            match victim.wait_through_sleep(bound)? {
                Progress::Stopped => {}
                Progress::Ended(status) => return Ok(Progress::Ended(status)),
                Progress::Asleep | Progress::Running => return Ok(Progress::Asleep),
            }
        }
    }

    /// Makes a disorderly end of the recording an error.
    pub(crate) fn expect_orderly(&self, end: Progress) -> Result<(), Error> {
        match end {
            Progress::Stopped | Progress::Asleep => Ok(()),
            Progress::Running | Progress::Ended(_) => {
                Err(failed(end, self.addresses.len().saturating_sub(1)))
            }
        }
    }

    fn step(
        &mut self,
        victim: &Tracee,
        address: u64,
        patience: Duration,
        until: Until,
    ) -> Result<Progress, Error> {
        let enters_kernel = match self.enters_kernel(address) {
            Some(known) => known,
            None => {
                let enters = arch::enters_kernel(victim.code(address)?);
                self.kernel_entries.insert(address, enters);
                enters
            }
        };
        if !enters_kernel {
            victim.step()?;
            return victim.wait_for_trap();
        }
        if until == Until::AsleepForGood {
            victim.step_without_timeout()?;
        } else {
            victim.step()?;
        }
        victim.wait(patience)
    }

    /// Tells whether the instruction at `address` is a system call; `None` if it was never
    /// executed.
    pub(crate) fn enters_kernel(&self, address: u64) -> Option<bool> {
        self.kernel_entries.get(&address).copied()
    }

    /// Tries a breakpoint at each address while the victim stands still.
    ///
    /// Only private mappings are tried: in a shared one the breakpoint would hit everybody.
    pub(crate) fn probe(&mut self, victim: &Tracee) {
        let private = private_code();
        for address in &self.addresses {
            let in_private = private
                .iter()
                .any(|(from, to)| (*from..*to).contains(address));
            if !in_private || self.plantable.contains(address) {
                continue;
            }
            if let Ok(plant) = victim.plant(*address)
                && victim.lift(plant).is_ok()
            {
                self.plantable.insert(*address);
            }
        }
    }

    /// Tells whether it slept at instruction `first` or later.
    pub(crate) fn sleeps_from(&self, first: usize) -> bool {
        self.sleeps.iter().any(|index| *index >= first)
    }

    /// Returns the kill points from instruction `first` on.
    pub(crate) fn kill_points(&self, first: usize) -> Vec<KillPoint> {
        let mut points = Vec::with_capacity(self.addresses.len());
        let last = self.addresses.len().saturating_sub(1);
        for (index, address) in self.addresses.iter().copied().enumerate().skip(first) {
            let ended = self.complete && index == last;
            let moment = if ended {
                Moment::Returned
            } else {
                Moment::Before
            };
            points.push(KillPoint {
                index,
                address,
                moment,
            });
            if self.sleeps.contains(&index) {
                points.push(KillPoint {
                    index,
                    address,
                    moment: Moment::Asleep,
                });
            }
        }
        points
    }

    /// Returns how many instructions were executed from instruction `first` on.
    pub(crate) fn instructions(&self, first: usize) -> usize {
        self.addresses.len() - usize::from(self.complete) - first
    }
}

fn failed(how: Progress, index: usize) -> Error {
    let how = match how {
        Progress::Ended(status) if libc::WIFSIGNALED(status) => {
            format!("died of signal {}", libc::WTERMSIG(status))
        }
        Progress::Ended(status) => format!("exited with code {}", libc::WEXITSTATUS(status)),
        Progress::Asleep | Progress::Running | Progress::Stopped => "did not stop".into(),
    };
    Error::new(
        ErrorKind::VictimFailed,
        format!("the victim {how} at instruction {index} though nobody had killed it"),
    )
}

/// Returns the address ranges of executable private mappings, which a forked child shares the
/// layout of.
fn private_code() -> Vec<(u64, u64)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter_map(private_range).collect()
}

fn private_range(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (from, to) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?.as_bytes();
    if permissions.get(2) != Some(&b'x') || permissions.get(3) != Some(&b'p') {
        return None;
    }
    Some((
        u64::from_str_radix(from, 16).ok()?,
        u64::from_str_radix(to, 16).ok()?,
    ))
}
