//! Which processes may reach the elements of an array, and in which way.
//!
//! # Layout
//!
//! ```text
//! payload 0     control: mutex, chunk_len, writer, frozen, returned   (128 bytes)
//! payload 128   words: one owner per chunk, see `max_chunks`          (8 bytes each)
//! segment, next multiple of 4096: the elements
//! ```
//!
//! # Invariants
//!
//! - I1: elements are reached in one of four ways: one by one under the mutex; as one slice by an
//!   [`ArrayGuard`](crate::ArrayGuard), which has the mutex; as a slice of a chunk by its owner;
//!   read-only when frozen.
//! - I2: `writer` is 0, or names the process to which the elements are lent as one slice (or which
//!   writes an element in several pieces). It is changed under the mutex only. A living process in
//!   it means that no other process may reach them, even if the mutex is free: the thread ended and
//!   its guard was leaked, so the slice may still be in use.
//! - I3: a dead process in `writer` stays there, or in the guard that found it and puts it back,
//!   until a process recovers the elements. So they count as half written until then.
//! - I4: `frozen` becomes 1 once, under the mutex, while no chunk is claimed and nothing is half
//!   written. From then on no process writes elements, so all may have slices of them.
//! - I5: claimed chunks and access to the whole exclude each other, see [`crate::partition`].
//! - I6: a process that wants the whole never sleeps with the mutex: a process that has a chunk may
//!   need it to go on.
//!
//! # Orderings
//!
//! The mutex orders everything but `frozen`: stored with Release after the last write of an
//! element, loaded with Acquire by those who read without the mutex. `writer` is stored before the
//! first write (a Release fence keeps the order) and cleared after the last one (Release), for a
//! death in between.
//!
//! # Progress
//!
//! Blocking; reading a frozen array is wait-free. Access to the whole waits until each chunk that
//! it finds claimed is given back; chunks may be claimed meanwhile, so processes that never stop
//! claiming keep it waiting.
//!
//! # If a process dies
//!
//! Holding the mutex: the next `lock` or `get_lock` gets `OwnerDied`. With the slice: `writer`
//! names it until a process recovers the elements. With a chunk: the chunk's word names it, see
//! [`crate::partition`]; a process that waits for it proves the death at its next recheck, 250 ms
//! later at the most. Between giving a chunk back and the wake: the bell of `returned` wakes
//! one sleeper, and each that finds its chunk given back wakes the others.

use core::cell::Cell;
use core::convert::Infallible;
use core::num::NonZeroU64;
use std::time::{Duration, Instant};

use mp_layout::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use mp_layout::{Error, ErrorKind, Result, shared_struct};
use mp_object::owner::this_process;
use mp_object::{OwnerWord, ProcessIdentity, owner};
use mp_os::clock::Deadline;
use mp_sync::{EventCount, Guard, Holder, LockError, Outcome, RawLockError, RawMutex, Wait};

use crate::partition::{LivingClaim, Partition, Whole};

/// The most chunks that an array of `len` elements can be divided into: 4096, or one for each 4096
/// elements if those are more.
///
/// So the owner words of a large array take 1/512 of the elements at most, if those are bytes.
pub(crate) const fn max_chunks(len: usize) -> usize {
    const ALWAYS: usize = 4096;
    const LEN_EACH: usize = 4096;
    if len / LEN_EACH > ALWAYS {
        len / LEN_EACH
    } else if len < ALWAYS {
        len
    } else {
        ALWAYS
    }
}

shared_struct! {
    /// What lies in front of the owner words.
    #[derive(Debug)]
    #[repr(align(128))]
    pub(crate) struct ArrayControl as "Array: control": 128 bytes {
        pub(crate) mutex: RawMutex = "the array's lock",
        pub(crate) chunk_len: AtomicU64 = "elements of one chunk, 0 while the array is whole; the owner words follow the control, one per chunk: min(len, 4096), or len / 4096 if that is more",
        writer: OwnerWord = "the process that writes several words, or that died while it did",
        frozen: AtomicU32 = "1 once no process may write any more",
        reserved: AtomicU32 = "0",
        returned: EventCount = "what processes sleep on that wait for chunks to be given back",
        reserved_too: [AtomicU32; 2] = "0",
    }
}

/// Why the mutex was not acquired.
pub(crate) type Refused = LockError<Infallible>;

