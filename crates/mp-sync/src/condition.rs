//! A lock whose owner can wait until another owner notifies it.
//!
//! # Source
//! CPython's `multiprocessing.Condition` with the lock in it, as a queue of numbered waiters (a
//! ticket lock's order) on futexes. Changed: a waiter is entered under its process's identity, so
//! that a notification that a dead waiter had been given is passed on.
//!
//! # Layout
//! ```text
//!    0 raw       the mutex, 48 bytes
//!   48 count     the eventcount, of which only the bell is used, 48 bytes
//!   96 woken     tickets below this one were woken, or their notifier's bell rings
//!  104 notified  tickets below this one may return
//!  112 next      the ticket of the next waiter
//!  120 swept     how many looks for the dead were finished
//!  128 wakes     16 futex words; the waiter with ticket t sleeps on the one at t % 16
//!  192 notifier  a mutex: held by a notifier until it wakes, 48 bytes
//!  240 reserved  0
//!  256 waiters   512 identities of processes; that of ticket t at t % 512
//! 4352 tickets   512 tickets, of the same waiters
//! ```
//!
//! # Invariants
//! - I1 All words are written by the owner of `raw` only, but `swept`, which is a hint, `wakes` and
//!   `woken`. `notified` and `wakes` are read without it.
//! - I2 notified <= next, and both only grow. A ticket whose place is taken is left out, so one
//!   that waits for long does not keep others from coming and going.
//! - I3 A place holds the identity of a waiter that has not returned, or 0, and its ticket, which
//!   is written before the identity. It is there before `next` goes beyond the ticket.
//! - I4 The notifier that moves `notified` beyond a ticket then changes its word in `wakes`, and
//!   wakes the sleepers on it, after it has released `raw`: one that is woken before that meets a
//!   held lock, and sleeps again.
//! - I5 From before `notified` is moved until `raw` is released the notifier holds `notifier`, with
//!   the mark that others sleep on its word. Waiters do, so one is woken if it dies. Then it is
//!   under the bell, says so in `woken`, changes the words in `wakes`, releases `notifier`, and
//!   wakes all from where `woken` was when it notified. So a waiter that is not yet asleep when the
//!   bell rings does not fall asleep. A notifier that finds `notifier` held (the one before it is
//!   about to release it) wakes under the lock and the bell.
//!
//! # Orderings
//! A notifier stores `notified`, then adds to the word in `wakes` (Release each); a waiter loads
//! the word, then `notified` (Acquire each), and sleeps only while the word is what it loaded. So
//! it sees the ticket notified, or does not fall asleep. What a program guards is ordered by the
//! mutex.
//!
//! # Progress
//! Waiting and acquiring block; notifying does not. Waiters are notified in the order in which they
//! began to wait.
//!
//! # If a process dies
//! - A waiter, asleep: its bell wakes another, which takes it off the list. Notified already, but
//!   not yet returned: the notification goes to the next one. What the bell does not cover (a death
//!   while the mutex is acquired again) the others find at their recheck, within 250 ms, or 500 ms
//!   where more than 16 wait.
//! - A notifier, between two of its stores: each store is a whole step. The word of `notifier`,
//!   then the bell, wakes a sleeper, which wakes again all that are notified and have not returned.
//!   The bell alone would not do: while `raw` is released, the pending slot names `raw`.
//! - The owner of the mutex: the next one gets [`LockError::OwnerDied`], as from a
//!   [`Lock`](crate::Lock).

use std::cell::Cell;
use std::fmt;

use mp_layout::atomic::{AtomicU32, AtomicU64, Ordering};
use mp_layout::{Described, Error, ErrorKind, Kind, TypeTag, shared_struct};
use mp_os::clock::Deadline;
use mp_os::process_id::ProcessIdentity;

use crate::event_count::RECHECK;
use crate::raw_mutex::{Guard, Outcome, RawLockError, RawMutex};
use crate::{EventCount, Holder, LockError, Sleep, futex, participant};

