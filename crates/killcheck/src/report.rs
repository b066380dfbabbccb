//! What a check found.

use std::fmt;
use std::time::Duration;

use crate::check::{Allowed, Mode};
use crate::kill_point::KillPoint;
use crate::symbols::Symbols;

/// The fraction of points in the program's own code that may be missed if the check does not say: a
/// call into a shared library that goes another way may return to another place.
const COMMONLY_MISSED: f64 = 0.02;

/// The fraction of all points that may be missed: which way `memcpy` and the allocator take depends
/// on addresses, the processor, and what other threads did before the fork. What they write is
/// private, or one piece of a message. So many of the states may be missed, too, of which one may
/// have a single point.
const MISSED_IN_LIBRARIES: f64 = 0.25;

/// Lines of findings that a printed report shows.
const SHOWN: usize = 12;

/// What went wrong after a kill.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It did not end within this bound.
    Hang(Duration),
    /// It sleeps, and so do all others, where nothing but one of them could end it.
    Stuck,
    /// A sleeper slept on though what the victim left behind should have woken it.
    ///
    /// This was the bound; without timeouts the verdict is reached as for [`Failure::Stuck`].
    LostWake(Duration),
    /// It returned this error, or panicked with it.
    Violation(String),
    /// It died of this signal.
    Crash(i32),
}

impl Failure {
    /// What it is to have ended with this wait status instead of by returning.
    pub(crate) fn of_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            return Self::Crash(libc::WTERMSIG(status));
        }
        let code = libc::WEXITSTATUS(status);
        Self::Violation(format!("left by exit({code}) instead of returning"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hang(bound) => write!(f, "hangs (more than {bound:?})"),
            Self::Stuck => f.write_str("hangs (asleep, and no process is left to wake it)"),
            Self::LostWake(bound) => write!(f, "sleeps on, its wake is lost (limit {bound:?})"),
            Self::Violation(what) => f.write_str(what),
            Self::Crash(signal) => write!(f, "dies of signal {signal}"),
        }
    }
}

/// Who showed the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The process that uses the memory after the kill.
    Survivor,
    /// A process that was asleep while the victim died.
    Sleeper,
    /// The process that recovers after the victim's death; it was not even killed.
    Recoverer,
    /// The invariant over the shared memory.
    Invariant,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Survivor => "survivor",
            Self::Sleeper => "sleeper",
            Self::Recoverer => "recoverer",
            Self::Invariant => "invariant",
        })
    }
}

/// One kill point after which something was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where the victim was killed.
    pub point: KillPoint,
    /// Where the recoverer was killed after it, if one was; see
    /// [`Check::recoverer`](crate::Check::recoverer).
    pub recoverer: Option<KillPoint>,
    /// Who showed it.
    pub role: Role,
    /// What was wrong.
    pub failure: Failure,
}

/// What a check found: how many kills, and after which of them something was wrong.
#[derive(Debug)]
pub struct Report {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) instructions: usize,
    /// Instructions of the longest recovery, in a check with a recoverer.
    pub(crate) recovery: Option<usize>,
    pub(crate) points: Vec<KillPoint>,
    pub(crate) recoverer_points: Vec<KillPoint>,
    /// How often a recovery was traced.
    pub(crate) recoveries: usize,
    /// Attempts at states of which the set-up left other bytes than before the trace.
    pub(crate) not_compared: usize,
    /// How many different points of the victim's there are in `points`.
    pub(crate) victims: usize,
    pub(crate) skipped: usize,
    pub(crate) alike: usize,
    pub(crate) missed: Vec<KillPoint>,
    /// How many points that is, with those that leave the same.
    pub(crate) missed_points: usize,
    /// How many of them are points of the victim's, in the program's own code.
    pub(crate) missed_victims: usize,
    /// How many of them are pairs of points, the recoverer's in the program's own code.
    pub(crate) missed_pairs: usize,
    pub(crate) findings: Vec<Finding>,
    /// Nanoseconds from a kill to the wake of the sleeper, sorted.
    pub(crate) wakes: Vec<u64>,
    pub(crate) wakes_before: usize,
    pub(crate) longest_timeout: Option<Duration>,
    pub(crate) rescued: Vec<KillPoint>,
    pub(crate) allowed_missed: Option<Allowed<f64>>,
    pub(crate) allowed_rescues: Option<Allowed<usize>>,
    /// How often the operation was traced; the rest is of the last one.
    pub(crate) traces: usize,
    pub(crate) elapsed: Duration,
    pub(crate) symbols: Symbols,
}

