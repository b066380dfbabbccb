//! The description of a check.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::remains::Snapshot;
use crate::runner::Runner;
use crate::{Error, ErrorKind, KillPoint, Report, SharedArea, arch};

pub(crate) type Action<'a, M> = Box<dyn Fn(&M) + 'a>;
pub(crate) type Judgement<'a, M> = Box<dyn Fn(&M) -> Result<(), String> + 'a>;
/// How many sleepers must wake.
type Question<'a, M> = Box<dyn Fn(&M) -> usize + 'a>;
/// An operation that several processes do.
type Shared<'a, M> = Rc<dyn Fn(&M) + 'a>;
type Observer<'a, M> = Box<dyn Fn(&M, &KillPoint) + 'a>;
/// Whether a death where this is announced as the pending lock goes unheard.
type Gap<'a, M> = Box<dyn Fn(&M, usize) -> bool + 'a>;

/// How the victim is brought to its kill point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// By breakpoints where that is possible, by single steps from the nearest one elsewhere.
    #[default]
    Planted,
    /// By single steps from the start: slow, and the reference for the other.
    Stepped,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Planted => "planted",
            Self::Stepped => "stepped",
        })
    }
}

/// How much of something unwanted a report may have and still pass, and why.
#[derive(Debug, Clone)]
pub(crate) struct Allowed<N> {
    pub(crate) most: N,
    pub(crate) reason: String,
}

/// A check: who does what, and what must be true after every kill.
///
/// `M` is the shared memory handed to every closure. It may be `()` if the closures capture a
/// mapping of their own.
///
/// For every instruction of the operation the check runs set-up, victim, kill, survivor and
/// invariant, in that order, each time from the beginning. See the crate's documentation for the
/// variants with a sleeper and with a waker.
///
/// # Examples
///
/// ```no_run
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// # fn main() -> Result<(), killcheck::Error> {
/// // SAFETY: zero is a valid AtomicU64, and an atomic may be written through a shared reference.
/// let area = unsafe { killcheck::SharedArea::<AtomicU64>::zeroed() }?;
/// killcheck::Check::<killcheck::SharedArea<AtomicU64>>::new("one atomic store")
///     .setup(|value| value.reset())
///     .victim(|value| value.store(u64::MAX, Ordering::Release))
///     .survivor(|value| match value.load(Ordering::Acquire) {
///         0 | u64::MAX => Ok(()),
///         torn => Err(format!("torn: {torn:#x}")),
///     })
///     .assert_safe(&area);
/// # Ok(())
/// # }
/// ```
pub struct Check<'a, M: ?Sized> {
    pub(crate) name: String,
    pub(crate) setup: Option<Action<'a, M>>,
    pub(crate) warm_up: Option<Action<'a, M>>,
    pub(crate) victim: Option<Action<'a, M>>,
    pub(crate) survivor: Option<Judgement<'a, M>>,
    pub(crate) invariant: Option<Judgement<'a, M>>,
    pub(crate) sleepers: Vec<Shared<'a, M>>,
    pub(crate) must_wake: Option<Question<'a, M>>,
    pub(crate) waker: Option<Action<'a, M>>,
    pub(crate) recoverer: Option<Action<'a, M>>,
    pub(crate) memory: Option<Snapshot<'a, M>>,
    pub(crate) observer: Option<Observer<'a, M>>,
    pub(crate) without_timeouts: bool,
    pub(crate) may_sleep: bool,
    pub(crate) allowed_rescues: Option<Allowed<usize>>,
    pub(crate) gap: Option<Gap<'a, M>>,
    pub(crate) allowed_missed: Option<Allowed<f64>>,
    pub(crate) limit: Duration,
    pub(crate) mode: Mode,
    pub(crate) stride: usize,
    pub(crate) max_points: usize,
    pub(crate) max_instructions: usize,
    pub(crate) stop_after: usize,
}