/// How many can wait.
const MOST: u64 = if cfg!(loom) { 4 } else { 512 };

/// Futex words: so many waiters sleep on words of their own.
const WORDS: u64 = 16;

/// Up to so many waiters look for the dead each at its own recheck; more share the looks, which
/// cost a few system calls for each waiter.
const FEW: usize = 16;

/// Tickets that a notifier tries one after the other, before it looks at all places for the next
/// waiter.
const STEPS: u64 = 16;

shared_struct! {
    /// A condition in shared memory: a lock, and waiting for what its owners say.
    ///
    /// Only the owner of the lock waits and notifies, as in Python, and here the compiler sees to
    /// it: both are methods of the guard. What is waited for lies in other shared memory, and
    /// changes under this lock.
    ///
    /// # If a process dies
    ///
    /// While it waited: the others do not notice, and a notification that it had been given goes to
    /// the next waiter. While it held the lock: the next owner gets [`LockError::OwnerDied`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_sync::Condition;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// # #[repr(align(64))]
    /// # struct Memory([u64; 1056]);
    /// # let memory = Box::leak(Box::new(Memory([0; 1056])));
    /// # let condition: &Condition = unsafe { mp_layout::Region::from_exclusive(&mut memory.0).place_guarded(0)? };
    /// let ready = AtomicBool::new(false); // in shared memory, too
    /// std::thread::scope(|scope| -> mp_layout::Result<()> {
    ///     scope.spawn(|| -> mp_layout::Result<()> {
    ///         let guard = condition.lock()?;
    ///         ready.store(true, Ordering::Relaxed);
    ///         guard.notify(1);
    ///         Ok(())
    ///     });
    ///     let guard = condition.lock()?.wait_for(|| ready.load(Ordering::Relaxed))?;
    ///     assert!(ready.load(Ordering::Relaxed));
    ///     drop(guard);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    #[repr(align(64))]
    pub struct Condition: 8448 bytes {
        raw: RawMutex = "the mutex",
        count: EventCount = "its bell rings when a waiter or a notifier dies",
        woken: AtomicU64 = "tickets below this one were woken, or their notifier's bell rings",
        notified: AtomicU64 = "tickets below this one may return",
        next: AtomicU64 = "the ticket of the next waiter",
        swept: AtomicU64 = "how many looks for the dead were finished",
        wakes: [AtomicU32; 16] = "what the waiter with ticket t sleeps on, at t % 16",
        notifier: RawMutex = "held by a notifier until it wakes",
        reserved: [AtomicU64; 2] = "0",
        waiters: [AtomicU64; MOST as usize] = "0, or the process of the waiter with ticket t, at t % 512",
        tickets: [AtomicU64; MOST as usize] = "the ticket of the waiter in the same place",
    }
}

// SAFETY: only `Condition` is of kind condition.
unsafe impl Described for Condition {
    const KIND: Kind = Kind::Condition;

    type Initial = ();

    fn tag() -> TypeTag {
        TypeTag::NONE
    }

    fn initialise(&self, (): ()) -> mp_layout::Result<()> {
        Ok(())
    }
}

type Locked<'a, T = ConditionGuard<'a>> = Result<T, LockError<ConditionGuard<'a>>>;

