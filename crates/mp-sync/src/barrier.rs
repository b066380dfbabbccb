//! A point at which a number of threads wait for each other.
//!
//! # Source
//! CPython's `multiprocessing.Barrier`: a cyclic barrier that can break, on an [`EventCount`]
//! instead of a condition. Changed: who has arrived is kept by process, so that a death breaks the
//! barrier; nobody waits until all others of the last round have left; the lock is not held while
//! the action runs.
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
//!  136 reserved    0
//!  256 arrived     496 identities of processes; that of the nth arrival of the round
//! 4224 members     496 identities of processes that hold a `Party`, or 0
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
//! - Between the store that ends a round and the wake: the bell wakes a waiter, and each waiter
//!   that sees the end wakes all.

use std::fmt;
use std::ops::Deref;

use mp_layout::atomic::{AtomicU32, AtomicU64, Ordering};
use mp_layout::{Described, Error, ErrorKind, Kind, Result, TypeTag, shared_struct};
use mp_os::clock::Deadline;
use mp_os::process_id::ProcessIdentity;

use crate::raw_mutex::{Guard, RawMutex};
use crate::{EventCount, Wait, participant};

/// How many parties there can be, and how many [`Party`] guards.
const MOST: usize = if cfg!(loom) { 3 } else { 496 };

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
    /// # #[repr(align(8192))]
    /// # struct Memory([u64; 1024]);
    /// # let memory = Box::leak(Box::new(Memory([0; 1024])));
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
    pub struct Barrier: 8192 bytes {
        raw: RawMutex = "the mutex",
        count: EventCount = "what waiters sleep on",
        state: AtomicU64 = "bit 0 broken; bits 1..16 how many have arrived; the rest the round",
        last_broken: AtomicU64 = "0, or one more than the last round that a reset ended",
        cause: AtomicU64 = "why it broke last: the process that died, or a code in the upper 42 bits",
        swept: AtomicU64 = "how many looks for the dead were finished",
        parties: AtomicU32 = "how many a round takes",
        used: AtomicU32 = "how many of the members' words were ever used, from the first on",
        reserved: [AtomicU32; 30] = "0",
        arrived: [AtomicU64; MOST] = "the processes that have arrived in this round, in order",
        members: [AtomicU64; MOST] = "0, or a process whose death breaks the barrier",
    }
}

/// A word that names no process says another reason than a death.
const ABORTED: u64 = 1 << 22;
const TIMED_OUT: u64 = 2 << 22;
const PANICKED: u64 = 3 << 22;
const RESET: u64 = 4 << 22;

/// The word `state`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u64);

impl State {
    const BROKEN: u64 = 1;
    const ARRIVAL: u64 = 1 << 1;
    const ROUND: u64 = 1 << 17;

    fn is_broken(self) -> bool {
        self.0 & Self::BROKEN != 0
    }

    fn arrived(self) -> usize {
        ((self.0 % Self::ROUND) / Self::ARRIVAL) as usize
    }

    fn round(self) -> u64 {
        self.0 / Self::ROUND
    }

    fn with_another_arrival(self) -> Self {
        Self(self.0.wrapping_add(Self::ARRIVAL))
    }

    fn broken(self) -> Self {
        Self(self.0 | Self::BROKEN)
    }

    fn next_round(self) -> Self {
        Self(self.round().wrapping_add(1).wrapping_mul(Self::ROUND))
    }
}

