//! What a child sets about itself before its task: processors, niceness, limits, signals.

use std::io;

use mp_layout::{Error, ErrorKind, Result};
use mp_os::resource::{Limits, Resource, UNLIMITED};
use mp_os::{cpu, this_process};

/// What becomes of a signal in a process, from its first instruction on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalAction {
    /// The kernel's default, which ends the process for most signals, also if this process ignores
    /// the signal.
    Default,
    /// It has no effect, here and in programs that the process runs.
    Ignore,
    /// It waits until the process unblocks it.
    Block,
}

/// All of it; empty for what is inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) niceness: Option<i32>,
    pub(crate) cpus: Option<Vec<usize>>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) signals: Vec<(i32, SignalAction)>,
}

/// A limit of which one side may stay as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    resource: Resource,
    soft: Option<u64>,
    hard: Option<u64>,
}

type WireLimit = (u8, Option<u64>, Option<u64>);
pub(crate) type Wire = (
    Option<i32>,
    Option<Vec<usize>>,
    Vec<WireLimit>,
    Vec<(i32, u8)>,
);

impl Attributes {
    pub(crate) fn set_soft(&mut self, resource: Resource, soft: u64) {
        self.limit_of(resource).soft = Some(soft);
    }

    pub(crate) fn set_hard(&mut self, resource: Resource, hard: u64) {
        self.limit_of(resource).hard = Some(hard);
    }

    pub(crate) fn set_signal(&mut self, signal: i32, action: SignalAction) {
        self.signals.retain(|(known, _)| *known != signal);
        self.signals.push((signal, action));
    }

    fn limit_of(&mut self, resource: Resource) -> &mut Limit {
        let known = self.limits.iter().position(|one| one.resource == resource);
        let place = known.unwrap_or_else(|| {
            self.limits.push(Limit {
                resource,
                soft: None,
                hard: None,
            });
            self.limits.len() - 1
        });
        &mut self.limits[place]
    }

    /// Whether the kernel may refuse some of it, so that the start waits for the child's word.
    pub(crate) fn may_be_refused(&self) -> bool {
        self.niceness.is_some() || self.cpus.is_some() || !self.limits.is_empty()
    }

    /// The signals that must not arrive before the child has said what becomes of them.
    pub(crate) fn held_back(&self) -> Vec<i32> {
        let held_back = |action| matches!(action, SignalAction::Ignore | SignalAction::Block);
        let signals = self.signals.iter().filter(|(_, action)| held_back(*action));
        signals.map(|(signal, _)| *signal).collect()
    }

    /// Says what is wrong with it, as far as that can be known before there is a child.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        if let Some(niceness) = self.niceness.filter(|value| !(-20..=19).contains(value)) {
            return Err(format!("niceness {niceness}: it is -20 to 19"));
        }
        if let Some(cpus) = &self.cpus {
            if cpus.is_empty() {
                return Err("a process needs a processor to run on; the list is empty".to_owned());
            }
            if let Some(cpu) = cpus.iter().find(|cpu| **cpu >= cpu::MAX_CPUS) {
                return Err(format!(
                    "processor {cpu}: they are 0 to {}",
                    cpu::MAX_CPUS - 1
                ));
            }
        }
        let crossed = |limit: &&Limit| limit.soft.zip(limit.hard).is_some_and(|(s, h)| s > h);
        if let Some(limit) = self.limits.iter().find(crossed) {
            return Err(format!(
                "{}: the soft limit is above the hard one",
                limit.text()
            ));
        }
        let unfit = |signal: &&(i32, _)| !this_process::may_be_handled(signal.0);
        match self.signals.iter().find(unfit) {
            Some((signal, _)) => Err(format!(
                "signal {signal}: there is none of that number, or no process can block or ignore it"
            )),
            None => Ok(()),
        }
    }

    /// Makes this process have it.
    pub(crate) fn apply(&self) -> Result<()> {
        for (signal, action) in &self.signals {
            match action {
                SignalAction::Default => this_process::reset_signal(*signal),
                SignalAction::Ignore => this_process::ignore_signal(*signal),
                SignalAction::Block => Ok(()),
            }
            .map_err(|source| Error::os("set", format!("signal {signal}"), source))?;
        }
        let blocked = |(signal, action): &(i32, SignalAction)| {
            (*action == SignalAction::Block).then_some(*signal)
        };
        let blocked: Vec<_> = self.signals.iter().filter_map(blocked).collect();
        // The thread that started this process may have blocked other signals; then `terminate`
        // would do nothing.
        this_process::set_blocked_signals(&blocked)
            .map_err(|source| Error::os("block", "signals", source))?;
        if let Some(cpus) = &self.cpus {
            set_cpus(cpus)?;
        }
        if let Some(niceness) = self.niceness {
            set_niceness(niceness)?;
        }
        self.limits.iter().try_for_each(Limit::apply)
    }

    pub(crate) fn to_wire(&self) -> Wire {
        (
            self.niceness,
            self.cpus.clone(),
            self.limits.iter().copied().map(Limit::to_wire).collect(),
            self.signals
                .iter()
                .map(|(signal, action)| (*signal, *action as u8))
                .collect(),
        )
    }

    pub(crate) fn from_wire((niceness, cpus, limits, signals): Wire) -> Option<Self> {
        let signal = |(signal, action): (i32, u8)| {
            use SignalAction::{Block, Default, Ignore};
            let mut actions = [Default, Ignore, Block].into_iter();
            Some((signal, actions.find(|one| *one as u8 == action)?))
        };
        Some(Self {
            niceness,
            cpus,
            limits: limits
                .into_iter()
                .map(Limit::from_wire)
                .collect::<Option<_>>()?,
            signals: signals.into_iter().map(signal).collect::<Option<_>>()?,
        })
    }
}