impl Condition {
    /// Acquires the lock; blocks until its owner releases it, waits or dies.
    ///
    /// # Errors
    ///
    /// - [`LockError::OwnerDied`] has the guard: the last owner died while it held the lock.
    /// - [`LockError::Recursive`] if this thread holds the lock already.
    /// - [`LockError::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`LockError::Failed`] with [`ErrorKind::Corrupt`] if the lock's bytes were overwritten.
    pub fn lock(&self) -> Locked<'_> {
        self.lock_timeout(Deadline::NEVER)
    }

    /// Acquires the lock if that is possible without waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder, if another thread holds it; the others as
    /// for [`Condition::lock`].
    pub fn try_lock(&self) -> Locked<'_> {
        self.lock_timeout(Deadline::PASSED)
    }

    /// [`lock`](Condition::lock) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the holder; the others as for [`Condition::lock`].
    pub fn lock_timeout(&self, timeout: impl Into<Deadline>) -> Locked<'_> {
        self.locked(self.raw.lock_timeout(timeout))
    }

    fn locked<'a>(&'a self, locked: Result<Guard<'a>, RawLockError>) -> Locked<'a> {
        let mut raw = locked?;
        let outcome = raw.outcome();
        raw.recover();
        let guard = ConditionGuard {
            raw,
            owed: OwedWakes::none(self),
        };
        match outcome {
            Outcome::Acquired => Ok(guard),
            Outcome::OwnerDied => {
                // It may have been a waiter that was notified. The bell rings if this thread dies
                // before it has passed the notification on.
                self.count.under_bell(|| self.sweep());
                Err(LockError::OwnerDied(guard))
            }
        }
    }

    /// How many wait and have not been notified; more or fewer may before this returns. The dead
    /// count until they are found.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let notified = self.notified.load(Ordering::Acquire);
        self.places()
            .filter(|&(ticket, process)| process != 0 && ticket >= notified)
            .count()
    }

    /// The thread that holds the lock; it may have released it already when this returns.
    #[must_use]
    pub fn holder(&self) -> Option<Holder> {
        self.raw.holder()
    }

    /// Ticket and process of each place.
    fn places(&self) -> impl Iterator<Item = (u64, u64)> {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        // In the reverse order of `enter`: the ticket is that of the identity or of a later one.
        let places = self.waiters.iter().zip(&self.tickets);
        places.map(move |(waiter, ticket)| {
            let process = load(waiter);
            (load(ticket), process)
        })
    }

    fn waiter(&self, ticket: u64) -> &AtomicU64 {
        &self.waiters[(ticket % MOST) as usize]
    }

    fn wake_word(&self, ticket: u64) -> &AtomicU32 {
        &self.wakes[(ticket % WORDS) as usize]
    }

    fn is_notified(&self, ticket: u64) -> bool {
        self.notified.load(Ordering::Acquire) > ticket
    }
}

/// What only the owner of the mutex does (I1).
impl Condition {
    /// Enters a waiter; returns its ticket.
    fn enter(&self, me: ProcessIdentity) -> Result<u64, Error> {
        let ticket = match self.free_ticket() {
            Some(ticket) => ticket,
            None => {
                self.sweep();
                self.free_ticket().ok_or_else(|| {
                    Error::new(ErrorKind::InvalidInput, "wait for", "condition")
                        .with_detail(format!("{MOST} wait already, the most that can"))
                })?
            }
        };
        self.tickets[(ticket % MOST) as usize].store(ticket, Ordering::Relaxed);
        self.waiter(ticket).store(me.word(), Ordering::Relaxed);
        // Release: the place is taken before the ticket is given (I3).
        self.next.store(ticket.wrapping_add(1), Ordering::Release);
        Ok(ticket)
    }