/// How long an access to the whole waits, and for what.
#[derive(Clone, Copy)]
pub(crate) struct Until {
    deadline: Deadline,
    /// Whether it waits until chunks are given back; otherwise it is refused with
    /// [`ErrorKind::Claimed`].
    for_chunks: bool,
}

impl Until {
    pub(crate) const NEVER: Self = Self::deadline(Deadline::NEVER);
    pub(crate) const PASSED: Self = Self::deadline(Deadline::PASSED);

    /// Waits for the lock and for chunks.
    pub(crate) const fn deadline(deadline: Deadline) -> Self {
        let for_chunks = true;
        Self {
            deadline,
            for_chunks,
        }
    }

    /// Waits for the lock only, for a caller that has another lock.
    pub(crate) const fn locked(deadline: Deadline) -> Self {
        let for_chunks = false;
        Self {
            deadline,
            for_chunks,
        }
    }
}

/// The mutex, held by the calling thread: through this value, or through an
/// [`ArrayLock`](crate::ArrayLock) of its own further up.
pub(crate) struct OpGuard<'a> {
    raw: Option<Guard<'a>>,
    /// The process that died while it wrote, if no process recovered the elements since.
    pub(crate) poisoned_by: Option<ProcessIdentity>,
}

impl OpGuard<'_> {
    /// Whether an owner of the mutex or a writer died, and no process recovered the elements since.
    pub(crate) fn owner_died(&self) -> bool {
        let raw = self.raw.as_ref().map(Guard::outcome);
        self.poisoned_by.is_some() || raw == Some(Outcome::OwnerDied)
    }

    /// Forgets the deaths.
    pub(crate) fn recover(&mut self) {
        self.poisoned_by = None;
        if let Some(raw) = &mut self.raw {
            raw.recover();
        }
    }
}

impl ArrayControl {
    /// Whether the elements are read-only.
    #[inline]
    pub(crate) fn is_frozen(&self) -> bool {
        // Acquire: pairs with the Release in `freeze`.
        self.frozen.load(Ordering::Acquire) != 0
    }