/// The system's error, of which `EINVAL` concerns a figure that was given.
fn refused(operation: &'static str, object: String, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::EINVAL) => Error::new(ErrorKind::InvalidInput, operation, object),
        _ => Error::os(operation, object, source),
    }
}

fn set_cpus(cpus: &[usize]) -> Result<()> {
    let object = || format!("the processors {cpus:?}");
    let allowed = || {
        let allowed = cpu::allowed().unwrap_or_default();
        format!("this process may use {allowed:?}")
    };
    let before = allowed();
    cpu::allow(cpus).map_err(|source| {
        refused("run on", object(), source).with_detail(format!("{before}, and none of those"))
    })?;
    // The kernel leaves out those that it does not have.
    let now = cpu::allowed().map_err(|source| Error::os("run on", object(), source))?;
    match cpus.iter().find(|cpu| !now.contains(cpu)) {
        Some(cpu) => Err(Error::new(ErrorKind::InvalidInput, "run on", object())
            .with_detail(format!("{before}, and not processor {cpu}"))),
        None => Ok(()),
    }
}

fn set_niceness(niceness: i32) -> Result<()> {
    let before = this_process::niceness();
    this_process::set_niceness(niceness).map_err(|source| {
        Error::os("set", format!("niceness {niceness}"), source).with_detail(format!(
            "it is {}; to lower it takes CAP_SYS_NICE, or a higher ulimit -e",
            before.map_or_else(|_| "unknown".to_owned(), |before| before.to_string())
        ))
    })
}

impl Limit {
    fn apply(&self) -> Result<()> {
        let now = self.resource.limits();
        let hard = self.hard.unwrap_or(now.hard);
        let soft = self.soft.unwrap_or(now.soft.min(hard));
        let set = self.resource.set_limits(Limits { soft, hard });
        set.map_err(|source| {
            let way_out = match source.raw_os_error() {
                Some(libc::EPERM) => "; to raise a hard limit takes CAP_SYS_RESOURCE",
                _ => "",
            };
            let Limits { soft, hard } = now;
            refused("set", self.text(), source).with_detail(format!(
                "the soft limit is {}, the hard one {}{way_out}",
                figure(soft),
                figure(hard)
            ))
        })
    }

    /// What it is and what is asked for.
    fn text(&self) -> String {
        let side = |value: Option<u64>, name: &str| {
            value.map(|value| format!("{} ({name})", figure(value)))
        };
        let sides: Vec<_> = [side(self.soft, "soft"), side(self.hard, "hard")]
            .into_iter()
            .flatten()
            .collect();
        format!("{} to {}", self.resource, sides.join(" and "))
    }

    fn to_wire(self) -> WireLimit {
        (self.resource as u8, self.soft, self.hard)
    }

    fn from_wire((number, soft, hard): WireLimit) -> Option<Self> {
        let resource = *Resource::ALL.get(usize::from(number))?;
        Some(Self {
            resource,
            soft,
            hard,
        })
    }
}

fn figure(limit: u64) -> String {
    match limit {
        UNLIMITED => "unlimited".to_owned(),
        limit => limit.to_string(),
    }
}