/// How a round ended for one that had arrived in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Broken,
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
        let _guard = self.lock()?;
        let (state, parties) = (self.usable_state()?, self.parties());
        let is_last = state.arrived() + 1 == parties;
        if is_last {
            self.complete(state);
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

    /// Makes this process a participant whose death breaks the barrier, wherever it dies, until the
    /// returned value is dropped.
    ///
    /// It does not change how many parties a round takes, and any process may wait without it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if 496 of them exist, and those of [`Barrier::abort`].
    pub fn register(&self) -> Result<Party<'_>> {
        let me = participant::this_process()?;
        let _guard = self.lock()?;
        let place = match self.free_member() {
            Some(place) => place,
            None => {
                self.forget_dead_members();
                self.free_member().ok_or_else(|| {
                    Error::new(ErrorKind::InvalidInput, "take part in", "a barrier")
                        .with_detail(format!("{MOST} take part already, the most that can"))
                })?
            }
        };
        self.members[place].store(me.word(), Ordering::Release);
        Ok(Party {
            barrier: self,
            place,
            me,
        })
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
                        self.sleep_until(deadline, changed)
                            .ok_or_else(|| self.timed_out(self.state()))?;
                    }
                }
            }
        })
    }

    /// Sleeps under the bell until `test` gives something, and looks for the dead meanwhile.
    fn sleep_until<R>(&self, deadline: Deadline, test: impl FnMut() -> Option<R>) -> Option<R> {
        let sweep = || self.sweep();
        self.count
            .wait_and_sweep(Wait::Adaptive, deadline, &self.swept, test, sweep)
    }

    fn arrive(&self, me: ProcessIdentity, acts: bool) -> Result<Arrival> {
        let _guard = self.lock()?;
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
            self.complete(state);
            Ok(Arrival::Completed { index })
        }
    }

    /// Runs the action of a full round, without the lock, and lets all go on.
    fn run(&self, round: u64, action: Option<impl FnOnce()>) -> Result<()> {
        let on_panic = BreaksOnPanic {
            barrier: self,
            round,
        };
        if let Some(action) = action {
            action();
        }
        std::mem::forget(on_panic);
        on_a_thread_with_room(|| {
            let _guard = self.lock()?;
            let state = self.state();
            match self.end_of(round) {
                None => self.complete(state),
                // A party gave up meanwhile.
                Some(_) => return Err(self.broken()),
            }
            Ok(())
        })
    }

    fn await_end(&self, round: u64, deadline: Deadline) -> Result<()> {
        let end = self.sleep_until(deadline, || {
            let end = self.end_of(round)?;
            // Rule (c): who ended the round may have died before it woke the others.
            self.count.pass_on_to_all();
            Some(end)
        });
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

    fn complete(&self, state: State) {
        self.set_state(state.next_round());
        self.count.notify_all();
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

    /// Returns the place of a free word of a member, which `used` counts then (I3).
    fn free_member(&self) -> Option<usize> {
        let used = self.used_members();
        let is_free = |member: &AtomicU64| member.load(Ordering::Relaxed) == 0;
        let free = used.iter().position(is_free);
        if free.is_some() || used.len() == MOST {
            return free;
        }
        // Relaxed: one that looks for the dead and misses a new member finds it at its next look.
        self.used.store(used.len() as u32 + 1, Ordering::Relaxed);
        Some(used.len())
    }

    fn forget_dead_members(&self) {
        for member in self.used_members() {
            if participant::is_gone(member.load(Ordering::Relaxed)) {
                member.store(0, Ordering::Relaxed);
            }
        }
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

    /// Breaks the barrier if one that has arrived, or a member, is dead.
    fn sweep(&self) {
        let seen = self.state();
        if seen.is_broken() {
            return;
        }
        // The proofs are system calls: without the lock, so that others can arrive.
        let Some(dead) = self.find_dead(seen) else {
            return;
        };
        // A busy lock leaves it to the next look.
        let Ok(mut guard) = self.raw.try_lock() else {
            return;
        };
        guard.recover();
        // The dead of a round that was completed broke nothing.
        if self.state().round() == seen.round() {
            self.break_round(dead);
            self.forget_dead_members();
        }
    }

    /// The words that may be of a member (I3).
    fn used_members(&self) -> &[AtomicU64] {
        &self.members[..(self.used.load(Ordering::Relaxed) as usize).min(MOST)]
    }

    fn find_dead(&self, state: State) -> Option<u64> {
        let arrived = &self.arrived[..state.arrived().min(MOST)];
        let arrived = arrived.iter().map(|word| word.load(Ordering::Relaxed));
        let members = self
            .used_members()
            .iter()
            .map(|word| word.load(Ordering::Relaxed));
        // 0 is of no process: the words were overwritten (I2).
        let is_gone = |&word: &u64| word == 0 || participant::is_gone(word);
        arrived
            .chain(members.filter(|&word| word != 0))
            .find(is_gone)
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

/// Ends the round of an action; if that has left this thread with as many locks as one can hold, on
/// another thread, or the other parties would wait forever.
fn on_a_thread_with_room(end: impl Fn() -> Result<()> + Sync) -> Result<()> {
    match end() {
        Err(error) if error.kind() == ErrorKind::TooManyHeld => std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .spawn_scoped(scope, &end)
                .map_err(|source| {
                    Error::os("start a thread for", "a barrier", source).with_detail(
                        "this thread holds too many locks to end the round; release some, and let `abort` or `reset` \
                         end it for the other parties",
                    )
                })?;
            thread.join().unwrap_or(Err(error))
        }),
        ended => ended,
    }
}

/// Breaks the barrier when it is dropped, which a panic does.
struct BreaksOnPanic<'a> {
    barrier: &'a Barrier,
    round: u64,
}

impl Drop for BreaksOnPanic<'_> {
    fn drop(&mut self) {
        let is_this_round = |state: State| (state.round() == self.round).then_some(PANICKED);
        // Where the lock cannot be had, the others find this arrival dead or get the lock's error
        // themselves.
        on_a_thread_with_room(|| self.barrier.break_under_lock(is_this_round)).unwrap_or_default();
    }
}

/// A process as a participant of a [`Barrier`], which breaks if it dies; dropping this ends it.
///
/// A leaked one stays until the process ends, which then breaks the barrier. In a forked child the
/// parent's does nothing.
#[must_use = "the process takes part until this is dropped"]
#[derive(Debug)]
pub struct Party<'a> {
    barrier: &'a Barrier,
    place: usize,
    me: ProcessIdentity,
}

impl Deref for Party<'_> {
    type Target = Barrier;

    fn deref(&self) -> &Barrier {
        self.barrier
    }
}

impl Drop for Party<'_> {
    fn drop(&mut self) {
        if ProcessIdentity::current().is_ok_and(|me| me == self.me) {
            // Release: what this process did comes before it leaves.
            self.barrier.members[self.place].store(0, Ordering::Release);
        }
    }
}
