//! A point at which a number of threads wait for each other.
//!
//! # Source
//! CPython's `multiprocessing.Barrier`: a cyclic barrier that can break, on an [`EventCount`]
//! instead of a condition. Changed: who has arrived is kept by process, so that a death breaks the
//! barrier; no process waits until all others of the last round have left; the lock is not held
//! while the action runs.
//!
//! # Layout
//! ```text
//!    0 raw         the mutex, 48 bytes
//!   48 count       the eventcount, 48 bytes
//!   96 state       bit 0 BROKEN, bits 1..16 how many have arrived, the rest the round
//!  104 last_broken 0, or one more than the last round that was broken and left behind by a reset
//!  112 cause       why the barrier broke last: a process that died, or a code
//!  120 swept       how many looks for the dead were finished
//!  128 parties     how many a round takes
//!  132 used        how many of the members' words were ever used, from the first on
//!  136 notifier    a mutex: held by the last party while it releases `raw`, 48 bytes
//!  184 reserved    0
//!  256 arrived     512 identities of processes; that of the nth arrival of the round
//! 4352 members     512 identities of processes that hold a `Party`, or 0
//! ```
//!
//! # Invariants
//! - I1 All words are written by the owner of `raw` only, but `swept`, which is a hint, and the
//!   member's word, which the member itself clears.
//! - I2 The identity of an arrival is there before `state` counts it.
//! - I3 A member's word is not 0 only where `used` counts it, which is stored first and never gets
//!   less: looks for the dead end there.
//! - I4 `state` moves in single stores: an arrival more; the next round without arrivals; BROKEN. A
//!   broken round ends by a reset only, which first notes it in `last_broken`.
//! - I5 Where others sleep, the last party holds `notifier` from before the store that ends the
//!   round until it has released `raw` and changed the eventcount's word; then it wakes them.
//!   Waiters sleep on the word of `notifier` as well, so one is woken if it dies in between.
//!
//! # Orderings
//! `state` is stored with Release and loaded with Acquire: who returns from a round sees what all
//! parties did before they arrived, since they passed through the mutex to the last one. Sleeping
//! is the eventcount's.
//!
//! # Progress
//! Waiting blocks. `abort` and `reset` take the mutex, which is held for some stores; asking takes
//! loads.
//!
//! # If a process dies
//! - While it waits: its bell wakes a waiter, which finds it in `arrived`, and breaks the barrier.
//!   What the bell does not cover (no other waits yet, or the death while the mutex is taken)
//!   waiters find at their recheck, within 500 ms. If the other parties arrive before that, the
//!   round is complete.
//! - While it runs the action: the same; it has arrived.
//! - Anywhere, and it holds a [`Party`]: waiters find it at their recheck, too.
//! - Between two stores: each is a whole step (I4). In a reset: the barrier stays broken, or is
//!   reset.
//! - Between the store that ends a round and the wake: the word of `notifier`, then the bell, wakes
//!   a waiter, and one that was woken so wakes all, whichever round it waits for. Where the last
//!   party does not hold `notifier` (it saw no sleeper, holds 1024 locks, or another has it), there
//!   is the bell alone, and a waiter that falls asleep just then wakes at its recheck, within 250
//!   ms: the bell has no memory, see [`EventCount`].

use std::fmt;

use mp_layout::atomic::{AtomicU32, AtomicU64, Ordering};
use mp_layout::{Described, Error, ErrorKind, Kind, Result, TypeTag, shared_struct};
use mp_os::clock::Deadline;
use mp_os::process_id::ProcessIdentity;

use crate::raw_mutex::{Guard, RawMutex};
use crate::{EventCount, Sleep, participant};

mod action;
mod deaths;
mod party;
mod state;

pub use party::Party;
use state::{ABORTED, End, PANICKED, RESET, State, TIMED_OUT};

/// How many parties there can be, and how many [`Party`] guards.
const MOST: usize = if cfg!(loom) { 3 } else { 512 };