impl Report {
    /// Returns how many instructions the operation executes when it is not killed.
    #[must_use]
    pub fn instructions(&self) -> usize {
        self.instructions
    }

    /// Returns the points at which the victim was killed, in order; each as often as there are
    /// points at which a recoverer was killed after it.
    #[must_use]
    pub fn kill_points(&self) -> &[KillPoint] {
        &self.points
    }

    /// Returns the points at which the recoverer was killed, each after the victim at the one of
    /// [`kill_points`](Self::kill_points) with the same index. Empty without a recoverer.
    #[must_use]
    pub fn recoverer_points(&self) -> &[KillPoint] {
        &self.recoverer_points
    }

    /// Returns how often a recoverer's way was traced: as often as the victim was killed, or as it
    /// had left something else; see [`Check::shares_only`](crate::Check::shares_only).
    #[must_use]
    pub fn recoveries(&self) -> usize {
        self.recoveries
    }

    /// Returns at how many different points the victim was killed.
    #[must_use]
    pub fn victims(&self) -> usize {
        self.victims
    }

    /// Returns how many points were left out because of a stride, a maximum or `stop_after`; with a
    /// recoverer, how many pairs of points. A point of the victim's that was left out counts once.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Returns how many points were not tried since they leave the same behind as one that was; see
    /// [`Check::shares_only`](crate::Check::shares_only).
    #[must_use]
    pub fn alike(&self) -> usize {
        self.alike
    }

    /// Returns the points that the victim, or the recoverer after it, did not come by again, or not
    /// in the same [state](crate::Check::shares_only), because it took another way.
    ///
    /// Nothing was verified there. An operation without chance and time in it has none. How many
    /// [`assert_safe`](Self::assert_safe) lets pass,
    /// [`Check::allow_missed`](crate::Check::allow_missed) says.
    #[must_use]
    pub fn missed(&self) -> &[KillPoint] {
        &self.missed
    }

    /// Returns the points after which something was wrong.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns the function that a kill point lies in and the offset in it, as far as symbol tables
    /// tell.
    #[must_use]
    pub fn place(&self, point: &KillPoint) -> String {
        self.symbols.place(point.address)
    }