impl<'a, M: ?Sized> Check<'a, M> {
    /// Starts the description of a check whose report is headed by `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            setup: None,
            warm_up: None,
            victim: None,
            survivor: None,
            invariant: None,
            sleepers: Vec::new(),
            must_wake: None,
            waker: None,
            recoverer: None,
            memory: None,
            observer: None,
            without_timeouts: false,
            may_sleep: false,
            allowed_rescues: None,
            gap: None,
            allowed_missed: None,
            limit: Duration::from_secs(10),
            mode: Mode::Planted,
            stride: 1,
            max_points: usize::MAX,
            max_instructions: 1_000_000,
            stop_after: usize::MAX,
        }
    }

    /// Sets what puts the memory into its first state; runs before each kill, in this process.
    #[must_use]
    pub fn setup(mut self, setup: impl Fn(&M) + 'a) -> Self {
        self.setup = Some(Box::new(setup));
        self
    }

    /// Sets the operation that is killed at each of its instructions, in a process of its own.
    #[must_use]
    pub fn victim(mut self, victim: impl Fn(&M) + 'a) -> Self {
        self.victim = Some(Box::new(victim));
        self
    }

    /// Sets what the victim's process does before the operation, and the recoverer's, and is not
    /// killed in: what a process does once in its life, such as attaching, belongs here if the
    /// check is about what follows.
    ///
    /// The memory is in its first state before it, so it should leave it like that.
    #[must_use]
    pub fn warm_up(mut self, warm_up: impl Fn(&M) + 'a) -> Self {
        self.warm_up = Some(Box::new(warm_up));
        self
    }

    /// Sets what the next process does after the kill, bounded by the limit.
    ///
    /// An error or a panic is a violation, a signal a crash, and not returning a hang.
    #[must_use]
    pub fn survivor(mut self, survivor: impl Fn(&M) -> Result<(), String> + 'a) -> Self {
        self.survivor = Some(Box::new(survivor));
        self
    }

    /// Sets what must hold when everybody else has finished, in a process of its own, bounded.
    #[must_use]
    pub fn invariant(mut self, invariant: impl Fn(&M) -> Result<(), String> + 'a) -> Self {
        self.invariant = Some(Box::new(invariant));
        self
    }

    /// Adds an operation that is asleep while the victim dies, such as an `acquire`.
    ///
    /// It is started after the set-up and must fall asleep in a system call. After the kill it must
    /// return: at once if [`must_wake`](Self::must_wake) says so, else when the survivor, which
    /// should do the waking operation, has finished.
    #[must_use]
    pub fn sleeper(self, sleeper: impl Fn(&M) + 'a) -> Self {
        self.sleepers(1, sleeper)
    }

    /// Adds `count` processes that are asleep in the same operation while the victim dies.
    ///
    /// For rules that exist for two sleepers or more: that a broadcast reaches all, that the taker
    /// of one unit of several passes the wake on. Each sleeps before the next one starts, and
    /// those of an earlier call before those of a later one. Say by
    /// [`must_wake_count`](Self::must_wake_count) how many must wake. When a survivor has finished,
    /// all must, so it should do the waking operation as often as that takes.
    ///
    /// # Panics
    ///
    /// If `count` is 0.
    ///
    /// # Examples
    ///
    /// A wake for one where two wait leaves the second asleep.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// use killcheck::{Check, SharedArea};
    ///
    /// type Flag = SharedArea<AtomicU32>;
    ///
    /// fn wait(flag: &Flag) {
    ///     while flag.load(Ordering::SeqCst) == 0 {
    ///         // SAFETY: the word lives in a mapping; no timeout.
    ///         unsafe { libc::syscall(libc::SYS_futex, flag.as_ptr(), libc::FUTEX_WAIT, 0, 0) };
    ///     }
    /// }
    ///
    /// fn set(flag: &Flag, wakes: i32) {
    ///     flag.store(1, Ordering::SeqCst);
    ///     // SAFETY: the word lives in a mapping.
    ///     unsafe { libc::syscall(libc::SYS_futex, flag.as_ptr(), libc::FUTEX_WAKE, wakes) };
    /// }
    ///
    /// // SAFETY: an atomic, for which zero is valid.
    /// let flag: Flag = unsafe { SharedArea::zeroed() }?;
    /// let report = Check::new("set, which wakes one; two wait")
    ///     .setup(|flag: &Flag| flag.reset())
    ///     .sleepers(2, wait)
    ///     .victim(|flag| set(flag, 1))
    ///     .must_wake(|flag| flag.load(Ordering::SeqCst) == 1)
    ///     .survivor(|flag| Ok(set(flag, i32::MAX)))
    ///     .without_timeouts()
    ///     .run(&flag);
    /// match report {
    ///     Ok(report) => report.assert_caught(),
    ///     Err(error) => assert_eq!(error.kind(), killcheck::ErrorKind::Unsupported),
    /// }
    /// # Ok::<(), killcheck::Error>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn sleepers(mut self, count: usize, sleeper: impl Fn(&M) + 'a) -> Self {
        assert!(count > 0, "no sleepers are none to be woken");
        let sleeper: Shared<'a, M> = Rc::new(sleeper);
        self.sleepers.extend(std::iter::repeat_n(sleeper, count));
        self
    }

    /// Sets the question whether what the victim left behind obliges all sleepers to wake without
    /// anybody's help: has the victim committed something that they wait for?
    ///
    /// It is asked in this process right after the kill. A sleeper may be running by then, so
    /// "no" about something it may have taken already is right.
    #[must_use]
    pub fn must_wake(self, question: impl Fn(&M) -> bool + 'a) -> Self {
        self.must_wake_count(move |mem| if question(mem) { usize::MAX } else { 0 })
    }

    /// Sets the question how many sleepers must wake by what the victim left behind: as many as
    /// there are units, say. More than there are sleepers means all of them.
    ///
    /// It is asked in this process right after the kill. With timeouts, sleepers may be running by
    /// then: those that have returned before count on top of the answer.
    #[must_use]
    pub fn must_wake_count(mut self, question: impl Fn(&M) -> usize + 'a) -> Self {
        self.must_wake = Some(Box::new(question));
        self
    }

    /// Turns to the woken victim: it must fall asleep in its operation, then the waker runs in a
    /// process of its own, and the victim is killed at each instruction from its wake to its end.
    ///
    /// [Sleepers](Self::sleeper) fall asleep after the victim and before the waker.
    #[must_use]
    pub fn waker(mut self, waker: impl Fn(&M) + 'a) -> Self {
        self.waker = Some(Box::new(waker));
        self
    }

    /// Adds a second death: after the victim's, the recoverer runs in a process of its own and is
    /// itself killed at each of *its* instructions. Then the others go on as without it.
    ///
    /// The operation should be the one that meets what a dead process leaves behind, such as the
    /// `lock` of a mutex whose owner died. It is warmed up like the victim, before it. What it does
    /// depends on where the victim died, so it is traced again after each of its points. If it
    /// crashes or does not return although it is not killed, that is a finding with
    /// [`Role::Recoverer`].
    ///
    /// The points are the product of the two operations. [`stride`](Self::stride) and
    /// [`max_points`](Self::max_points) choose among these pairs, other points of the recoverer
    /// after each point of the victim's; the report says how many were skipped.
    ///
    /// [`Role::Recoverer`]: crate::Role::Recoverer
    ///
    /// # Examples
    ///
    /// A recovery that forgets the death before it has mended what the dead process was doing is
    /// sound as long as no process dies in it.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    ///
    /// use killcheck::{Check, SharedArea};
    ///
    /// /// A mark that a change is under way, and the two words that are changed together.
    /// type Pair = SharedArea<[AtomicU64; 3]>;
    ///
    /// fn change(pair: &Pair) {
    ///     recover(pair);
    ///     pair[0].store(1, SeqCst);
    ///     pair[1].fetch_add(1, SeqCst);
    ///     pair[2].fetch_add(1, SeqCst);
    ///     pair[0].store(0, SeqCst);
    /// }
    ///
    /// fn recover(pair: &Pair) {
    ///     if pair[0].swap(0, SeqCst) == 1 {
    ///         pair[2].store(pair[1].load(SeqCst), SeqCst);
    ///     }
    /// }
    ///
    /// let check = || {
    ///     Check::new("two words under a mark")
    ///         .setup(|pair: &Pair| pair.reset())
    ///         .victim(change)
    ///         .survivor(|pair| {
    ///             recover(pair);
    ///             let [one, other] = [&pair[1], &pair[2]].map(|word| word.load(SeqCst));
    ///             (one == other).then_some(()).ok_or(format!("torn: {one} and {other}"))
    ///         })
    /// };
    /// // SAFETY: atomics only, for which zero is valid.
    /// let pair: Pair = unsafe { SharedArea::zeroed() }?;
    /// match check().run(&pair) {
    ///     Ok(report) => report.assert_safe(),
    ///     Err(error) => assert_eq!(error.kind(), killcheck::ErrorKind::Unsupported),
    /// }
    /// match check().recoverer(recover).max_points(800).run(&pair) {
    ///     Ok(report) => report.assert_caught(),
    ///     Err(error) => assert_eq!(error.kind(), killcheck::ErrorKind::Unsupported),
    /// }
    /// # Ok::<(), killcheck::Error>(())
    /// ```
    #[must_use]
    pub fn recoverer(mut self, recoverer: impl Fn(&M) + 'a) -> Self {
        self.recoverer = Some(Box::new(recoverer));
        self
    }

    /// Says which memory the processes of the check share, by a copy of it: at least all that
    /// victim and [`recoverer`](Self::recoverer) write.
    ///
    /// Then a kill is tried once for each state that it leaves behind. Of a dead process nothing is
    /// left but the memory that it shared, what its system calls have changed in the kernel, and
    /// what the kernel does with its robust list. So deaths at points between which none of the
    /// three changes are followed by the same, and one of them stands for all; the report counts
    /// the others as [`alike`](Report::alike). An operation of a thousand instructions that stores
    /// thirty words has some thirty states, and of two deaths all pairs of states can be tried. A
    /// recovery is traced once for each state.
    ///
    /// Each run must start from the same bytes, but for what names processes: so the
    /// [`setup`](Self::setup) must restore all of this memory. Where the last run's bytes are left,
    /// a store of what is there already is no change to the trace, and hides a state.
    ///
    /// A victim that comes to its point with more or fewer words changed than the traced one, or
    /// with a pending robust lock where that had none, is in another state, and the point is
    /// [missed](Self::allow_missed). Which words it are, and their values, is not compared, and
    /// nothing is where the set-up has left other bytes than before the trace, which the report
    /// counts: there a point is told by its instruction alone.
    ///
    /// The memory is copied before each instruction of a trace, so it should be no more than is
    /// needed. What is written and not in it goes unseen: with `KILLCHECK_EVERY_INSTRUCTION` in
    /// the environment, each point is tried all the same. So it is where sleepers may run before
    /// the kill, that is with a sleeper and [with timeouts](Self::without_timeouts).
    #[must_use]
    pub fn shares_only(mut self, memory: impl Fn(&M) -> Vec<u64> + 'a) -> Self {
        self.memory = Some(Box::new(memory));
        self
    }

    /// Takes all timeouts from the waits of sleepers, survivor and invariant, and from the sleep
    /// that the [`waker`](Self::waker) ends.
    ///
    /// A sleeper that looks again every 250 ms, say, wakes sooner or later whatever was done to its
    /// wake, and it wakes at any time: in the middle of the victim's operation, which then takes
    /// another way than it was traced. So this asks more: the wake must come from another process,
    /// or from the kernel on the victim's death. And it disturbs less: a sleeper woken before
    /// the kill stands still until it. Deadlines of the caller's do not pass either.
    ///
    /// It also tells a hang from a busy machine: when all living processes are seen asleep in calls
    /// that only another process could end, that is the verdict, [`Failure::Stuck`] or
    /// [`Failure::LostWake`], however much of the [`limit`](Self::limit) is left.
    ///
    /// [`Failure::Stuck`]: crate::Failure::Stuck
    /// [`Failure::LostWake`]: crate::Failure::LostWake
    ///
    /// These calls are known: `futex`, `futex_waitv`, `futex_wait`, `poll`, `select`, `epoll_wait`
    /// and their kin, `semtimedop`, `sigtimedwait`, `mq_timedreceive` and `mq_timedsend`. What only
    /// lets time pass (`nanosleep`) keeps its time. The processes are traced: that needs what
    /// tracing the victim needs.
    #[must_use]
    pub fn without_timeouts(mut self) -> Self {
        self.without_timeouts = true;
        self
    }

    /// Says that the victim may fall asleep on its way to a kill point though it did not when it
    /// was traced, and is woken by a process that the check does not know of, such as a server.
    ///
    /// If not set, such a point is missed. While an operation is traced, instruction by
    /// instruction, a server has long answered when the operation looks; at full speed it waits.
    #[must_use]
    pub fn may_sleep(mut self) -> Self {
        self.may_sleep = true;
        self
    }

    /// Allows `most` kills after which a sleeper or the survivor is woken by nothing but its own
    /// timeout, which passes when all are seen to sleep on, and then once more. Implies
    /// [`without_timeouts`](Self::without_timeouts).
    ///
    /// For a known gap: the report counts and lists these points as
    /// [`rescued`](Report::rescued), with the `reason`. A process that sleeps on after two timeouts
    /// is a finding. [`Report::assert_safe`] fails if there are more, or if `most` is not smaller
    /// than the number of kills, unless it is [`usize::MAX`]. How many instructions a gap has
    /// depends on the compiler; [`allow_rescues_if`](Self::allow_rescues_if) does not.
    #[must_use]
    pub fn allow_rescues(mut self, most: usize, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        self.allowed_rescues = Some(Allowed { most, reason });
        self.gap = None;
        self.without_timeouts()
    }

    /// Allows any number of [rescues](Self::allow_rescues), but only after kills in the `gap`;
    /// elsewhere one that needs its timeout is a finding.
    ///
    /// The question is asked in this process when the victim stands at its kill point, and again
    /// for the recoverer. It gets the memory and the address that the thread has announced to the
    /// kernel as its pending robust lock (see `get_robust_list(2)`), or 0: the word at a fixed
    /// distance from there is what the kernel looks at when the thread dies. With a recoverer,
    /// one of the two deaths in the gap is enough.
    ///
    /// # Examples
    ///
    /// A thread announces one lock and then another; only the first wakes the sleeper if it dies.
    ///
    /// ```no_run
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// use killcheck::{Check, SharedArea};
    ///
    /// # struct Locks { first: AtomicU32, second: AtomicU32 }
    /// # fn operation(_: &SharedArea<Locks>) {}
    /// # fn wait(_: &SharedArea<Locks>) {}
    /// # fn example(locks: &SharedArea<Locks>) -> Result<(), killcheck::Error> {
    /// Check::new("an operation under two locks")
    ///     .victim(operation)
    ///     .sleeper(wait)
    ///     .must_wake(|_| true)
    ///     .allow_rescues_if(
    ///         |locks, pending| pending != locks.first.as_ptr().addr(),
    ///         "a thread has one pending slot",
    ///     )
    ///     .assert_safe(locks);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn allow_rescues_if(
        mut self,
        gap: impl Fn(&M, usize) -> bool + 'a,
        reason: impl Into<String>,
    ) -> Self {
        self = self.allow_rescues(usize::MAX, reason);
        self.gap = Some(Box::new(gap));
        self
    }

    /// Allows that a `fraction` of the points in the program's own code be missed, from 0 to 1; 2
    /// in 100 may if not set. Together with those in shared libraries they may be 25 in 100, or
    /// the fraction if it is more. Of the [states](Self::shares_only), each of which counts once,
    /// 25 in 100 may be missed, whatever the fraction.
    ///
    /// A point is missed when the operation does not come by there again, or not in the same
    /// [state](Self::shares_only), because it does not do the same each time. Nothing was verified
    /// there, so there should be a good `reason`, such as arithmetic on the time of day. If more
    /// were missed, the operation is traced again and killed at each point of the new trace, twice
    /// at most: another thread of this process may have done meanwhile what a process does once,
    /// such as looking up a function of the kernel's, and forked processes no longer do it.
    /// [`Report::assert_safe`] fails if more are missed even then.
    #[must_use]
    pub fn allow_missed(mut self, fraction: f64, reason: impl Into<String>) -> Self {
        self.allowed_missed = Some(Allowed {
            most: fraction,
            reason: reason.into(),
        });
        self
    }

    /// Sets a look at the memory right after each kill, the recoverer's too, in this process.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&M, &KillPoint) + 'a) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Sets how long survivor, sleepers and invariant may take each after a kill; 10 s if not set.
    ///
    /// It ends what would never end, and measures nothing: a busy machine may keep any process
    /// waiting. So it should be generous, which costs nothing where nothing hangs, nor where a
    /// hang is [seen](Self::without_timeouts). What must happen before a kill, such as falling
    /// asleep, has at least 10 s.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sets how the victim is brought to its kill point.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Kills at every `stride`-th point only, with a recoverer at every `stride`-th pair of points;
    /// the report says how many were skipped.
    ///
    /// # Panics
    ///
    /// If `stride` is 0.
    #[must_use]
    #[track_caller]
    pub fn stride(mut self, stride: usize) -> Self {
        assert!(stride > 0, "a stride of 0 never advances");
        self.stride = stride;
        self
    }

    /// Kills at no more than `most` points, with a recoverer pairs of points, spread evenly; the
    /// report says how many were skipped.
    ///
    /// # Panics
    ///
    /// If `most` is 0.
    #[must_use]
    #[track_caller]
    pub fn max_points(mut self, most: usize) -> Self {
        assert!(most > 0, "a check needs at least one kill point");
        self.max_points = most;
        self
    }

    /// Refuses an operation of more than `most` instructions; a million if not set.
    #[must_use]
    pub fn max_instructions(mut self, most: usize) -> Self {
        self.max_instructions = most;
        self
    }

    /// Stops after so many findings; the report says how many points were skipped by that.
    #[must_use]
    pub fn stop_after(mut self, findings: usize) -> Self {
        self.stop_after = findings.max(1);
        self
    }

    /// Carries the check out.
    ///
    /// Forks this process several times per kill point, one thread of it each time. If the process
    /// has other threads, the closures must not need what those might hold at that moment, such as
    /// a lock; see the crate's documentation.
    ///
    /// # Errors
    ///
    /// - `Unsupported` on other architectures than x86_64.
    /// - `Incomplete` without a victim, or with nothing that could fail after a kill.
    /// - `TraceRefused` where ptrace is forbidden.
    /// - `VictimFailed`, `VictimTooLong`, `SleeperAwake`, `VictimNotWoken` if the parts do not do
    ///   what the check needs of them.
    /// - `Os` for any other refusal of the operating system.
    pub fn run(&self, mem: &M) -> Result<Report, Error> {
        if !arch::SUPPORTED {
            let message = "killing at every instruction needs x86_64, which this is not";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let Some(victim) = &self.victim else {
            return Err(Error::new(ErrorKind::Incomplete, "the check has no victim"));
        };
        let judged = self.survivor.is_some() || self.invariant.is_some();
        if !judged && (self.sleepers.is_empty() || self.must_wake.is_none()) {
            let message = "nothing could fail: set a survivor, an invariant, or a sleeper with \
                           must_wake";
            return Err(Error::new(ErrorKind::Incomplete, message));
        }
        Runner::new(self, victim, mem)?.run()
    }

    /// Carries the check out, prints its report, and panics unless it proves the operation safe.
    ///
    /// This is [`run`](Self::run) followed by [`Report::assert_safe`], for tests. The report is
    /// returned for what else a test asserts of it.
    ///
    /// # Panics
    ///
    /// If the check cannot be carried out, and as [`Report::assert_safe`] does.
    #[track_caller]
    pub fn assert_safe(&self, mem: &M) -> Report {
        let report = self.print(mem);
        report.assert_safe();
        report
    }

    /// Carries the check out, prints its report, and panics unless something was wrong: for
    /// controls, which show that the check is able to fail.
    ///
    /// # Panics
    ///
    /// If the check cannot be carried out, and as [`Report::assert_caught`] does.
    #[track_caller]
    pub fn assert_caught(&self, mem: &M) -> Report {
        let report = self.print(mem);
        report.assert_caught();
        report
    }

    #[track_caller]
    #[expect(clippy::panic, reason = "a test that cannot be carried out fails")]
    fn print(&self, mem: &M) -> Report {
        match self.run(mem) {
            Ok(report) => {
                println!("{report}");
                report
            }
            Err(error) => panic!("{}: the check cannot be carried out: {error}", self.name),
        }
    }
}

