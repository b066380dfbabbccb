//! Claims by a process, given back by its proven death: an owner word, as in a robust futex.
//!
//! # Source
//!
//! The word of a robust futex (`Documentation/locking/robust-futex-ABI.rst`), which names its owner. Changed: it names a
//! process, by its start time too, and who finds the claim taken proves the death instead of the kernel marking it. So a
//! claim needs no list, may pass between threads and costs nothing while it is held.
//!
//! # Layout
//!
//! An [`OwnerWord`] is 8 bytes: 0, or the owner's [`ProcessIdentity`] (PID in the low 22 bits, start time in the others).
//!
//! # Invariants
//!
//! - I1: a word leaves 0 only by a compare-and-swap to the identity of the process that executes it.
//! - I2: a word returns to 0 only by its owner, or by a compare-and-swap from exactly the identity of a process that was
//!   proven dead. Identities are not reused (the kernel does not go round all PIDs within one clock tick), so a sweep that
//!   was delayed cannot take a claim of a living process.
//!
//! # Orderings
//!
//! A claim is Acquire and a release is Release, so that the next owner sees what the last one wrote. After a death the
//! proof itself orders: the kernel reports the end of a process after its last store.
//!
//! # Progress
//!
//! Claiming and releasing are wait-free. A sweep asks the kernel once for each owner it meets.
//!
//! # If a process dies
//!
//! Its claims stay until somebody calls [`OwnerWord::sweep`]; whoever dies while sweeping has swept a word or has not. A
//! process that calls `exec` is not dead: what it had claimed stays claimed until it ends.

use mp_layout::atomic::{AtomicU64, Ordering};
use mp_layout::{Error, ErrorKind, Place, Result, Table, layout};
pub use mp_os::process_id::ProcessIdentity;

/// The word of shared memory that says which process has claimed something.
///
/// ```
/// use mp_object::OwnerWord;
///
/// let word = OwnerWord::free();
/// word.claim()?.expect("nobody has it");
/// assert_eq!(word.owner().map(|owner| owner.pid()), Some(std::process::id()));
/// assert!(word.sweep()?.is_none(), "its owner lives");
/// word.release();
/// assert!(word.owner().is_none());
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct OwnerWord {
    owner: AtomicU64,
}

const _: () = assert!(size_of::<OwnerWord>() == 8);

// SAFETY: one atomic; every bit pattern is valid (an impossible identity counts as no process at all), zero is free.
unsafe impl Place for OwnerWord {
    const IS_BARE: bool = true;

    fn zeroed() -> Self {
        Self::free()
    }
}

impl OwnerWord {
    /// The table for `docs/memory-layout.md`.
    pub const TABLE: Table = layout!(
        "OwnerWord",
        OwnerWord {
            owner: "0, or the claimer: PID in the low 22 bits, start time in clock ticks since boot in the others",
        }
    );

    /// A word that nobody has claimed.
    pub const fn free() -> Self {
        Self {
            owner: AtomicU64::new(0),
        }
    }

    /// Claims it for this process; the inner error is who has it, who may be dead.
    ///
    /// A claim is the process's: a second claim by the same process is refused as well.
    ///
    /// # Errors
    ///
    /// If the system does not tell this process's start time (no `/proc`); [`ErrorKind::Corrupt`] if the word names no
    /// process.
    pub fn claim(&self) -> Result<core::result::Result<(), ProcessIdentity>> {
        let me = this_process()?;
        // Acquire: pairs with the Release in `release` and in `sweep`.
        match self
            .owner
            .compare_exchange(0, me.word(), Ordering::Acquire, Ordering::Relaxed)
        {
            Ok(_) => Ok(Ok(())),
            Err(word) => identity("claim", word).map(Err),
        }
    }

    /// Gives it back, if this process has claimed it.
    ///
    /// Otherwise nothing happens, so that a forked child which drops what its parent has claimed takes nothing away.
    pub fn release(&self) {
        // Whoever has claimed it knew itself, so an error here says that the claim is not ours.
        let Ok(me) = this_process() else { return };
        // Release: pairs with the Acquire in `claim` and in `owner`. It fails on somebody else's claim (I2).
        let _previous =
            self.owner
                .compare_exchange(me.word(), 0, Ordering::Release, Ordering::Relaxed);
    }

    /// Who has it; another moment may know better. `None` also if the word names no process.
    pub fn owner(&self) -> Option<ProcessIdentity> {
        // Acquire: whoever reads "free" sees what the last owner wrote before its Release.
        ProcessIdentity::from_word(self.owner.load(Ordering::Acquire))
    }

    /// Gives it back for an owner who is dead, and tells who that was.
    ///
    /// Of several that sweep one dead owner's claim, one is told.
    ///
    /// # Errors
    ///
    /// If the system does not let a death be proven; [`ErrorKind::Corrupt`] if the word names no process. The word is
    /// left as it is.
    pub fn sweep(&self) -> Result<Option<ProcessIdentity>> {
        // Relaxed: the word is only compared; what the owner wrote is ordered by the proof of its death.
        let word = self.owner.load(Ordering::Relaxed);
        if word == 0 {
            return Ok(None);
        }
        let owner = identity("sweep", word)?;
        let dead = owner.is_dead().map_err(|source| {
            Error::os(
                "prove the death of process",
                owner.pid().to_string(),
                source,
            )
        })?;
        if !dead {
            return Ok(None);
        }
        // Release: hands the proof on to the Acquire in `claim`. Acquire: a sweeper goes on to repair what was claimed.
        let swept = self
            .owner
            .compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        Ok(swept.then_some(owner))
    }
}

/// Who a word that is not free names.
fn identity(operation: &'static str, word: u64) -> Result<ProcessIdentity> {
    ProcessIdentity::from_word(word).ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, operation, "an owner word")
            .with_detail(format!("{word:#x} names no process"))
    })
}

/// This process as owner words name it.
pub(crate) fn this_process() -> Result<ProcessIdentity> {
    ProcessIdentity::current()
        .map_err(|source| Error::os("read the start time of", "this process", source))
}
