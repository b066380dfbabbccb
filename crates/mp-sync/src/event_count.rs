//! An eventcount with a death bell: what blocking operations sleep on.
//!
//! # Source
//! Eventcounts (Reed and Kanodia 1979; the futex form of folly and Vyukov). Changed: no count of
//! waiters, which a dead waiter would leave wrong, but one bit that heals; and the bell, a futex
//! word that is always 0: announced to the kernel as the thread's pending robust lock, it wakes a
//! sleeper if the thread dies.
//!
//! # Layout
//! ```text
//!  0 bell       always 0          <- the kernel looks here when a thread dies
//!  4 musl_bell  always 0
//!  8 ev         bit 0 SLEEPERS, bit 1 DOORBELL (reserved, 0), bits 2..31 sequence
//! 12 other_cpu  where the last notifier ran, plus one
//! 16 doorbell   0; for a descriptor to be rung
//! 24 links      what is announced; never linked
//! 40 reserved   0
//! ```
//!
//! # Invariants
//! - I1 The bell is 0.
//! - I2 A thread that sleeps, or is about to, has set SLEEPERS with a sequence number of its own,
//!   and has looked at the condition after that.
//! - I3 SLEEPERS is cleared only by a notifier that woke no thread, by comparing with the very
//!   value it wrote before it woke: if a thread set SLEEPERS since, the comparison fails; one that
//!   did so before is not asleep yet, and the changed sequence keeps it from sleeping.
//! - I4 A commit, its notify, and a waiter from its first look to its last run under the bell.
//!
//! # Orderings
//! `prepare` (compare-and-swap, SeqCst fence, then the condition is looked at) pairs with
//! `notify` (commit, SeqCst fence, then `ev` is looked at): one of the two sees the other. Acquire
//! and Release cannot say that, since each side stores first and loads another word second.
//! [`EventCount::notify_committed`] has no fence: there the commit itself and the load of `ev`
//! are SeqCst, which pairs with the same fence.
//!
//! # Progress
//! `notify` is wait-free without sleepers, and makes no system call then; with sleepers it is
//! lock-free. A waiter blocks.
//!
//! # If a process dies
//! Between commit and wake: the bell wakes one sleeper, which sees the commit. It may be one that a
//! notifier has woken and that has not run since: the kernel takes it off the bell's list only when
//! it runs (rule b). Woken but not yet done: the bell wakes another. Asleep: SLEEPERS stays set,
//! which costs the next notifier one useless system call.
//!
//! Rules for what is built on it:
//! - (a) Begin the bell before the commit and end it after the notify: [`EventCount::under_bell`].
//! - (b) A waiter that takes one unit and sees more units and [`EventCount::has_sleepers`] notifies
//!   one more.
//! - (c) Where one change wakes all, a waiter that finds the condition true notifies all, too:
//!   [`EventCount::pass_on_to_all`].
//! - (d) `on_suspect` runs when a process may have died; sweep there.
//! - (e) Sleeps are bounded: 250 ms, or 50 ms where the kernel cannot wait for two words.
//!
//! **Known gap.** A thread has one pending slot. While a waiter that was just woken acquires a
//! [`RawMutex`](crate::RawMutex), the slot names that mutex; a kill in those few instructions is
//! not seen by the bell. If rule (b) does not wake the next sleeper, (e) does. The same holds where
//! threads have no robust list (`MP_FORCE_FALLBACK=1`).
//!
//! **The bell has no memory.** It wakes those that sleep and changes no word. A waiter between its
//! last look and its sleep, while a notifier commits and is killed before it changes `ev`, falls
//! asleep although there is something: the bell has rung before. It finds out by (e). The gap is
//! the few instructions from the commit to the change of `ev`, and as many of the waiter's at the
//! same time. What wakes after the release of a lock has no such gap: it holds a second lock until
//! `ev` is changed, whose word a death changes.
//!
//! # What a fence costs
//! Each notify after a plain Release store needs a full fence, which costs as much as any locked
//! instruction (`examples/lock_cost.rs`). What was weighed: operations that commit by a
//! read-modify-write use `notify_committed` and pay nothing on top; a SLEEPERS bit in the
//! committed word would turn its store into a read-modify-write, which is the same price;
//! `membarrier` would put all cost on the sleeper, who would pay more for it than the notifiers
//! save (`docs/decisions/0013-the-notifiers-fence.md`). So one fence per notify
//! stays, and what commits often commits in batches.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use mp_layout::Place;
use mp_layout::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use mp_os::clock::Deadline;
use mp_os::robust::{Links, PendingOp};

