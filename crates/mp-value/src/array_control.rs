//! Who may reach the elements of an array, and as what.
//!
//! # Layout
//!
//! ```text
//! payload 0     control: mutex, chunk_len, writer, frozen      (128 bytes)
//! payload 128   words: one owner per chunk, min(len, 4096)     (8 bytes each)
//! segment, next multiple of 4096: the elements
//! ```
//!
//! # Invariants
//!
//! - I1: elements are reached in one of four ways: one by one under the mutex; as one slice by an
//!   [`ArrayGuard`](crate::ArrayGuard), which has the mutex; as a slice of a chunk by its owner; read-only when frozen.
//! - I2: `writer` is 0, or names the process to which the elements are lent as one slice (or which writes an element in
//!   several pieces). It is changed under the mutex only. A living process in it means that nobody else may reach them,
//!   even if the mutex is free: the thread ended and its guard was leaked, so the slice may still be in use.
//! - I3: a dead process in `writer` stays there, or in the hands of the guard that was told and puts it back, until
//!   somebody recovers the elements. So they count as half written until then.
//! - I4: `frozen` becomes 1 once, under the mutex, while no chunk is claimed and nothing is half written. From then on
//!   nobody writes elements, so anybody may have slices of them.
//! - I5: claimed chunks and access to the whole exclude each other, see [`crate::partition`].
//!
//! # Orderings
//!
//! The mutex orders everything but `frozen`: stored with Release behind the last write of an element, loaded with
//! Acquire by those who read without the mutex. `writer` is stored before the first write (a Release fence keeps the
//! order) and cleared behind the last one (Release), for a death in between.
//!
//! # Progress
//!
//! Blocking; reading a frozen array is wait-free.
//!
//! # If a process dies
//!
//! Holding the mutex: the next `lock` or `get_lock` is told. With the slice: `writer` tells for as long as it takes that
//! someone recovers. With a chunk: the chunk's word tells, see [`crate::partition`].

use core::convert::Infallible;
use core::num::NonZeroU64;
use core::time::Duration;

use mp_layout::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use mp_layout::{Error, ErrorKind, Result, shared_struct};
use mp_object::owner::this_process;
use mp_object::{OwnerWord, ProcessIdentity, owner};
use mp_os::clock::Deadline;
use mp_sync::{Guard, LockError, RawLockError, RawMutex};

use crate::refusal::refusal;

/// The most chunks an array can be divided into.
pub(crate) const MAX_CHUNKS: usize = 4096;

shared_struct! {
    /// What lies in front of the owner words.
    #[derive(Debug)]
    #[repr(align(128))]
    pub(crate) struct ArrayControl as "Array: control": 128 bytes {
        pub(crate) mutex: RawMutex = "the array's lock",
        pub(crate) chunk_len: AtomicU64 = "elements of one chunk, 0 while the array is whole; one owner word per chunk follows the control, at most 4096",
        writer: OwnerWord = "the process that writes several words, or that died while it did",
        frozen: AtomicU32 = "1 once no process may write any more",
        reserved: [AtomicU32; 15] = "0",
    }
}

/// The mutex, held by the calling thread: through this value, or through an [`ArrayLock`](crate::ArrayLock) of its own
/// further up.
pub(crate) struct Held<'a> {
    /// Held for its drop.
    _raw: Option<Guard<'a>>,
    /// Who died while it wrote, if nobody recovered the elements since.
    pub(crate) damage: Option<ProcessIdentity>,
}

impl ArrayControl {
    /// Whether the elements are read-only.
    #[inline]
    pub(crate) fn is_frozen(&self) -> bool {
        // Acquire: pairs with the Release in `freeze`.
        self.frozen.load(Ordering::Acquire) != 0
    }

    /// Acquires the mutex for one operation, unless this thread has it already without the data.
    #[inline]
    pub(crate) fn enter(&self) -> Result<Held<'_>> {
        self.enter_deadline(Deadline::NEVER)
    }

    /// [`enter`](Self::enter), waiting until the deadline.
    #[inline]
    pub(crate) fn enter_deadline(&self, deadline: Deadline) -> Result<Held<'_>> {
        let raw = match self.mutex.lock_deadline(deadline) {
            Ok(guard) => Some(guard),
            Err(RawLockError::Recursive) if !self.is_lent_to(this_process()?) => None,
            Err(error) => return Err(refusal(error)),
        };
        let damage = self.damage()?;
        Ok(Held { _raw: raw, damage })
    }

    /// Acquires the mutex for a guard; fails if this thread has it already.
    pub(crate) fn acquire(
        &self,
        deadline: Deadline,
    ) -> Result<(Guard<'_>, Option<ProcessIdentity>), LockError<Infallible>> {
        let raw = self.mutex.lock_deadline(deadline)?;
        let damage = self.damage().map_err(LockError::Os)?;
        Ok((raw, damage))
    }

    /// Records that the elements are lent to `me` (I2); under the mutex.
    #[inline]
    pub(crate) fn lend(&self, me: ProcessIdentity) {
        self.writer.set(Some(me.into()));
        // Release: no element is written before `writer` is, for a death in between.
        fence(Ordering::Release);
    }

    /// Ends [`lend`](Self::lend); elements that were damaged before still are (I3).
    #[inline]
    pub(crate) fn take_back(&self, damage: Option<ProcessIdentity>) {
        // A Release store: behind the last write of an element.
        self.writer.set(damage.map(Into::into));
    }

    /// Makes the elements read-only for ever (I4); under the mutex.
    pub(crate) fn freeze(&self) {
        // Release: pairs with the Acquire in `is_frozen`.
        self.frozen.store(1, Ordering::Release);
    }

    /// An error if nobody may write any more.
    pub(crate) fn expect_writable(&self) -> Result<()> {
        if self.is_frozen() {
            return Err(
                Error::new(ErrorKind::InvalidState, "write", "array").with_detail(
                    "it was frozen: everybody may read it without a lock, nobody may write",
                ),
            );
        }
        Ok(())
    }

    fn is_lent_to(&self, process: ProcessIdentity) -> bool {
        self.writer.owner() == Some(process.into())
    }

    /// Who died while it wrote (I3); an error if it lives (I2). Under the mutex.
    #[inline]
    fn damage(&self) -> Result<Option<ProcessIdentity>> {
        match self.writer.owner() {
            None => Ok(None),
            Some(writer) => Self::dead_writer(writer),
        }
    }

    #[cold]
    fn dead_writer(writer: NonZeroU64) -> Result<Option<ProcessIdentity>> {
        let writer = owner::process(writer)?;
        // The kernel marks a dying process's locks while some of its threads may still run.
        let dead = writer.ends_within(PATIENCE).map_err(|source| {
            Error::os(
                "prove the death of process",
                writer.pid().to_string(),
                source,
            )
        })?;
        if dead {
            return Ok(Some(writer));
        }
        Err(Error::new(ErrorKind::Claimed, "lock", "array").with_detail(format!(
            "a thread of {writer} ended without dropping its guard; the array is free when that process ends"
        )))
    }
}

/// How long a process of which one thread ended is given to end as a whole.
const PATIENCE: Duration = Duration::from_secs(1);

/// The error of somebody who meets elements that a dead process may have left half written.
#[cold]
pub(crate) fn half_written(operation: &'static str, dead: ProcessIdentity) -> Error {
    Error::new(ErrorKind::OwnerDied, operation, "array").with_detail(format!(
        "{dead} died while it wrote; lock() the array, make its elements whole and call recover() on the guard"
    ))
}