shared_struct! {
    /// A barrier in shared memory: its parties wait until as many have arrived as a round takes,
    /// and then all go on.
    ///
    /// It breaks if a party gives up, dies, or aborts it; then all that wait or come get
    /// [`ErrorKind::Broken`], until it is reset. So no party waits for one that never comes.
    ///
    /// # If a process dies
    ///
    /// While it waits: the barrier breaks. Elsewhere: only if it holds a [`Party`]; else the others
    /// wait for it, as in Python. A process that runs another program by `exec` is not dead.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_layout::Described;
    /// use mp_sync::Barrier;
    ///
    /// # #[repr(align(64))]
    /// # struct Memory([u64; 1056]);
    /// # let memory = Box::leak(Box::new(Memory([0; 1056])));
    /// # let barrier: &Barrier = unsafe { mp_layout::Region::from_exclusive(&mut memory.0).place_guarded(0)? };
    /// barrier.initialise(2)?;
    /// std::thread::scope(|scope| -> mp_layout::Result<()> {
    ///     let other = scope.spawn(|| barrier.wait());
    ///     let mine = barrier.wait()?;
    ///     let theirs = other.join().expect("no panic")?;
    ///     assert_eq!(mine + theirs, 1, "each gets a number of its own, from 0");
    ///     Ok(())
    /// })?;
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    #[repr(align(64))]
    pub struct Barrier: 8448 bytes {
        raw: RawMutex = "the mutex",
        count: EventCount = "what waiters sleep on",
        state: AtomicU64 = "bit 0 broken; bits 1..16 how many have arrived; the rest the round",
        last_broken: AtomicU64 = "0, or one more than the last round that a reset ended",
        cause: AtomicU64 = "why it broke last: the process that died, or a code in the upper 42 bits",
        swept: AtomicU64 = "how many looks for the dead were finished",
        parties: AtomicU32 = "how many a round takes",
        used: AtomicU32 = "how many of the members' words were ever used, from the first on",
        notifier: RawMutex = "held by the last party while it releases the mutex",
        reserved: [AtomicU64; 9] = "0",
        arrived: [AtomicU64; MOST] = "the processes that have arrived in this round, in order",
        members: [AtomicU64; MOST] = "0, or a process whose death breaks the barrier",
    }
}

/// What became of an attempt to arrive.
enum Arrival {
    /// As the nth of its round, which goes on.
    Waits { round: u64, index: usize },
    /// As the last, with the action to run before the others go on.
    Acts { round: u64, index: usize },
    /// As the last, and the others go on.
    Completed { index: usize },
    /// All parties have arrived, and the action runs: look again when the state is another.
    RoundIsFull(State),
}

// SAFETY: only `Barrier` is of kind barrier.
unsafe impl Described for Barrier {
    const KIND: Kind = Kind::Barrier;

    /// How many parties it has.
    type Initial = u32;

    fn tag() -> TypeTag {
        TypeTag::NONE
    }

    fn initialise(&self, parties: u32) -> Result<()> {
        if parties == 0 || parties as usize > MOST {
            return Err(Error::new(ErrorKind::InvalidInput, "make", "a barrier")
                .with_detail(format!("{parties} parties; there can be 1 to {MOST}")));
        }
        // Relaxed: what publishes the object orders it.
        self.parties.store(parties, Ordering::Relaxed);
        Ok(())
    }
}

impl Barrier {
    /// Waits until all parties have arrived; returns this one's number, from 0, in the order of
    /// arrival.
    ///
    /// More than there are parties may use it: then any of them make a round.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Broken`] if the barrier is broken, or breaks during the wait; it says by
    ///   what. A party that has not yet returned from a complete round gets it as well if the
    ///   barrier has broken and been reset since.
    /// - [`ErrorKind::InvalidState`] if the barrier was never given its number of parties.
    /// - [`ErrorKind::TooManyHeld`] if this thread holds 1024 locks, [`ErrorKind::Corrupt`] if the
    ///   barrier's bytes were overwritten, or what keeps `/proc` from telling this process's start
    ///   time. Then it has not arrived.
    pub fn wait(&self) -> Result<usize> {
        self.wait_timeout(Deadline::NEVER)
    }

