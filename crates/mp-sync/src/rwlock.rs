//! A lock that many may hold to read, or one to write.
//!
//! # Source
//! A big-reader lock (the Linux kernel's `brlock`, folly's `SharedMutex`): a reader takes a slot of
//! its own, a writer waits until all slots are free. Changed: a slot is a [`RawMutex`], so that the
//! kernel gives back a dead reader's and wakes the writer that waits for it; who finds a writer
//! there waits at the writer's mutex.
//!
//! # Layout
//! ```text
//!  0 writer   the mutex of the writer, and of those that find one, 48 bytes
//! 48 state    IDLE, DRAINING or WRITING
//! 52 used     slots from this one on were never taken
//! 56 reserved 0
//! 64 slots    255 mutexes of readers, 64 bytes each
//! ```
//!
//! # Invariants
//! - I1 `state` is written by the owner of `writer` only. It is IDLE while no writer holds or
//!   drains, but after a death.
//! - I2 A writer writes only while it holds `writer`, and after it has found every slot free since
//!   it left IDLE.
//! - I3 A reader reads while it holds a slot, and only if it found IDLE after it took the slot, or
//!   took it as the owner of `writer`. So a writer that drains finds it (I2).
//! - I4 `used` is above the number of every slot that is held.
//! - I5 WRITING is there from before the writer returns until it releases; found by another owner
//!   of `writer`, it says that a writer died in between.
//!
//! # Orderings
//! A reader takes a slot, then a SeqCst fence, then loads `state`; a writer stores `state`, then a
//! SeqCst fence, then looks at the slots: one of the two sees the other. Acquire and Release cannot
//! say that. What the lock guards is ordered by the mutexes: a reader's slot between it and the
//! next writer, `writer` or the slots between a writer and the next readers.
//!
//! # Progress
//! Blocking. A reader that finds no writer does not wait: it takes one free slot of 255. Writers
//! are preferred: readers that come while one waits, wait behind it; writers that follow each other
//! without a pause can keep readers out.
//!
//! # If a process dies
//! - A reader: its share is free, and the kernel wakes the writer that waits for it.
//! - A writer that waited: nothing was changed, and the next owner of `writer` sets IDLE.
//! - A writer that wrote: all that acquire the lock get [`LockError::OwnerDied`], readers too,
//!   until a writer has had it.

use std::fmt;

use mp_layout::atomic::{AtomicU32, Ordering, fence};
use mp_layout::{Described, Error, ErrorKind, Kind, TypeTag, shared_struct};
use mp_os::clock::Deadline;

use crate::raw_mutex::{Guard, RawLockError, RawMutex};
use crate::{Holder, LockError, owner};

/// How many can read at a time.
const MOST: usize = if cfg!(loom) { 2 } else { 255 };

/// Readers begin to look for a slot at one of the first so many: few slots for a writer to look at,
/// and not one for all.
const STARTS: usize = if cfg!(loom) { 1 } else { 8 };

/// No writer holds the lock or waits for readers.
const IDLE: u32 = 0;
/// The owner of `writer` waits for readers.
const DRAINING: u32 = 1;
/// The owner of `writer` writes, or did when it died.
const WRITING: u32 = 2;

shared_struct! {
    /// One reader's mutex, on a cache line of its own.
    #[repr(align(64))]
    struct Slot as "Slot of an RwLock": 64 bytes {
        raw: RawMutex = "held by one reader",
        reserved: [AtomicU32; 4] = "0",
    }
}

#[cfg(not(loom))]
pub(crate) const SLOT_TABLE: mp_layout::Table = Slot::TABLE;

shared_struct! {
    /// A lock in shared memory for things that lie elsewhere, which any number of threads up to 255
    /// hold to read, or one to write.
    ///
    /// It owns no data, as [`Lock`](crate::Lock). Writers are preferred. A thread that holds it
    /// must not acquire it again.
    ///
    /// # If a process dies
    ///
    /// While it read: its share comes back. While it wrote: all that acquire the lock get their
    /// guard as [`LockError::OwnerDied`], readers too, up to and with the next writer.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_sync::{LockError, RwLock};
    ///
    /// # #[repr(align(16384))]
    /// # struct Memory([u64; 2048]);
    /// # let memory = Box::leak(Box::new(Memory([0; 2048])));
    /// # let lock: &RwLock = unsafe { mp_layout::Region::from_exclusive(&mut memory.0).place_guarded(0)? };
    /// let reading = lock.read()?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         assert!(lock.try_read().is_ok());
    ///         assert!(matches!(lock.try_write(), Err(LockError::Timeout(_))));
    ///     });
    /// });
    /// drop(reading);
    /// let writing = lock.write()?;
    /// assert!(lock.writer().is_some());
    /// drop(writing);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    #[repr(align(64))]
    pub struct RwLock: 16384 bytes {
        writer: RawMutex = "the mutex of the writer, and of those that find one",
        state: AtomicU32 = "0 idle, 1 a writer waits for readers, 2 a writer writes",
        used: AtomicU32 = "slots from this one on were never taken",
        reserved: [AtomicU32; 2] = "0",
        slots: [Slot; MOST] = "the mutexes of readers",
    }
}