    /// The next ticket whose place is free (I2); overwritten words end in `None`, not in a loop
    /// without an end.
    fn free_ticket(&self) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        (next..next.checked_add(MOST)?)
            .find(|&ticket| self.waiter(ticket).load(Ordering::Relaxed) == 0)
    }

    /// Takes a waiter off the list.
    fn leave(&self, ticket: u64) {
        self.waiter(ticket).store(0, Ordering::Relaxed);
    }

    /// The first ticket from `first` on, and below `next`, whose waiter has not returned.
    fn next_waiter(&self, first: u64, next: u64) -> Option<u64> {
        let is_there = |ticket: &u64| {
            self.waiter(*ticket).load(Ordering::Relaxed) != 0
                && self.tickets[(*ticket % MOST) as usize].load(Ordering::Relaxed) == *ticket
        };
        let near = (first..next.min(first.saturating_add(STEPS))).find(is_there);
        near.or_else(|| {
            let range = first..next;
            self.places()
                .filter(|(ticket, process)| *process != 0 && range.contains(ticket))
                .map(|(ticket, _)| ticket)
                .min()
        })
    }

    /// The end of the tickets whose waiters return next: the `count` that have waited longest.
    fn end_of(&self, count: u64) -> u64 {
        let first = self.notified.load(Ordering::Relaxed);
        let next = self.next.load(Ordering::Relaxed);
        let all = next.max(first);
        let one_more = |end: u64| self.next_waiter(end, next).map(|ticket| ticket + 1);
        match count {
            0..MOST => (0..count)
                .try_fold(first, |end, _| one_more(end))
                .unwrap_or(all),
            _ => all,
        }
    }

    /// Lets the waiters below ticket `end` return; gives the first of those to be woken.
    fn notify_until(&self, end: u64) -> u64 {
        let first = self.notified.load(Ordering::Relaxed);
        // Release: before the words that `wake` changes (I4).
        self.notified.store(end, Ordering::Release);
        // Smaller than `first` if a notifier has yet to wake (I5).
        first.min(self.woken.load(Ordering::Relaxed))
    }

    /// Lets the `count` waiters return that have waited longest, and wakes them; under the bell.
    fn notify(&self, count: u64) {
        let end = self.end_of(count);
        let first = self.notify_until(end);
        self.wake(first, end);
    }

    /// Takes the dead off the list, passes on what they had been notified of, and wakes again who
    /// was notified: its notifier may have died before the wake.
    fn sweep(&self) {
        let notified = self.notified.load(Ordering::Relaxed);
        let waits = |&(_, process): &(u64, u64)| process != 0;
        let is_notified = |&(ticket, _): &(u64, u64)| ticket < notified;
        let first = self.places().filter(waits).filter(is_notified).min();
        let is_gone = |&(_, process): &(u64, u64)| participant::is_gone(process);
        let dead: Vec<(u64, u64)> = self.places().filter(is_gone).collect();
        // First those that had not been notified, so that nothing is passed on to them.
        for (ticket, _) in dead.iter().filter(|&place| !is_notified(place)) {
            self.leave(*ticket);
        }
        if let Some((ticket, _)) = first {
            self.wake(ticket, notified);
        }
        // Before the others are forgotten: a sweep that is killed here is repeated, and one may be
        // notified too many.
        let passed_on = dead.iter().filter(|&place| is_notified(place));
        self.notify(passed_on.clone().count() as u64);
        for (ticket, _) in passed_on {
            self.leave(*ticket);
        }
    }
}

impl Condition {
    /// The words that the waiters with tickets from `first` to below `end` sleep on.
    fn wake_words(&self, first: u64, end: u64) -> impl Iterator<Item = &AtomicU32> {
        let tickets = first..end.min(first.saturating_add(WORDS));
        tickets.map(|ticket| self.wake_word(ticket))
    }

    /// Keeps the waiters with tickets from `first` to below `end` from falling asleep; under the
    /// bell.
    fn begin_wake(&self, first: u64, end: u64) {
        // Release: the bell was begun before (I5).
        self.woken.fetch_max(end, Ordering::Release);
        for word in self.wake_words(first, end) {
            // Release pairs with the Acquire of a waiter.
            word.fetch_add(1, Ordering::Release);
        }
    }

    /// Wakes all that sleep on their words; under the bell.
    fn end_wake(&self, first: u64, end: u64) {
        for word in self.wake_words(first, end) {
            futex::wake(word, u32::MAX);
        }
    }

    /// Wakes the waiters with tickets from `first` to below `end`; under the bell.
    fn wake(&self, first: u64, end: u64) {
        self.begin_wake(first, end);
        self.end_wake(first, end);
    }

    /// After the lock was released: wakes who was notified under it.
    fn end_handover(&self, first: u64, end: u64) {
        #[cfg(loom)]
        if self.notifier.dies_owing() {
            return;
        }
        self.count.under_bell(|| {
            self.begin_wake(first, end);
            self.notifier.end_handover();
            self.end_wake(first, end);
        });
    }