use crate::futex::{self, WaitAny, Wake};
use crate::wait::PeerCpu;
use crate::{RawMutex, Wait, owner};

/// What blocking operations in shared memory sleep on and are woken by.
///
/// The condition lies elsewhere, in words of the operation; the eventcount only sees to it that
/// no wake-up is lost, whichever process dies. The module's documentation has the rules.
///
/// # Examples
///
/// ```
/// use mp_os::clock::Deadline;
/// use mp_sync::{EventCount, Wait};
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// # let memory = Box::leak(vec![0_u64; 8].into_boxed_slice());
/// # let changed: &EventCount = mp_layout::Region::from_exclusive(memory).place(0)?;
/// let stock = AtomicU32::new(0);
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         changed.under_bell(|| {
///             stock.store(7, Ordering::Release);
///             changed.notify(1);
///         });
///     });
///     let seen = changed.wait_until(Wait::Adaptive, Deadline::NEVER, || {
///         Some(stock.load(Ordering::Acquire)).filter(|&units| units > 0)
///     });
///     assert_eq!(seen, Some(7));
/// });
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[repr(C)]
pub struct EventCount {
    bell: AtomicU32,
    musl_bell: AtomicU32,
    ev: AtomicU32,
    other_cpu: AtomicU32,
    doorbell: AtomicU64,
    links: Links,
    reserved: AtomicU64,
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<EventCount>() == 48 && align_of::<EventCount>() == 8);
    assert!(offset_of!(EventCount, bell) == 0 && offset_of!(EventCount, ev) == 8);
    assert!(offset_of!(EventCount, links) == 24);
};

#[cfg(not(loom))]
pub(crate) const TABLE: mp_layout::Table = mp_layout::layout!(EventCount {
    bell: "always 0; rung by the kernel when a thread dies",
    musl_bell: "always 0",
    ev: "bit 0 sleepers; bit 1 doorbell, reserved; the rest counts",
    other_cpu: "processor of the last notifier, plus one",
    doorbell: "0; for a descriptor to be rung",
    links: "announced, never linked",
    reserved: "0",
});

/// A thread sleeps, or did.
const SLEEPERS: u32 = 1;

/// One step of the sequence, above SLEEPERS and the reserved doorbell bit.
const STEP: u32 = 4;

/// The longest sleep of a waiter on an eventcount between two looks (rule e).
pub(crate) const RECHECK: Duration = Duration::from_millis(250);

/// The same where the kernel has no `futex_waitv`: a waiter that sleeps on one word misses the
/// bell.
const RECHECK_NO_WAITV: Duration = Duration::from_millis(50);

/// The first pause after the bell rang, if no dead process was found.
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// A registration as a sleeper: what `ev` was made to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

/// A registration as a sleeper at an [`EventCount`] or a [`LockWatch`](crate::LockWatch), for a
/// sleep on several of them.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    pub(crate) word: &'a AtomicU32,
    pub(crate) seen: u32,
    /// A lock has none: the kernel wakes a sleeper of the word itself when the owner dies.
    pub(crate) bell: Option<&'a AtomicU32>,
}

/// How [`EventCount::sleep`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sleep {
    /// A thread notified, or something else ended the sleep early: look again.
    Woken,
    /// A thread died in an operation: look again, and sweep what it left (rule d).
    Bell,
    /// The deadline or the recheck period passed.
    TimedOut,
}