    /// Returns how long the whole check took.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Returns kills per second, set-up, survivor and reaping included.
    #[must_use]
    pub fn kills_per_second(&self) -> f64 {
        self.points.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Returns how many sleepers woke by what the victim had done or left behind, before a survivor
    /// did anything.
    #[must_use]
    pub fn wakes(&self) -> usize {
        self.wakes_before + self.wakes.len()
    }

    /// Returns how many of these woke before the kill: the victim itself had woken them.
    #[must_use]
    pub fn wakes_before_the_kill(&self) -> usize {
        self.wakes_before
    }

    /// Returns the points after which nothing but its own timeout woke the sleeper; see
    /// [`Check::allow_rescues`](crate::Check::allow_rescues).
    #[must_use]
    pub fn rescued(&self) -> &[KillPoint] {
        &self.rescued
    }

    /// Returns the median time from the kill to the wake of the sleeper, of those that woke after
    /// it.
    #[must_use]
    pub fn median_wake(&self) -> Option<Duration> {
        self.wakes
            .get(self.wakes.len() / 2)
            .copied()
            .map(Duration::from_nanos)
    }

    /// Returns the longest time from the kill to the wake of the sleeper, of those that woke after
    /// it.
    #[must_use]
    pub fn longest_wake(&self) -> Option<Duration> {
        self.wakes.last().copied().map(Duration::from_nanos)
    }

    /// Returns the longest timeout that was taken from a wait of a sleeper, a survivor or an
    /// invariant; [`Duration::MAX`] if one waited without a timeout, `None` if none waited.
    ///
    /// It bounds how late each of them looks again by itself. That is read off the system call and
    /// not measured, so a busy machine does not change it: what is left of a deadline only gets
    /// less. Known for checks [without timeouts](crate::Check::without_timeouts) and the calls
    /// listed there.
    #[must_use]
    pub fn longest_timeout(&self) -> Option<Duration> {
        self.longest_timeout
    }

    /// Panics with the printed report if anything was wrong after any kill, or too much is unknown.
    ///
    /// # Panics
    ///
    /// - If there is a finding.
    /// - If no point was killed at all, which proves nothing.
    /// - If more points of the program's own code were missed than the check allows, or than 2 in
    ///   100 if it does not say, or more than 25 in 100 together with those in shared libraries, or
    ///   of the [states](crate::Check::shares_only).
    /// - If more sleepers were rescued by their timeouts than the check allows, or it allows
    ///   [as many](crate::Check::allow_rescues) as there are kills.
    #[track_caller]
    pub fn assert_safe(&self) {
        assert!(
            !self.points.is_empty(),
            "nothing was killed, so nothing is proved\n{self}"
        );
        assert!(self.findings.is_empty(), "not safe against a kill\n{self}");
        let (missed, all) = self.too_many_missed().unwrap_or_default();
        assert!(
            missed == 0,
            "{missed} of {all} points or states were missed, so nothing is proved there; if the operation has \
             chance or time in it, take that out, or allow_missed\n{self}",
        );
        let kills = self.points.len();
        assert!(
            !self.allows_all_rescues(),
            "as many rescues are allowed as there are kills ({kills}), so a lost wake is never found; \
             name the gap by allow_rescues_if\n{self}",
        );
        let (rescued, allowed) = self.too_many_rescued().unwrap_or_default();
        assert!(
            rescued == 0,
            "{rescued} sleepers were woken by their timeouts only, {allowed} are allowed\n{self}",
        );
    }

    /// Whether a bound of rescues was given that no number of them goes beyond.
    fn allows_all_rescues(&self) -> bool {
        let bound = self.allowed_rescues.as_ref().map(|some| some.most);
        bound.is_some_and(|most| most != usize::MAX && most >= self.points.len())
    }

    /// Returns how many sleepers were rescued and how many may be, if the check does not allow so
    /// many.
    pub(crate) fn too_many_rescued(&self) -> Option<(usize, usize)> {
        let allowed = self.allowed_rescues.as_ref().map_or(0, |some| some.most);
        let rescued = self.rescued.len();
        (rescued > allowed).then_some((rescued, allowed))
    }

    /// Returns how many points were missed of how many, if the check does not allow so many.
    pub(crate) fn too_many_missed(&self) -> Option<(usize, usize)> {
        let allowed = self.allowed_missed.as_ref().map(|some| some.most);
        let own = allowed.unwrap_or(COMMONLY_MISSED);
        let all = own.max(MISSED_IN_LIBRARIES);
        let states = if self.alike > 0 {
            MISSED_IN_LIBRARIES
        } else {
            all
        };
        let (points, victims) = match self.recovery {
            None => (self.points.len() + self.alike, self.victims + self.alike),
            Some(_) => (self.points.len(), self.victims),
        };
        let kinds = [
            (self.missed_victims, victims, own),
            (self.missed_pairs, points, own),
            (self.missed_points, points, all),
            // One kill stands for each state, however few points it has and however many of these
            // may be missed.
            (self.missed.len(), self.points.len(), states),
        ];
        kinds.into_iter().find_map(|(missed, tried, allowed)| {
            let all = tried + missed;
            (missed as f64 > allowed * all as f64).then_some((missed, all))
        })
    }

    /// Panics if nothing was wrong: for controls, which show that the check is able to fail.
    ///
    /// # Panics
    ///
    /// If there is no finding.
    #[track_caller]
    pub fn assert_caught(&self) {
        assert!(
            !self.findings.is_empty(),
            "the check did not catch its control\n{self}"
        );
    }

    /// Prints runs of neighbouring points by their places, one line each.
    fn list(&self, f: &mut fmt::Formatter<'_>, points: &[KillPoint]) -> fmt::Result {
        let runs = || points.chunk_by(|one, next| next.index <= one.index + 1);
        for run in runs().take(SHOWN) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            let (from, to) = (self.place(first), self.place(last));
            writeln!(
                f,
                "      {:6} to {:6}  {from} to {to}",
                first.index, last.index
            )?;
        }
        match runs().count().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "             and {more} more runs of points"),
        }
    }

    fn count(&self, which: impl Fn(&Failure) -> bool) -> usize {
        self.findings
            .iter()
            .filter(|finding| which(&finding.failure))
            .count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        write!(f, "  {} instructions", self.instructions)?;
        if let Some(longest) = self.recovery {
            let (victims, recoveries) = (self.victims, self.recoveries);
            write!(
                f,
                ", killed at {victims} points; a recoverer of up to {longest} killed after it, traced \
                 {recoveries} times"
            )?;
        }
        write!(f, "; {} kills ({})", self.points.len(), self.mode)?;
        if self.alike > 0 {
            write!(f, ", {} points like one of them", self.alike)?;
        }
        writeln!(
            f,
            ", {} skipped, {} missed; {:.2} s, {:.0} kills/s",
            self.skipped,
            self.missed.len(),
            self.elapsed.as_secs_f64(),
            self.kills_per_second(),
        )?;
        if self.not_compared > 0 {
            let times = self.not_compared;
            writeln!(
                f,
                "  {times} times the set-up left other bytes than before the trace"
            )?;
        }
        if self.traces > 1 {
            let traces = self.traces;
            writeln!(
                f,
                "  traced {traces} times, since it took another way later"
            )?;
        }
        if self.wakes() > 0 {
            let (after, before) = (self.wakes.len(), self.wakes_before);
            write!(
                f,
                "  {before} sleepers woken before the kill, {after} after it"
            )?;
            if let (Some(median), Some(longest)) = (self.median_wake(), self.longest_wake()) {
                write!(f, ": median {median:.0?}, longest {longest:.0?}")?;
            }
            writeln!(f)?;
        }
        match self.longest_timeout {
            None => {}
            Some(Duration::MAX) => writeln!(f, "  a wait has no timeout")?,
            Some(longest) => writeln!(f, "  the longest timeout of a wait is {longest:.0?}")?,
        }
        if let Some(Allowed { most, reason }) = &self.allowed_rescues {
            let count = self.rescued.len();
            write!(f, "  {count} woken by their timeouts only, ")?;
            match *most {
                usize::MAX => writeln!(f, "allowed in a gap: {reason}")?,
                most => writeln!(f, "{most} allowed: {reason}")?,
            }
            self.list(f, &self.rescued)?;
        }
        if let (Some(Allowed { reason, .. }), false) =
            (&self.allowed_missed, self.missed.is_empty())
        {
            writeln!(f, "  missed points are allowed: {reason}")?;
        }
        self.list(f, &self.missed)?;
        if self.findings.is_empty() {
            return write!(f, "  nothing hangs, tears or is lost");
        }
        write!(
            f,
            "  wrong after {} kills: {} hangs, {} lost wakes, {} violations, {} crashes",
            self.findings.len(),
            self.count(|failure| matches!(failure, Failure::Hang(_) | Failure::Stuck)),
            self.count(|failure| matches!(failure, Failure::LostWake(_))),
            self.count(|failure| matches!(failure, Failure::Violation(_))),
            self.count(|failure| matches!(failure, Failure::Crash(_))),
        )?;
        for found in self.findings.iter().take(SHOWN) {
            let Finding { role, failure, .. } = found;
            let place = self.place(&found.point);
            write!(f, "\n  {}  {place}", found.point)?;
            if let Some(point) = &found.recoverer {
                write!(f, "\n    then {point}  {}", self.place(point))?;
            }
            write!(f, ": {role} {failure}")?;
        }
        match self.findings.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n         and after {more} more kills"),
        }
    }
}