    /// Blocks until the ticket is notified or the deadline passes; looks after the dead meanwhile.
    /// Returns whether the kernel woke it for a dead one that no look has followed: the deadline
    /// passed before the lock could be had.
    fn sleep(&self, ticket: u64, deadline: Deadline) -> bool {
        let mut owes_a_look = false;
        let word = self.wake_word(ticket);
        let mut looks = self.swept.load(Ordering::Relaxed);
        let mut next_look = Deadline::after(RECHECK);
        loop {
            // Acquire both: before `notified` is looked at (I4, I5).
            let seen = word.load(Ordering::Acquire);
            let notifier = self.notifier.word_and_value();
            if self.is_notified(ticket) || deadline.is_expired() {
                return owes_a_look;
            }
            let until = deadline.earlier(next_look);
            let slept = self.count.sleep_beside((word, seen), notifier, until);
            owes_a_look |= slept == Sleep::Bell;
            let suspects = match slept {
                // A wake for another on the same word does not put the next look off.
                Sleep::Woken if !next_look.is_expired() => continue,
                Sleep::Bell => true,
                // Where many wait, not if another has finished a look since this one's last.
                Sleep::Woken | Sleep::TimedOut => {
                    owes_a_look
                        || self.swept.load(Ordering::Relaxed) == looks
                        || self.waiting() <= FEW
                }
            };
            next_look = Deadline::after(RECHECK);
            // After a death the lock may be the dead thread's, and marked in a moment; else a busy
            // lock leaves it to the next recheck. A dead owner is not hidden from the next one:
            // nothing is recovered.
            let patience = match slept {
                Sleep::Bell => deadline.earlier(next_look),
                Sleep::Woken | Sleep::TimedOut => Deadline::PASSED,
            };
            if suspects && let Ok(guard) = self.raw.lock_timeout(patience) {
                self.sweep();
                drop(guard);
                self.swept.fetch_add(1, Ordering::Relaxed);
                owes_a_look = false;
            }
            looks = self.swept.load(Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Condition")
            .field("holder", &self.holder())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

/// The held lock of a [`Condition`]; dropping it releases the lock.
///
/// It stays with the thread that acquired it. A leaked guard holds the lock until the thread ends;
/// then the next owner gets [`LockError::OwnerDied`]. In a forked child the parent's guard does
/// nothing. Nor do threads share it:
///
/// ```compile_fail,E0277
/// # fn notify(guard: mp_sync::ConditionGuard<'_>) {
/// std::thread::scope(|scope| scope.spawn(|| guard.notify(1)));
/// # }
/// ```
#[must_use = "the lock is released when the guard is dropped"]
#[derive(Debug)]
pub struct ConditionGuard<'a> {
    #[expect(dead_code, reason = "held for its drop")]
    raw: Guard<'a>,
    /// Dropped after `raw`, in the fields' order: the lock is released, then they are woken.
    owed: OwedWakes<'a>,
}

/// The wake-ups that the owner of the lock owes to waiters that it notified.
#[derive(Debug)]
struct OwedWakes<'a> {
    condition: &'a Condition,
    /// The first ticket, and the one after the last. A cell is not `Sync`: two threads that
    /// notified by one guard would not exclude each other (I1).
    first: Cell<u64>,
    end: Cell<u64>,
}

impl<'a> OwedWakes<'a> {
    fn none(condition: &'a Condition) -> Self {
        Self {
            condition,
            first: Cell::new(0),
            end: Cell::new(0),
        }
    }

    fn are_there(&self) -> bool {
        self.first.get() < self.end.get()
    }

    fn notify(&self, count: u64) {
        let condition = self.condition;
        let end = condition.end_of(count);
        if end == condition.notified.load(Ordering::Relaxed) {
            return;
        }
        if self.are_there() {
            condition.notify_until(end);
            self.end.set(end);
        } else if condition.notifier.begin_handover(&condition.raw) {
            let first = condition.notify_until(end);
            self.first.set(first);
            self.end.set(end);
        } else {
            condition.count.under_bell(|| condition.notify(count));
        }
    }
}

impl Drop for OwedWakes<'_> {
    #[inline]
    fn drop(&mut self) {
        // A forked child has a copy of what its parent owes.
        if self.are_there() && self.condition.notifier.is_held_here() {
            self.condition
                .end_handover(self.first.get(), self.end.get());
        }
    }
}

impl<'a> ConditionGuard<'a> {
    /// Releases the lock, blocks until another owner notifies this waiter, and acquires the lock
    /// again.
    ///
    /// It does not return early: there are no spurious wake-ups.
    ///
    /// # Errors
    ///
    /// - [`LockError::OwnerDied`] has the guard: it was notified, and the owner before it died.
    /// - [`LockError::Failed`] with [`ErrorKind::InvalidInput`] if 512 wait already, with
    ///   [`ErrorKind::Corrupt`] if the lock's bytes were overwritten, or if `/proc` does not tell
    ///   this process's start time. The lock is released then.
    pub fn wait(self) -> Locked<'a> {
        self.wait_timeout(Deadline::NEVER).map(|(guard, _)| guard)
    }

