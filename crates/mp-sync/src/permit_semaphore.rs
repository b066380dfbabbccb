//! A number of permits that belong to the processes which took them.
//!
//! # Source
//! A counting semaphore (Dijkstra) as an array of owner words, one per permit, on an
//! [`EventCount`]. Changed: a permit names the process that took it, so that it comes back when
//! that process dies.
//!
//! # Layout
//! ```text
//!   0 count    the eventcount, 48 bytes
//!  48 swept    how many looks for the dead were finished
//!  56 permits  how many there are
//!  60 reserved 0
//! 128 owners   512 words: 0, or the process that has this permit
//! ```
//!
//! # Invariants
//! - I1 An owner word leaves 0 by a compare-and-swap to the identity of the process that executes
//!   it.
//! - I2 It returns to 0 by its owner, or by a compare-and-swap from exactly the identity of a
//!   process that is dead. Identities are not used again, so a late sweep takes nothing from the
//!   living.
//! - I3 How many permits are free is the number of words that are 0, and nothing else keeps it.
//!
//! # Orderings
//! A permit is taken with Acquire and given back with SeqCst, so that
//! [`EventCount::notify_committed`] will do. After a death the proof itself orders: the kernel
//! reports the end of a process after its last store.
//!
//! # Progress
//! Giving back is wait-free without waiters; `try_acquire` and `sweep` are lock-free, but for
//! system calls while no permit is free; `acquire` blocks. Waiters are not served in order. Taking
//! a permit looks at the words one by one: a nanosecond each.
//!
//! # If a process dies
//! - With permits: they come back. Waiters look, within 500 ms, an attempt that finds none looks
//!   immediately, and [`PermitSemaphore::sweep`] does so on demand.
//! - In `acquire` or in giving back: the bell wakes a waiter, which looks for the dead.
//! - In a sweep: each word is a step of its own, and the next process finds what is left.

use std::fmt;

use mp_layout::atomic::{AtomicU32, AtomicU64, Ordering};
use mp_layout::{Described, Error, ErrorKind, Kind, Result, TypeTag, shared_struct};
use mp_os::clock::Deadline;
use mp_os::process_id::ProcessIdentity;

use crate::{EventCount, Holder, participant};

/// How many permits there can be.
const MOST: usize = if cfg!(loom) { 2 } else { 512 };

shared_struct! {
    /// A semaphore in shared memory whose permits are owned: each is a [`Permit`], which gives
    /// itself back when it is dropped, and comes back when its process dies.
    ///
    /// For what is limited in number and used for a while: connections, devices, memory. Where one
    /// process takes and another gives back, it is a [`Semaphore`](crate::Semaphore).
    ///
    /// # If a process dies
    ///
    /// Its permits come back: waiters find them within 500 ms. A process that runs another program
    /// by `exec` keeps them until that ends.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_layout::Described;
    /// use mp_sync::PermitSemaphore;
    ///
    /// # #[repr(align(64))]
    /// # struct Memory([u64; 528]);
    /// # let memory = Box::leak(Box::new(Memory([0; 528])));
    /// let connections: &PermitSemaphore = mp_layout::Region::from_exclusive(&mut memory.0).place(0)?;
    /// connections.initialise(2)?;
    /// let one = connections.acquire()?;
    /// let other = connections.acquire()?;
    /// assert!(connections.try_acquire()?.is_none());
    /// drop(one);
    /// assert_eq!(connections.available(), 1);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    #[repr(align(64))]
    pub struct PermitSemaphore: 4224 bytes {
        count: EventCount = "what waiters sleep on",
        swept: AtomicU64 = "how many looks for the dead were finished",
        permits: AtomicU32 = "how many permits there are",
        reserved: [AtomicU32; 17] = "0",
        owners: [AtomicU64; MOST] = "0, or the process that has this permit",
    }
}

// SAFETY: only `PermitSemaphore` is of kind permit semaphore.
unsafe impl Described for PermitSemaphore {
    const KIND: Kind = Kind::PermitSemaphore;

    /// How many permits it has.
    type Initial = u32;

    fn tag() -> TypeTag {
        TypeTag::NONE
    }

    fn initialise(&self, permits: u32) -> Result<()> {
        if permits == 0 || permits as usize > MOST {
            return Err(
                Error::new(ErrorKind::InvalidInput, "make", "a permit semaphore")
                    .with_detail(format!("{permits} permits; there can be 1 to {MOST}")),
            );
        }
        // Relaxed: what publishes the object orders it.
        self.permits.store(permits, Ordering::Relaxed);
        Ok(())
    }
}