    /// [`wait`](Self::wait) up to `timeout`: a `Duration`, an `Instant` or a [`Deadline`]. When it
    /// passes, the barrier breaks, as in Python. Zero is for the last party to arrive.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`], which says how many had arrived; the others get
    /// [`ErrorKind::Broken`]. The barrier does not break if the timeout passes while the action
    /// of a full round runs. And those of [`Barrier::wait`].
    pub fn wait_timeout(&self, timeout: impl Into<Deadline>) -> Result<usize> {
        self.pass(timeout.into(), None::<fn()>)
    }

    /// Completes the round if this party is the last that is missing, and returns its number. Else
    /// it does not arrive, the barrier does not break, and the result is `None`.
    ///
    /// For a party that has other work until all others are there. Two that only try never meet: at
    /// least one party waits.
    ///
    /// Looks for the dead where it finds another party missing: one or two system calls for each
    /// that waits or holds a [`Party`].
    ///
    /// # Errors
    ///
    /// Those of [`Barrier::wait`].
    pub fn try_wait(&self) -> Result<Option<usize>> {
        self.count.under_bell(|| {
            let index = self.complete_as_last()?;
            if index.is_none() {
                // Those that wait look for the dead, and may be the dead.
                self.sweep();
                self.usable_state()?;
            }
            Ok(index)
        })
    }

    fn complete_as_last(&self) -> Result<Option<usize>> {
        let guard = self.lock()?;
        let (state, parties) = (self.usable_state()?, self.parties());
        let is_last = state.arrived() + 1 == parties;
        if is_last {
            self.complete(state, guard);
        }
        Ok(is_last.then_some(state.arrived()))
    }

    /// [`wait`](Self::wait); if this party is the last to arrive, it runs `action` before all go
    /// on.
    ///
    /// Python takes the action when the barrier is made. A function cannot lie in shared memory, so
    /// here each party brings it. If it panics, the barrier breaks, and the panic goes on in
    /// this thread.
    ///
    /// # Errors
    ///
    /// Those of [`Barrier::wait`]; the action has run although the barrier is broken if another
    /// party gave up meanwhile.
    pub fn wait_and_run(&self, action: impl FnOnce()) -> Result<usize> {
        self.wait_and_run_timeout(Deadline::NEVER, action)
    }

    /// [`wait_and_run`](Self::wait_and_run) up to `timeout`. The action itself is not interrupted.
    ///
    /// # Errors
    ///
    /// Those of [`Barrier::wait_timeout`].
    pub fn wait_and_run_timeout(
        &self,
        timeout: impl Into<Deadline>,
        action: impl FnOnce(),
    ) -> Result<usize> {
        self.pass(timeout.into(), Some(action))
    }

    /// Breaks the barrier: all that wait, and all that come, get [`ErrorKind::Broken`] until it is
    /// reset.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyHeld`] and [`ErrorKind::Corrupt`], as for [`Barrier::wait`].
    pub fn abort(&self) -> Result<()> {
        self.break_under_lock(|_| Some(ABORTED))
    }

    /// Makes the barrier usable again, with no party there: those that wait get
    /// [`ErrorKind::Broken`].
    ///
    /// # Errors
    ///
    /// Those of [`Barrier::abort`].
    pub fn reset(&self) -> Result<()> {
        self.count.under_bell(|| {
            let _guard = self.lock()?;
            // They have broken it, or would break it again.
            self.forget_dead_members();
            let state = self.state();
            if state.arrived() == 0 && !state.is_broken() {
                return Ok(());
            }
            self.break_round(RESET);
            // Before the round ends (I4).
            self.last_broken
                .store(state.round().wrapping_add(1), Ordering::Relaxed);
            self.set_state(state.next_round());
            self.count.notify_all();
            Ok(())
        })
    }

