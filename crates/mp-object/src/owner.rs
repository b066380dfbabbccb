//! Claims by a process, given back by its proven death.
//!
//! # Layout
//!
//! An [`OwnerWord`] is 8 bytes: 0, or the owner's [`ProcessIdentity`] (PID in the low 22 bits, start time in the others).
//!
//! # Invariants
//!
//! - I1: a word leaves 0 only by a compare-and-swap to the identity of the process that executes it.
//! - I2: a word returns to 0 only by its owner, or by a compare-and-swap from exactly the identity of a process that was
//!   proven dead. Identities are not reused, so a sweep that was delayed cannot take a claim of a living process.
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
//! Its claims stay until somebody calls [`OwnerWord::sweep`]; whoever dies while sweeping has swept a word or has not.

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
        // Acquire: what the last owner wrote before its Release in `release`.
        match self
            .owner
            .compare_exchange(0, me.word(), Ordering::Acquire, Ordering::Relaxed)
        {
            Ok(_) => Ok(Ok(())),
            Err(word) => ProcessIdentity::from_word(word).map(Err).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, "claim", "")
                    .with_detail(format!("owner word {word:#x} names no process"))
            }),
        }
    }

    /// Gives it back; the caller has claimed it.
    pub fn release(&self) {
        // Release: pairs with the Acquire in `claim`.
        self.owner.store(0, Ordering::Release);
    }

    /// Who has it; another moment may know better.
    pub fn owner(&self) -> Option<ProcessIdentity> {
        // Acquire: whoever reads "free" sees what the last owner wrote.
        ProcessIdentity::from_word(self.owner.load(Ordering::Acquire))
    }

    /// Gives it back for an owner who is dead, and tells who that was.
    ///
    /// # Errors
    ///
    /// If the system does not let a death be proven; the word is left as it is.
    pub fn sweep(&self) -> Result<Option<ProcessIdentity>> {
        let Some(owner) = self.owner() else {
            return Ok(None);
        };
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
        let swept = self
            .owner
            .compare_exchange(owner.word(), 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        Ok(swept.then_some(owner))
    }
}

/// This process as owner words name it.
pub(crate) fn this_process() -> Result<ProcessIdentity> {
    ProcessIdentity::current()
        .map_err(|source| Error::os("read the start time of", "this process", source))
}