    /// [`wait`](Self::wait) up to `timeout`: a `Duration`, an `Instant` or a [`Deadline`]. Returns
    /// whether it was notified.
    ///
    /// The lock is acquired again without a timeout.
    ///
    /// # Errors
    ///
    /// Those of [`ConditionGuard::wait`]; [`LockError::OwnerDied`] does not tell whether it was
    /// notified.
    pub fn wait_timeout(self, timeout: impl Into<Deadline>) -> Locked<'a, (Self, bool)> {
        let deadline = timeout.into();
        let condition = self.owed.condition;
        let me = participant::this_process()?;
        // The bell rings from before the waiter is on the list until it is off it.
        condition.count.under_bell(|| {
            let ticket = condition.enter(me)?;
            drop(self);
            let owes_a_look = condition.sleep(ticket, deadline);
            let locked = condition.lock();
            // Of a lock that cannot be had again nothing can be said, and nothing written under it.
            let notified = condition.is_notified(ticket);
            if let Ok(_) | Err(LockError::OwnerDied(_)) = &locked {
                condition.leave(ticket);
                if owes_a_look {
                    condition.sweep();
                }
            }
            locked.map(|guard| (guard, notified))
        })
    }

    /// Waits until `predicate` is true, which is asked under the lock: first, and whenever this
    /// waiter was notified.
    ///
    /// # Errors
    ///
    /// Those of [`ConditionGuard::wait`].
    pub fn wait_for(self, predicate: impl FnMut() -> bool) -> Locked<'a> {
        self.wait_for_timeout(Deadline::NEVER, predicate)
            .map(|(guard, _)| guard)
    }

    /// [`wait_for`](Self::wait_for) up to `timeout`; returns what `predicate` said last.
    ///
    /// # Errors
    ///
    /// Those of [`ConditionGuard::wait`].
    pub fn wait_for_timeout(
        self,
        timeout: impl Into<Deadline>,
        mut predicate: impl FnMut() -> bool,
    ) -> Locked<'a, (Self, bool)> {
        let deadline = timeout.into();
        let mut guard = self;
        let mut notified = true;
        loop {
            let holds = predicate();
            if holds || !notified {
                return Ok((guard, holds));
            }
            (guard, notified) = guard.wait_timeout(deadline)?;
        }
    }

    /// Lets the `count` waiters return that have waited longest, or all if there are fewer.
    ///
    /// They are woken when this guard is dropped or waits, and return when they have the lock, one
    /// after the other.
    ///
    /// # If a process dies
    ///
    /// From here on they are notified, whenever this process dies: one of them then gets
    /// [`LockError::OwnerDied`] if it held the lock.
    pub fn notify(&self, count: usize) {
        self.owed.notify(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Lets all return that wait.
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }
}