    /// Acquires the mutex for a guard; refused if this thread has it already.
    pub(crate) fn acquire(&self, deadline: Deadline) -> Result<OpGuard<'_>, Refused> {
        let raw = Some(self.mutex.lock_timeout(deadline)?);
        let poisoned_by = self.poisoned_by()?;
        Ok(OpGuard { raw, poisoned_by })
    }

    /// Acquires the mutex for one operation, unless this thread has it already without the data.
    #[inline]
    pub(crate) fn enter(&self, deadline: Deadline) -> Result<OpGuard<'_>, Refused> {
        let raw = match self.mutex.lock_timeout(deadline) {
            Ok(guard) => Some(guard),
            Err(RawLockError::Recursive) if !self.is_lent_to(this_process()?) => None,
            Err(error) => return Err(error.into()),
        };
        let poisoned_by = self.poisoned_by()?;
        Ok(OpGuard { raw, poisoned_by })
    }

    /// [`acquire`](Self::acquire) for the elements as a whole: waits until no living process has a
    /// chunk (I5).
    pub(crate) fn acquire_whole(
        &self,
        partition: Partition<'_>,
        until: Until,
    ) -> Result<OpGuard<'_>, Refused> {
        self.when_whole(partition, until, Self::acquire)
    }

    /// [`enter`](Self::enter) for the elements as a whole: waits until no living process has a
    /// chunk (I5).
    ///
    /// Under this thread's own lock it does not wait, since this thread or one that waits for the
    /// lock may have the chunk.
    #[inline]
    pub(crate) fn enter_whole(
        &self,
        partition: Partition<'_>,
        until: Until,
    ) -> Result<OpGuard<'_>, Refused> {
        self.when_whole(partition, until, Self::enter)
    }

    #[inline]
    fn when_whole<'a>(
        &'a self,
        partition: Partition<'_>,
        until: Until,
        lock: impl Fn(&'a Self, Deadline) -> Result<OpGuard<'a>, Refused>,
    ) -> Result<OpGuard<'a>, Refused> {
        loop {
            let mut held = lock(self, until.deadline)?;
            match partition.join()? {
                // No living process has a chunk, and none can claim one before `held` is dropped.
                Whole::Free(dead) => {
                    held.poisoned_by = held.poisoned_by.or(dead);
                    return Ok(held);
                }
                // The caller has another lock, or this thread has the mutex further up: waiting
                // could be for itself.
                Whole::Claimed(claim) if held.raw.is_none() || !until.for_chunks => {
                    return Err(partition.claimed("reach", claim).into());
                }
                Whole::Claimed(claim) => {
                    // I6: released before the sleep.
                    drop(held);
                    self.wait_for(partition, claim, until.deadline)?;
                }
            }
        }
    }

    /// Waits until `claim` is given back or its owner is proven dead.
    #[cold]
    fn wait_for(
        &self,
        partition: Partition<'_>,
        claim: LivingClaim,
        deadline: Deadline,
    ) -> Result<(), Refused> {
        let start = Instant::now();
        let death = Cell::new(false);
        let is_over = || {
            let over = death.get() || !partition.has(claim);
            // One change is for all sleepers, and the process that made it may have died before it
            // woke them.
            if over {
                self.returned.pass_on_to_all();
            }
            over.then_some(())
        };
        // What cannot be proved is left to the next attempt at the whole, which reports the error.
        let look = || death.set(owner::is_dead(claim.owner).unwrap_or(true));
        self.returned
            .wait_until_or_suspect(Wait::Adaptive, deadline, is_over, look)
            .ok_or_else(|| LockError::Timeout(Holder::process(claim.owner.pid(), start.elapsed())))
    }

    /// Gives chunk `index` of `owner`, which is this process, back.
    pub(crate) fn give_back(&self, partition: Partition<'_>, index: usize, owner: ProcessIdentity) {
        self.returned.under_bell(|| {
            partition.release(index, owner);
            self.returned.notify_all();
        });
    }

    /// Records that the elements are lent to `me` (I2); under the mutex.
    #[inline]
    pub(crate) fn begin_write(&self, me: ProcessIdentity) {
        self.writer.set(Some(me.into()));
        // Release: no element is written before `writer` is, for a death in between.
        fence(Ordering::Release);
    }

    /// Ends [`begin_write`](Self::begin_write); elements that were damaged before still are (I3).
    #[inline]
    pub(crate) fn end_write(&self, poisoned_by: Option<ProcessIdentity>) {
        // A Release store: after the last write of an element.
        self.writer.set(poisoned_by.map(Into::into));
    }

    /// Makes the elements read-only permanently (I4); under the mutex.
    pub(crate) fn freeze(&self) {
        // Release: pairs with the Acquire in `is_frozen`.
        self.frozen.store(1, Ordering::Release);
    }

    /// An error if no process may write any more.
    pub(crate) fn expect_writable(&self) -> Result<()> {
        if self.is_frozen() {
            return Err(
                Error::new(ErrorKind::InvalidState, "write", "array").with_detail(
                    "it was frozen: every process may read it without a lock, none may write",
                ),
            );
        }
        Ok(())
    }

    fn is_lent_to(&self, process: ProcessIdentity) -> bool {
        self.writer.owner() == Some(process.into())
    }

    /// The process that died while it wrote (I3); an error if it lives (I2). Under the mutex.
    #[inline]
    fn poisoned_by(&self) -> Result<Option<ProcessIdentity>> {
        match self.writer.owner() {
            None => Ok(None),
            Some(writer) => Self::dead_writer(writer),
        }
    }

    #[cold]
    fn dead_writer(writer: NonZeroU64) -> Result<Option<ProcessIdentity>> {
        let writer = owner::process(writer)?;
        // The kernel marks a dying process's locks while some of its threads may still run.
        let dead = writer
            .wait_end(PATIENCE)
            .map_err(|source| Error::os("prove the death of", writer.to_string(), source))?;
        if dead {
            return Ok(Some(writer));
        }
        Err(Error::new(ErrorKind::Claimed, "lock", "array").with_detail(format!(
            "a thread of {writer} ended without dropping its guard; the array is free when that process ends"
        )))
    }
}

/// How long a process may take to end after one of its threads ended with a guard.
const PATIENCE: Duration = Duration::from_secs(1);

/// The error of an operation that meets elements that a dead process may have left half written.
#[cold]
pub(crate) fn poisoned(operation: &'static str, dead: ProcessIdentity) -> Error {
    Error::new(ErrorKind::OwnerDied, operation, "array").with_detail(format!(
        "{dead} died while it wrote; lock() the array, make its elements whole and call recover() on the guard"
    ))
}

#[cfg(test)]
mod tests;