impl<'a, T: Sync + 'a> Check<'a, SharedArea<T>> {
    /// Says that the processes of the check share no memory but the area, so that a kill is tried
    /// once for each state that it leaves behind; see [`shares_only`](Self::shares_only).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    ///
    /// use killcheck::{Check, SharedArea};
    ///
    /// type Pair = SharedArea<[AtomicU64; 2]>;
    ///
    /// // SAFETY: atomics only, for which zero is valid.
    /// let pair: Pair = unsafe { SharedArea::zeroed() }?;
    /// let report = Check::<Pair>::new("compute for long, store both")
    ///     .setup(|pair| pair.reset())
    ///     .victim(|pair| {
    ///         let sum: u64 = std::hint::black_box(0..100).sum();
    ///         pair.iter().for_each(|word| word.store(sum, SeqCst));
    ///     })
    ///     .survivor(|pair| match pair.each_ref().map(|word| word.load(SeqCst)) {
    ///         [one, other] if one == other => Ok(()),
    ///         torn => Err(format!("torn: {torn:?}")),
    ///     })
    ///     .shares_only_the_area()
    ///     .run(&pair);
    /// match report {
    ///     Ok(report) => {
    ///         report.assert_caught();
    ///         // before the stores, between them, and after them
    ///         assert_eq!(report.kill_points().len(), 3);
    ///         assert_eq!(report.findings().len(), 1);
    ///     }
    ///     Err(error) => assert_eq!(error.kind(), killcheck::ErrorKind::Unsupported),
    /// }
    /// # Ok::<(), killcheck::Error>(())
    /// ```
    #[must_use]
    pub fn shares_only_the_area(self) -> Self {
        self.shares_only(SharedArea::words)
    }
}

impl<M: ?Sized> fmt::Debug for Check<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