// SAFETY: repr(C); atomics and links made of atomics; every bit pattern is valid; zero is: no
// thread sleeps, bell 0; no destructor.
unsafe impl Place for EventCount {
    /// A thread that is inside an operation has borrowed it.
    const IS_BARE: bool = true;

    fn zeroed() -> Self {
        Self {
            bell: AtomicU32::new(0),
            musl_bell: AtomicU32::new(0),
            ev: AtomicU32::new(0),
            other_cpu: AtomicU32::new(0),
            doorbell: AtomicU64::new(0),
            links: Links::new(),
            reserved: AtomicU64::new(0),
        }
    }
}

impl EventCount {
    /// Runs an operation under the bell: if the thread dies in it, a sleeper is woken.
    ///
    /// Operations nest; the bell of the innermost is the one that would ring.
    #[inline]
    pub fn under_bell<R>(&self, operation: impl FnOnce() -> R) -> R {
        // SAFETY: `bell` is dropped below or when `operation` unwinds; until then the eventcount
        // is borrowed, and what `operation` begins has ended.
        let bell = unsafe { self.begin() };
        let result = operation();
        drop(bell);
        result
    }

    /// Begins an operation that ends when the returned value is dropped.
    ///
    /// For operations that do not fit a closure; else use [`EventCount::under_bell`].
    ///
    /// # Safety
    ///
    /// The value is dropped, not leaked, and before any that was begun earlier on this thread
    /// (by this, by a [`RawMutex`](crate::RawMutex) operation, or by [`mp_os::robust`]).
    #[inline]
    pub unsafe fn begin(&self) -> Bell<'_> {
        // SAFETY: the links stay mapped while `self` is borrowed by the value; the rest is the
        // caller's promise.
        let op = owner::list().map(|list| unsafe { list.begin(&self.links) });
        Bell {
            op,
            eventcount: PhantomData,
        }
    }

    /// Wakes at most `count` sleepers, after a commit of any ordering.
    ///
    /// Without sleepers it is a fence and a load.
    #[inline]
    pub fn notify(&self, count: u32) {
        // Pairs with the fence in `prepare`.
        fence(Ordering::SeqCst);
        if self.ev.load(Ordering::Relaxed) & SLEEPERS != 0 {
            self.wake(count);
        }
    }

    /// Wakes all sleepers, after a commit of any ordering.
    #[inline]
    pub fn notify_all(&self) {
        self.notify(u32::MAX);
    }

    /// Wakes all that still sleep, for a waiter that found the condition true: the process that
    /// made it true may have died before it woke them (rule c).
    #[inline]
    pub fn pass_on_to_all(&self) {
        if self.has_sleepers() {
            self.notify_all();
        }
    }

    /// Wakes at most `count` sleepers, after a commit that was itself SeqCst: a
    /// compare-and-swap, swap, fetch-and-add or store with [`Ordering::SeqCst`], on the very word
    /// that the waiters look at. Saves the fence.
    ///
    /// After any weaker commit a wake-up may be lost until the waiter's recheck.
    #[inline]
    pub fn notify_committed(&self, count: u32) {
        if cfg!(loom) {
            // Loom knows no total order of SeqCst accesses, only of fences.
            fence(Ordering::SeqCst);
        }
        // SeqCst: in the total order after the commit; pairs with the fence in `prepare`.
        if self.ev.load(Ordering::SeqCst) & SLEEPERS != 0 {
            self.wake(count);
        }
    }

    /// [`notify_all`](Self::notify_all) by one that owes the wake-ups since it began a hand-over
    /// with `notifier`, which it ends.
    pub(crate) fn hand_over_to_all(&self, notifier: &RawMutex) {
        #[cfg(loom)]
        if notifier.dies_owing() {
            return;
        }
        // Pairs with the fence in `prepare`.
        fence(Ordering::SeqCst);
        let woke_at = self.begin_wake();
        notifier.end_handover();
        if let Some(woke_at) = woke_at {
            self.end_wake(woke_at, u32::MAX);
        }
    }

    #[cold]
    fn wake(&self, count: u32) {
        if let Some(woke_at) = self.begin_wake() {
            self.end_wake(woke_at, count);
        }
    }

    /// Keeps those from falling asleep that are about to; `None` if no thread sleeps.
    fn begin_wake(&self) -> Option<u32> {
        let mut ev = self.ev.load(Ordering::Relaxed);
        if ev & SLEEPERS == 0 {
            return None;
        }
        PeerCpu(&self.other_cpu).set_here();
        loop {
            if ev & SLEEPERS == 0 {
                return None;
            }
            let next = ev.wrapping_add(STEP);
            // Relaxed: a thread that sees the new sequence looks at the condition again; a stale
            // look ends in a second sleep attempt, which the kernel compares under its
            // lock.
            match self
                .ev
                .compare_exchange(ev, next, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return Some(next),
                Err(now) => ev = now,
            }
        }
    }

    /// Wakes at most `count` of those that sleep since before the word was made `woke_at`.
    fn end_wake(&self, woke_at: u32, count: u32) {
        if futex::wake(&self.ev, count) == 0 {
            // I3: fails if a thread registered since, as it should.
            let _still_awake = self.ev.compare_exchange(
                woke_at,
                woke_at & !SLEEPERS,
                Ordering::SeqCst,
                Ordering::Relaxed,
            );
        }
    }

    /// Whether a thread sleeps, or did until a moment ago.
    #[must_use]
    #[inline]
    pub fn has_sleepers(&self) -> bool {
        self.ev.load(Ordering::Relaxed) & SLEEPERS != 0
    }

    /// Registers the caller as a sleeper. It must look at the condition once more before it
    /// passes the ticket to [`EventCount::sleep`].
    pub fn prepare(&self) -> Ticket {
        let mut ev = self.ev.load(Ordering::Relaxed);
        let ticket = loop {
            let mine = ev.wrapping_add(STEP) | SLEEPERS;
            match self
                .ev
                .compare_exchange(ev, mine, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => break mine,
                Err(now) => ev = now,
            }
        };
        // Pairs with the fence in `notify`, and with the SeqCst commit before
        // `notify_committed`. The compare-and-swap alone does not keep later loads after it on
        // aarch64.
        fence(Ordering::SeqCst);
        Ticket(ticket)
    }

    /// [`prepare`](Self::prepare) for a sleep on several.
    pub fn register(&self) -> Registration<'_> {
        Registration {
            word: &self.ev,
            seen: self.prepare().0,
            bell: Some(&self.bell),
        }
    }

    /// Sleeps unless something was notified or registered since the ticket was taken; at most
    /// until the deadline, and at most one recheck period (rule e).
    pub fn sleep(&self, ticket: Ticket, deadline: Deadline) -> Sleep {
        self.sleep_on(&self.ev, ticket.0, deadline)
    }

    /// Sleeps while `word` holds `seen`, or until the bell rings; at most until the deadline, and
    /// at most one recheck period (rule e). For what has a word of its own to be woken by.
    pub(crate) fn sleep_on(&self, word: &AtomicU32, seen: u32, deadline: Deadline) -> Sleep {
        Self::sleep_in(&[(word, seen), (&self.bell, 0)], deadline)
    }

    /// [`sleep_on`](Self::sleep_on) with another word on which the kernel wakes one sleeper when a
    /// thread dies: that of a [`RawMutex`](crate::RawMutex) whose owner asked for it.
    pub(crate) fn sleep_beside(
        &self,
        word: (&AtomicU32, u32),
        other_bell: (&AtomicU32, u32),
        deadline: Deadline,
    ) -> Sleep {
        Self::sleep_in(&[word, (&self.bell, 0), other_bell], deadline)
    }

    /// All words but the first are woken by deaths.
    fn sleep_in(words: &[(&AtomicU32, u32)], deadline: Deadline) -> Sleep {
        match futex::wait_any(words, deadline.earlier(Deadline::after(RECHECK))) {
            WaitAny::Woken(0) | WaitAny::Changed | WaitAny::Interrupted => Sleep::Woken,
            WaitAny::Woken(_) => Sleep::Bell,
            WaitAny::TimedOut => Sleep::TimedOut,
            WaitAny::Unsupported => Self::sleep_without_waitv(words[0].0, words[0].1, deadline),
        }
    }

    /// Sleeps unless something was notified, registered or released at one of the `places` since
    /// the registration; at most until the deadline, and at most one recheck period (rule e). There
    /// are 64 at most.
    ///
    /// One that is woken does not know for which of them, and no bell of its own rings if it dies:
    /// it should wake the next sleeper of what it does not take.
    ///
    /// # Panics
    ///
    /// If there are none or more than 64.
    #[track_caller]
    pub fn sleep_on_any(places: &[Registration<'_>], deadline: Deadline) -> Sleep {
        // The bells come last.
        let words = places.iter().map(|place| (place.word, place.seen));
        let bells = places.iter().filter_map(|place| Some((place.bell?, 0)));
        let words: Vec<_> = words.chain(bells).collect();
        match futex::wait_any(&words, deadline.earlier(Deadline::after(RECHECK))) {
            WaitAny::Woken(index) if index >= places.len() => Sleep::Bell,
            WaitAny::Woken(_) | WaitAny::Changed | WaitAny::Interrupted => Sleep::Woken,
            WaitAny::TimedOut => Sleep::TimedOut,
            WaitAny::Unsupported => {
                Self::sleep_without_waitv(places[0].word, places[0].seen, deadline)
            }
        }
    }

    #[cold]
    fn sleep_without_waitv(word: &AtomicU32, seen: u32, deadline: Deadline) -> Sleep {
        let until = deadline.earlier(Deadline::after(RECHECK_NO_WAITV));
        match futex::wait(word, seen, until) {
            Wake::TimedOut => Sleep::TimedOut,
            Wake::Woken | Wake::Changed | Wake::Interrupted => Sleep::Woken,
        }
    }

    /// Waits until `test` gives something; `None` if the deadline passed before.
    ///
    /// `test` runs under the bell, at least once, and often: it should be a load or an attempt.
    /// It gives `None` only if there is nothing; an attempt that lost a race must look again, or
    /// the caller sleeps although there is something.
    pub fn wait_until<R>(
        &self,
        wait: Wait,
        deadline: Deadline,
        test: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        self.wait_until_or_suspect(wait, deadline, test, || ())
    }

    /// Waits like [`EventCount::wait_until`], and runs `on_suspect` whenever a process may have
    /// died: when the bell rang, and at each recheck (rule d).
    ///
    /// A process of several threads rings before all of them have stopped. So after the bell
    /// `on_suspect` is run again after 1 ms, 2 ms and so on, until the pause is that between two
    /// rechecks.
    #[inline]
    pub fn wait_until_or_suspect<R>(
        &self,
        wait: Wait,
        deadline: Deadline,
        mut test: impl FnMut() -> Option<R>,
        mut on_suspect: impl FnMut(),
    ) -> Option<R> {
        let mut pause = RECHECK;
        let look = |slept: Sleep| {
            on_suspect();
            pause = slept.next_pause(pause);
            pause
        };
        self.under_bell(|| match test() {
            None => self.wait_longer(wait, deadline, None, test, look),
            result => result,
        })
    }

    /// Waits like [`EventCount::wait_until`], under the caller's bell, for what keeps which
    /// processes take part in it: `sweep` looks for the dead when the bell rang, as it is told, and
    /// at each recheck, unless another waiter has finished a look since this one's last recheck.
    /// `swept` counts those in shared memory; so one waiter of many looks, and the next if that one
    /// dies. After the bell it looks as often as
    /// [`wait_until_or_suspect`](Self::wait_until_or_suspect) does.
    ///
    /// The death of one that holds `notifier` counts as one in an operation.
    pub(crate) fn wait_and_sweep<R>(
        &self,
        deadline: Deadline,
        swept: &AtomicU64,
        notifier: Option<&RawMutex>,
        mut test: impl FnMut() -> Option<R>,
        sweep: impl Fn(Sleep),
    ) -> Option<R> {
        let mut seen = swept.load(Ordering::Relaxed);
        let mut pause = RECHECK;
        let look = |slept: Sleep| {
            let is_urgent = slept == Sleep::Bell || pause < RECHECK;
            if is_urgent || swept.load(Ordering::Relaxed) == seen {
                sweep(slept);
                swept.fetch_add(1, Ordering::Relaxed);
            }
            seen = swept.load(Ordering::Relaxed);
            pause = slept.next_pause(pause);
            pause
        };
        match test() {
            None => self.wait_longer(Wait::Adaptive, deadline, notifier, test, look),
            result => result,
        }
    }

    /// Looks for a moment, then sleeps until `test` gives something or the deadline passes. Calls
    /// `look` when a process may have died; it returns the time until the next such call.
    fn wait_longer<R>(
        &self,
        wait: Wait,
        deadline: Deadline,
        notifier: Option<&RawMutex>,
        mut test: impl FnMut() -> Option<R>,
        mut look: impl FnMut(Sleep) -> Duration,
    ) -> Option<R> {
        if deadline == Deadline::PASSED {
            return None;
        }
        let other = PeerCpu(&self.other_cpu);
        let mut on_suspect = || {
            look(Sleep::TimedOut);
        };
        let seen = wait.spin(&other, deadline, &mut test, RECHECK, &mut on_suspect);
        if seen.is_some() {
            return seen;
        }
        let mut next_look = Deadline::after(RECHECK);
        loop {
            let ticket = self.prepare();
            let notifier = notifier.map(RawMutex::word_and_value);
            // The condition came true before the ticket, or no time is left.
            let result = test();
            if result.is_some() || deadline.is_expired() {
                return result;
            }
            // The bell rang or nothing did for long: a process may have died. Being woken in vain
            // does not put the look off.
            let until = deadline.earlier(next_look);
            let slept = match notifier {
                None => self.sleep(ticket, until),
                Some(notifier) => self.sleep_beside((&self.ev, ticket.0), notifier, until),
            };
            if slept != Sleep::Woken || next_look.is_expired() {
                next_look = Deadline::after(look(slept));
            }
            let result = test();
            if result.is_some() {
                return result;
            }
        }
    }
}

impl Sleep {
    /// The time until the next look for the dead, after one that followed this sleep and came
    /// `pause` after the look before it. Once the bell rang it is 1, 2, 4 ms and so on: some
    /// threads of a dying process know of it a moment later. Else it is the recheck period.
    #[must_use]
    pub fn next_pause(self, pause: Duration) -> Duration {
        match self {
            Self::Bell => FIRST_LOOK,
            Self::Woken | Self::TimedOut => RECHECK.min(pause.saturating_mul(2)),
        }
    }
}

impl fmt::Debug for EventCount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventCount")
            .field("has_sleepers", &self.has_sleepers())
            .finish_non_exhaustive()
    }
}

/// An operation under the bell of an [`EventCount`]; it ends when this is dropped.
#[must_use = "the bell would ring only until this is dropped"]
#[derive(Debug)]
pub struct Bell<'a> {
    /// Held for its drop; `None` without a robust list.
    #[expect(dead_code, reason = "held for its drop")]
    op: Option<PendingOp>,
    eventcount: PhantomData<&'a EventCount>,
}