// SAFETY: only `RwLock` is of kind reader-writer lock.
unsafe impl Described for RwLock {
    const KIND: Kind = Kind::RwLock;

    type Initial = ();

    fn tag() -> TypeTag {
        TypeTag::NONE
    }

    fn initialise(&self, (): ()) -> mp_layout::Result<()> {
        Ok(())
    }
}

type Read<'a> = Result<ReadGuard<'a>, LockError<ReadGuard<'a>>>;
type Write<'a> = Result<WriteGuard<'a>, LockError<WriteGuard<'a>>>;

impl RwLock {
    /// Acquires a share to read; blocks until no thread writes or waits to.
    ///
    /// # Errors
    ///
    /// - [`LockError::OwnerDied`] has the guard: a writer died while it held the lock, and no
    ///   writer has had it since.
    /// - [`LockError::Recursive`] if this thread holds the lock to write; or to read, and a writer
    ///   waits for that. A second share that happens to be granted is a mistake all the same.
    /// - [`LockError::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`LockError::Failed`] with [`ErrorKind::InvalidState`] if 255 read, the most that can, and
    ///   with [`ErrorKind::Corrupt`] if the lock's bytes were overwritten.
    #[inline]
    pub fn read(&self) -> Read<'_> {
        self.read_timeout(Deadline::NEVER)
    }

    /// Acquires a share to read if that is possible without waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names a thread that writes, wants to or just looked; the
    /// others as for [`RwLock::read`].
    #[inline]
    pub fn try_read(&self) -> Read<'_> {
        self.read_timeout(Deadline::PASSED)
    }

    /// [`read`](Self::read) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names the writer; the others as for [`RwLock::read`].
    #[inline]
    pub fn read_timeout(&self, timeout: impl Into<Deadline>) -> Read<'_> {
        let slot = self.take_slot()?;
        // Pairs with the fence in `drain` (I3).
        fence(Ordering::SeqCst);
        // Acquire pairs with the Release of a writer that is done.
        if self.state.load(Ordering::Acquire) == IDLE {
            return Ok(ReadGuard { _slot: slot });
        }
        drop(slot);
        self.read_behind_writer(timeout.into())
    }

    /// Acquires a share by way of the writer's mutex, whose owner keeps writers out.
    #[cold]
    fn read_behind_writer(&self, deadline: Deadline) -> Read<'_> {
        self.expect_no_share()?;
        let mut writer = self.writer.lock_timeout(deadline)?;
        let is_torn = self.take_over(&mut writer);
        let guard = ReadGuard {
            _slot: self.take_slot()?,
        };
        drop(writer);
        if is_torn {
            return Err(LockError::OwnerDied(guard));
        }
        Ok(guard)
    }

    /// Acquires the lock to write; blocks until no other thread holds it.
    ///
    /// # Errors
    ///
    /// - [`LockError::OwnerDied`] has the guard: a writer died while it held the lock. When this
    ///   guard is dropped, that is forgotten.
    /// - [`LockError::Recursive`] if this thread holds the lock, to read or to write.
    /// - [`LockError::TooManyHeld`] if this thread holds 1024 locks.
    /// - [`LockError::Failed`] with [`ErrorKind::Corrupt`] if the lock's bytes were overwritten.
    pub fn write(&self) -> Write<'_> {
        self.write_timeout(Deadline::NEVER)
    }

    /// Acquires the lock to write if that is possible without waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names a thread that holds it or just looked; the others as for
    /// [`RwLock::write`].
    pub fn try_write(&self) -> Write<'_> {
        self.write_timeout(Deadline::PASSED)
    }

    /// [`write`](Self::write) that waits up to `timeout`: a `Duration`, an `Instant` or a
    /// [`Deadline`].
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], which names a thread that holds it; the others as for
    /// [`RwLock::write`].
    pub fn write_timeout(&self, timeout: impl Into<Deadline>) -> Write<'_> {
        let deadline = timeout.into();
        // Before the mutex: its owner may wait for this thread's share.
        self.expect_no_share()?;
        let mut writer = self.writer.lock_timeout(deadline)?;
        let is_torn = self.take_over(&mut writer);
        if let Err(error) = self.drain(is_torn, deadline) {
            if !is_torn {
                self.state.store(IDLE, Ordering::Relaxed);
            }
            return Err(error.into());
        }
        // Relaxed: the mutex orders it. From here on a death is told (I5).
        self.state.store(WRITING, Ordering::Relaxed);
        let guard = WriteGuard {
            lock: self,
            _writer: writer,
        };
        if is_torn {
            return Err(LockError::OwnerDied(guard));
        }
        Ok(guard)
    }

    /// The thread that writes or waits for readers; it may have released the lock already when this
    /// returns.
    #[must_use]
    pub fn writer(&self) -> Option<Holder> {
        self.writer.holder()
    }

    /// The threads that read; each may have released its share already when this returns.
    #[must_use]
    pub fn readers(&self) -> Vec<Holder> {
        let used = self.used();
        used.iter().filter_map(|slot| slot.raw.holder()).collect()
    }

    /// Whether a thread sleeps for it; see [`RawMutex::is_waited_for`].
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        let is_draining = self.state.load(Ordering::Relaxed) == DRAINING;
        is_draining || self.writer.is_waited_for()
    }

    /// Whether a writer died while it wrote, and no writer has had the lock since, as far as is
    /// known.
    fn is_torn(&self) -> bool {
        self.state.load(Ordering::Relaxed) == WRITING
    }

    /// The slots that were taken at some time (I4).
    fn used(&self) -> &[Slot] {
        let used = self.used.load(Ordering::Relaxed) as usize;
        &self.slots[..used.min(MOST)]
    }

    /// Takes a free slot.
    #[inline]
    fn take_slot(&self) -> Result<Guard<'_>, LockError<ReadGuard<'_>>> {
        let start = owner::tid() as usize % STARTS;
        for slot in start..MOST {
            if self.slots[slot].raw.is_free()
                && let Some(guard) = self.try_slot(slot)?
            {
                return Ok(guard);
            }
        }
        self.take_any_slot()
    }

    /// The same where all from the start on are held: the dead count until another tries to take
    /// theirs.
    #[cold]
    fn take_any_slot(&self) -> Result<Guard<'_>, LockError<ReadGuard<'_>>> {
        for slot in 0..MOST {
            if let Some(guard) = self.try_slot(slot)? {
                return Ok(guard);
            }
        }
        Err(LockError::Failed(
            Error::new(ErrorKind::InvalidState, "lock", "").with_detail(format!(
                "{MOST} threads hold the lock to read, the most that can; wait, or use several locks"
            )),
        ))
    }

    #[inline]
    fn try_slot(&self, number: usize) -> Result<Option<Guard<'_>>, LockError<ReadGuard<'_>>> {
        if self.used.load(Ordering::Relaxed) <= number as u32 {
            // Before the slot is taken (I4). Relaxed: the fence after that orders it.
            self.used.fetch_max(number as u32 + 1, Ordering::Relaxed);
        }
        match self.slots[number].raw.try_lock() {
            Ok(mut guard) => {
                // A dead reader changed nothing.
                guard.recover();
                Ok(Some(guard))
            }
            // Another reader's, or this thread's own.
            Err(RawLockError::TimedOut(_) | RawLockError::Recursive) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses to wait for a writer that waits for this very thread.
    fn expect_no_share(&self) -> Result<(), RawLockError> {
        if self.used().iter().any(|slot| slot.raw.is_held_here()) {
            return Err(RawLockError::Recursive);
        }
        Ok(())
    }

    /// For the new owner of `writer`: sets aside what its last one left; returns whether that died
    /// while it wrote (I5).
    fn take_over(&self, writer: &mut Guard<'_>) -> bool {
        writer.recover();
        let is_torn = self.is_torn();
        if !is_torn {
            self.state.store(IDLE, Ordering::Relaxed);
        }
        is_torn
    }

    /// Keeps new readers out, and waits for the others.
    fn drain(&self, is_torn: bool, deadline: Deadline) -> Result<(), RawLockError> {
        if !is_torn {
            self.state.store(DRAINING, Ordering::Relaxed);
        }
        // Pairs with the fence in `read_timeout`.
        fence(Ordering::SeqCst);
        for slot in self.used() {
            if !slot.raw.is_free() {
                // It is released in the next step: what is waited for is its reader, or that one's
                // death.
                slot.raw.lock_timeout(deadline)?.recover();
            }
        }
        // Pairs with the Release of the last reader of each slot.
        fence(Ordering::Acquire);
        Ok(())
    }
}

impl fmt::Debug for RwLock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RwLock")
            .field("writer", &self.writer())
            .field("readers", &self.readers())
            .finish_non_exhaustive()
    }
}

/// A share of an [`RwLock`] to read; dropping it releases the share.
///
/// It stays with the thread that acquired it; see [`Guard`].
#[must_use = "the share is released when the guard is dropped"]
#[derive(Debug)]
pub struct ReadGuard<'a> {
    /// Held for its drop.
    _slot: Guard<'a>,
}

/// An [`RwLock`] held to write; dropping it releases the lock.
///
/// It stays with the thread that acquired it; see [`Guard`].
#[must_use = "the lock is released when the guard is dropped"]
#[derive(Debug)]
pub struct WriteGuard<'a> {
    lock: &'a RwLock,
    /// Held for its drop.
    _writer: Guard<'a>,
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        // A forked child has a copy of its parent's guard, and no part in the lock.
        if self.lock.writer.is_held_here() {
            // Release: a reader that sees it sees what was written.
            self.lock.state.store(IDLE, Ordering::Release);
        }
    }
}