    /// Whether it is broken; another process may break or reset it before this returns.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.state().is_broken()
    }

    /// How many a round takes.
    #[must_use]
    pub fn parties(&self) -> usize {
        (self.parties.load(Ordering::Relaxed) as usize).min(MOST)
    }

    /// How many wait; more or fewer may before this returns. 0 if it is broken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let state = self.state();
        if state.is_broken() {
            0
        } else {
            state.arrived()
        }
    }

    fn state(&self) -> State {
        // Acquire pairs with `set_state`.
        State(self.state.load(Ordering::Acquire))
    }

    fn lock(&self) -> Result<Guard<'_>> {
        let mut guard = self.raw.lock()?;
        // Each store was a whole step.
        guard.recover();
        Ok(guard)
    }

    fn pass(&self, deadline: Deadline, action: Option<impl FnOnce()>) -> Result<usize> {
        let me = participant::this_process()?;
        self.count.under_bell(|| {
            loop {
                match self.arrive(me, action.is_some())? {
                    Arrival::Completed { index } => return Ok(index),
                    Arrival::Acts { round, index } => {
                        self.run(round, action)?;
                        return Ok(index);
                    }
                    Arrival::Waits { round, index } => {
                        self.await_end(round, deadline)?;
                        return Ok(index);
                    }
                    Arrival::RoundIsFull(full) => {
                        let changed = || (self.state() != full).then_some(());
                        let sweep = |slept| self.sweep_and_pass_on(slept, || changed().is_some());
                        self.sleep_until(deadline, changed, sweep)
                            .ok_or_else(|| self.timed_out(self.state()))?;
                    }
                }
            }
        })
    }

    /// Sleeps under the bell until `test` gives something, and runs `sweep` when a process may have
    /// died.
    fn sleep_until<R>(
        &self,
        deadline: Deadline,
        test: impl FnMut() -> Option<R>,
        sweep: impl Fn(Sleep),
    ) -> Option<R> {
        self.count
            .wait_and_sweep(deadline, &self.swept, Some(&self.notifier), test, sweep)
    }

    /// When a process may have died: looks for the dead, and wakes all if the bell rang or the
    /// round has ended, since the one that ended it may have died before it woke them (rule c). One
    /// that hears the bell may wait for the next round already, and those of the ended one sleep.
    ///
    /// One that was woken by it does not: a single system call wakes all that sleep, and another
    /// would wake those that wait for the next round by now.
    fn sweep_and_pass_on(&self, slept: Sleep, has_ended: impl Fn() -> bool) {
        self.sweep();
        if slept == Sleep::Bell || has_ended() {
            self.count.pass_on_to_all();
        }
    }

    fn arrive(&self, me: ProcessIdentity, acts: bool) -> Result<Arrival> {
        let guard = self.lock()?;
        let (state, parties) = (self.usable_state()?, self.parties());
        let (round, index) = (state.round(), state.arrived());
        if index >= parties {
            return Ok(Arrival::RoundIsFull(state));
        }
        self.arrived[index].store(me.word(), Ordering::Relaxed);
        if index + 1 < parties {
            self.set_state(state.with_another_arrival());
            Ok(Arrival::Waits { round, index })
        } else if acts {
            self.set_state(state.with_another_arrival());
            Ok(Arrival::Acts { round, index })
        } else {
            self.complete(state, guard);
            Ok(Arrival::Completed { index })
        }
    }

    fn await_end(&self, round: u64, deadline: Deadline) -> Result<()> {
        let sweep = |slept| self.sweep_and_pass_on(slept, || self.end_of(round).is_some());
        let end = self.sleep_until(deadline, || self.end_of(round), sweep);
        match end {
            Some(End::Complete) => Ok(()),
            Some(End::Broken) => Err(self.broken()),
            None => self.give_up(round),
        }
    }

    /// Breaks the round because a party's time has passed, unless it has ended meanwhile.
    fn give_up(&self, round: u64) -> Result<()> {
        let (end, state) = {
            let _guard = self.lock()?;
            let (end, state) = (self.end_of(round), self.state());
            if end.is_none() {
                self.break_round(TIMED_OUT);
            }
            (end, state)
        };
        // The texts are made without the lock, which no other party need wait for meanwhile.
        match end {
            Some(End::Complete) => Ok(()),
            Some(End::Broken) => Err(self.broken()),
            None => Err(self.timed_out(state)),
        }
    }

    /// How the round ended for one that has arrived in it; `None` if it goes on.
    fn end_of(&self, round: u64) -> Option<End> {
        let state = self.state();
        if state.round() == round {
            return state.is_broken().then_some(End::Broken);
        }
        // A later round's end hides this one's: what is left is that the barrier has broken since.
        if self.last_broken.load(Ordering::Relaxed) > round {
            return Some(End::Broken);
        }
        Some(End::Complete)
    }

    #[cold]
    fn broken(&self) -> Error {
        let cause = match self.cause.load(Ordering::Relaxed) {
            ABORTED => "it was aborted".to_owned(),
            TIMED_OUT => "a party waited until its timeout".to_owned(),
            PANICKED => "its action panicked".to_owned(),
            RESET => "it was reset while parties waited".to_owned(),
            word => match ProcessIdentity::from_word(word) {
                Some(process) => format!("process {} died", process.pid()),
                None => "its words were overwritten".to_owned(),
            },
        };
        Error::new(ErrorKind::Broken, "wait at", "a barrier").with_detail(format!(
            "the barrier is broken: {cause}; reset makes it usable"
        ))
    }

    #[cold]
    fn timed_out(&self, state: State) -> Error {
        let (arrived, parties) = (state.arrived(), self.parties());
        Error::new(ErrorKind::TimedOut, "wait at", "a barrier").with_detail(format!(
            "timed out when {arrived} of {parties} parties had arrived"
        ))
    }
}