impl PermitSemaphore {
    /// Takes a permit; blocks until there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidState`] if it was never given permits, or what keeps `/proc` from
    /// telling this process's start time.
    pub fn acquire(&self) -> Result<Permit<'_>> {
        loop {
            if let Some(permit) = self.acquire_timeout(Deadline::NEVER)? {
                return Ok(permit);
            }
        }
    }

    /// Takes a permit if one is free, or its owner is dead; `None` if there is none.
    ///
    /// Before it says that there is none, it looks for the dead: some system calls for each permit.
    ///
    /// # Errors
    ///
    /// Those of [`PermitSemaphore::acquire`].
    pub fn try_acquire(&self) -> Result<Option<Permit<'_>>> {
        self.acquire_timeout(Deadline::PASSED)
    }

    /// Takes a permit, and waits for one up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`]. `None` if it passed; not while a dead process has one.
    ///
    /// # Errors
    ///
    /// Those of [`PermitSemaphore::acquire`].
    pub fn acquire_timeout(&self, timeout: impl Into<Deadline>) -> Result<Option<Permit<'_>>> {
        let me = participant::this_process()?;
        if self.permits() == 0 {
            return Err(Error::new(
                ErrorKind::InvalidState,
                "acquire a permit of",
                "a permit semaphore",
            )
            .with_detail("it was never given permits"));
        }
        let deadline = timeout.into();
        // All of it: who dies with a permit before it returns is found immediately.
        let taken = self.count.under_bell(|| {
            let take = || self.take_and_pass_on(me);
            let sweep = |_| {
                self.sweep();
            };
            self.take(me)
                .or_else(|| {
                    self.count
                        .wait_and_sweep(deadline, &self.swept, None, take, sweep)
                })
                // No time is left: a dead process's permit is free.
                .or_else(|| (self.sweep() > 0).then(|| self.take(me)).flatten())
        });
        Ok(taken.map(|number| Permit {
            semaphore: self,
            number,
            me,
        }))
    }

    /// How many permits there are, free or not.
    #[must_use]
    pub fn permits(&self) -> usize {
        self.owners().len()
    }

    /// How many are free; another process may take or give back some before this returns. Those of
    /// the dead are not free until they are found.
    #[must_use]
    pub fn available(&self) -> usize {
        let is_free = |owner: &&AtomicU64| owner.load(Ordering::Relaxed) == 0;
        self.owners().iter().filter(is_free).count()
    }

    /// What is notified when a permit is given back, for who waits for something else as well.
    pub fn event_count(&self) -> &EventCount {
        &self.count
    }

    /// Whether a thread sleeps for a permit, or did until one was given back; how many is not
    /// known.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.count.has_sleepers()
    }

    /// The processes that have permits, each as often as it has one.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        let words = self.owners().iter().map(|o| o.load(Ordering::Relaxed));
        words
            .filter_map(ProcessIdentity::from_word)
            .map(|process| Holder::process(process.pid(), std::time::Duration::ZERO))
            .collect()
    }

    /// Gives back the permits of dead processes; returns how many this call gave back.
    ///
    /// Waiters do so by themselves; this is for who has just seen a process end.
    pub fn sweep(&self) -> usize {
        self.count.under_bell(|| {
            let swept = self.owners().iter().filter(|owner| {
                let word = owner.load(Ordering::Relaxed);
                participant::is_gone(word) && self.give_back(owner, word)
            });
            swept.count()
        })
    }

    fn owners(&self) -> &[AtomicU64] {
        let permits = self.permits.load(Ordering::Relaxed) as usize;
        &self.owners[..permits.min(MOST)]
    }

    /// Takes a free permit; returns its number.
    #[inline]
    fn take(&self, me: ProcessIdentity) -> Option<usize> {
        let mut free = self.owners().iter().enumerate();
        free.find_map(|(number, owner)| {
            let is_free = owner.load(Ordering::Relaxed) == 0;
            // Acquire pairs with `give_back`.
            let taken = is_free
                && owner
                    .compare_exchange(0, me.word(), Ordering::Acquire, Ordering::Relaxed)
                    .is_ok();
            taken.then_some(number)
        })
    }

    fn take_and_pass_on(&self, me: ProcessIdentity) -> Option<usize> {
        let number = self.take(me)?;
        // Rule (b): who gave back several may have died after its first wake-up, and its bell may
        // have rung for the same waiter.
        if self.count.has_sleepers() && self.available() > 0 {
            self.count.notify(1);
        }
        Some(number)
    }

    /// Frees a permit and wakes a waiter, under the bell; false if `owner` has not had it any more.
    fn give_back(&self, permit: &AtomicU64, owner: u64) -> bool {
        // SeqCst for `notify_committed`; Release pairs with the Acquire of the next owner.
        let freed = permit
            .compare_exchange(owner, 0, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok();
        if freed {
            self.count.notify_committed(1);
        }
        freed
    }
}

impl fmt::Debug for PermitSemaphore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PermitSemaphore")
            .field("permits", &self.permits())
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

/// A permit of a [`PermitSemaphore`]; dropping it gives it back.
///
/// It belongs to the process, whose threads may pass it on. A leaked one comes back when the
/// process ends. In a forked child the parent's does nothing.
#[must_use = "the permit is given back when this is dropped"]
#[derive(Debug)]
pub struct Permit<'a> {
    semaphore: &'a PermitSemaphore,
    number: usize,
    me: ProcessIdentity,
}

impl Permit<'_> {
    /// Its number, from 0: no other permit that is taken has it. So it can name one of as many
    /// things.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let semaphore = self.semaphore;
        semaphore.count.under_bell(|| {
            if ProcessIdentity::current().is_ok_and(|me| me == self.me) {
                semaphore.give_back(&semaphore.owners[self.number], self.me.word());
            }
        });
    }
}