/// What only the owner of the mutex does (I1), under the bell.
impl Barrier {
    fn set_state(&self, state: State) {
        // Release pairs with `state`.
        self.state.store(state.0, Ordering::Release);
    }

    /// Ends a round and releases the lock; then the others are woken, which need it for the next
    /// round (I5).
    fn complete(&self, state: State, guard: Guard<'_>) {
        // One that falls asleep after this look is woken under the lock.
        if self.count.has_sleepers() && self.notifier.begin_handover(&self.raw) {
            self.set_state(state.next_round());
            drop(guard);
            self.count.hand_over_to_all(&self.notifier);
        } else {
            self.set_state(state.next_round());
            self.count.notify_all();
        }
    }

    fn break_round(&self, cause: u64) {
        let state = self.state();
        if !state.is_broken() {
            self.cause.store(cause, Ordering::Relaxed);
            self.set_state(state.broken());
        }
        // Also if it was broken: its breaker may have died before the wake.
        self.count.notify_all();
    }

    /// The state of a barrier at which a party may arrive.
    fn usable_state(&self) -> Result<State> {
        let state = self.state();
        if state.is_broken() {
            return Err(self.broken());
        }
        if self.parties() == 0 {
            return Err(Error::new(ErrorKind::InvalidState, "wait at", "a barrier")
                .with_detail("it was never given its number of parties"));
        }
        Ok(state)
    }
}

impl Barrier {
    fn break_under_lock(&self, cause: impl Fn(State) -> Option<u64>) -> Result<()> {
        self.count.under_bell(|| {
            let _guard = self.lock()?;
            if let Some(cause) = cause(self.state()) {
                self.break_round(cause);
            }
            Ok(())
        })
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.waiting())
            .field("is_broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}
